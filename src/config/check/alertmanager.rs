//! Checks `alertmanager`.

use super::{Checks, DAY_S, pattern_error};
use crate::config::settings::AlertmanagerSettings;
use crate::model::matcher::Matcher;

impl Checks<'_> {
    pub(super) fn alertmanager(&mut self, settings: &AlertmanagerSettings) {
        let at = |key: &str| format!("alertmanager.{key}");
        for (index, url) in settings.urls.iter().enumerate() {
            self.url(&at(&format!("urls.{index}")), url);
        }
        self.not_empty(&at("receiver"), &settings.receiver);
        if let Err(error) = regex::Regex::new(&settings.receiver) {
            self.add(&at("receiver"), pattern_error(&error));
        }
        self.not_empty(&at("source"), &settings.source);
        self.range(&at("poll_s"), settings.poll_s, 1..=3_600);
        self.range(&at("fill_after_s"), settings.fill_after_s, 0..=DAY_S);
        self.range(&at("resolve_timeout_s"), settings.resolve_timeout_s, 1..=DAY_S);
        self.range(&at("look_back_s"), settings.look_back_s, 0..=30 * DAY_S);
        let watchdog = &settings.watchdog;
        if let Err(message) = Matcher::parse(&watchdog.matcher) {
            self.add(&at("watchdog.matcher"), message);
        }
        self.range(&at("watchdog.absent_after_s"), watchdog.absent_after_s, 1..=7 * DAY_S);
        self.client(&at("client"), &settings.client);
    }
}
