//! Alertmanager, which is asked what its deliveries left out.
//!
//! In: YAML. Out: [`AlertmanagerSettings`]; the matcher and the pattern are still text, checked for
//! syntax. Nothing is asked without `urls`.

use serde::Deserialize;

use super::ClientSettings;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerSettings {
    /// Base URLs of all peers of one cluster.
    pub urls: Vec<String>,
    /// Regular expression over the whole name of the receivers that post to Watchkeeper.
    pub receiver: String,
    /// The source of the webhook token that they use.
    pub source: String,
    /// Between two polls.
    pub poll_s: u64,
    /// An alert may be on its way this long before it counts as missed: `group_wait` and more.
    pub fill_after_s: u64,
    /// Alertmanager's own `resolve_timeout`.
    pub resolve_timeout_s: u64,
    /// After an outage Prometheus is asked what fired in it, at most this far back.
    pub look_back_s: u64,
    pub watchdog: WatchdogSettings,
    pub client: ClientSettings,
}

impl Default for AlertmanagerSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            receiver: "watchkeeper".to_owned(),
            source: "alertmanager".to_owned(),
            poll_s: 60,
            fill_after_s: 60,
            resolve_timeout_s: 300,
            look_back_s: 86_400,
            watchdog: WatchdogSettings::default(),
            client: ClientSettings::default(),
        }
    }
}

/// The alert that always fires.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchdogSettings {
    /// Alertmanager matcher.
    pub matcher: String,
    /// Without a delivery for so long it counts as absent.
    pub absent_after_s: u64,
    /// Whether it counts as absent even if it was never delivered.
    pub expected: bool,
}

impl Default for WatchdogSettings {
    fn default() -> Self {
        Self { matcher: r#"alertname="Watchdog""#.to_owned(), absent_after_s: 900, expected: false }
    }
}
