//! Asks Alertmanager which alerts it holds, and hands it test alerts.
//!
//! In: a filter. Out: its alerts with the receivers they go to, and its own state. Never: a
//! conclusion from absence; Alertmanager forgets what it held when it restarts. API: version 2,
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>.

mod routes;

use std::collections::BTreeMap;

use chrono::DateTime;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Deserializer, Serialize};

use super::http::{Auth, Error, Http, Options};
use crate::model::matcher::Matcher;
pub use routes::Routes;

/// Ten thousand alerts with their annotations.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Which alerts to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A regular expression over the whole name of the receiver.
    pub receiver: Option<String>,
    /// Matchers in Alertmanager's syntax; all must hold.
    pub matchers: Vec<String>,
    pub silenced: Listing,
    pub inhibited: Listing,
    pub active: Listing,
}

/// Whether a kind of alert is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listing {
    #[default]
    Included,
    LeftOut,
}

/// One alert that Alertmanager holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    pub fingerprint: String,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(rename = "startsAt", deserialize_with = "rfc3339")]
    pub starts_at_ms: i64,
    /// When it resolves unless it is sent again.
    #[serde(rename = "endsAt", deserialize_with = "rfc3339")]
    pub ends_at_ms: i64,
    #[serde(rename = "generatorURL", default)]
    pub generator_url: String,
    #[serde(default, deserialize_with = "names")]
    pub receivers: Vec<String>,
    pub status: AlertStatus,
}

/// Whether Alertmanager tells anyone about an alert.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    pub state: State,
    #[serde(default)]
    pub silenced_by: Vec<String>,
    #[serde(default)]
    pub inhibited_by: Vec<String>,
}

/// Alertmanager's word for what it does with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Unprocessed,
    Active,
    Suppressed,
}

/// How Alertmanager itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub version: String,
    /// `ready`, `settling` or `disabled`.
    pub cluster: String,
    /// When it started, by its own clock.
    pub up_since_ms: i64,
    /// Its whole configuration in YAML, with secrets masked by Alertmanager.
    pub config_yaml: String,
}

/// A silence, whoever made it, in force or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    pub id: String,
    #[serde(default)]
    pub matchers: Vec<SilenceMatcher>,
    #[serde(rename = "startsAt", deserialize_with = "rfc3339")]
    pub starts_at_ms: i64,
    #[serde(rename = "endsAt", deserialize_with = "rfc3339")]
    pub ends_at_ms: i64,
    #[serde(default)]
    pub created_by: String,
    #[serde(default)]
    pub comment: String,
}

/// One condition of a silence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SilenceMatcher {
    pub name: String,
    pub value: String,
    #[serde(default)]
    pub is_regex: bool,
    #[serde(default = "equal")]
    pub is_equal: bool,
}

impl Silence {
    /// Whether it kept an alert with these labels quiet for all of this time.
    pub fn covers(&self, labels: &BTreeMap<String, String>, from_ms: i64, until_ms: i64) -> bool {
        let matches = |matcher: &SilenceMatcher| {
            let operator = match (matcher.is_equal, matcher.is_regex) {
                (true, false) => "=",
                (true, true) => "=~",
                (false, false) => "!=",
                (false, true) => "!~",
            };
            let value = matcher.value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("{}{operator}\"{}\"", matcher.name, value.replace('\n', "\\n"));
            Matcher::parse(&text).is_ok_and(|matcher| matcher.matches(labels))
        };
        self.starts_at_ms <= from_ms
            && until_ms <= self.ends_at_ms
            && !self.matchers.is_empty()
            && self.matchers.iter().all(matches)
    }
}

fn equal() -> bool {
    true
}

/// An alert to hand over, as Prometheus would.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAlert {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    #[serde(rename = "startsAt", serialize_with = "as_rfc3339")]
    pub starts_at_ms: i64,
    #[serde(rename = "endsAt", serialize_with = "as_rfc3339")]
    pub ends_at_ms: i64,
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
}

/// One Alertmanager.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    http: Http,
}

impl Alertmanager {
    /// Prepares to ask the server at `base_url`, which may carry a path prefix.
    ///
    /// # Errors
    /// `Setup`.
    pub fn new(base_url: &str, options: &Options) -> Result<Self, Error> {
        Ok(Self { http: Http::new("Alertmanager", base_url, options)? })
    }

    /// Shows these credentials from the next request on.
    pub fn renew(&self, auth: Auth) {
        self.http.renew(auth);
    }

    /// The alerts it holds, resolved ones not included.
    ///
    /// # Errors
    /// Any of [`Error`]; a matcher or receiver that it cannot parse is `Status` 400.
    pub async fn alerts(&self, filter: &Filter) -> Result<Vec<Alert>, Error> {
        let flag = |listing: Listing| match listing {
            Listing::Included => "true".to_owned(),
            Listing::LeftOut => "false".to_owned(),
        };
        let mut query = vec![
            ("active", flag(filter.active)),
            ("silenced", flag(filter.silenced)),
            ("inhibited", flag(filter.inhibited)),
        ];
        query.extend(filter.receiver.iter().map(|receiver| ("receiver", receiver.clone())));
        query.extend(filter.matchers.iter().map(|matcher| ("filter", matcher.clone())));
        self.read("api/v2/alerts", &query).await
    }

    /// How it is called where people read it: its address without a password.
    pub fn shown(&self) -> String {
        self.http.shown()
    }

    /// Its version, cluster state and configuration.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        let raw: RawStatus = self.read("api/v2/status", &[]).await?;
        Ok(Status {
            version: raw.version_info.version,
            cluster: raw.cluster.status,
            up_since_ms: raw.uptime,
            config_yaml: raw.config.original,
        })
    }

    /// Every silence that it still knows; those that expired are kept for its retention time.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn silences(&self) -> Result<Vec<Silence>, Error> {
        self.read("api/v2/silences", &[]).await
    }

    /// Hands alerts over; it groups and routes them like any other.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn push(&self, alerts: &[NewAlert]) -> Result<(), Error> {
        let body = serde_json::to_vec(alerts).map_err(|e| self.http.bad_answer(e.to_string()))?;
        let request =
            self.http.post("api/v2/alerts").header(CONTENT_TYPE, "application/json").body(body);
        let answer = self.http.send(request, ANSWER_BYTES_MAX).await?;
        self.http.success(answer).map(|_| ())
    }

    async fn read<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        let answer = self.http.send(self.http.get(path, query), ANSWER_BYTES_MAX).await?;
        let answer = self.http.success(answer)?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            self.http.bad_answer(format!(
                "it is not what Alertmanager's API answers ({error}); check that the address is \
                 Alertmanager's"
            ))
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus {
    cluster: RawCluster,
    version_info: RawVersion,
    config: RawConfig,
    #[serde(deserialize_with = "rfc3339")]
    uptime: i64,
}

#[derive(Deserialize)]
struct RawCluster {
    status: String,
}

#[derive(Deserialize)]
struct RawVersion {
    version: String,
}

#[derive(Deserialize)]
struct RawConfig {
    original: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names: Vec<Name> = Vec::deserialize(from)?;
    Ok(names.into_iter().map(|name| name.name).collect())
}

fn rfc3339<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    let at = DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
    Ok(at.timestamp_millis())
}

fn as_rfc3339<S: serde::Serializer>(ms: &i64, to: S) -> Result<S::Ok, S::Error> {
    let at = DateTime::from_timestamp_millis(*ms)
        .ok_or_else(|| serde::ser::Error::custom(format!("{ms} ms is no date")))?;
    to.serialize_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
