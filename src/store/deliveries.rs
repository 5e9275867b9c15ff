//! Webhook bodies: stored before they are acknowledged, taken in afterwards.

use super::db::{Conn, Store, db, dialect, in_time};
use super::{Error, key, parsed, text};
use crate::model::ids::DeliveryId;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection};
use std::fmt::Write as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Deliveries that share one commit on Postgres.
const BATCH_MAX: usize = 512;

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
                     where state = 'malformed' order by id desc limit $1"
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

/// Locks and returns waiting deliveries, oldest first. Part of the intake's transaction.
///
/// Replicas wait for each other here: two intakes at once could take a resolved notice before the
/// firing that it ends, and could wait for each other's incidents.
pub async fn waiting(conn: &mut Conn<'_>, at_most: i64) -> Result<Vec<Row>, Error> {
    type Columns = (String, String, String, i64, String);
    let sql = dialect!(conn,
        lite: "select id, scope, source, received_at_ms, body from delivery
               where state = 'waiting' order by id limit $1",
        pg: "select id, scope, source, received_at_ms, body from delivery
             where state = 'waiting' order by id limit $1 for update",
    );
    let rows: Vec<Columns> =
        db!(conn, c => sqlx::query_as(sql).bind(at_most).fetch_all(&mut **c).await)?;
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

/// Marks a delivery as taken in.
pub async fn mark_taken(conn: &mut Conn<'_>, id: DeliveryId, now_ms: i64) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update delivery set state = 'taken', taken_at_ms = $2 where id = $1"
    ).bind(id.to_string()).bind(now_ms).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
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

/// Inserts all rows. Batches are cut into powers of two, so that the prepared statements of a few
/// sizes serve every batch.
pub(super) async fn insert_many(conn: &mut Conn<'_>, acks: &[Ack]) -> Result<(), Error> {
    let mut rest = acks;
    while !rest.is_empty() {
        let size = 1 << rest.len().min(64).ilog2();
        let (chunk, after) = rest.split_at(size);
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(insert_sql(size)));
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
        rest = after;
    }
    Ok(())
}

fn insert_sql(rows: usize) -> String {
    const COLUMNS: usize = 7;
    let mut sql = String::from(
        "insert into delivery (id, scope, source, received_at_ms, state, problem, body) values ",
    );
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=COLUMNS {
            let comma = if column == 1 { "" } else { ", " };
            let _ = write!(sql, "{comma}${}", row * COLUMNS + column);
        }
        sql.push(')');
    }
    sql
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
    transaction.commit().await?;
    Ok(())
}
