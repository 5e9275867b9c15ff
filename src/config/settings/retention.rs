//! How long history is kept.
//!
//! In: YAML. Out: [`RetentionSettings`], in days; 0 keeps for ever.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Bodies of webhooks as they came; the alerts in them live with their incident.
    pub deliveries_days: u32,
    /// Whole outputs of tools; what a mind was shown of them stays on the timeline.
    pub outputs_days: u32,
    /// Everything of a resolved incident but where its history ended.
    pub incidents_days: u32,
    /// Messages that are about no incident; the others live with theirs.
    pub messages_days: u32,
    /// Between two rounds.
    pub every_s: u64,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            deliveries_days: 30,
            outputs_days: 90,
            incidents_days: 400,
            messages_days: 90,
            every_s: 86_400,
        }
    }
}
