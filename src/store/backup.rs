//! A copy of the whole database as it was at one moment, taken beside whoever uses it.
//!
//! In: where the data lies, a file that is not there yet. Out: the file, and beside it a
//! [`Manifest`]: what it was made from, and the hash that a restore checks. SQLite is copied by
//! itself into a database that can be opened as it is; Postgres by `pg_dump` in its custom format.
//! Never: a file that others may read; a file under its name before it is whole and synced.

use super::db::{Conn, Location, db};
use super::postgres_tools::Target;
use super::schema::{self, Compared};
use super::{Error, files, plan};
use crate::clock::format_ms;
use crate::crash::{self, Point};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of the form of the manifest.
pub const FORMAT: u32 = 1;

/// What a backup is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// `sqlite` or `postgres`.
    pub engine: String,
    /// The version of the program that took it.
    pub program: String,
    /// The migrations that the database had.
    pub schema: Vec<i64>,
    pub taken_at_ms: i64,
    pub taken_at: String,
    pub bytes: u64,
    pub sha256: String,
    pub heads: Heads,
    /// The last line of checkpoints that it knows.
    pub checkpoint: i64,
    /// The schema of Postgres that the tables lay in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Where the chains end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heads {
    pub streams: i64,
    pub entries: i64,
    /// Over the end of every stream, in order of their names.
    pub sha256: String,
    /// Of the system's own timeline.
    pub system_seq: i64,
    pub system_head: String,
}

/// Where the manifest of a backup lies.
pub fn manifest_of(file: &Path) -> PathBuf {
    files::with_suffix(file, ".manifest.json")
}

