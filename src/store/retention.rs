//! What is left of rows whose time is over: small batches, each a transaction of its own.
//!
//! In: a time before which rows are old, and how many to take at once. Out: how many were taken; zero
//! says that none is left. Incidents leave a row that says where they ended ([`tombstones`]). Never:
//! a row that somebody still needs; a scan of a large table inside the writer.

pub mod tombstones;

use super::Error;
use super::db::{Conn, Store, db, dialect, list};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;
use tombstones::ELIGIBLE;

/// Rows that carry whole texts, at once; each may have megabytes.
const TEXTS_AT_ONCE: i64 = 50;
/// Names of texts, at once.
const NAMES_AT_ONCE: i64 = 5_000;
/// Small rows at once.
const ROWS_AT_ONCE: i64 = 500;
/// Pages of the file that are given back at once; a page has 4 KiB.
const PAGES_AT_ONCE: i64 = 200;

/// What would age out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Old {
    pub rows: i64,
    pub bytes: i64,
}

/// Where a look for old outputs goes on: age and name of the last one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct After {
    at_ms: i64,
    hash: String,
}

impl Store {
    /// Removes old bodies of deliveries that were taken in or set aside.
    pub async fn age_out_deliveries(&self, before_ms: i64) -> Result<u64, Error> {
        let ids = self.read(move |conn| {
            Box::pin(async move {
                names(db!(conn, c => sqlx::query_as(
                    "select id from delivery where state <> 'waiting' and received_at_ms < $1
                     order by id limit $2"
                ).bind(before_ms).bind(TEXTS_AT_ONCE).fetch_all(&mut **c).await))
            })
        });
        self.remove("delivery", "id", "state <> 'waiting'", ids.await?).await
    }

