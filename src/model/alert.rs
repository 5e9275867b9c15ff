//! An alert as a monitoring system told it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Label or annotation names to values. All of it is untrusted text.
pub type Labels = BTreeMap<String, String>;

/// Whether the source says that the alert is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Firing,
    Resolved,
}

/// How bad it is. The order is the order of work: critical first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Critical,
    Warning,
    Info,
}

impl Severity {
    /// Reads the usual words of severity labels; a word that nobody agreed on counts as a warning,
    /// so that it is neither paged at once nor left unread.
    pub fn from_label(value: Option<&str>) -> Self {
        match value.map(str::to_ascii_lowercase).as_deref() {
            Some("critical" | "crit" | "page" | "emergency" | "fatal" | "p1" | "sev1") => {
                Self::Critical
            }
            Some("info" | "informational" | "none" | "debug" | "notice" | "p4" | "p5") => {
                Self::Info
            }
            Some(_) | None => Self::Warning,
        }
    }

    /// The word used in the store, the API and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// 0 for the most severe; the order in which incidents are claimed.
    pub fn rank(self) -> i64 {
        match self {
            Self::Critical => 0,
            Self::Warning => 1,
            Self::Info => 2,
        }
    }
}

/// One alert. `fingerprint` and `starts_at_ms` together name one firing of it within its source.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Alert {
    pub source: String,
    pub fingerprint: String,
    pub status: Status,
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at_ms: i64,
    pub ends_at_ms: Option<i64>,
    pub generator_url: String,
}

impl Alert {
    /// The `alertname` label, or `unnamed`.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("unnamed", String::as_str)
    }

    /// What the alert says of itself in one line: summary, else description, else its name.
    pub fn summary(&self) -> &str {
        ["summary", "description", "message"]
            .iter()
            .find_map(|key| self.annotations.get(*key))
            .map_or_else(|| self.name(), String::as_str)
    }

    /// Names one firing: `fingerprint@starts_at_ms`.
    pub fn key(&self) -> AlertKey {
        AlertKey {
            source: self.source.clone(),
            fingerprint: self.fingerprint.clone(),
            starts_at_ms: self.starts_at_ms,
        }
    }
}

/// Who keeps an alert quiet at its source, and until when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    pub by: String,
    pub comment: String,
    pub until_ms: i64,
}

/// Identity of one firing of one alert.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AlertKey {
    pub source: String,
    pub fingerprint: String,
    pub starts_at_ms: i64,
}
