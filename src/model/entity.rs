//! What the inventory knows of a host or a service, as the rules may read it.

use serde::{Deserialize, Serialize};

/// A host of the inventory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostFacts {
    pub name: String,
    pub class: String,
    pub region: String,
    pub owner: String,
    pub protected: bool,
    /// Tools that may write here; empty means read-only.
    pub allow: Vec<String>,
    /// Folders that `clean_disk_space` may touch.
    pub clean_roots: Vec<String>,
}

/// A service of the inventory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// Canonical name; the same for every spelling of it.
    pub name: String,
    pub unit: String,
    pub hosts: Vec<String>,
    pub class: String,
    pub region: String,
    pub owner: String,
    pub protected: bool,
    pub allow: Vec<String>,
    pub depends_on: Vec<String>,
}

/// The targets that an incident is about, found by trusted means only: labels of an authenticated
/// source and relations of the inventory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Located {
    pub hosts: Vec<String>,
    pub services: Vec<String>,
    /// Names that the labels gave and the inventory lacks, with the line to add.
    pub missing: Vec<Missing>,
}

/// A target that an alert names and nobody has listed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Missing {
    pub label: String,
    pub value: String,
    /// YAML to paste into the inventory.
    pub line: String,
}
