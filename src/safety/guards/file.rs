//! The keys of the guards as people write them.

use crate::model::guard::Then;
use crate::model::verdict::Autonomy;
use serde::{Deserialize, Serialize};

/// The five keys, taken out of the rules file.
#[derive(Clone, Copy, Debug)]
pub struct GuardsFile<'a> {
    pub freeze: &'a [FreezeFile],
    pub blast_radius: Option<&'a BlastRadiusFile>,
    pub common_cause: Option<&'a CommonCauseFile>,
    pub breaker: Option<&'a BreakerFile>,
    pub recurrence: Option<&'a RecurrenceFile>,
}

/// A window that comes again and in which changes are held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeFile {
    /// When it begins: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// How long it lasts, on the clock of the zone.
    #[serde(rename = "for")]
    pub lasts: String,
    /// An IANA name; UTC when left out.
    #[serde(default = "utc")]
    pub zone: String,
    pub writes: Then,
    /// Only for incidents with an alert that all of these match.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matchers: Vec<String>,
    /// Only for these tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How far changes may reach at once.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlastRadiusFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes_at_once: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_service: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_region: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_fleet: Option<FleetFile>,
}

/// So many changes of everything together within a sliding window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetFile {
    pub max: i64,
    pub within: String,
}

/// One alert on several targets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommonCauseFile {
    pub same_alert_on: i64,
    pub within: String,
    pub then: Autonomy,
}

/// Changes that keep failing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerFile {
    /// Of one tool on targets of one class.
    pub failed_or_unverified: i64,
    /// Of all changes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<i64>,
    pub within: String,
    pub then: Then,
    /// How long it stays open.
    #[serde(rename = "for")]
    pub lasts: String,
}

/// The same remedy for the same target again and again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrenceFile {
    pub same_action_same_target: i64,
    pub within: String,
    pub then: Then,
}
