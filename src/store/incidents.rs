//! Incident rows: opened and joined by the intake, claimed and leased by workers; `listed.rs` lists
//! them for people.

mod listed;

pub use listed::Filter;

use super::db::{Conn, Store, chunks, db, dialect, list, values};
use super::priority::priority_at_ms;
use super::{Error, key as indexed, parsed, text, wakeups};
use crate::model::alert::Severity;
use crate::model::ids::IncidentId;
use crate::model::incident::State;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};

/// A claimed incident. The epoch fences every commit made under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    pub incident_id: IncidentId,
    pub scope: String,
    pub owner: String,
    pub epoch: i64,
}

/// A new incident, as the intake opens it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    pub id: IncidentId,
    pub scope: String,
    pub title: String,
    pub severity: Severity,
    pub correlation_key: String,
    pub at_ms: i64,
    pub page_due_at_ms: Option<i64>,
    /// How many alerts fire.
    pub breadth: i64,
}

/// Where an alert with a known key belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An open incident to join.
    Open(IncidentId),
    /// One that ended a short while ago and continues.
    Ended(IncidentId),
}

impl Store {
    /// Claims due incidents in the order of [`super::priority`]. On SQLite, where leases are measured by
    /// a clock that may leap, nobody takes one from himself. Each claim raises the epoch, so that a
    /// worker that lost its lease can no longer commit.
    pub async fn claim(
        &self,
        owner: &str,
        at_most: i64,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<Vec<Lease>, Error> {
        if at_most <= 0 || !self.any_due(owner, now_ms).await? {
            return Ok(Vec::new());
        }
        let owner = owner.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "update incident
                           set lease_owner = $1, lease_until_ms = $2 + $3,
                               lease_epoch = lease_epoch + 1
                           where id in (
                               select id from incident
                               where due_at_ms <= $2
                                 and (lease_until_ms is null
                                      or (lease_until_ms < $2 and lease_owner <> $1))
                               order by priority_at_ms, id limit cast($4 as bigint))
                           returning id, scope, lease_epoch, priority_at_ms",
                    pg: "with due as materialized (
                             select id from incident
                             where due_at_ms <= $2
                               and (lease_until_ms is null or lease_until_ms
                                    < (extract(epoch from clock_timestamp()) * 1000)::bigint)
                             order by priority_at_ms, id limit cast($4 as bigint)
                             for update skip locked)
                         update incident
                         set lease_owner = $1, lease_epoch = lease_epoch + 1,
                             lease_until_ms =
                                 (extract(epoch from clock_timestamp()) * 1000)::bigint + $3
                         where id in (select id from due)
                         returning id, scope, lease_epoch, priority_at_ms",
                );
                type Columns = (String, String, i64, i64);
                let mut rows: Vec<Columns> = db!(conn, c => sqlx::query_as(sql)
                    .bind(&owner)
                    .bind(now_ms)
                    .bind(lease_ms)
                    .bind(at_most)
                    .fetch_all(&mut **c).await)?;
                // `returning` promises no order.
                rows.sort_by(|a, b| (a.3, &a.0).cmp(&(b.3, &b.0)));
                rows.into_iter()
                    .map(|(id, scope, epoch, ..)| {
                        Ok(Lease {
                            incident_id: parsed(id.parse(), "incident id")?,
                            scope,
                            owner: owner.clone(),
                            epoch,
                        })
                    })
                    .collect()
            })
        })
        .await
    }

    /// Looks without writing, so that an idle server does not sync its disk once a second.
    async fn any_due(&self, owner: &str, now_ms: i64) -> Result<bool, Error> {
        let owner = owner.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "select id from incident where due_at_ms <= $1
                           and (lease_until_ms is null
                                or (lease_until_ms < $1 and lease_owner <> $2)) limit 1",
                    pg: "select id from incident where due_at_ms <= $1
                         and cast($2 as text) is not null
                         and (lease_until_ms is null or lease_until_ms
                              < (extract(epoch from clock_timestamp()) * 1000)::bigint) limit 1",
                );
                let found: Option<(String,)> = db!(conn, c =>
                    sqlx::query_as(sql).bind(now_ms).bind(owner).fetch_optional(&mut **c).await)?;
                Ok(found.is_some())
            })
        })
        .await
    }

    /// Renews the leases of this process on these incidents with one statement; returns how many it
    /// still holds. Any other of its leases runs out.
    ///
    /// On Postgres a row that a transaction has locked is left for the next time: waiting for it
    /// while holding the others could end in a deadlock, and with it no lease would be renewed.
    pub async fn renew_leases(
        &self,
        owner: &str,
        known: Vec<IncidentId>,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<u64, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "update incident set lease_until_ms = $2 + $3
                           where lease_owner = $1 and lease_until_ms >= $2
                             and id in (select value from json_each($4))",
                    pg: "with mine as materialized (
                             select id from incident
                             where lease_owner = $1 and cast($2 as bigint) is not null
                               and id in (select jsonb_array_elements_text(cast($4 as jsonb)))
                               and lease_until_ms >=
                                   (extract(epoch from clock_timestamp()) * 1000)::bigint
                             for update skip locked)
                         update incident set lease_until_ms =
                             (extract(epoch from clock_timestamp()) * 1000)::bigint + $3
                         where id in (select id from mine)",
                );
                db!(conn, c => sqlx::query(sql)
                    .bind(&owner)
                    .bind(now_ms)
                    .bind(lease_ms)
                    .bind(list(known))
                    .execute(&mut **c).await.map(|_| ()))?;
                held(conn, &owner, now_ms).await
            })
        })
        .await
    }

    /// Gives a lease back, so that another worker need not wait for it to run out.
    pub async fn release(&self, lease: Lease) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "update incident set lease_owner = null, lease_until_ms = null
                     where id = $1 and lease_owner = $2 and lease_epoch = $3"
                )
                    .bind(lease.incident_id.to_string())
                    .bind(lease.owner)
                    .bind(lease.epoch)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Gives a lease back whose step failed; the incident is not due again before `due_at_ms`.
    pub async fn put_off(&self, lease: Lease, due_at_ms: i64) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "update incident
                     set lease_owner = null, lease_until_ms = null, due_at_ms = $4
                     where id = $1 and lease_owner = $2 and lease_epoch = $3"
                )
                    .bind(lease.incident_id.to_string())
                    .bind(lease.owner)
                    .bind(lease.epoch)
                    .bind(due_at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Incidents whose page is due, with their scope: nobody was told loudly and they are not
    /// resolved.
    pub async fn page_due(
        &self,
        now_ms: i64,
        at_most: i64,
    ) -> Result<Vec<(IncidentId, String)>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(String, String)> = db!(conn, c => sqlx::query_as(
                    "select id, scope from incident where page_due_at_ms <= $1
                     order by page_due_at_ms limit cast($2 as bigint)"
                ).bind(now_ms).bind(at_most).fetch_all(&mut **c).await)?;
                rows.into_iter()
                    .map(|(id, scope)| Ok((parsed(id.parse(), "incident id")?, scope)))
                    .collect()
            })
        })
        .await
    }
}

