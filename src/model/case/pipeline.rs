//! What reconciliation found out about the alerts of a case: missing, silenced, heard of late.
//!
//! In: entries. Out: marks on the alerts. Never: an alert resolved because nobody tells of it.

use super::{AttachedAlert, Case};
use crate::model::timeline::Entry;

impl Case {
    /// Whether some alert fires as far as we were told, and its source holds it no longer.
    pub fn is_unverified(&self) -> bool {
        self.missing() > 0
    }

    /// How many firing alerts their source holds no longer.
    pub fn missing(&self) -> usize {
        let missing =
            |a: &&AttachedAlert| a.resolved_at_ms.is_none() && a.missing_since_ms.is_some();
        self.alerts.iter().filter(missing).count()
    }

    /// Whether there are firing alerts and their source holds none of them.
    pub fn all_missing(&self) -> bool {
        self.is_unverified() && self.missing() == self.firing().count()
    }

    /// Until when people keep every firing alert quiet; `None` when one of them is not.
    pub fn silenced_until(&self, now_ms: i64) -> Option<i64> {
        let mut until_ms: Option<i64> = None;
        for attached in self.alerts.iter().filter(|a| a.resolved_at_ms.is_none()) {
            let ends_ms = attached.silence.as_ref()?.until_ms;
            if ends_ms <= now_ms {
                return None;
            }
            until_ms = Some(until_ms.map_or(ends_ms, |known| known.min(ends_ms)));
        }
        until_ms
    }

    /// Since when somebody should have heard: the round began, and people let it speak.
    pub fn heard_from_ms(&self) -> i64 {
        self.round_from_ms.max(self.quiet_until_ms.unwrap_or(i64::MIN))
    }

    /// Whether all of it was over before anything of it was heard.
    pub fn only_heard_late(&self) -> bool {
        !self.alerts.is_empty() && self.alerts.iter().all(|attached| attached.heard_late)
    }

    pub(super) fn apply_to_pipeline(&mut self, entry: &Entry, at_ms: i64) {
        if let Entry::AlertMissing { key, since_ms } = entry
            && let Some(attached) = self.alert_mut(key)
        {
            attached.missing_since_ms.get_or_insert(*since_ms);
        }
        if let Entry::AlertSeen { key } = entry
            && let Some(attached) = self.alert_mut(key)
        {
            attached.missing_since_ms = None;
        }
        if let Entry::AlertSilenced { key, silence } = entry {
            if let Some(attached) = self.alert_mut(key) {
                attached.silence = Some(silence.clone());
            }
            self.quiet_until_ms = self.silenced_until(at_ms).or(self.quiet_until_ms);
        }
        if let Entry::SilenceEnded { key } = entry {
            let ended = self.alert_mut(key).is_some_and(|a| a.silence.take().is_some());
            if ended && self.quiet_until_ms.is_some_and(|until_ms| until_ms > at_ms) {
                self.quiet_until_ms = Some(at_ms);
            }
        }
        if let Entry::AlertHeardLate { alert, severity } = entry
            && self.alert_mut(&alert.key()).is_none()
        {
            self.severity = self.severity.min(*severity);
            self.attach(alert, at_ms);
            if let Some(attached) = self.alerts.last_mut() {
                attached.resolved_at_ms = Some(alert.ends_at_ms.unwrap_or(at_ms));
                attached.heard_late = true;
            }
        }
    }
}

impl AttachedAlert {
    /// Whether an entry about it says what is known already.
    pub fn says_already(&self, entry: &Entry) -> bool {
        if let Entry::AlertSilenced { silence, .. } = entry {
            return self.silence.as_ref() == Some(silence);
        }
        let missing = self.missing_since_ms.is_some();
        (missing && matches!(entry, Entry::AlertMissing { .. }))
            || (!missing && matches!(entry, Entry::AlertSeen { .. }))
            || (self.silence.is_none() && matches!(entry, Entry::SilenceEnded { .. }))
    }
}
