//! What was found, in the words of a webhook.

use super::gap::Episode;
use crate::clients::alertmanager::Alert;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

/// A delivery of alerts that fire.
pub(super) fn firing(alerts: &[&Alert]) -> Value {
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|alert| {
            json!({
                "status": "firing",
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": rfc3339(alert.starts_at_ms),
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": alert.generator_url,
                "fingerprint": alert.fingerprint,
            })
        })
        .collect();
    body("poll", "firing", alerts)
}

/// A delivery of alerts that fired and no longer do.
pub(super) fn late(episodes: &[Episode]) -> Value {
    let alerts: Vec<Value> = episodes
        .iter()
        .map(|episode| {
            json!({
                "status": "resolved",
                "labels": episode.labels,
                "annotations": {},
                "startsAt": rfc3339(episode.from_ms),
                "endsAt": rfc3339(episode.until_ms),
                "generatorURL": "",
                "fingerprint": episode.fingerprint(),
            })
        })
        .collect();
    body("late", "resolved", alerts)
}

fn body(reconciled: &str, status: &str, alerts: Vec<Value>) -> Value {
    json!({
        "version": "4",
        "reconciled": reconciled,
        "groupKey": "",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "",
        "alerts": alerts,
    })
}

fn rfc3339(ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
