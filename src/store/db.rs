//! The two engines behind one handle.
//!
//! SQLite is owned by one process: a lock file keeps a second one out, one task owns the only
//! write connection, reads use a pool of their own. Postgres may be shared by many replicas.
//! Never: a Postgres that answers before it has synced.

use super::plan::address;
use super::readers::Readers;
use super::tap::{self, Access, Tap};
use super::writer::{self, Job, Opening, Queues};
use super::{Error, deliveries, files, opening, orphans, schema};
use crate::crash::{self, Point};
use crate::model::ids::DeliveryId;
use crate::tasks::Tasks;
use futures::future::BoxFuture;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection, Executor};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Acknowledgements that may wait before load is shed, and as many other writes before their
/// callers wait. At 10,000 writes a second this is under half a second of work.
const QUEUE_MAX: usize = 4096;

/// Connections that read SQLite while one writes.
const READERS: usize = 3;

/// Pages of the log (of 4 KiB) after which SQLite moves them into its file. A page that is written often
/// is moved once, so that a long log costs less; after a kill it is read within a fraction of a second.
const LOG_PAGES: &str = "4000";

/// Longest wait for Postgres, queueing for a connection and for locks included.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What bounds the harm that one replica can do to the others: a replica that hangs with a row
/// locked would otherwise hold up their intake until the kernel gives its connection up.
const SESSION: &str = "set statement_timeout = '30s'; set lock_timeout = '10s';
                       set idle_in_transaction_session_timeout = '30s'";

/// A connection inside a read or a transaction.
pub enum Conn<'a> {
    Lite(&'a mut SqliteConnection),
    Pg(&'a mut PgConnection),
}

/// Runs one query expression on whichever engine the connection is.
macro_rules! db {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::store::db::Conn::Lite($c) => $body,
            $crate::store::db::Conn::Pg($c) => $body,
        }
    };
}

/// Picks the SQL of the engine where the two differ.
macro_rules! dialect {
    ($conn:expr, lite: $lite:expr, pg: $pg:expr $(,)?) => {
        match $conn {
            $crate::store::db::Conn::Lite(_) => $lite,
            $crate::store::db::Conn::Pg(_) => $pg,
        }
    };
}
pub(super) use super::rows::{chunks, list, values, values_after};
pub(super) use {db, dialect};

/// Where the data lies.
#[derive(Clone, Debug)]
pub enum Location {
    /// A folder that one process owns.
    Folder(PathBuf),
    Postgres {
        url: SecretString,
        connections_max: u32,
    },
}

/// The handle that everybody holds; cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    tap: Option<Arc<dyn Tap>>,
}

enum Engine {
    Lite {
        acks: mpsc::Sender<deliveries::Ack>,
        jobs: mpsc::Sender<Box<dyn Job>>,
        read: Box<Readers>,
        /// Absent where nothing is written.
        _lock: Option<File>,
    },
    Pg {
        acks: mpsc::Sender<deliveries::Ack>,
        pool: PgPool,
    },
}

impl Store {
    /// Opens the database and brings its tables up to date.
    ///
    /// The writer stops with `tasks`, and nothing is written on SQLite from then on. Give it a set
    /// of its own and shut that down last, or the steps in flight cannot record how they ended.
    ///
    /// # Errors
    /// A sentence that says what to mend: a folder in use by another process, a Postgres that is
    /// configured to lose commits.
    pub async fn open(location: &Location, tasks: &Tasks) -> Result<Self, Error> {
        match location {
            Location::Folder(folder) => open_folder(folder, tasks).await,
            Location::Postgres { url, connections_max } => {
                open_postgres(url, *connections_max, tasks).await
            }
        }
    }

    /// Opens an empty database that lives as long as the handle does: for simulations.
    ///
    /// # Errors
    /// `Unavailable`, with SQLite's reason.
    pub async fn open_in_memory(tasks: &Tasks) -> Result<Self, Error> {
        // A name of its own for each, which all connections with these options share.
        let options = SqliteConnectOptions::from_str("sqlite::memory:")?.foreign_keys(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        schema::bring_up_to_date(&mut Conn::Lite(&mut connection), "memory").await?;
        Ok(start_writer(connection, Readers::new(options, 1), None, tasks))
    }

    /// The same database through a handle whose every access `tap` sees.
    #[must_use]
    pub fn tapped(&self, tap: Arc<dyn Tap>) -> Self {
        Self { engine: Arc::clone(&self.engine), tap: Some(tap) }
    }

    fn over(engine: Engine) -> Self {
        Self { engine: Arc::new(engine), tap: None }
    }

    /// Opens the database beside whoever uses it, only to read: takes no lock, changes no table.
    /// Writes through this handle fail.
    ///
    /// # Errors
    /// There is no database, or its tables are not those of this program.
    pub async fn open_read_only(location: &Location) -> Result<Self, Error> {
        let plan = super::plan::plan(location).await?;
        if let Some(why) = plan.refusal {
            return Err(Error::Conflict(why));
        }
        if !plan.pending.is_empty() {
            let what = match plan.applied.is_empty() {
                true => "holds nothing yet; `watchkeeper serve` or `migrate` makes its tables",
                false => "belongs to an older version; see `watchkeeper migrate --plan`",
            };
            return Err(Error::Conflict(format!("{} {what}", plan.place)));
        }
        match location {
            Location::Folder(folder) => Ok(read_folder(folder)),
            Location::Postgres { url, .. } => read_postgres(url).await,
        }
    }

    /// `sqlite` or `postgres`.
    pub fn engine(&self) -> &'static str {
        match &*self.engine {
            Engine::Lite { .. } => "sqlite",
            Engine::Pg { .. } => "postgres",
        }
    }

