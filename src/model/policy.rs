//! Which policy is in force, as it is told to people and programs.

use serde::{Deserialize, Serialize};

/// The rules, runbooks and inventory that a process judges and acts by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InForce {
    /// SHA-256 of the parsed safety rules.
    pub rules_version: String,
    /// When these files were read.
    pub loaded_at_ms: i64,
    /// SHA-256 of the settings without their secrets, the rules, the inventory and the runbooks.
    #[serde(default)]
    pub config_hash: String,
    /// The secrets that were other ones when the files were last read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets_renewed: Vec<String>,
    /// Settings that were changed in the file and are in force only after a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
    /// The files as they lie there now cannot be used, so that older ones are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

/// Files that were found broken when they should have been taken over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// When they were first found so.
    pub since_ms: i64,
    /// Everything that is wrong with them, with its place.
    pub problems: Vec<String>,
}

/// What one process has in force, as it tells the others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Unique among all processes on one database.
    pub id: String,
    pub rules_version: String,
    pub loaded_at_ms: i64,
    pub broken_since_ms: Option<i64>,
    pub seen_at_ms: i64,
}
