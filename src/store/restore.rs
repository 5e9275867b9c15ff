//! Puts a backup in the place of a database, halted.
//!
//! In: a file and the manifest beside it, a place that is empty or whose database is moved aside.
//! Out: a database at this program's schema in which no old permission is left
//! (`after`). Never: a file that is not the one of its manifest; a database that a server runs on;
//! the old database lost; a restored one that can be served before it is halted.

mod after;

pub use after::Prepared;

use super::backup::{self, FORMAT, Heads, Manifest, manifest_of};
use super::db::{Conn, Location, Store, lock, read_folder, read_postgres, refuse_unsafe_postgres};
use super::postgres_tools::Target;
use super::schema::{self, MIGRATIONS, RESTORING};
use super::{Error, files, plan};
use crate::clock::format_ms;
use crate::crash::{self, Point};
use secrecy::SecretString;
use sqlx::migrate::Migrate as _;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Postgres notices a moment later that a server has ended.
const LOOKS: u32 = 25;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How the folders begin in which databases are made ready.
const STAGING: &str = "restore-";

/// Whether a database that is there may be moved aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replace {
    No,
    Aside,
}

/// What to restore, and for whom.
#[derive(Clone, Debug)]
pub struct Order {
    pub file: PathBuf,
    pub replace: Replace,
    /// Team or tenant that the message about it belongs to.
    pub scope: String,
    /// Who restores, for the history.
    pub by: String,
    pub now_ms: i64,
}

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    pub manifest: Manifest,
    /// Where the database lies that was there before.
    pub aside: Option<String>,
    /// Chains that were recomputed and found whole.
    pub streams: usize,
    pub prepared: Prepared,
}

/// Restores a backup.
///
/// # Errors
/// Why not; what was in the place before is still there then, or the sentence says where it is.
pub async fn restore(location: &Location, order: &Order) -> Result<Restored, Error> {
    let manifest = read_manifest(&order.file)?;
    let engine = match location {
        Location::Folder(_) => "sqlite",
        Location::Postgres { .. } => "postgres",
    };
    if manifest.engine != engine {
        return Err(Error::Conflict(format!(
            "this is a backup of {}, the configured database is {engine}",
            manifest.engine
        )));
    }
    let known: Vec<i64> = MIGRATIONS.iter().map(|known| known.version).collect();
    if let Some(newer) = manifest.schema.iter().rev().find(|version| !known.contains(version)) {
        return Err(Error::Conflict(format!(
            "the backup was taken by version {} and has migration {newer:04}, which this program \
             does not know; restore it with that version or a later one",
            manifest.program
        )));
    }
    match location {
        Location::Folder(folder) => into_folder(folder, &manifest, order).await,
        Location::Postgres { url, .. } => into_postgres(url, &manifest, order).await,
    }
}

/// Reads the manifest beside a backup.
///
/// # Errors
/// It is missing or is none.
pub fn read_manifest(file: &Path) -> Result<Manifest, Error> {
    let path = manifest_of(file);
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::Conflict(format!(
            "cannot read {}, which `watchkeeper backup` writes beside a backup: {error}",
            path.display()
        ))
    })?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| {
        Error::Conflict(format!("{} is no manifest of a backup: {error}", path.display()))
    })?;
    if manifest.format != FORMAT {
        let (path, format) = (path.display(), manifest.format);
        return Err(Error::Conflict(format!(
            "{path} has format {format}, this program knows {FORMAT}"
        )));
    }
    Ok(manifest)
}

fn as_written(file: &Path, manifest: &Manifest, found: &(u64, String)) -> Result<(), Error> {
    if (found.0, &found.1) == (manifest.bytes, &manifest.sha256) {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{} is not the file of its manifest: {} bytes with SHA-256 {} instead of {} with {}",
        file.display(),
        found.0,
        found.1,
        manifest.bytes,
        manifest.sha256
    )))
}

fn same_heads(manifest: &Manifest, found: &Heads) -> Result<(), Error> {
    if *found == manifest.heads {
        return Ok(());
    }
    Err(Error::Conflict("the chains of the backup end elsewhere than its manifest says".to_owned()))
}

/// Recomputes every chain.
async fn verify(store: &Store) -> Result<usize, Error> {
    let streams = store.streams().await?;
    for named in &streams {
        if let Some(broken) = store.audit(named).await? {
            return Err(Error::Conflict(format!(
                "the history of the backup is not whole: {}/{} at entry {}: {}",
                named.stream_kind, named.stream_id, broken.seq, broken.why
            )));
        }
    }
    Ok(streams.len())
}

