//! Settings for storms.

use super::{Checks, DAY_S};
use crate::config::settings::{DigestSettings, Settings};

impl Checks<'_> {
    pub(super) fn storms(&mut self, settings: &Settings) {
        for (index, rule) in settings.ingest.join.iter().enumerate() {
            let path = format!("ingest.join.{index}");
            if rule.labels.is_empty() {
                self.add_with_hint(
                    &format!("{path}.labels"),
                    "needs at least one label",
                    "without one every alert would join whatever incident is open",
                );
            }
            for (n, label) in rule.labels.iter().enumerate() {
                self.label(&format!("{path}.labels.{n}"), label);
            }
            self.range(&format!("{path}.within_s"), rule.within_s, 1..=DAY_S);
            self.range(&format!("{path}.alerts_max"), rule.alerts_max, 1..=100_000);
            self.range(&format!("{path}.targets_max"), rule.targets_max, 1..=10_000);
        }
        let flapping = &settings.ingest.flapping;
        if flapping.times != 0 {
            self.range("ingest.flapping.times", flapping.times, 2..=1_000);
        }
        self.range("ingest.flapping.within_s", flapping.within_s, 60..=7 * DAY_S);
        self.digest("notify.slack.digest", &settings.notify.slack.digest);
        self.digest("notify.email.digest", &settings.notify.email.digest);
        let reserve = settings.model.budgets.reserve_percent;
        self.range("model.budgets.reserve_percent", reserve, 0..=90);
    }

    fn digest(&mut self, path: &str, digest: &DigestSettings) {
        self.range(&format!("{path}.messages_max"), digest.messages_max, 0..=100_000);
        self.range(&format!("{path}.within_s"), digest.within_s, 10..=DAY_S);
    }
}
