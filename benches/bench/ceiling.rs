//! The least server that keeps the promise of an acknowledgement, as the measure for ours.
//!
//! It reads the body, stores it through the same driver with the same durability, many deliveries a
//! commit, and answers. It has no policy, no credentials, no redaction, no time limits, and nothing
//! happens to what it stored; unless it is told where a model is: then the agent beside it
//! investigates each alert.

use super::agent::Agent;
use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

const TABLE: &str =
    "create table if not exists delivery (id bigint primary key, body text not null)";
const BATCH_MAX: usize = 512;
const ROWS_MAX: usize = 64;

#[derive(Deserialize)]
struct Hook<'a> {
    #[serde(borrow)]
    alerts: Vec<Alert<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    fingerprint: Cow<'a, str>,
    #[serde(borrow)]
    starts_at: Cow<'a, str>,
    #[serde(borrow)]
    labels: &'a RawValue,
}

struct Job {
    body: String,
    done: oneshot::Sender<bool>,
}

enum Db {
    Lite(SqliteConnection),
    Pg(PgConnection),
}

/// What a request needs.
#[derive(Clone)]
struct Desk {
    keeper: Keeper,
    agent: Option<Arc<Agent>>,
}

/// Stores texts; cheap to clone.
#[derive(Clone)]
pub struct Keeper(mpsc::Sender<Job>);

impl Keeper {
    /// Whether the text is committed and synced.
    pub async fn keep(&self, body: String) -> bool {
        let (done, stored) = oneshot::channel();
        self.0.try_send(Job { body, done }).is_ok() && stored.await.unwrap_or(false)
    }
}

/// Serves until the process is killed. `store` is a file, or the address of a Postgres; `doubles` is
/// the address of a model, a Prometheus and a Slack.
pub fn main(listen: &str, store: &str, doubles: Option<&str>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (send, queue) = mpsc::channel(4096);
        tokio::spawn(write(open(store).await?, queue));
        let keeper = Keeper(send);
        let agent = doubles.map(|doubles| Arc::new(Agent::new(doubles, keeper.clone())));
        let router = Router::new()
            .route("/webhook/alert", post(hook))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(Desk { keeper, agent });
        axum::serve(TcpListener::bind(listen).await?, router).await?;
        Ok(())
    })
}

async fn open(store: &str) -> Result<Db> {
    if store.starts_with("postgres") {
        let mut connection = PgConnection::connect(store).await?;
        connection.execute(TABLE).await?;
        return Ok(Db::Pg(connection));
    }
    let options = SqliteConnectOptions::new()
        .filename(Path::new(store))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    connection.execute(TABLE).await?;
    Ok(Db::Lite(connection))
}

async fn hook(State(desk): State<Desk>, body: Bytes) -> StatusCode {
    let Ok(hook) = serde_json::from_slice::<Hook<'_>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let whole = |alert: &Alert<'_>| {
        !alert.fingerprint.is_empty()
            && !alert.status.is_empty()
            && !alert.starts_at.is_empty()
            && !alert.labels.get().is_empty()
    };
    let Some(body) = std::str::from_utf8(&body).ok().filter(|_| hook.alerts.iter().all(whole))
    else {
        return StatusCode::BAD_REQUEST;
    };
    if !desk.keeper.keep(body.to_owned()).await {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if let Some(agent) = &desk.agent {
        for alert in &hook.alerts {
            let labels = alert.labels.get().to_owned();
            tokio::spawn(Arc::clone(agent).investigate(alert.fingerprint.to_string(), labels));
        }
    }
    StatusCode::OK
}

/// One writer; whatever waits shares a commit.
async fn write(mut db: Db, mut queue: mpsc::Receiver<Job>) {
    let mut id = 0;
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
        let stored = match &mut db {
            Db::Lite(connection) => commit(connection, "begin immediate", &jobs, &mut id).await,
            Db::Pg(connection) => commit(connection, "begin", &jobs, &mut id).await,
        };
        for job in jobs.drain(..) {
            let _ = job.done.send(stored.is_ok());
        }
    }
}

async fn commit<'c, C, D>(
    connection: &'c mut C,
    begin: &'static str,
    jobs: &[Job],
    id: &mut i64,
) -> Result<(), sqlx::Error>
where
    D: sqlx::Database,
    for<'e> &'e mut C: sqlx::Executor<'e, Database = D>,
    D::Arguments: sqlx::IntoArguments<D>,
    i64: sqlx::Type<D> + for<'q> sqlx::Encode<'q, D>,
    for<'q> &'q str: sqlx::Type<D> + sqlx::Encode<'q, D>,
{
    connection.execute(begin).await?;
    let mut rest = jobs;
    while !rest.is_empty() {
        let rows = 1 << rest.len().min(ROWS_MAX).ilog2();
        let (chunk, after) = rest.split_at(rows);
        let values: Vec<String> =
            (0..rows).map(|row| format!("(${}, ${})", row * 2 + 1, row * 2 + 2)).collect();
        let sql = format!("insert into delivery (id, body) values {}", values.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for job in chunk {
            *id += 1;
            query = query.bind(*id).bind(job.body.as_str());
        }
        query.execute(&mut *connection).await?;
        rest = after;
    }
    connection.execute("commit").await?;
    Ok(())
}