async fn into_folder(folder: &Path, manifest: &Manifest, order: &Order) -> Result<Restored, Error> {
    // Held to the end: no server starts on half of it.
    let _lock = lock(folder)?;
    let target = folder.join("watchkeeper.db");
    if target.exists() && order.replace == Replace::No {
        return Err(Error::Conflict(format!(
            "{} is there already; `--replace` moves it aside",
            target.display()
        )));
    }
    forget_broken_off(folder);
    let staging = folder.join(format!("{STAGING}{}", order.now_ms));
    files::make_private_folder(&staging).map_err(|e| files::cannot("make", &staging, &e))?;
    let staged = staged(&staging, manifest, order).await;
    let done = match staged {
        Ok((streams, prepared)) => {
            crash::at(Point::BeforeRestore);
            let exchanged = exchange(&staging.join("watchkeeper.db"), &target, order).await;
            crash::at(Point::AfterRestore);
            exchanged.map(|aside| Restored { manifest: manifest.clone(), aside, streams, prepared })
        }
        Err(error) => Err(error),
    };
    // Empty when all went well.
    let _ = fs::remove_dir_all(&staging);
    done
}

/// Takes away the copies of restores that were ended; the lock says that none goes on.
fn forget_broken_off(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(STAGING).is_some_and(|rest| rest.parse::<i64>().is_ok()) {
            // One that cannot be removed harms nothing but the space.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the database ready in a folder of its own.
async fn staged(
    staging: &Path,
    manifest: &Manifest,
    order: &Order,
) -> Result<(usize, Prepared), Error> {
    let file = staging.join("watchkeeper.db");
    as_written(&order.file, manifest, &files::copy(&order.file, &file)?)?;
    let place = file.display().to_string();
    let mut connection = open_alone(&file).await?;
    let mut conn = Conn::Lite(&mut connection);
    same_heads(manifest, &backup::heads(&mut conn).await?)?;
    schema::bring_up_to_date(&mut conn, &place).await?;
    connection.close().await?;
    let streams = verify(&read_folder(staging)).await?;
    let mut connection = open_alone(&file).await?;
    connection.execute("begin immediate").await?;
    let prepared = after::prepare(&mut Conn::Lite(&mut connection), manifest, order).await?;
    connection.execute("commit").await?;
    connection.close().await?;
    files::seal(&file)?;
    Ok((streams, prepared))
}

/// A connection that leaves no log beside the file.
async fn open_alone(file: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(30));
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// Puts the ready file in the place of the old one, which stays under another name. A crash in
/// between leaves the old one or the ready one there, never none.
async fn exchange(ready: &Path, target: &Path, order: &Order) -> Result<Option<String>, Error> {
    if !target.exists() {
        leave_no_log(target);
        files::rename(ready, target)?;
        return Ok(None);
    }
    let stamp = format!("{}-{:03}", format_ms(order.now_ms), order.now_ms.rem_euclid(1000));
    let stamp = stamp.replace(':', "");
    let aside = files::with_suffix(target, &format!(".before-restore-{stamp}"));
    let settled = match open_alone(target).await {
        Ok(connection) => connection.close().await.is_ok(),
        Err(_) => false,
    };
    if settled && !files::with_suffix(target, "-wal").exists() {
        fs::hard_link(target, &aside).map_err(|error| files::cannot("make", &aside, &error))?;
        files::sync_folder_of(target)?;
        leave_no_log(target);
        files::rename(ready, target)?;
        return Ok(Some(aside.display().to_string()));
    }
    // It cannot be opened, so nothing is lost by the moment without a database; its log goes along.
    for suffix in ["-wal", "-shm", ""] {
        let from = files::with_suffix(target, suffix);
        if from.exists() {
            files::rename(&from, &files::with_suffix(&aside, suffix))?;
        }
    }
    files::rename(ready, target)?;
    Ok(Some(aside.display().to_string()))
}

/// A log beside a file is taken for the file's own.
fn leave_no_log(target: &Path) {
    for suffix in ["-wal", "-shm"] {
        // Mostly there is none.
        let _ = fs::remove_file(files::with_suffix(target, suffix));
    }
}

async fn into_postgres(
    url: &SecretString,
    manifest: &Manifest,
    order: &Order,
) -> Result<Restored, Error> {
    let (options, place) = plan::address(url)?;
    as_written(&order.file, manifest, &files::seal(&order.file)?)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options.application_name("watchkeeper restore"))
        .await
        .map_err(|error| Error::Unavailable(format!("cannot reach {place}: {error}")))?;
    refuse_unsafe_postgres(&pool).await?;
    let mut connection = pool.acquire().await?.detach();
    // A server that starts meanwhile waits here before it looks at the tables.
    connection.lock().await.map_err(|error| Error::Unavailable(error.to_string()))?;
    refuse_when_served(&mut connection, &place).await?;
    let aside = make_room(&mut connection, &place, manifest, order).await?;
    match filled(&mut connection, url, &place, manifest, order).await {
        Ok((streams, prepared)) => {
            connection.close().await?;
            let aside = aside.map(|schema| format!("{place}, schema {schema}"));
            Ok(Restored { manifest: manifest.clone(), aside, streams, prepared })
        }
        Err(error) => {
            put_back(&mut connection, aside.as_deref()).await?;
            Err(error)
        }
    }
}

async fn refuse_when_served(connection: &mut PgConnection, place: &str) -> Result<(), Error> {
    let mut others = 0_i64;
    for _ in 0..LOOKS {
        (others,) = sqlx::query_as(
            "select count(*) from pg_catalog.pg_stat_activity
             where datname = current_database() and application_name = 'watchkeeper'
               and pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *connection)
        .await?;
        if others == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::Conflict(format!(
        "Watchkeeper has {others} connections to {place}; stop every replica first"
    )))
}

/// Moves what is there into a schema of its own and marks the place as half restored, in one
/// transaction. Returns the name of that schema.
async fn make_room(
    connection: &mut PgConnection,
    place: &str,
    manifest: &Manifest,
    order: &Order,
) -> Result<Option<String>, Error> {
    let (namespace,): (String,) =
        sqlx::query_as("select cast(current_schema() as text)").fetch_one(&mut *connection).await?;
    if manifest.namespace.as_ref() != Some(&namespace) {
        return Err(Error::Conflict(format!(
            "the backup holds tables of schema {}, the connection to {place} uses {namespace}; set \
             its search_path",
            manifest.namespace.as_deref().unwrap_or("?")
        )));
    }
    let there = tables_there(connection).await?;
    if !there.is_empty() && order.replace == Replace::No {
        return Err(Error::Conflict(format!(
            "{place} holds a database already; `--replace` moves its tables aside"
        )));
    }
    let mut sql = String::from("begin;\n");
    let aside = (!there.is_empty()).then(|| {
        let stamp = format_ms(order.now_ms).replace([':', '-'], "").to_lowercase();
        format!("watchkeeper_before_{stamp}_{:03}", order.now_ms.rem_euclid(1000))
    });
    if let Some(aside) = &aside {
        sql.push_str(&format!("create schema {aside};\n"));
        for table in &there {
            sql.push_str(&format!("alter table \"{table}\" set schema {aside};\n"));
        }
    }
    sql.push_str(&format!("create table if not exists {RESTORING} (since_ms bigint);\ncommit"));
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(aside)
}

/// The tables of ours that are there.
async fn tables_there(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let mut there = Vec::new();
    for table in schema::tables() {
        if schema::has_table(&mut Conn::Pg(&mut *connection), &table).await? {
            there.push(table);
        }
    }
    Ok(there)
}

async fn filled(
    connection: &mut PgConnection,
    url: &SecretString,
    place: &str,
    manifest: &Manifest,
    order: &Order,
) -> Result<(usize, Prepared), Error> {
    let arguments = [
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        &order.file.display().to_string(),
    ];
    let arguments = arguments.map(str::to_owned);
    Target::new(url)?.run("pg_restore", &arguments, None).await?;
    let mut conn = Conn::Pg(connection);
    same_heads(manifest, &backup::heads(&mut conn).await?)?;
    schema::migrate_restored(&mut conn, place).await?;
    let streams = verify(&read_postgres(url).await?).await?;
    let Conn::Pg(connection) = conn else {
        return Err(Error::Corrupt("a connection to Postgres is none".to_owned()));
    };
    let mut transaction = connection.begin().await?;
    let prepared = after::prepare(&mut Conn::Pg(&mut transaction), manifest, order).await?;
    transaction.execute(AssertSqlSafe(format!("drop table {RESTORING}"))).await?;
    crash::at(Point::BeforeRestore);
    transaction.commit().await?;
    crash::at(Point::AfterRestore);
    Ok((streams, prepared))
}

/// Takes away what was restored, and brings back what was there before.
async fn put_back(connection: &mut PgConnection, aside: Option<&str>) -> Result<(), Error> {
    let (namespace,): (String,) =
        sqlx::query_as("select cast(current_schema() as text)").fetch_one(&mut *connection).await?;
    let mut sql = String::from("begin;\n");
    for table in tables_there(connection).await? {
        sql.push_str(&format!("drop table \"{table}\";\n"));
    }
    if let Some(aside) = aside {
        let tables: Vec<(String,)> = sqlx::query_as(
            "select cast(tablename as text) from pg_catalog.pg_tables where schemaname = $1",
        )
        .bind(aside)
        .fetch_all(&mut *connection)
        .await?;
        for (table,) in tables {
            sql.push_str(&format!("alter table {aside}.\"{table}\" set schema \"{namespace}\";\n"));
        }
        sql.push_str(&format!("drop schema {aside};\n"));
    }
    sql.push_str(&format!("drop table {RESTORING};\ncommit"));
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}
