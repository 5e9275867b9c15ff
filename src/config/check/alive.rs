//! Checks how people hear that Watchkeeper itself does not work.

use super::Checks;
use crate::config::settings::Settings;

impl Checks<'_> {
    pub(super) fn alive(&mut self, settings: &Settings) {
        let notify = &settings.notify;
        self.range("notify.last_resort.after_s", notify.last_resort.after_s, 10..=3_600);
        let heartbeat = &notify.heartbeat;
        self.secret_url("notify.heartbeat.url", heartbeat.url.as_ref(), &["https", "http"]);
        self.range("notify.heartbeat.every_s", heartbeat.every_s, 10..=3_600);
        self.client("notify.heartbeat.client", &heartbeat.client);
    }
}
