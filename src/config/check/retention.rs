//! Checks `retention`.

use super::{Checks, DAY_S};
use crate::config::settings::Settings;

/// Ten years; whoever wants more wants 0, for ever.
const DAYS_MAX: u32 = 3_650;
/// What guards, suggestions and `policy simulate` look back on should not end within a month.
const INCIDENTS_DAYS_MIN: u32 = 31;

impl Checks<'_> {
    pub(super) fn retention(&mut self, settings: &Settings) {
        let retention = &settings.retention;
        self.range("retention.deliveries_days", retention.deliveries_days, 0..=DAYS_MAX);
        self.range("retention.outputs_days", retention.outputs_days, 0..=DAYS_MAX);
        self.range("retention.messages_days", retention.messages_days, 0..=DAYS_MAX);
        let days = retention.incidents_days;
        if days != 0 {
            self.range("retention.incidents_days", days, INCIDENTS_DAYS_MIN..=DAYS_MAX);
        }
        self.range("retention.every_s", retention.every_s, 60..=7 * DAY_S);
    }
}