    /// How to connect to the server, where there is one.
    pub(super) fn postgres(&self) -> Option<PgConnectOptions> {
        match &*self.engine {
            Engine::Lite { .. } => None,
            Engine::Pg { pool, .. } => Some((*pool.connect_options()).clone()),
        }
    }

    /// Runs `work` in one transaction; when it answers `Ok`, everything it wrote is on disk.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.write_as(std::any::type_name::<F>(), |conn, opening| {
            Box::pin(async move {
                writer::open(conn, opening).await?;
                work(conn).await
            })
        })
        .await
    }

    /// The same for work that sends the opening itself, which saves a message to SQLite's thread.
    pub(super) async fn write_opening<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c, 'd> FnOnce(&'c mut Conn<'d>, Opening) -> BoxFuture<'c, Result<T, Error>>
            + Send
            + 'static,
    {
        self.write_as(std::any::type_name::<F>(), work).await
    }

    async fn write_as<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c, 'd> FnOnce(&'c mut Conn<'d>, Opening) -> BoxFuture<'c, Result<T, Error>>
            + Send
            + 'static,
    {
        let access = Access::Write(name);
        tap::before(self.tap.as_deref(), access).await?;
        let written = match &*self.engine {
            Engine::Lite { jobs, .. } => Box::pin(write_on_sqlite(jobs, work)).await,
            Engine::Pg { pool, .. } => {
                Box::pin(in_time(write_on_postgres(pool, |conn| work(conn, "")))).await
            }
        };
        tap::after(self.tap.as_deref(), access).await?;
        written
    }

    /// Runs `work` on a connection that only reads.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send,
        F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>> + Send,
    {
        let access = Access::Read(std::any::type_name::<F>());
        tap::before(self.tap.as_deref(), access).await?;
        let found = match &*self.engine {
            Engine::Lite { read, .. } => Box::pin(read.read(work)).await,
            Engine::Pg { pool, .. } => Box::pin(in_time(read_on_postgres(pool, work))).await,
        };
        tap::after(self.tap.as_deref(), access).await?;
        found
    }

    /// Stores one delivery together with whichever others are waiting; returns once it is on disk.
    ///
    /// # Errors
    /// `Busy` when the queue is full, `Unavailable` when nothing was stored.
    pub(super) async fn acknowledge(&self, row: deliveries::Row) -> Result<DeliveryId, Error> {
        let id = row.id;
        let (done, answer) = oneshot::channel();
        let ack = deliveries::Ack { row, done };
        let (Engine::Lite { acks, .. } | Engine::Pg { acks, .. }) = &*self.engine;
        tap::before(self.tap.as_deref(), Access::Acknowledge).await?;
        let kept = match acks.try_send(ack) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())).map(|()| id),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopped()),
        };
        tap::after(self.tap.as_deref(), Access::Acknowledge).await?;
        kept
    }
}

pub(super) fn stopped() -> Error {
    Error::Unavailable("the writer has stopped".into())
}

fn unanswered() -> Error {
    Error::Unavailable("the write broke off without an answer".into())
}

async fn write_on_sqlite<T, F>(jobs: &mpsc::Sender<Box<dyn Job>>, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>, Opening) -> BoxFuture<'c, Result<T, Error>>
        + Send
        + 'static,
{
    let (job, answer) = writer::job(work);
    jobs.send(job).await.map_err(|_| stopped())?;
    answer.await.map_err(|_| unanswered())?
}

async fn read_on_postgres<T, F>(pool: &PgPool, work: F) -> Result<T, Error>
where
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>>,
{
    let mut connection = pool.acquire().await?;
    work(&mut Conn::Pg(&mut connection)).await
}