async fn held(conn: &mut Conn<'_>, owner: &str, now_ms: i64) -> Result<u64, Error> {
    let sql = dialect!(conn,
        lite: "select count(*) from incident where lease_owner = $1 and lease_until_ms >= $2",
        pg: "select count(*) from incident
             where lease_owner = $1 and cast($2 as bigint) is not null
               and lease_until_ms >= (extract(epoch from clock_timestamp()) * 1000)::bigint",
    );
    let (count,): (i64,) = db!(conn, c => sqlx::query_as(sql)
        .bind(owner).bind(now_ms).fetch_one(&mut **c).await)?;
    Ok(count.unsigned_abs())
}

/// Finds where alerts with these keys belong; keys that nobody holds are left out.
/// `ended_after_ms` bounds how long an ended incident may be continued.
pub async fn places(
    conn: &mut Conn<'_>,
    scope: &str,
    keys: &BTreeSet<&str>,
    ended_after_ms: i64,
) -> Result<BTreeMap<String, Place>, Error> {
    type Columns = (String, String, i64, i64);
    // Both halves are answered from an index; `or` would read the whole table.
    let sql = dialect!(conn,
        lite: "select i.correlation_key, i.id, cast(1 as bigint), cast(0 as bigint)
               from json_each($2) k cross join incident i
               where i.scope = $1 and i.open_key = k.value
               union all
               select i.correlation_key, i.id, 0, i.ended_at_ms
               from json_each($2) k cross join incident i
               where i.scope = $1 and i.correlation_key = k.value and i.ended_at_ms >= $3",
        pg: "with k as materialized (
                 select jsonb_array_elements_text(cast($2 as jsonb)) as value)
             select i.correlation_key, i.id, cast(1 as bigint), cast(0 as bigint)
             from k join incident i on i.scope = $1 and i.open_key = k.value
             union all
             select i.correlation_key, i.id, cast(0 as bigint), i.ended_at_ms
             from k join incident i on i.scope = $1 and i.correlation_key = k.value
                 and i.ended_at_ms >= $3",
    );
    let stored: BTreeMap<String, &str> =
        keys.iter().map(|key| (indexed(key).into_owned(), *key)).collect();
    let mut rows: Vec<Columns> = db!(conn, c => sqlx::query_as(sql)
        .bind(scope)
        .bind(list(stored.keys()))
        .bind(ended_after_ms)
        .fetch_all(&mut **c).await)?;
    // The open one counts most, then the one that ended last.
    rows.sort_by_key(|(_, _, open, ended_at_ms)| (*open, *ended_at_ms));
    let mut places = BTreeMap::new();
    for (key, id, open, _) in rows {
        let id = parsed(id.parse(), "incident id")?;
        let place = if open == 1 { Place::Open(id) } else { Place::Ended(id) };
        if let Some(key) = stored.get(&key) {
            places.insert((*key).to_owned(), place);
        }
    }
    Ok(places)
}

