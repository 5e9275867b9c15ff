//! What keeps a storm of alerts from becoming a storm of incidents, investigations and messages.
//!
//! In: YAML. Out: plain numbers and names of labels. Never: a default that lets alerts of different
//! keys be one incident.

use serde::Deserialize;

/// Alerts of another key that share these labels with the alert that opened an incident join it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRule {
    /// All of them must be there; `host` and `service` are the targets found by `targets`.
    pub labels: Vec<String>,
    /// Counted from the opening of the incident.
    #[serde(default = "within_s")]
    pub within_s: u64,
    /// An incident in which so many alerts fire takes no more this way.
    #[serde(default = "alerts_max")]
    pub alerts_max: u32,
    /// An incident with alerts about so many targets takes no other targets this way.
    #[serde(default = "targets_max")]
    pub targets_max: u32,
}

fn within_s() -> u64 {
    300
}

fn alerts_max() -> u32 {
    1_000
}

fn targets_max() -> u32 {
    50
}

/// When an alert that comes back again and again is not investigated any more.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlappingSettings {
    /// Firings of the same alert within the time; 0 for never.
    pub times: u32,
    pub within_s: u64,
}

impl Default for FlappingSettings {
    fn default() -> Self {
        Self { times: 5, within_s: 3_600 }
    }
}

/// When the messages of one channel are put together.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestSettings {
    /// Messages within the time; what comes beyond them and can wait is put together. 0 for never.
    pub messages_max: u32,
    pub within_s: u64,
}

impl Default for DigestSettings {
    fn default() -> Self {
        Self { messages_max: 20, within_s: 600 }
    }
}
