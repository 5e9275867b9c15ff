//! A fresh database on each engine for one test.
//!
//! In: a test that takes a [`Ground`]. Out: the test has run on SQLite in a folder of its own and
//! on Postgres in a database of its own, and both are gone again, also when it failed.
//! Never: a Postgres half that is skipped in silence.

use futures::FutureExt;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use watchkeeper::store::Store;
use watchkeeper::store::db::Location;
use watchkeeper::tasks::Tasks;

/// Connections of one store; several stores of one test stay below a small server's limit.
const CONNECTIONS_MAX: u32 = 8;

/// One empty database and the ways to reach it.
pub struct Ground {
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Postgres { options: Box<PgConnectOptions>, url: String },
}

/// An open store and the tasks behind it.
pub struct Opened {
    pub store: Store,
    pub tasks: Tasks,
}

impl Opened {
    /// Stops the tasks of the store and lets go of it.
    pub async fn close(self) {
        assert_eq!(self.tasks.shut_down(Duration::from_secs(20)).await, 0);
    }
}

impl Ground {
    pub fn engine(&self) -> &'static str {
        match self.place {
            Place::Folder(_) => "sqlite",
            Place::Postgres { .. } => "postgres",
        }
    }

    pub fn location(&self) -> Location {
        match &self.place {
            Place::Folder(folder) => Location::Folder(folder.clone()),
            Place::Postgres { url, .. } => Location::Postgres {
                url: SecretString::from(url.clone()),
                connections_max: CONNECTIONS_MAX,
            },
        }
    }

    pub async fn open(&self) -> Opened {
        let tasks = Tasks::default();
        let store = Store::open(&self.location(), &tasks).await.unwrap();
        Opened { store, tasks }
    }

    /// The store alone, for tests that do not stop it.
    pub async fn store(&self) -> Store {
        self.open().await.store
    }

    /// A store that only reads, beside the process that owns the database.
    pub async fn store_beside(&self) -> Store {
        Store::open_read_only(&self.location()).await.unwrap()
    }

    /// Runs SQL behind the store's back; returns the rows with every column as text.
    pub async fn sql(&self, sql: impl Into<String>) -> Vec<Vec<String>> {
        let sql = AssertSqlSafe(sql.into());
        match &self.place {
            Place::Folder(folder) => {
                let options = SqliteConnectOptions::new()
                    .filename(folder.join("watchkeeper.db"))
                    .busy_timeout(Duration::from_secs(10));
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                let text = |row: &sqlx::sqlite::SqliteRow, i| {
                    row.try_get_unchecked::<Option<String>, _>(i).unwrap().unwrap_or_default()
                };
                rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect()).collect()
            }
            Place::Postgres { .. } => {
                let mut connection = self.postgres().await;
                let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.unwrap();
                let text = |row: &sqlx::postgres::PgRow, i| {
                    row.try_get_unchecked::<Option<String>, _>(i).unwrap().unwrap_or_default()
                };
                rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect()).collect()
            }
        }
    }

    /// A connection of one's own to the Postgres database.
    pub async fn postgres(&self) -> PgConnection {
        let Place::Postgres { options, .. } = &self.place else { panic!("not Postgres") };
        PgConnection::connect_with(options).await.unwrap()
    }

    pub fn folder(&self) -> PathBuf {
        let Place::Folder(folder) = &self.place else { panic!("not SQLite") };
        folder.clone()
    }
}

/// Runs a test on both engines.
pub async fn for_each_engine<F, Fut>(test: F)
where
    F: Fn(Arc<Ground>) -> Fut,
    Fut: Future<Output = ()>,
{
    on_sqlite(&test).await;
    on_postgres(&test).await;
}

/// Runs a test in a folder of its own.
pub async fn on_sqlite<F, Fut>(test: F)
where
    F: Fn(Arc<Ground>) -> Fut,
    Fut: Future<Output = ()>,
{
    let folder = std::env::temp_dir().join(format!("watchkeeper-test-{}", Uuid::now_v7()));
    let ground = Arc::new(Ground { place: Place::Folder(folder.clone()) });
    let ended = AssertUnwindSafe(Box::pin(test(ground))).catch_unwind().await;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    if let Err(panic) = ended {
        eprintln!("the test failed on sqlite");
        resume_unwind(panic);
    }
}

/// Runs a test in a Postgres database of its own.
pub async fn on_postgres<F, Fut>(test: F)
where
    F: Fn(Arc<Ground>) -> Fut,
    Fut: Future<Output = ()>,
{
    let Some(server) = server() else { return };
    let options = PgConnectOptions::from_str(&server).unwrap();
    let name = format!("watchkeeper_test_{}", Uuid::now_v7().simple());
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut admin)
        .await
        .unwrap();
    let place = Place::Postgres {
        url: in_database(&server, &name),
        options: Box::new(options.database(&name)),
    };
    let ended = AssertUnwindSafe(Box::pin(test(Arc::new(Ground { place })))).catch_unwind().await;
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)")))
        .execute(&mut admin)
        .await
        .unwrap();
    if let Err(panic) = ended {
        eprintln!("the test failed on postgres");
        resume_unwind(panic);
    }
}

/// The server to make databases on.
fn server() -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "the test ground is set by the environment")]
    let read = |name: &str| std::env::var(name).ok();
    if let Some(url) = read("WATCHKEEPER_TEST_POSTGRES_URL") {
        return Some(url);
    }
    assert_eq!(
        read("WATCHKEEPER_TEST_SQLITE_ONLY").as_deref(),
        Some("1"),
        "WATCHKEEPER_TEST_POSTGRES_URL is not set: run `make test`, which starts a Postgres, or \
         set WATCHKEEPER_TEST_SQLITE_ONLY=1 to leave Postgres out"
    );
    None
}

/// The same address with another database.
fn in_database(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, None), |(b, q)| (b, Some(q)));
    let scheme_end = base.find("://").unwrap() + 3;
    let path = base[scheme_end..].find('/').map_or(base.len(), |at| scheme_end + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &base[..path])
}
