//! What each running process has in force.
//!
//! In: a process's own row, again and again. Out: the rows of all that were seen lately. Never: a
//! row that decides anything; each process judges by its own files.

use super::db::{Store, db};
use super::{Error, inbox, parsed};
use crate::model::ids::IncidentId;
use crate::model::policy::Replica;
use sqlx::FromRow;

/// A process that was not heard of for so long is gone.
const GONE_AFTER_MS: i64 = 5 * 60_000;

#[derive(FromRow)]
struct Columns {
    id: String,
    rules_version: String,
    loaded_at_ms: i64,
    broken_since_ms: Option<i64>,
    seen_at_ms: i64,
}

impl Columns {
    fn row(self) -> Replica {
        Replica {
            id: self.id,
            rules_version: self.rules_version,
            loaded_at_ms: self.loaded_at_ms,
            broken_since_ms: self.broken_since_ms,
            seen_at_ms: self.seen_at_ms,
        }
    }
}

impl Store {
    /// Writes the row of a process and removes those of processes that are gone.
    pub async fn replica_seen(&self, replica: Replica) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query("delete from replica where seen_at_ms < $1")
                    .bind(replica.seen_at_ms - GONE_AFTER_MS)
                    .execute(&mut **c).await.map(|_| ()))?;
                db!(conn, c => sqlx::query(
                    "insert into replica (id, rules_version, loaded_at_ms, broken_since_ms,
                         seen_at_ms)
                     values ($1, $2, $3, $4, $5)
                     on conflict (id) do update set rules_version = excluded.rules_version,
                         loaded_at_ms = excluded.loaded_at_ms,
                         broken_since_ms = excluded.broken_since_ms,
                         seen_at_ms = excluded.seen_at_ms"
                )
                    .bind(&replica.id)
                    .bind(&replica.rules_version)
                    .bind(replica.loaded_at_ms)
                    .bind(replica.broken_since_ms)
                    .bind(replica.seen_at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Removes the row of a process that ends.
    pub async fn replica_gone(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query("delete from replica where id = $1")
                    .bind(&id).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// The processes that were seen lately, the one with the newest files first.
    pub async fn replicas(&self, now_ms: i64) -> Result<Vec<Replica>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select id, rules_version, loaded_at_ms, broken_since_ms, seen_at_ms
                     from replica where seen_at_ms >= $1 order by loaded_at_ms desc, id"
                ).bind(now_ms - GONE_AFTER_MS).fetch_all(&mut **c).await)?;
                Ok(rows.into_iter().map(Columns::row).collect())
            })
        })
        .await
    }

    /// Makes the incidents due whose question to people was judged under other rules than these;
    /// returns how many.
    pub async fn wake_asked_under_other_rules(
        &self,
        rules_version: &str,
        now_ms: i64,
    ) -> Result<usize, Error> {
        let rules_version = rules_version.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let found: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select incident_id from action
                     where state = 'awaiting' and rules_version <> $1"
                ).bind(&rules_version).fetch_all(&mut **c).await)?;
                let incidents: Result<Vec<IncidentId>, Error> =
                    found.iter().map(|(id,)| parsed(id.parse(), "incident id")).collect();
                let incidents = incidents?;
                inbox::wake(conn, incidents.iter().copied(), now_ms).await?;
                Ok(incidents.len())
            })
        })
        .await
    }
}
