//! What people order besides deciding: halts, holds, rules in quarantine.

use crate::model::ids::HoldId;
use crate::model::verdict::{Autonomy, Tier};
use serde::{Deserialize, Serialize};

/// No change of a target that every matcher matches, until a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    /// Alertmanager's form, e.g. `host=~"db.*"`.
    pub matchers: Vec<String>,
    pub reason: String,
    pub by: String,
    pub at_ms: i64,
    pub until_ms: i64,
}

impl Hold {
    /// The matchers on one line.
    pub fn matched(&self) -> String {
        self.matchers.join(", ")
    }
}

/// A rule whose SAFE asks a person until somebody lifts the quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    pub rule: String,
    pub reason: String,
    pub by: String,
    pub at_ms: i64,
}

/// The orders in force at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Orders {
    /// Grows with every order; an intent is written only under the version that was judged.
    pub version: i64,
    pub holds: Vec<Hold>,
    pub quarantined: Vec<Quarantined>,
}

/// A halt file that exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileHalt {
    pub path: String,
    /// Its first line.
    pub reason: String,
}

/// A change whose intent is committed and whose outcome is not known yet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct InFlight {
    pub action_id: String,
    pub tool: String,
    pub args: serde_json::Value,
    /// The host and the service that the call names.
    pub targets: Vec<String>,
    pub incident_id: String,
    pub incident: String,
    pub since_ms: i64,
}

/// The rules in force, as far as people order about them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicySummary {
    pub rules_version: String,
    pub autonomy: Autonomy,
    pub rules: Vec<RuleSummary>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleSummary {
    pub name: String,
    pub tool: String,
    pub tier: Tier,
}
