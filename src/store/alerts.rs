//! Alert rows: one for each firing, found again by every repeat.

use super::db::{Conn, Store, db};
use super::{Error, json, key as indexed, parsed, text};
use crate::model::alert::{Alert, AlertKey, Status};
use crate::model::ids::IncidentId;
use sqlx::FromRow;

/// What the store knows of one firing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// None for an alert that was already over when it was first heard of.
    pub incident_id: Option<IncidentId>,
    pub status: Status,
    pub last_seen_ms: i64,
}

/// An alert as lists show it.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Listed {
    #[serde(flatten)]
    pub alert: Alert,
    pub incident_id: Option<IncidentId>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub deliveries: i64,
}

#[derive(FromRow)]
struct Columns {
    source: String,
    fingerprint: String,
    status: String,
    labels: String,
    annotations: String,
    starts_at_ms: i64,
    ends_at_ms: Option<i64>,
    generator_url: String,
    incident_id: Option<String>,
    first_seen_ms: i64,
    last_seen_ms: i64,
    deliveries: i64,
}

impl Columns {
    fn listed(self) -> Result<Listed, Error> {
        Ok(Listed {
            alert: Alert {
                source: self.source,
                fingerprint: self.fingerprint,
                status: status(&self.status),
                labels: parsed(serde_json::from_str(&self.labels), "labels")?,
                annotations: parsed(serde_json::from_str(&self.annotations), "annotations")?,
                starts_at_ms: self.starts_at_ms,
                ends_at_ms: self.ends_at_ms,
                generator_url: self.generator_url,
            },
            incident_id: incident(self.incident_id)?,
            first_seen_ms: self.first_seen_ms,
            last_seen_ms: self.last_seen_ms,
            deliveries: self.deliveries,
        })
    }
}

impl Store {
    /// The alerts of an incident, in the order in which they came.
    pub async fn alerts_of(&self, id: IncidentId) -> Result<Vec<Listed>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select source, fingerprint, status, labels, annotations, starts_at_ms,
                            ends_at_ms, generator_url, incident_id, first_seen_ms, last_seen_ms,
                            deliveries
                     from alert where incident_id = $1 order by first_seen_ms, fingerprint"
                ).bind(id.to_string()).fetch_all(&mut **c).await)?;
                rows.into_iter().map(Columns::listed).collect()
            })
        })
        .await
    }

    /// How many firings are known.
    pub async fn alert_count(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (count,): (i64,) = db!(conn, c =>
                    sqlx::query_as("select count(*) from alert").fetch_one(&mut **c).await)?;
                Ok(count)
            })
        })
        .await
    }
}

/// Finds one firing.
pub async fn find(
    conn: &mut Conn<'_>,
    scope: &str,
    key: &AlertKey,
) -> Result<Option<Known>, Error> {
    let found: Option<(Option<String>, String, i64)> = db!(conn, c => sqlx::query_as(
        "select incident_id, status, last_seen_ms from alert
         where scope = $1 and source = $2 and fingerprint = $3 and starts_at_ms = $4"
    )
        .bind(scope)
        .bind(indexed(&key.source))
        .bind(indexed(&key.fingerprint))
        .bind(key.starts_at_ms)
        .fetch_optional(&mut **c).await)?;
    found
        .map(|(incident_id, word, last_seen_ms)| {
            Ok(Known { incident_id: incident(incident_id)?, status: status(&word), last_seen_ms })
        })
        .transpose()
}

/// Records a firing under its incident, or one more delivery of it.
pub async fn record(
    conn: &mut Conn<'_>,
    scope: &str,
    alert: &Alert,
    incident: Option<IncidentId>,
    now_ms: i64,
) -> Result<(), Error> {
    let (labels, annotations) = (json(&alert.labels)?, json(&alert.annotations)?);
    db!(conn, c => sqlx::query(
        "insert into alert (scope, source, fingerprint, starts_at_ms, ends_at_ms, status, labels,
             annotations, generator_url, incident_id, first_seen_ms, last_seen_ms, deliveries)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, 1)
         on conflict (scope, source, fingerprint, starts_at_ms) do update
         set status = excluded.status, ends_at_ms = excluded.ends_at_ms,
             annotations = excluded.annotations, incident_id = excluded.incident_id,
             last_seen_ms = excluded.last_seen_ms, deliveries = alert.deliveries + 1"
    )
        .bind(scope)
        .bind(indexed(&alert.source))
        .bind(indexed(&alert.fingerprint))
        .bind(alert.starts_at_ms)
        .bind(alert.ends_at_ms)
        .bind(word(alert.status))
        .bind(labels)
        .bind(annotations)
        .bind(text(&alert.generator_url))
        .bind(incident.map(|id| id.to_string()))
        .bind(now_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

fn incident(id: Option<String>) -> Result<Option<IncidentId>, Error> {
    id.map(|id| parsed(id.parse(), "incident id")).transpose()
}

fn status(word: &str) -> Status {
    if word == "resolved" { Status::Resolved } else { Status::Firing }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    }
}
