//! Compares what fires here with what the source holds.
//!
//! In: both. Out: what changed, and what the incidents are told. Never: I/O, a clock.

use super::peers::{Seen, Sight, Stands};
use crate::clients::alertmanager;
use crate::model::alert::{Silence, Status};
use crate::model::timeline::Entry;
use crate::store::alerts::Known;
use crate::store::pipeline::{Change, Doubt, Watched};

/// Polls of every peer in a row after which an alert is missing.
const MISSED_MIN: i64 = 2;

/// Peers may differ for this long about an alert that was resolved a moment ago: the resolve
/// time-out of one, or what is still on its way. The intake drops firing copies for as long.
const JUST_RESOLVED_MS: i64 = 5 * 60 * 1000;

/// Whether an alert that fires at the source was not heard of.
pub(super) fn is_missed(known: Option<&Known>, now_ms: i64) -> bool {
    known.is_none_or(|known| {
        known.status == Status::Resolved && now_ms - known.last_seen_ms > JUST_RESOLVED_MS
    })
}

/// What a poll changes.
pub(super) fn changes(
    watched: &[Watched],
    seen: &Seen,
    silences: &[alertmanager::Silence],
    now_ms: i64,
) -> Vec<Change> {
    let change = |alert: &Watched| {
        let mut tell = Vec::new();
        let doubt = doubt(alert, seen, silences, now_ms, &mut tell);
        let changed = doubt != alert.doubt || !tell.is_empty();
        let (incident_id, key) = (alert.incident_id, alert.key.clone());
        changed.then_some(Change { incident_id, key, doubt, tell })
    };
    watched.iter().filter_map(change).collect()
}

fn doubt(
    alert: &Watched,
    seen: &Seen,
    silences: &[alertmanager::Silence],
    now_ms: i64,
    tell: &mut Vec<Entry>,
) -> Doubt {
    let (key, mut doubt) = (&alert.key, alert.doubt.clone());
    let Some(held) = seen.alerts.get(&key.fingerprint) else {
        return absent(alert, seen.sight, now_ms, tell);
    };
    if doubt.missing_told {
        tell.push(Entry::AlertSeen { key: key.clone() });
    }
    (doubt.missed, doubt.missed_since_ms, doubt.missing_told) = (0, None, false);
    match &held.stands {
        Stands::Silenced(id) => {
            // Without its words it is told by the next poll.
            if let Some(silence) = silences.iter().find(|silence| silence.id == *id) {
                // One that is made longer is told again.
                let told = format!("{id} {}", silence.ends_at_ms);
                if doubt.silence.as_ref() != Some(&told) {
                    doubt.silence = Some(told);
                    let silence = Silence {
                        id: id.clone(),
                        by: silence.created_by.clone(),
                        comment: silence.comment.clone(),
                        until_ms: silence.ends_at_ms,
                    };
                    tell.push(Entry::AlertSilenced { key: key.clone(), silence });
                }
            }
        }
        Stands::Firing | Stands::Aside => {
            if doubt.silence.take().is_some() {
                tell.push(Entry::SilenceEnded { key: key.clone() });
            }
        }
    }
    doubt
}

fn absent(alert: &Watched, sight: Sight, now_ms: i64, tell: &mut Vec<Entry>) -> Doubt {
    let mut doubt = alert.doubt.clone();
    if doubt.missing_told {
        return doubt;
    }
    match sight {
        // Whoever did not answer, or has just begun, may be the one that holds it.
        Sight::Partial => (doubt.missed, doubt.missed_since_ms) = (0, None),
        Sight::Whole => {
            let since_ms = *doubt.missed_since_ms.get_or_insert(now_ms);
            doubt.missed += 1;
            if doubt.missed >= MISSED_MIN {
                doubt.missing_told = true;
                tell.push(Entry::AlertMissing { key: alert.key.clone(), since_ms });
            }
        }
    }
    doubt
}