async fn write_on_postgres<T, F>(pool: &PgPool, work: F) -> Result<T, Error>
where
    F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>>,
{
    let mut transaction = pool.begin().await?;
    match work(&mut Conn::Pg(&mut transaction)).await {
        Ok(value) => {
            crash::at(Point::BeforeStored);
            transaction.commit().await?;
            crash::at(Point::AfterStored);
            Ok(value)
        }
        Err(error) => {
            // The first error is the one to tell; a failed rollback ends with the connection.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// Gives up on a Postgres that took a query and never answers, e.g. behind a dead link.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Unavailable(format!("no answer within {} s", ANSWER_MAX.as_secs()));
    tokio::time::timeout(ANSWER_MAX, work).await.map_err(late)?
}

async fn open_folder(folder: &Path, tasks: &Tasks) -> Result<Store, Error> {
    let lock = lock(folder)?;
    let file = folder.join("watchkeeper.db");
    if !file.exists() {
        // The log and the shared memory beside it get the same permissions from SQLite.
        files::make_private(&file)?;
    }
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL loses the last commits at a power failure; an acknowledged alert must not be one.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("wal_autocheckpoint", LOG_PAGES)
        .statement_cache_capacity(200);
    let single = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    // Takes effect in a file that is made here: the space of what ages out can be given back.
    let making = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
    let write = single.connect_with(making).await.map_err(|error| {
        opening::of_file(&error, format!("cannot open {}: {error}", file.display()))
    })?;
    let mut connection = write.acquire().await?.detach();
    let mut conn = Conn::Lite(&mut connection);
    schema::bring_up_to_date(&mut conn, &file.display().to_string()).await?;
    // The lock on the folder proves that whoever held these is gone.
    orphans::free(&mut conn).await?;
    let read = Readers::new(options.read_only(true).create_if_missing(false), READERS);
    Ok(start_writer(connection, read, Some(lock), tasks))
}

fn start_writer(
    connection: SqliteConnection,
    read: Readers,
    lock: Option<File>,
    tasks: &Tasks,
) -> Store {
    let (acks, ack_queue) = mpsc::channel(QUEUE_MAX);
    let (jobs, job_queue) = mpsc::channel(QUEUE_MAX);
    let queues = Queues { acks: ack_queue, jobs: job_queue };
    tasks.spawn(writer::run(connection, queues, tasks.stopping()));
    Store::over(Engine::Lite { acks, jobs, read: Box::new(read), _lock: lock })
}

pub(super) fn read_folder(folder: &Path) -> Store {
    // Without a log beside it the file is complete, and can be read without making one.
    let complete = !folder.join("watchkeeper.db-wal").exists();
    let options = SqliteConnectOptions::new()
        .filename(folder.join("watchkeeper.db"))
        .read_only(true)
        .immutable(complete)
        .busy_timeout(Duration::from_secs(5));
    let read = Readers::new(options, 1);
    // Nobody listens at the other ends, so a write is told that the writer has stopped.
    let ((acks, _), (jobs, _)) = (mpsc::channel(1), mpsc::channel(1));
    Store::over(Engine::Lite { acks, jobs, read: Box::new(read), _lock: None })
}

pub(super) async fn read_postgres(url: &SecretString) -> Result<Store, Error> {
    let (options, place) = address(url)?;
    opening::connect(&options, &place).await?.close().await?;
    let options = options.options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_with(options)
        .await?;
    let (acks, _) = mpsc::channel(1);
    Ok(Store::over(Engine::Pg { acks, pool }))
}

/// Takes the folder for this process. The kernel gives the lock back when the process ends,
/// however it ends.
pub(super) fn lock(folder: &Path) -> Result<File, Error> {
    let cannot = |error: std::io::Error| {
        let said = format!("cannot use the data folder {}: {error}", folder.display());
        opening::of_folder(&error, said)
    };
    files::make_private_folder(folder).map_err(cannot)?;
    let path = folder.join("watchkeeper.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Conflict(format!(
            "another process uses the data folder {}; stop it, choose another data_dir, or use \
             Postgres (DATABASE_URL) to run several replicas",
            folder.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(cannot(error)),
    }
}

async fn open_postgres(
    url: &SecretString,
    connections_max: u32,
    tasks: &Tasks,
) -> Result<Store, Error> {
    let (options, place) = address(url)?;
    // Replicas wait here for the first one, without the limits of a session.
    let mut connection = opening::connect(&options, &place).await?;
    let pool = PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(5))
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
        })
        .connect_with(options.clone())
        .await?;
    refuse_unsafe_postgres(&pool).await?;
    schema::bring_up_to_date(&mut Conn::Pg(&mut connection), &place).await?;
    connection.close().await?;
    let (acks, queue) = mpsc::channel(QUEUE_MAX);
    tasks.spawn(deliveries::batch_on_postgres(pool.clone(), queue, tasks.stopping()));
    Ok(Store::over(Engine::Pg { acks, pool }))
}

pub(super) async fn refuse_unsafe_postgres(pool: &PgPool) -> Result<(), Error> {
    for setting in ["fsync", "synchronous_commit"] {
        let (value,): (String,) =
            sqlx::query_as("select current_setting($1)").bind(setting).fetch_one(pool).await?;
        if value == "off" {
            return Err(Error::Conflict(format!(
                "Postgres runs with {setting} = off, so that an acknowledged alert could be lost; \
                 set it to on"
            )));
        }
    }
    Ok(())
}
