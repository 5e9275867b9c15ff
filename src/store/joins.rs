//! Alerts of different keys under one incident: what the opening alert shares with others, and the
//! keys of those that joined.

use super::db::{Conn, chunks, db, dialect, list, values};
use super::incidents::Place;
use super::{Error, json, key as indexed, parsed};
use crate::model::ids::IncidentId;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};

/// An open incident that alerts with a join key may join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub incident_id: IncidentId,
    /// How many of its alerts fire, and on how many targets it has alerts.
    pub alerts: i64,
    pub targets: i64,
}

/// Open incidents whose opening alert has one of these join keys, by key, the oldest first. Each key
/// comes with the time after which the incident must have been opened.
pub async fn joinable(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, Vec<Candidate>>, Error> {
    let sql = dialect!(conn,
        lite: "select j.join_key, i.id, i.breadth,
                   (select count(distinct a.target) from alert a where a.incident_id = i.id)
               from json_each($2) k cross join incident_join j cross join incident i
               where j.scope = $1 and j.join_key = k.value->>0 and j.at_ms > k.value->>1
                 and i.id = j.incident_id and i.open_key is not null
               order by j.at_ms, i.id",
        pg: "select j.join_key, i.id, i.breadth,
                 (select count(distinct a.target) from alert a where a.incident_id = i.id)
             from jsonb_array_elements(cast($2 as jsonb)) k(value)
             join incident_join j on j.scope = $1 and j.join_key = k.value->>0
                 and j.at_ms > cast(k.value->>1 as bigint)
             join incident i on i.id = j.incident_id and i.open_key is not null
             order by j.at_ms, i.id",
    );
    let stored: BTreeMap<String, &String> =
        keys.keys().map(|key| (indexed(key).into_owned(), key)).collect();
    let asked: Vec<(String, i64)> =
        keys.iter().map(|(key, since_ms)| (indexed(key).into_owned(), *since_ms)).collect();
    let rows: Vec<(String, String, i64, i64)> = db!(conn, c =>
        sqlx::query_as(sql).bind(scope).bind(json(&asked)?).fetch_all(&mut **c).await)?;
    let mut found: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for (key, id, alerts, targets) in rows {
        let incident_id = parsed(id.parse(), "incident id")?;
        if let Some(key) = stored.get(&key) {
            let candidate = Candidate { incident_id, alerts, targets };
            found.entry((*key).clone()).or_default().push(candidate);
        }
    }
    Ok(found)
}

/// Finds the incidents that alerts of these keys joined, if they are open or ended after this time.
pub async fn aliases(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: &BTreeSet<&str>,
    ended_after_ms: i64,
) -> Result<BTreeMap<String, Place>, Error> {
    let sql = dialect!(conn,
        lite: "select l.correlation_key, i.id, i.ended_at_ms
               from json_each($2) k cross join incident_alias l cross join incident i
               where l.scope = $1 and l.correlation_key = k.value and i.id = l.incident_id
                 and (i.open_key is not null or i.ended_at_ms >= $3)",
        pg: "select l.correlation_key, i.id, i.ended_at_ms
             from jsonb_array_elements_text(cast($2 as jsonb)) k(value)
             join incident_alias l on l.scope = $1 and l.correlation_key = k.value
             join incident i on i.id = l.incident_id
                 and (i.open_key is not null or i.ended_at_ms >= $3)",
    );
    let stored: BTreeMap<String, &str> =
        keys.iter().map(|key| (indexed(key).into_owned(), *key)).collect();
    let rows: Vec<(String, String, Option<i64>)> = db!(conn, c => sqlx::query_as(sql)
        .bind(scope)
        .bind(list(stored.keys()))
        .bind(ended_after_ms)
        .fetch_all(&mut **c).await)?;
    let mut found = BTreeMap::new();
    for (key, id, ended_at_ms) in rows {
        let id = parsed(id.parse(), "incident id")?;
        let place = if ended_at_ms.is_some() { Place::Ended(id) } else { Place::Open(id) };
        if let Some(key) = stored.get(&key) {
            found.insert((*key).to_owned(), place);
        }
    }
    Ok(found)
}

/// Writes down under which keys others may join new incidents, and forgets what is older than
/// `before_ms` under the same keys.
pub async fn offer(
    conn: &mut Conn<'_>,
    scope: &str,
    offers: &[(String, IncidentId)],
    at_ms: i64,
    before_ms: i64,
) -> Result<(), Error> {
    for chunk in chunks(offers) {
        let sql = format!(
            "insert into incident_join (scope, join_key, incident_id, at_ms) values {}
             on conflict (scope, join_key, incident_id) do nothing",
            values(chunk.len(), 4)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (key, id) in chunk {
                query = query.bind(scope).bind(indexed(key)).bind(id.to_string()).bind(at_ms);
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    let sql = dialect!(conn,
        lite: "delete from incident_join where scope = $1 and at_ms < $3
                 and join_key in (select value from json_each($2))",
        pg: "delete from incident_join where scope = $1 and at_ms < $3
               and join_key in (select jsonb_array_elements_text(cast($2 as jsonb)))",
    );
    db!(conn, c => sqlx::query(sql)
        .bind(scope)
        .bind(list(offers.iter().map(|(key, _)| indexed(key))))
        .bind(before_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Writes down that alerts of a key joined an incident of another one.
pub async fn alias(
    conn: &mut Conn<'_>,
    scope: &str,
    aliases: &BTreeMap<String, IncidentId>,
    at_ms: i64,
) -> Result<(), Error> {
    let rows: Vec<(&String, &IncidentId)> = aliases.iter().collect();
    for chunk in chunks(&rows) {
        let sql = format!(
            "insert into incident_alias (scope, correlation_key, incident_id, at_ms) values {}
             on conflict (scope, correlation_key) do update
             set incident_id = excluded.incident_id, at_ms = excluded.at_ms",
            values(chunk.len(), 4)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (key, id) in chunk {
                query = query.bind(scope).bind(indexed(key)).bind(id.to_string()).bind(at_ms);
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}
