//! Webhook bodies: stored before they are acknowledged, taken in afterwards.

use super::db::{Conn, Store, chunks, db, dialect, in_time, list, values};
use super::{Error, key, parsed, text};
use crate::crash::{self, Point};
use crate::model::ids::DeliveryId;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection};
use std::collections::BTreeSet;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Deliveries that share one commit on Postgres.
const BATCH_MAX: usize = 512;

/// Of what waits, so many bytes are read at once, and one delivery in any case: each may have
/// megabytes, and reading makes several copies.
const BYTES_AT_ONCE: i64 = 16 * 1024 * 1024;

/// One delivery as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub id: DeliveryId,
    pub scope: String,
    pub source: String,
    pub received_at_ms: i64,
    pub body: String,
    pub fate: Fate,
}

/// What is to happen with a stored body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The intake takes it.
    Waiting,
    /// No retry can mend it; kept with the reason, for a person.
    Malformed(String),
}

/// A row on its way to disk and whoever waits for it.
pub(super) struct Ack {
    pub row: Row,
    pub done: oneshot::Sender<Result<(), Error>>,
}

/// What one look at the queue tells a monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    pub waiting: i64,
    pub oldest_at_ms: Option<i64>,
}

impl Store {
    /// Stores a delivery; returns once it is committed and synced.
    ///
    /// # Errors
    /// `Busy` or `Unavailable`: nothing was stored, the caller answers 503.
    pub async fn keep_delivery(&self, row: Row) -> Result<DeliveryId, Error> {
        self.acknowledge(row).await
    }

    /// What waits for the intake, oldest first; fewer where they are large.
    pub async fn waiting_deliveries(&self, at_most: i64) -> Result<Vec<Row>, Error> {
        self.read(move |conn| Box::pin(async move { waiting(conn, at_most).await })).await
    }

    /// Counts what the intake has not taken.
    pub async fn delivery_backlog(&self) -> Result<Backlog, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (waiting, oldest_at_ms): (i64, Option<i64>) = db!(conn, c => sqlx::query_as(
                    "select count(*), min(received_at_ms) from delivery where state = 'waiting'"
                ).fetch_one(&mut **c).await)?;
                Ok(Backlog { waiting, oldest_at_ms })
            })
        })
        .await
    }

    /// The stored bodies that could not be read, newest first: id, reason, body.
    pub async fn malformed_deliveries(
        &self,
        at_most: i64,
    ) -> Result<Vec<(DeliveryId, String, String)>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(String, String, String)> = db!(conn, c => sqlx::query_as(
                    "select id, coalesce(problem, ''), body from delivery
                     where state = 'malformed' order by id desc limit cast($1 as bigint)"
                ).bind(at_most).fetch_all(&mut **c).await)?;
                rows.into_iter()
                    .map(|(id, problem, body)| {
                        Ok((parsed(id.parse(), "delivery id")?, problem, body))
                    })
                    .collect()
            })
        })
        .await
    }
}

/// What waits for the intake, oldest first; fewer where they are large.
pub async fn waiting(conn: &mut Conn<'_>, at_most: i64) -> Result<Vec<Row>, Error> {
    type Columns = (String, String, String, i64, String);
    let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
        "select d.id, d.scope, d.source, d.received_at_ms, d.body
         from (select id, sum(bytes) over (order by id) - bytes as ahead
               from (select id, octet_length(body) as bytes from delivery
                     where state = 'waiting' order by id limit cast($1 as bigint)) as sized) as w
         join delivery d on d.id = w.id
         where w.ahead < $2 order by d.id"
    ).bind(at_most).bind(BYTES_AT_ONCE).fetch_all(&mut **c).await)?;
    rows.into_iter()
        .map(|(id, scope, source, received_at_ms, body)| {
            Ok(Row {
                id: parsed(id.parse(), "delivery id")?,
                scope,
                source,
                received_at_ms,
                body,
                fate: Fate::Waiting,
            })
        })
        .collect()
}

/// Marks deliveries as taken in; returns those that still waited. Part of the intake's transaction.
///
/// Replicas wait for each other here, since each begins with the oldest: two intakes at once could
/// take a resolved notice before the firing that it ends, and could wait for each other's incidents.
pub async fn take(
    conn: &mut Conn<'_>,
    ids: &[DeliveryId],
    now_ms: i64,
) -> Result<BTreeSet<DeliveryId>, Error> {
    let sql = dialect!(conn,
        lite: "update delivery set state = 'taken', taken_at_ms = $2
               where state = 'waiting' and id in (select value from json_each($1))
               returning id",
        pg: "with mine as materialized (
                 select id from delivery
                 where state = 'waiting'
                   and id in (select jsonb_array_elements_text(cast($1 as jsonb)))
                 order by id for update)
             update delivery set state = 'taken', taken_at_ms = $2
             where id in (select id from mine) returning id",
    );
    let rows: Vec<(String,)> = db!(conn, c =>
        sqlx::query_as(sql).bind(list(ids)).bind(now_ms).fetch_all(&mut **c).await)?;
    rows.into_iter().map(|(id,)| parsed(id.parse(), "delivery id")).collect()
}

/// Sets a delivery aside that the intake cannot take, with the reason.
pub async fn mark_malformed(
    conn: &mut Conn<'_>,
    id: DeliveryId,
    problem: &str,
) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update delivery set state = 'malformed', problem = $2 where id = $1"
    ).bind(id.to_string()).bind(text(problem)).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Inserts all rows.
pub(super) async fn insert_many(conn: &mut Conn<'_>, acks: &[Ack]) -> Result<(), Error> {
    for chunk in chunks(acks) {
        db!(conn, c => {
            let sql = format!(
                "insert into delivery (id, scope, source, received_at_ms, state, problem, body)
                 values {}", values(chunk.len(), 7)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for Ack { row, .. } in chunk {
                let (state, problem) = match &row.fate {
                    Fate::Waiting => ("waiting", None),
                    Fate::Malformed(problem) => ("malformed", Some(text(problem))),
                };
                query = query
                    .bind(row.id.to_string())
                    .bind(&row.scope)
                    .bind(key(&row.source))
                    .bind(row.received_at_ms)
                    .bind(state)
                    .bind(problem)
                    .bind(text(&row.body));
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Commits waiting acknowledgements together on Postgres, until told to stop.
pub(super) async fn batch_on_postgres(
    pool: PgPool,
    mut queue: mpsc::Receiver<Ack>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let taken = tokio::select! {
            biased;
            // First, because a queue that never runs empty would otherwise hide the order to stop.
            () = stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
            taken = queue.recv_many(&mut batch, BATCH_MAX) => taken,
        };
        if taken == 0 {
            break;
        }
        let together = in_time(insert_in_one_commit(&pool, &batch)).await;
        for ack in batch.drain(..) {
            let told = match &together {
                Ok(()) => Ok(()),
                // One row that Postgres cannot take must not take the others with it.
                Err(Error::Conflict(_)) => {
                    in_time(insert_in_one_commit(&pool, std::slice::from_ref(&ack))).await
                }
                Err(error) => Err(Error::Unavailable(error.to_string())),
            };
            let _ = ack.done.send(told);
        }
    }
}

async fn insert_in_one_commit(pool: &PgPool, acks: &[Ack]) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    insert_many(&mut Conn::Pg(&mut transaction), acks).await?;
    crash::at(Point::BeforeStored);
    transaction.commit().await?;
    crash::at(Point::AfterStored);
    Ok(())
}
