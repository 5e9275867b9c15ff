//! What opening a database would change in it, without changing it.
//!
//! In: where the data lies. Out: which migrations are applied and which are not, and what those do
//! to tables that are in use. Never: a write; a lock that keeps the server out.

use super::Error;
use super::db::{Conn, Location, db, dialect, in_time, refuse_unsafe_postgres};
use super::effects::{Effect, created, expands, floor};
use super::schema::{self, Compared, Found};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// The state of a database. Migrations are named `version description`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// The file, or host, port and name of the database.
    pub place: String,
    pub applied: Vec<String>,
    pub pending: Vec<String>,
    /// Applied by a newer program; this one does not know them.
    pub unknown: Vec<i64>,
    /// Why this program must not work on the database.
    pub refusal: Option<String>,
    /// What the pending ones do, one for each.
    pub changes: Vec<Change>,
}

/// What one migration does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    pub migration: String,
    /// Programs of the schema before go on reading and writing beside it.
    pub expands: bool,
    /// The oldest schema whose program may still run, where the migration raises it.
    pub floor: Option<i64>,
    pub statements: Vec<Statement>,
}

/// What one statement does, and whom that holds up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Statement {
    #[serde(flatten)]
    pub effect: Effect,
    /// Roughly how many rows it has to read.
    pub rows: Option<i64>,
    /// What waits meanwhile; nothing on SQLite, where the server does not run yet.
    pub holds_up: Option<&'static str>,
}

/// SQLite counts rows one by one.
const ROWS_COUNTED_MAX: i64 = 1_000_000;

/// Looks which migrations a database has.
///
/// # Errors
/// It cannot be read, is configured to lose commits, or holds a migration that failed half-way or
/// is not the one that this program knows by its number.
pub async fn plan(location: &Location) -> Result<Plan, Error> {
    match location {
        Location::Folder(folder) => of_folder(folder).await,
        Location::Postgres { url, .. } => in_time(of_postgres(url)).await,
    }
}

async fn of_folder(folder: &Path) -> Result<Plan, Error> {
    let file = folder.join("watchkeeper.db");
    let place = file.display().to_string();
    if !file.exists() {
        return planned("sqlite", place, None, &Found::default()).await;
    }
    // Without a log beside it the file is complete, and can be read without making one.
    let complete = !folder.join("watchkeeper.db-wal").exists();
    let options = SqliteConnectOptions::new().filename(&file).read_only(true).immutable(complete);
    let cannot = |error: String| Error::Unavailable(format!("cannot read {place}: {error}"));
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| cannot(error.to_string()))?;
    let mut conn = Conn::Lite(&mut connection);
    let found = schema::find(&mut conn).await.map_err(|error| cannot(error.to_string()))?;
    let plan = planned("sqlite", place.clone(), Some(&mut conn), &found).await?;
    connection.close().await.map_err(|error| cannot(error.to_string()))?;
    Ok(plan)
}

async fn of_postgres(url: &SecretString) -> Result<Plan, Error> {
    let (options, place) = address(url)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .map_err(|error| Error::Unavailable(format!("cannot reach {place}: {error}")))?;
    refuse_unsafe_postgres(&pool).await?;
    let mut connection = pool.acquire().await?;
    let mut conn = Conn::Pg(&mut connection);
    let found = schema::find(&mut conn).await?;
    let plan = planned("postgres", place, Some(&mut conn), &found).await?;
    drop(connection);
    pool.close().await;
    Ok(plan)
}

/// How to reach a Postgres, and what it is called in messages.
pub(super) fn address(url: &SecretString) -> Result<(PgConnectOptions, String), Error> {
    let options = PgConnectOptions::from_str(url.expose_secret())
        .map_err(|_| Error::Conflict("DATABASE_URL is not a Postgres address".into()))?
        .application_name("watchkeeper");
    let database = options.get_database().unwrap_or(options.get_username());
    let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
    Ok((options, place))
}

async fn planned(
    engine: &'static str,
    place: String,
    mut conn: Option<&mut Conn<'_>>,
    found: &Found,
) -> Result<Plan, Error> {
    let Compared { applied, pending, unknown } = found.compare(&place)?;
    let refusal = found.refusal(&place, &unknown, &pending);
    let mut changes = Vec::new();
    // Tables that pending migrations make are empty, and in nobody's way.
    let mut fresh: Vec<String> = Vec::new();
    for (migration, effects) in schema::known() {
        if !pending.contains(&migration) {
            continue;
        }
        fresh.extend(created(&effects).map(str::to_owned));
        let (expands, floor) = (expands(&effects), floor(&effects));
        let mut statements = Vec::new();
        for effect in effects {
            statements.push(statement(conn.as_deref_mut(), &fresh, effect).await?);
        }
        changes.push(Change { migration, expands, floor, statements });
    }
    Ok(Plan { engine, place, applied, pending, unknown, refusal, changes })
}

async fn statement(
    conn: Option<&mut Conn<'_>>,
    fresh: &[String],
    effect: Effect,
) -> Result<Statement, Error> {
    let (table, holds_up, reads) = match &effect {
        Effect::CreatesTable { .. } | Effect::Fills { .. } | Effect::RaisesFloor { .. } => {
            (None, None, false)
        }
        Effect::AddsColumn { table, .. } => {
            (Some(table), Some("readers and writers of the table, for a moment"), false)
        }
        Effect::BuildsIndex { table, .. } => {
            (Some(table), Some("writers of the table, while the index is built"), true)
        }
        Effect::Other { .. } => (None, Some("it is not known what waits, and how long"), false),
    };
    let (mut rows, mut waits) = (None, None);
    if let Some(conn) = conn
        && table.is_none_or(|table| !fresh.contains(table))
    {
        waits = holds_up.filter(|_| matches!(conn, Conn::Pg(_)));
        if let Some(table) = table.filter(|_| reads) {
            rows = Some(rows_of(conn, table).await?);
        }
    }
    Ok(Statement { effect, rows, holds_up: waits })
}

async fn rows_of(conn: &mut Conn<'_>, table: &str) -> Result<i64, Error> {
    let sql = dialect!(conn,
        lite: format!("select count(*) from (select 1 from \"{table}\" limit {ROWS_COUNTED_MAX})"),
        pg: format!(
            "select cast(greatest(reltuples, 0) as bigint) from pg_catalog.pg_class
             where oid = to_regclass('\"{table}\"')"
        ),
    );
    let found: Option<(i64,)> = db!(conn, c =>
        sqlx::query_as(AssertSqlSafe(sql)).fetch_optional(&mut **c).await)?;
    Ok(found.map_or(0, |(rows,)| rows))
}
