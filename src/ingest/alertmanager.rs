//! Alertmanager's webhook, payload version 4.
//!
//! In: a request body. Out: alerts, each with its own status, or the place and the reason why the
//! body can never be read. Unknown fields are tolerated, because Alertmanager adds some with every
//! release. Source: Alertmanager's documentation of `webhook_config` and its `notify/webhook`.

use super::{Malformed, Parsed};
use crate::incident::intake::Heard;
use crate::model::alert::{Alert, Labels, Status};
use crate::model::call::sha256_hex;
use chrono::DateTime;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A body may hold this many alerts; 500 of them are about 245 KB.
const ALERTS_MAX: usize = 20_000;

/// A body; `T` and `L` are texts and labels that are kept, or only looked at.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de> + Default, L: Deserialize<'de> + Default")]
struct Body<T, L> {
    version: String,
    #[serde(rename = "groupKey")]
    group_key: Option<T>,
    #[serde(rename = "truncatedAlerts", default)]
    truncated: u64,
    /// Ours: the delivery is none of the sender's, but was fetched.
    #[serde(default)]
    reconciled: Reconciled,
    #[serde(default)]
    receiver: T,
    alerts: Vec<WireAlert<T, L>>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de> + Default, L: Deserialize<'de> + Default")]
struct WireAlert<T, L> {
    status: WireStatus,
    labels: L,
    #[serde(default)]
    annotations: L,
    #[serde(rename = "startsAt")]
    starts_at: Time,
    #[serde(rename = "endsAt", default)]
    ends_at: Option<Time>,
    #[serde(rename = "generatorURL", default)]
    generator_url: T,
    #[serde(default)]
    fingerprint: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireStatus {
    Firing,
    Resolved,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
enum Reconciled {
    /// It came by itself.
    #[default]
    No,
    /// From Alertmanager, as it stands there.
    Poll,
    /// From Prometheus, after it was over.
    Late,
}

#[derive(Clone, Copy)]
struct Time(i64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;
        impl Visitor<'_> for Rfc3339 {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let time = DateTime::parse_from_rfc3339(text);
                time.map(|at| Time(at.timestamp_millis())).map_err(|_| {
                    E::custom(format!(
                        "'{text}' is not a time like 2026-03-10T09:57:00Z (RFC 3339)"
                    ))
                })
            }
        }
        deserializer.deserialize_str(Rfc3339)
    }
}

/// A text that is only looked at.
#[derive(Default)]
struct Seen;

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Seen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
                Ok(Seen)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Labels that are only counted.
#[derive(Default)]
struct Counted(usize);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Counted;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted, A::Error> {
                let mut count = 0;
                while map.next_entry::<Seen, Seen>()?.is_some() {
                    count += 1;
                }
                Ok(Counted(count))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Says how many alerts a body holds, without keeping any; `parse` will read whatever passes.
///
/// # Errors
/// As [`parse`].
pub fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    let body: Body<Seen, Counted> = read(bytes, |labels: &Counted| labels.0 == 0)?;
    Ok(body.alerts.len())
}

/// Reads a body.
///
/// # Errors
/// Where it is wrong and what was expected there.
pub fn parse(source: &str, bytes: &[u8]) -> Result<Parsed, Malformed> {
    let body: Body<String, Labels> = read(bytes, Labels::is_empty)?;
    Ok(Parsed {
        alerts: body.alerts.into_iter().map(|wire| alert(source, wire)).collect(),
        group_key: body.group_key.filter(|key| !key.is_empty()),
        truncated: body.truncated,
        receiver: body.receiver,
        heard: match body.reconciled {
            Reconciled::No | Reconciled::Poll => Heard::InTime,
            Reconciled::Late => Heard::Late,
        },
    })
}

fn read<T, L>(bytes: &[u8], is_empty: fn(&L) -> bool) -> Result<Body<T, L>, Malformed>
where
    T: DeserializeOwned + Default,
    L: DeserializeOwned + Default,
{
    // Keeping track of the path takes longer than reading, so that only a bad body is read so.
    let body = match serde_json::from_slice::<Body<T, L>>(bytes) {
        Ok(body) => body,
        Err(_) => read_with_path(bytes)?,
    };
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
    if let Some(position) = body.alerts.iter().position(|alert| is_empty(&alert.labels)) {
        return Err(Malformed {
            path: format!("alerts[{position}].labels"),
            message: "an alert needs at least one label, usually alertname".into(),
        });
    }
    Ok(body)
}

fn read_with_path<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        Malformed { path: if path == "." { "(body)".into() } else { path }, message }
    })?;
    deserializer.end().map_err(|error| Malformed {
        path: "(body)".into(),
        message: format!("there is more after the JSON object: {error}"),
    })?;
    Ok(body)
}

fn alert(source: &str, wire: WireAlert<String, Labels>) -> Alert {
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
    Alert {
        source: source.to_owned(),
        fingerprint,
        status,
        labels: wire.labels,
        annotations: wire.annotations,
        starts_at_ms: wire.starts_at.0,
        ends_at_ms,
        generator_url: wire.generator_url,
    }
}

/// A stand-in for senders that leave the fingerprint out: the labels' own hash.
fn fingerprint(labels: &Labels) -> String {
    let joined: Vec<String> = labels.iter().map(|(k, v)| format!("{k}\u{1}{v}")).collect();
    sha256_hex(joined.join("\u{2}").as_bytes())[..16].to_owned()
}