    /// Outputs that incidents which are not over name in old entries: those stay.
    pub async fn outputs_in_use(&self, before_ms: i64) -> Result<BTreeSet<String>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select t.body from incident i cross join timeline t
                     where i.ended_at_ms is null and t.at_ms < $1
                       and t.stream_kind = 'incident' and t.stream_id = i.id
                       and t.kind in ('answered', 'outcome_recorded')"
                ).bind(before_ms).fetch_all(&mut **c).await)?;
                Ok(rows.iter().filter_map(|(body,)| tombstones::output_of(body)).collect())
            })
        })
        .await
    }

    /// How many outputs are old and not in use.
    pub async fn outputs_to_age_out(
        &self,
        before_ms: i64,
        in_use: &BTreeSet<String>,
    ) -> Result<usize, Error> {
        let mut count = 0;
        let mut after = After::default();
        loop {
            let found = self.old_output_names(before_ms, after, NAMES_AT_ONCE).await?;
            let Some((at_ms, hash)) = found.last().cloned() else { return Ok(count) };
            count += found.iter().filter(|(_, hash)| !in_use.contains(hash)).count();
            after = After { at_ms, hash };
        }
    }

    async fn old_output_names(
        &self,
        before_ms: i64,
        after: After,
        at_most: i64,
    ) -> Result<Vec<(i64, String)>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select at_ms, hash from blob
                     where kind = 'output' and at_ms < $1 and (at_ms, hash) > ($2, $3)
                     order by at_ms, hash limit $4"
                )
                    .bind(before_ms)
                    .bind(after.at_ms)
                    .bind(after.hash)
                    .bind(at_most)
                    .fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// Removes old outputs but those in use; returns where to go on, and how many were removed.
    pub async fn age_out_outputs(
        &self,
        before_ms: i64,
        in_use: &BTreeSet<String>,
        after: After,
    ) -> Result<(Option<After>, u64), Error> {
        let found = self.old_output_names(before_ms, after, TEXTS_AT_ONCE).await?;
        let Some((at_ms, hash)) = found.last().cloned() else { return Ok((None, 0)) };
        let old = found.into_iter().map(|(_, hash)| hash).filter(|hash| !in_use.contains(hash));
        // One that was kept again meanwhile is young.
        let young = format!("kind = 'output' and at_ms < {before_ms}");
        let removed = self.remove("blob", "hash", &young, old.collect()).await?;
        Ok((Some(After { at_ms, hash }), removed))
    }

    /// Removes old messages that are about no incident and that nobody waits for.
    pub async fn age_out_messages(&self, before_ms: i64) -> Result<u64, Error> {
        let ids = self.read(move |conn| {
            Box::pin(async move {
                names(db!(conn, c => sqlx::query_as(
                    "select m.id from message m
                     where (m.stream_id = 'system' or m.stream_id like 'digest:%')
                       and m.created_at_ms < $1 and m.expanded_at_ms is not null
                       and not exists (select 1 from message_delivery d
                                       where d.message_id = m.id and d.state not in
                                           ('sent', 'failed', 'skipped', 'digested'))
                     order by m.id limit $2"
                ).bind(before_ms).bind(ROWS_AT_ONCE).fetch_all(&mut **c).await))
            })
        });
        let ids = ids.await?;
        self.remove("message_delivery", "message_id", "1 = 1", ids.clone()).await?;
        self.remove("message", "id", "1 = 1", ids).await
    }

    /// Removes what guards and limits counted long ago, and alerts that never had an incident.
    pub async fn age_out_counts(&self, before_ms: i64) -> Result<u64, Error> {
        self.write(move |conn| {
            Box::pin(async move {
                let mut removed = 0;
                for (table, old) in [
                    ("limit_hit", "at_ms < $1"),
                    ("bad_change", "at_ms < $1"),
                    ("breaker", "until_ms < $1"),
                    ("slot", "until_ms < $1"),
                    ("alert", "incident_id is null and last_seen_ms < $1"),
                ] {
                    removed += delete_old(conn, table, old, before_ms).await?;
                }
                Ok(removed)
            })
        })
        .await
    }

    /// Gives free pages of the file back to the file system; returns how many are left. None on
    /// Postgres, which does so itself, and in a file that was made before pages could be given back.
    pub async fn give_space_back(&self) -> Result<i64, Error> {
        self.write(|conn| {
            Box::pin(async move {
                let Conn::Lite(c) = conn else { return Ok(0) };
                let (mode,): (i64,) =
                    sqlx::query_as("pragma auto_vacuum").fetch_one(&mut **c).await?;
                if mode != 2 {
                    return Ok(0);
                }
                let sql = format!("pragma incremental_vacuum({PAGES_AT_ONCE})");
                sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut **c).await?;
                let (left,): (i64,) =
                    sqlx::query_as("pragma freelist_count").fetch_one(&mut **c).await?;
                Ok(left)
            })
        })
        .await
    }

    /// How many bodies of deliveries are older.
    pub async fn old_deliveries(&self, before_ms: i64) -> Result<Old, Error> {
        self.count(
            "select count(*), cast(coalesce(sum(length(body)), 0) as bigint) from delivery
             where state <> 'waiting' and received_at_ms < $1",
            before_ms,
        )
        .await
    }

    /// How many outputs are older, those in use included.
    pub async fn old_outputs(&self, before_ms: i64) -> Result<Old, Error> {
        self.count(
            "select count(*), cast(coalesce(sum(bytes), 0) as bigint) from blob
             where kind = 'output' and at_ms < $1",
            before_ms,
        )
        .await
    }

    /// How many incidents may age out, and the size of their entries.
    pub async fn old_incidents(&self, before_ms: i64) -> Result<Old, Error> {
        let sql = format!(
            "select count(*), cast(coalesce(sum((select sum(length(t.body)) from timeline t
                 where t.stream_kind = 'incident' and t.stream_id = i.id)), 0) as bigint)
             from incident i where {ELIGIBLE}"
        );
        self.count(&sql, before_ms).await
    }

    /// How many incidents ended before, those that stay all the same included.
    pub async fn ended_incidents(&self, before_ms: i64) -> Result<Old, Error> {
        let sql = "select count(*), cast(0 as bigint) from incident where ended_at_ms < $1";
        self.count(sql, before_ms).await
    }

    /// How many messages that are about no incident are older.
    pub async fn old_messages(&self, before_ms: i64) -> Result<Old, Error> {
        self.count(
            "select count(*), cast(coalesce(sum(length(body)), 0) as bigint) from message
             where (stream_id = 'system' or stream_id like 'digest:%')
               and created_at_ms < $1 and expanded_at_ms is not null",
            before_ms,
        )
        .await
    }

    async fn count(&self, sql: &str, before_ms: i64) -> Result<Old, Error> {
        let sql = sql.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let (rows, bytes) = db!(conn, c => sqlx::query_as(AssertSqlSafe(sql))
                    .bind(before_ms).fetch_one(&mut **c).await)?;
                Ok(Old { rows, bytes })
            })
        })
        .await
    }

    /// Removes the rows with these keys, as far as `condition` still holds for them.
    async fn remove(
        &self,
        table: &str,
        key: &str,
        condition: &str,
        keys: Vec<String>,
    ) -> Result<u64, Error> {
        if keys.is_empty() {
            return Ok(0);
        }
        let start = format!("delete from {table} where {condition} and {key} in ");
        self.write(move |conn| {
            Box::pin(async move {
                let rest = dialect!(conn,
                    lite: "(select value from json_each($1))",
                    pg: "(select jsonb_array_elements_text(cast($1 as jsonb)))",
                );
                let removed = db!(conn, c => sqlx::query(AssertSqlSafe(start + rest))
                    .bind(list(&keys))
                    .execute(&mut **c).await.map(|done| done.rows_affected()))?;
                Ok(removed)
            })
        })
        .await
    }
}

fn names(rows: Result<Vec<(String,)>, sqlx::Error>) -> Result<Vec<String>, Error> {
    Ok(rows?.into_iter().map(|(name,)| name).collect())
}

async fn delete_old(
    conn: &mut Conn<'_>,
    table: &str,
    condition: &str,
    before_ms: i64,
) -> Result<u64, Error> {
    let sql = some_of(conn, table, condition);
    Ok(db!(conn, c => sqlx::query(AssertSqlSafe(sql))
        .bind(before_ms)
        .bind(ROWS_AT_ONCE)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?)
}

/// Removes rows of a table that belong to `id`; returns how many.
pub(super) async fn delete_of(
    conn: &mut Conn<'_>,
    table: &str,
    condition: &str,
    id: &str,
) -> Result<u64, Error> {
    let sql = some_of(conn, table, condition);
    Ok(db!(conn, c => sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .bind(ROWS_AT_ONCE)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?)
}

/// A statement that deletes at most $2 of the rows for which `condition` holds.
fn some_of(conn: &Conn<'_>, table: &str, condition: &str) -> String {
    dialect!(conn,
        lite: format!("delete from {table} where rowid in
                           (select rowid from {table} where {condition} limit $2)"),
        pg: format!("delete from {table} where ctid = any(array
                         (select ctid from {table} where {condition} limit $2))"),
    )
}
