//! What opening a database would change in it, without changing it.
//!
//! In: where the data lies. Out: which migrations are applied and which are not. Never: a write; a
//! lock that keeps the server out.

use super::Error;
use super::db::{Location, MIGRATIONS, in_time, refuse_unsafe_postgres};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::collections::BTreeMap;
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
}

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

/// Version, whether it succeeded, checksum.
type Row = (i64, bool, Vec<u8>);

const APPLIED: &str = "select version, success, checksum from _sqlx_migrations order by version";

async fn of_folder(folder: &Path) -> Result<Plan, Error> {
    let file = folder.join("watchkeeper.db");
    let place = file.display().to_string();
    if !file.exists() {
        return compare("sqlite", place, Vec::new());
    }
    // Without a log beside it the file is complete, and can be read without making one.
    let complete = !folder.join("watchkeeper.db-wal").exists();
    let options = SqliteConnectOptions::new().filename(&file).read_only(true).immutable(complete);
    let cannot = |error| Error::Unavailable(format!("cannot read {place}: {error}"));
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(cannot)?;
    let (tables,): (i64,) = sqlx::query_as(
        "select count(*) from sqlite_master where type = 'table' and name = '_sqlx_migrations'",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(cannot)?;
    let rows = if tables == 0 {
        Vec::new()
    } else {
        sqlx::query_as(APPLIED).fetch_all(&mut connection).await.map_err(cannot)?
    };
    connection.close().await.map_err(cannot)?;
    compare("sqlite", place, rows)
}

async fn of_postgres(url: &SecretString) -> Result<Plan, Error> {
    let options = PgConnectOptions::from_str(url.expose_secret())
        .map_err(|_| Error::Unavailable("DATABASE_URL is not a Postgres address".into()))?
        .application_name("watchkeeper");
    let database = options.get_database().unwrap_or(options.get_username());
    let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await
        .map_err(|error| Error::Unavailable(format!("cannot reach {place}: {error}")))?;
    refuse_unsafe_postgres(&pool).await?;
    let (tables,): (i64,) = sqlx::query_as(
        "select count(*) from pg_catalog.pg_tables
         where tablename = '_sqlx_migrations' and schemaname = any (current_schemas(false))",
    )
    .fetch_one(&pool)
    .await?;
    let rows =
        if tables == 0 { Vec::new() } else { sqlx::query_as(APPLIED).fetch_all(&pool).await? };
    pool.close().await;
    compare("postgres", place, rows)
}

fn compare(engine: &'static str, place: String, rows: Vec<Row>) -> Result<Plan, Error> {
    let mut found: BTreeMap<i64, (bool, Vec<u8>)> =
        rows.into_iter().map(|(version, success, sum)| (version, (success, sum))).collect();
    let (mut applied, mut pending) = (Vec::new(), Vec::new());
    for known in MIGRATIONS.iter() {
        let name = format!("{:04} {}", known.version, known.description);
        match found.remove(&known.version) {
            None => pending.push(name),
            Some((false, _)) => {
                return Err(Error::Conflict(format!(
                    "migration {name} of {place} broke off half-way; restore the last backup"
                )));
            }
            Some((true, sum)) if sum != *known.checksum => {
                return Err(Error::Conflict(format!(
                    "migration {name} of {place} is not the one of this program; run the version \
                     that made it"
                )));
            }
            Some((true, _)) => applied.push(name),
        }
    }
    Ok(Plan { engine, place, applied, pending, unknown: found.into_keys().collect() })
}
