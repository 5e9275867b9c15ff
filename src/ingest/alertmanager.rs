//! Alertmanager's webhook, payload version 4.
//!
//! In: a request body. Out: alerts, each with its own status, or the place and the reason why the
//! body can never be read. Unknown fields are tolerated, because Alertmanager adds some with every
//! release. Source: Alertmanager's documentation of `webhook_config` and its `notify/webhook`.

use super::{Malformed, Parsed};
use crate::model::alert::{Alert, Labels, Status};
use crate::model::call::sha256_hex;
use chrono::DateTime;
use serde::Deserialize;

/// A body may hold this many alerts; 500 of them are about 245 KB.
const ALERTS_MAX: usize = 20_000;

#[derive(Deserialize)]
struct Body {
    version: String,
    #[serde(rename = "groupKey")]
    group_key: Option<String>,
    #[serde(rename = "truncatedAlerts", default)]
    truncated: u64,
    #[serde(default)]
    receiver: String,
    alerts: Vec<WireAlert>,
}

#[derive(Deserialize)]
struct WireAlert {
    status: WireStatus,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(rename = "startsAt")]
    starts_at: Time,
    #[serde(rename = "endsAt", default)]
    ends_at: Option<Time>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireStatus {
    Firing,
    Resolved,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Time(i64);

impl TryFrom<String> for Time {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        DateTime::parse_from_rfc3339(&text)
            .map(|at| Self(at.timestamp_millis()))
            .map_err(|_| format!("'{text}' is not a time like 2026-03-10T09:57:00Z (RFC 3339)"))
    }
}

/// Reads a body.
///
/// # Errors
/// Where it is wrong and what was expected there.
pub fn parse(source: &str, bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body: Body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        Malformed { path: if path == "." { "(body)".into() } else { path }, message }
    })?;
    deserializer.end().map_err(|error| Malformed {
        path: "(body)".into(),
        message: format!("there is more after the JSON object: {error}"),
    })?;
    if body.version != "4" {
        return Err(Malformed {
            path: "version".into(),
            message: format!(
                "expected \"4\", got {:?}; Alertmanager has sent version 4 since 0.9",
                body.version
            ),
        });
    }
    if body.alerts.len() > ALERTS_MAX {
        return Err(Malformed {
            path: "alerts".into(),
            message: format!(
                "{} alerts in one delivery, at most {ALERTS_MAX} are taken; set max_alerts in the \
                 webhook_config",
                body.alerts.len()
            ),
        });
    }
    let alerts = body
        .alerts
        .into_iter()
        .enumerate()
        .map(|(position, wire)| alert(source, position, wire))
        .collect::<Result<_, _>>()?;
    Ok(Parsed {
        alerts,
        group_key: body.group_key.filter(|key| !key.is_empty()),
        truncated: body.truncated,
        receiver: body.receiver,
    })
}

fn alert(source: &str, position: usize, wire: WireAlert) -> Result<Alert, Malformed> {
    if wire.labels.is_empty() {
        return Err(Malformed {
            path: format!("alerts[{position}].labels"),
            message: "an alert needs at least one label, usually alertname".into(),
        });
    }
    let status = match wire.status {
        WireStatus::Firing => Status::Firing,
        WireStatus::Resolved => Status::Resolved,
    };
    // A zero time means "not yet"; a firing alert may carry the time at which it would lapse.
    let ends_at_ms = match status {
        Status::Firing => None,
        Status::Resolved => wire.ends_at.map(|Time(ms)| ms).filter(|ms| *ms > 0),
    };
    let fingerprint =
        if wire.fingerprint.is_empty() { fingerprint(&wire.labels) } else { wire.fingerprint };
    Ok(Alert {
        source: source.to_owned(),
        fingerprint,
        status,
        labels: wire.labels,
        annotations: wire.annotations,
        starts_at_ms: wire.starts_at.0,
        ends_at_ms,
        generator_url: wire.generator_url,
    })
}

/// A stand-in for senders that leave the fingerprint out: the labels' own hash.
fn fingerprint(labels: &Labels) -> String {
    let joined: Vec<String> = labels.iter().map(|(k, v)| format!("{k}\u{1}{v}")).collect();
    sha256_hex(joined.join("\u{2}").as_bytes())[..16].to_owned()
}
