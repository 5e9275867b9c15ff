//! The timeline of the system itself: what happened to the whole of Watchkeeper rather than to an
//! incident. It is chained as every other timeline ([`crate::model::timeline::chain_hash`]).
//!
//! Never: a change of meaning of a stored kind; an entry of a later version thrown away.

use crate::model::ids::HoldId;
use crate::model::orders::{FileHalt, Hold, Quarantined};
use crate::model::verdict::Autonomy;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SystemEntry {
    /// A process started with these files; each is a SHA-256.
    Started {
        process: String,
        program: String,
        rules: String,
        inventory: String,
        runbooks: String,
    },
    /// Other rules than those loaded last.
    RulesLoaded {
        version: String,
        before: Option<String>,
        autonomy: Autonomy,
        changes: Vec<String>,
    },
    /// A running process took these files over, changed or not, because somebody asked for it; each
    /// is a SHA-256.
    PolicyReloaded {
        process: String,
        by: String,
        rules: String,
        inventory: String,
        runbooks: String,
    },
    /// Users or tokens of the access file are not what they were.
    AccessChanged {
        process: String,
        changes: Vec<AccessChange>,
    },
    /// The database was put back to what it was then. What happened after that is not in it.
    Restored {
        by: String,
        taken_at_ms: i64,
        /// The same for people.
        taken_at: String,
        /// The version that took the backup.
        program: String,
        sha256: String,
    },
    Halted {
        by: String,
        reason: String,
    },
    Resumed {
        by: String,
    },
    HaltFileFound {
        process: String,
        file: FileHalt,
    },
    HaltFileGone {
        process: String,
        file: FileHalt,
    },
    /// The time of day of a process leapt, forward or back.
    ClockLeapt {
        process: String,
        by_ms: i64,
    },
    HoldMade {
        hold: Hold,
    },
    HoldRemoved {
        id: HoldId,
        matchers: Vec<String>,
        by: String,
    },
    RuleQuarantined {
        order: Quarantined,
    },
    RuleReleased {
        rule: String,
        by: String,
    },
    /// Written by a version that knows more than this one; kept, not understood.
    #[serde(untagged)]
    Unknown(Value),
}

/// Somebody in the access file, without any secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Known {
    /// `user`, `webhook token` or `api token`.
    pub what: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Changes with the password or the token.
    pub stamp: String,
}

/// What became of one of them; `after` is absent once they are removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessChange {
    pub before: Option<Known>,
    pub after: Option<Known>,
}

/// An entry in its place.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StoredSystem {
    pub seq: i64,
    pub at_ms: i64,
    pub entry: SystemEntry,
    pub hash: String,
}

impl SystemEntry {
    /// The entry in words, for people. Texts of others stand in it as they are.
    pub fn words(&self) -> String {
        match self {
            Self::Started { process, program, rules, inventory, runbooks } => format!(
                "{process} started, version {program}; rules {}, inventory {}, runbooks {}",
                short(rules),
                short(inventory),
                short(runbooks)
            ),
            Self::RulesLoaded { version, before, changes, .. } => {
                let before = before.as_deref().map_or("none", short);
                let changes = changes.join("; ");
                format!("rules {} loaded, before: {before}; {changes}", short(version))
            }
            Self::PolicyReloaded { process, by, rules, inventory, runbooks } => format!(
                "{process} took the policy over for {by}; rules {}, inventory {}, runbooks {}",
                short(rules),
                short(inventory),
                short(runbooks)
            ),
            Self::AccessChanged { changes, .. } => {
                let all: Vec<String> = changes.iter().map(AccessChange::words).collect();
                all.join("; ")
            }
            Self::Restored { by, taken_at_ms: _, taken_at, program, sha256 } => format!(
                "{by} put the database back to the backup of {taken_at}, taken by version \
                 {program}, SHA-256 {}",
                short(sha256)
            ),
            Self::Halted { by, reason } => because(format!("{by} halted every change"), reason),
            Self::Resumed { by } => format!("{by} let changes go on"),
            Self::HaltFileFound { process, file } => {
                because(format!("{} halts {process}", file.path), &file.reason)
            }
            Self::HaltFileGone { process, file } => {
                format!("{} is gone; {process} goes on", file.path)
            }
            Self::ClockLeapt { process, by_ms } => {
                let far = crate::model::time::format_span_ms(by_ms.saturating_abs());
                let whereto = if *by_ms < 0 { "back" } else { "ahead" };
                format!("the clock of {process} leapt {far} {whereto}")
            }
            Self::HoldMade { hold } => {
                let lasts = crate::model::time::format_span_ms(hold.until_ms - hold.at_ms);
                let said = format!("{} holds {} for {lasts}", hold.by, hold.matched());
                because(said, &hold.reason)
            }
            Self::HoldRemoved { id, matchers, by } => {
                format!("{by} removed the hold on {} ({id})", matchers.join(", "))
            }
            Self::RuleQuarantined { order } => because(
                format!("{} put rule '{}' in quarantine", order.by, order.rule),
                &order.reason,
            ),
            Self::RuleReleased { rule, by } => format!("{by} lifted the quarantine of '{rule}'"),
            Self::Unknown(value) => format!("an entry of a later version: {value}"),
        }
    }
}

