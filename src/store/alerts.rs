//! Alert rows: one for each firing, found again by every repeat.

use super::db::{Conn, Store, chunks, db, dialect, values};
use super::{Error, json, key as indexed, parsed, text};
use crate::model::alert::{Alert, AlertKey, Status};
use crate::model::ids::IncidentId;
use sqlx::{AssertSqlSafe, FromRow};
use std::collections::{BTreeMap, BTreeSet};

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

/// A firing to be written down.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub alert: &'a Alert,
    pub incident: Option<IncidentId>,
    /// How often it was delivered since it was last written down.
    pub deliveries: i64,
    /// The target that its labels name, in one spelling.
    pub target: String,
}

/// The key under which a firing is stored.
pub fn stored_key(alert: &Alert) -> AlertKey {
    AlertKey {
        source: indexed(&alert.source).into_owned(),
        fingerprint: indexed(&alert.fingerprint).into_owned(),
        starts_at_ms: alert.starts_at_ms,
    }
}

/// Finds firings by the keys under which they are stored.
pub async fn find_all(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: impl IntoIterator<Item = &AlertKey>,
) -> Result<BTreeMap<AlertKey, Known>, Error> {
    type Columns = (String, String, i64, Option<String>, String, i64);
    let keys: Vec<_> =
        keys.into_iter().map(|key| (&key.source, &key.fingerprint, key.starts_at_ms)).collect();
    let sql = dialect!(conn,
        lite: "select a.source, a.fingerprint, a.starts_at_ms, a.incident_id, a.status,
                      a.last_seen_ms
               from json_each($2) k cross join alert a
               where a.scope = $1 and a.source = k.value->>0 and a.fingerprint = k.value->>1
                 and a.starts_at_ms = k.value->>2",
        pg: "select a.source, a.fingerprint, a.starts_at_ms, a.incident_id, a.status,
                    a.last_seen_ms
             from jsonb_array_elements(cast($2 as jsonb)) k(value)
             join alert a on a.scope = $1 and a.source = k.value->>0
                 and a.fingerprint = k.value->>1
                 and a.starts_at_ms = cast(k.value->>2 as bigint)",
    );
    let rows: Vec<Columns> = db!(conn, c =>
        sqlx::query_as(sql).bind(scope).bind(json(&keys)?).fetch_all(&mut **c).await)?;
    rows.into_iter()
        .map(|(source, fingerprint, starts_at_ms, incident_id, word, last_seen_ms)| {
            let key = AlertKey { source, fingerprint, starts_at_ms };
            let (incident_id, status) = (incident(incident_id)?, status(&word));
            Ok((key, Known { incident_id, status, last_seen_ms }))
        })
        .collect()
}

/// How often alerts, by source and fingerprint as they are stored, were first seen firing after this.
pub async fn firings(
    conn: &mut Conn<'_>,
    scope: &str,
    alerts: &BTreeSet<&(String, String)>,
    since_ms: i64,
) -> Result<BTreeMap<(String, String), i64>, Error> {
    let sql = dialect!(conn,
        lite: "select a.source, a.fingerprint, count(*)
               from json_each($2) k cross join alert a
               where a.scope = $1 and a.source = k.value->>0 and a.fingerprint = k.value->>1
                 and +a.first_seen_ms > $3
               group by a.source, a.fingerprint",
        pg: "select a.source, a.fingerprint, count(*)
             from jsonb_array_elements(cast($2 as jsonb)) k(value)
             join alert a on a.scope = $1 and a.source = k.value->>0
                 and a.fingerprint = k.value->>1 and a.first_seen_ms > $3
             group by a.source, a.fingerprint",
    );
    let rows: Vec<(String, String, i64)> = db!(conn, c => sqlx::query_as(sql)
        .bind(scope).bind(json(&alerts)?).bind(since_ms).fetch_all(&mut **c).await)?;
    Ok(rows.into_iter().map(|(source, print, count)| ((source, print), count)).collect())
}

/// Writes firings down under their incidents, each once.
pub async fn record_all(
    conn: &mut Conn<'_>,
    scope: &str,
    records: &[Record<'_>],
    now_ms: i64,
) -> Result<(), Error> {
    for chunk in chunks(records) {
        let sql = format!(
            "insert into alert (scope, source, fingerprint, starts_at_ms, ends_at_ms, status,
                 labels, annotations, generator_url, incident_id, first_seen_ms, last_seen_ms,
                 deliveries, name, target)
             values {}
             on conflict (scope, source, fingerprint, starts_at_ms) do update
             set status = excluded.status, ends_at_ms = excluded.ends_at_ms,
                 annotations = excluded.annotations, incident_id = excluded.incident_id,
                 last_seen_ms = excluded.last_seen_ms,
                 deliveries = alert.deliveries + excluded.deliveries",
            values(chunk.len(), 15)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for Record { alert, incident, deliveries, target } in chunk {
                query = query
                    .bind(scope)
                    .bind(indexed(&alert.source))
                    .bind(indexed(&alert.fingerprint))
                    .bind(alert.starts_at_ms)
                    .bind(alert.ends_at_ms)
                    .bind(word(alert.status))
                    .bind(json(&alert.labels)?)
                    .bind(json(&alert.annotations)?)
                    .bind(text(&alert.generator_url))
                    .bind(incident.map(|id| id.to_string()))
                    .bind(now_ms)
                    .bind(now_ms)
                    .bind(deliveries)
                    .bind(indexed(alert.name()))
                    .bind(indexed(target));
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
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