/// Takes a backup into `file`.
///
/// # Errors
/// The file is there already, the database cannot be read or is not understood, `pg_dump` is missing
/// or failed. Nothing is left under the file's name then.
pub async fn back_up(location: &Location, file: &Path, now_ms: i64) -> Result<Manifest, Error> {
    if file.exists() {
        return Err(Error::Conflict(format!(
            "{} is there already; it is left alone",
            file.display()
        )));
    }
    let partial = files::with_suffix(file, ".partial");
    files::make_private(&partial)?;
    let done = written(location, file, &partial, now_ms).await;
    if done.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

async fn written(
    location: &Location,
    file: &Path,
    partial: &Path,
    now_ms: i64,
) -> Result<Manifest, Error> {
    let (engine, taken) = match location {
        Location::Folder(folder) => ("sqlite", copy_folder(folder, partial).await?),
        Location::Postgres { url, .. } => ("postgres", dump(url, partial).await?),
    };
    let (bytes, sha256) = files::seal(partial)?;
    let manifest = Manifest {
        format: FORMAT,
        engine: engine.to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema: taken.schema,
        taken_at_ms: now_ms,
        taken_at: format_ms(now_ms),
        bytes,
        sha256,
        heads: taken.heads,
        checkpoint: taken.checkpoint,
        namespace: taken.namespace,
    };
    keep_manifest(&manifest, &manifest_of(file))?;
    // Last, so that a backup which has its name is whole.
    crash::at(Point::BeforeBackup);
    files::rename(partial, file)?;
    crash::at(Point::AfterBackup);
    Ok(manifest)
}

fn keep_manifest(manifest: &Manifest, file: &Path) -> Result<(), Error> {
    use std::io::Write as _;
    let text = serde_json::to_string_pretty(manifest)
        .map_err(|error| Error::Corrupt(format!("cannot write a manifest: {error}")))?;
    let partial = files::with_suffix(file, ".partial");
    // Of a run that was ended.
    let _ = std::fs::remove_file(&partial);
    let mut out = files::make_private(&partial)?;
    let written = writeln!(out, "{text}").and_then(|()| out.sync_all());
    written.map_err(|error| files::cannot("write", &partial, &error))?;
    files::rename(&partial, file)
}

/// What the copy holds, read from the copy itself or at its moment.
struct Taken {
    schema: Vec<i64>,
    heads: Heads,
    checkpoint: i64,
    namespace: Option<String>,
}

/// Lets SQLite write its own copy: one moment of the database, whatever is written meanwhile.
async fn copy_folder(folder: &Path, to: &Path) -> Result<Taken, Error> {
    let file = folder.join("watchkeeper.db");
    if !file.exists() {
        return Err(Error::Conflict(format!("there is no database {}", file.display())));
    }
    // Beside a server the log is there, and reading needs no right to write. Without one the log
    // may have to be made; SQLite's own locks keep a server that starts meanwhile in order.
    let beside = folder.join("watchkeeper.db-wal").exists();
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(false)
        .read_only(beside)
        .busy_timeout(Duration::from_secs(30));
    let cannot =
        |error: sqlx::Error| Error::Unavailable(format!("cannot copy {}: {error}", file.display()));
    let mut source = SqliteConnection::connect_with(&options).await.map_err(cannot)?;
    let target = to.display().to_string();
    sqlx::query("vacuum into $1").bind(&target).execute(&mut source).await.map_err(cannot)?;
    source.close().await.map_err(cannot)?;
    let options = SqliteConnectOptions::new().filename(to).read_only(true).immutable(true);
    let mut copy = SqliteConnection::connect_with(&options).await.map_err(cannot)?;
    let taken = taken(&mut Conn::Lite(&mut copy), &target).await?;
    copy.close().await.map_err(cannot)?;
    Ok(taken)
}

/// Lets `pg_dump` write what one snapshot shows, and reads the heads under the same snapshot.
async fn dump(url: &SecretString, to: &Path) -> Result<Taken, Error> {
    let (options, place) = plan::address(url)?;
    let target = Target::new(url)?;
    let mut connection = PgConnection::connect_with(&options)
        .await
        .map_err(|error| Error::Unavailable(format!("cannot reach {place}: {error}")))?;
    connection.execute("begin isolation level repeatable read, read only").await?;
    let (snapshot, namespace): (String, String) =
        sqlx::query_as("select pg_export_snapshot(), cast(current_schema() as text)")
            .fetch_one(&mut connection)
            .await?;
    let mut taken = taken(&mut Conn::Pg(&mut connection), &place).await?;
    let known = schema::newest();
    if taken.schema.last().is_some_and(|newest| *newest > known) {
        return Err(Error::Conflict(format!(
            "{place} was migrated by a newer Watchkeeper, whose tables this one does not know; \
             back up with that one"
        )));
    }
    let mut arguments = vec![
        "--format=custom".to_owned(),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        format!("--snapshot={snapshot}"),
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    arguments.extend(
        schema::tables()
            .iter()
            .map(|table| format!("--table={}.{}", quoted(&namespace), quoted(table))),
    );
    let output = std::fs::File::options().write(true).open(to);
    let output = output.map_err(|error| files::cannot("write", to, &error))?;
    target.run("pg_dump", &arguments, Some(output)).await?;
    connection.execute("rollback").await?;
    connection.close().await?;
    taken.namespace = Some(namespace);
    Ok(taken)
}

async fn taken(conn: &mut Conn<'_>, place: &str) -> Result<Taken, Error> {
    let found = schema::find(conn).await?;
    let Compared { applied, pending, unknown } = found.compare(place)?;
    if applied.is_empty() {
        return Err(Error::Conflict(format!("{place} holds no database of Watchkeeper")));
    }
    if let Some(why) = found.refusal(place, &unknown, &pending) {
        return Err(Error::Conflict(why));
    }
    let heads = heads(conn).await?;
    let (checkpoint,): (i64,) = db!(conn, c => sqlx::query_as(
        "select coalesce(max(number), 0) from checkpoint"
    ).fetch_one(&mut **c).await)?;
    Ok(Taken { schema: found.versions(), heads, checkpoint, namespace: None })
}

/// The end of every chain.
pub(super) async fn heads(conn: &mut Conn<'_>) -> Result<Heads, Error> {
    let mut rows: Vec<(String, String, i64, String)> = db!(conn, c => sqlx::query_as(
        "select 'incident', id, seq, head from incident where seq > 0
         union all
         select stream_kind, stream_id, seq, head from stream_head where seq > 0"
    ).fetch_all(&mut **c).await)?;
    // Here, as databases differ in how they sort text.
    rows.sort();
    let mut hash = Sha256::new();
    let mut heads = Heads {
        streams: 0,
        entries: 0,
        sha256: String::new(),
        system_seq: 0,
        system_head: String::new(),
    };
    for (kind, id, seq, head) in rows {
        hash.update(format!("{kind}/{id} {seq} {head}\n"));
        heads.streams += 1;
        heads.entries += seq;
        if kind == "system" {
            (heads.system_seq, heads.system_head) = (seq, head);
        }
    }
    heads.sha256 = files::hex(&hash.finalize());
    Ok(heads)
}