impl AccessChange {
    fn words(&self) -> String {
        let role = |known: &Known| known.role.clone().unwrap_or_else(|| "no role".to_owned());
        match (&self.before, &self.after) {
            (None, Some(new)) => format!("{} {} ({}) added", new.what, new.name, role(new)),
            (Some(old), None) => format!("{} {} ({}) removed", old.what, old.name, role(old)),
            (Some(old), Some(new)) => {
                let mut said = Vec::new();
                if old.role != new.role {
                    said.push(format!("role {}, was {}", role(new), role(old)));
                }
                if old.source != new.source {
                    said.push("other source".to_owned());
                }
                if old.stamp != new.stamp {
                    said.push("other secret".to_owned());
                }
                format!("{} {}: {}", new.what, new.name, said.join(", "))
            }
            (None, None) => "nothing".to_owned(),
        }
    }
}

/// How the second list of people differs from the first.
pub fn access_changes(before: &[Known], after: &[Known]) -> Vec<AccessChange> {
    let by_name = |list: &[Known]| -> BTreeMap<(String, String), Known> {
        list.iter().map(|known| ((known.what.clone(), known.name.clone()), known.clone())).collect()
    };
    let (before, mut after) = (by_name(before), by_name(after));
    let mut changes = Vec::new();
    for (name, old) in before {
        let new = after.remove(&name);
        if new.as_ref() != Some(&old) {
            changes.push(AccessChange { before: Some(old), after: new });
        }
    }
    changes.extend(after.into_values().map(|new| AccessChange { before: None, after: Some(new) }));
    changes
}

fn because(said: String, reason: &str) -> String {
    if reason.is_empty() { said } else { format!("{said}: {reason}") }
}

/// The start of a hash, enough to tell two apart.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, role: &str, stamp: &str) -> Known {
        let (what, role) = ("user".to_owned(), Some(role.to_owned()));
        Known { what, name: name.into(), role, source: None, stamp: stamp.into() }
    }

    #[test]
    fn changes_to_people_are_told_one_by_one() {
        let before =
            [known("ann", "sre", "1"), known("bob", "viewer", "1"), known("kim", "sre", "1")];
        let after =
            [known("bob", "admin", "2"), known("kim", "sre", "1"), known("lee", "sre", "1")];
        let changes = access_changes(&before, &after);
        let process = "box/1".to_owned();
        assert_eq!(
            SystemEntry::AccessChanged { process, changes }.words(),
            "user ann (sre) removed; user bob: role admin, was viewer, other secret; user lee (sre) \
             added"
        );
        assert_eq!(access_changes(&after, &after), []);
    }

    #[test]
    fn an_entry_of_a_later_version_is_kept_as_it_is() {
        let text = r#"{"kind":"moon_landed","crew":["a"],"n":1}"#;
        let entry: SystemEntry = serde_json::from_str(text).unwrap();
        assert!(matches!(entry, SystemEntry::Unknown(_)));
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&entry).unwrap(), value);
    }
}