/// Inserts new incidents unless others hold their keys; returns those that it inserted.
pub async fn open_all(
    conn: &mut Conn<'_>,
    openings: &[Opening],
) -> Result<BTreeSet<IncidentId>, Error> {
    let mut opened = BTreeSet::new();
    for chunk in chunks(openings) {
        let sql = format!(
            "insert into incident (id, scope, title, severity, severity_rank, state,
                 correlation_key, open_key, opened_at_ms, updated_at_ms, due_at_ms,
                 page_due_at_ms, lease_epoch, seq, head, since_ms, breadth, priority_at_ms)
             values {}
             on conflict (scope, open_key) where open_key is not null do nothing
             returning id",
            values(chunk.len(), 18)
        );
        let rows: Vec<(String,)> = db!(conn, c => {
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for opening in chunk {
                let key = indexed(&opening.correlation_key);
                query = query
                    .bind(opening.id.to_string())
                    .bind(&opening.scope)
                    .bind(text(&opening.title))
                    .bind(opening.severity.as_str())
                    .bind(opening.severity.rank())
                    .bind(State::Open.as_str())
                    .bind(key.clone())
                    .bind(key)
                    .bind(opening.at_ms)
                    .bind(opening.at_ms)
                    .bind(opening.at_ms)
                    .bind(opening.page_due_at_ms)
                    .bind(0_i64)
                    .bind(0_i64)
                    .bind("")
                    .bind(opening.at_ms)
                    .bind(opening.breadth)
                    .bind(priority_at_ms(opening.at_ms, opening.severity, opening.breadth));
            }
            query.fetch_all(&mut **c).await
        })?;
        for (id,) in rows {
            opened.insert(parsed(id.parse(), "incident id")?);
        }
    }
    if !opened.is_empty() {
        wakeups::call(conn).await?;
    }
    Ok(opened)
}

/// Lets alerts join an ended incident again, unless another one holds the key; tells whether it
/// did. A person is paged by `page_due_at_ms` as for any other.
pub async fn reopen(
    conn: &mut Conn<'_>,
    id: IncidentId,
    at_ms: i64,
    page_due_at_ms: Option<i64>,
) -> Result<u64, Error> {
    Ok(db!(conn, c => sqlx::query(
        "update incident
         set open_key = correlation_key, ended_at_ms = null, page_due_at_ms = $3,
             since_ms = $2, breadth = 0,
             due_at_ms = case when due_at_ms < $2 then due_at_ms else $2 end
         where id = $1 and not exists (
             select 1 from incident o
             where o.scope = incident.scope and o.id <> incident.id
               and o.open_key = incident.correlation_key)"
    )
        .bind(id.to_string())
        .bind(at_ms)
        .bind(page_due_at_ms)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?)
}

/// Which of these incidents ended before this time, and nothing has opened them again.
pub async fn ended_before(
    conn: &mut Conn<'_>,
    ids: &BTreeSet<IncidentId>,
    at_ms: i64,
) -> Result<BTreeSet<IncidentId>, Error> {
    let sql = dialect!(conn,
        lite: "select i.id from json_each($1) k cross join incident i
               where i.id = k.value and i.ended_at_ms < $2",
        pg: "with k as materialized (
                 select jsonb_array_elements_text(cast($1 as jsonb)) as value)
             select i.id from k join incident i on i.id = k.value and i.ended_at_ms < $2",
    );
    let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(sql)
        .bind(list(ids.iter().map(IncidentId::to_string)))
        .bind(at_ms)
        .fetch_all(&mut **c).await)?;
    rows.into_iter().map(|(id,)| parsed(id.parse(), "incident id")).collect()
}

/// A person is paged for the incident with the same transaction; tells whether that is still due. By
/// the time that a pager comes to it, it may be over.
pub async fn take_page(conn: &mut Conn<'_>, id: IncidentId, now_ms: i64) -> Result<bool, Error> {
    let taken = db!(conn, c => sqlx::query(
        "update incident set page_due_at_ms = null where id = $1 and page_due_at_ms <= $2"
    )
        .bind(id.to_string())
        .bind(now_ms)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    Ok(taken == 1)
}
