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

/// Which alerts are looked for; every condition that is there must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Search {
    pub fingerprint: Option<String>,
    pub labels: Vec<(String, String)>,
    pub incident: Option<IncidentId>,
    pub status: Option<Status>,
    /// Only those that were first seen before.
    pub before_ms: Option<i64>,
    pub at_most: i64,
    pub offset: i64,
    /// Without a fingerprint or an incident, only so many are looked at, the newest ones.
    pub among: i64,
}

/// A part of what was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    pub alerts: Vec<Listed>,
    /// Whether there are further ones.
    pub more: bool,
    /// Those that were first seen before were not looked at; `None`: none is left.
    pub searched_to_ms: Option<i64>,
}

/// As the incident has it: the same labels fire once at a time, so that a later start ends an earlier
/// one, which gets no notice of its own.
const STANDS: &str = "case when status = 'firing' and exists (
        select 1 from alert later where later.scope = alert.scope and later.source = alert.source
            and later.fingerprint = alert.fingerprint and later.starts_at_ms > alert.starts_at_ms)
    then 'resolved' else status end";

impl Search {
    async fn run(self, conn: &mut Conn<'_>, scope: &str) -> Result<Page, Error> {
        let searched_to_ms = self.searched_to(conn, scope).await?;
        let mut sql = format!(
            "select source, fingerprint, {STANDS} as status, labels, annotations, starts_at_ms, ends_at_ms,
                 generator_url, incident_id, first_seen_ms, last_seen_ms, deliveries
             from alert
             where scope = $1",
        );
        let mut values = Vec::new();
        let mut wants = |condition: &str, value: String| {
            values.push(value);
            // The first three are the scope and what bounds the list.
            sql.push_str(&condition.replace('?', &format!("${}", values.len() + 3)));
        };
        if let Some(fingerprint) = &self.fingerprint {
            wants(" and fingerprint = ?", indexed(fingerprint).into_owned());
        }
        if let Some(id) = self.incident {
            wants(" and incident_id = ?", id.to_string());
        }
        if let Some(status) = self.status {
            wants(&format!(" and {STANDS} = ?"), word(status).to_owned());
        }
        for (condition, at_ms) in [("<", self.before_ms), (">=", searched_to_ms)] {
            let Some(at_ms) = at_ms else { continue };
            wants(&format!(" and first_seen_ms {condition} cast(? as bigint)"), at_ms.to_string());
        }
        // Labels are stored as JSON without spaces, in which a pair stands as it is written here.
        let position = dialect!(conn, lite: "instr", pg: "strpos");
        for (name, value) in &self.labels {
            let pair = format!("{}:{}", json(name)?, json(value)?);
            wants(&format!(" and {position}(labels, ?) > 0"), pair);
        }
        sql.push_str(
            " order by first_seen_ms desc, source, fingerprint, starts_at_ms
              limit cast($2 as bigint) offset cast($3 as bigint)",
        );
        let mut rows: Vec<Columns> = db!(conn, c => {
            let mut query = sqlx::query_as(AssertSqlSafe(sql))
                .bind(scope)
                .bind(self.at_most.saturating_add(1))
                .bind(self.offset);
            for value in values {
                query = query.bind(value);
            }
            query.fetch_all(&mut **c).await
        })?;
        let at_most = usize::try_from(self.at_most).unwrap_or(usize::MAX);
        let more = rows.len() > at_most;
        rows.truncate(at_most);
        let alerts = rows.into_iter().map(Columns::listed).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { alerts, more, searched_to_ms })
    }

    /// How far back the search goes; `None`: to the beginning.
    async fn searched_to(&self, conn: &mut Conn<'_>, scope: &str) -> Result<Option<i64>, Error> {
        if self.fingerprint.is_some() || self.incident.is_some() {
            return Ok(None);
        }
        // The one after the last that is looked at: all of its moment are, so that none is left out
        // when the next request begins before it.
        let rows: Vec<(i64,)> = db!(conn, c => sqlx::query_as(
            "select first_seen_ms from alert where scope = $1 and first_seen_ms < $2
             order by first_seen_ms desc limit 2 offset cast($3 as bigint)"
        )
            .bind(scope)
            .bind(self.before_ms.unwrap_or(i64::MAX))
            .bind(self.among.max(1) - 1)
            .fetch_all(&mut **c).await)?;
        Ok(rows.first().filter(|_| rows.len() > 1).map(|(at_ms,)| *at_ms))
    }
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

    /// Finds alerts, newest first.
    pub async fn find_alerts(&self, scope: &str, search: Search) -> Result<Page, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| Box::pin(async move { search.run(conn, &scope).await })).await
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
