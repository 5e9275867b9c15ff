//! The connections that only read SQLite.
//!
//! In: the file. Out: a connection for the time of one read, one of a few. Never: the question whether
//! a connection is alive, which a pool asks after each use; one to a file does not go stale, and
//! asking costs as much as most reads.

use super::Error;
use super::db::Conn;
use futures::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Longest wait for a connection that others read with.
const WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) struct Readers {
    options: SqliteConnectOptions,
    places: Semaphore,
    /// The one that was used last is used next: its statements are prepared.
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub fn new(options: SqliteConnectOptions, at_most: usize) -> Self {
        Self { options, places: Semaphore::new(at_most), idle: Mutex::default() }
    }

    /// Runs `work` on one of the connections. A read that is given up takes its connection along.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: for<'c, 'd> FnOnce(&'c mut Conn<'d>) -> BoxFuture<'c, Result<T, Error>>,
    {
        let busy = || Error::Unavailable("every connection that reads is busy".into());
        let place = tokio::time::timeout(WAIT_MAX, self.places.acquire()).await;
        let _place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await?,
        };
        let result = work(&mut Conn::Lite(&mut connection)).await;
        // After a fault of the disk or the file it begins with a new one.
        if !matches!(result, Err(Error::Unavailable(_))) {
            self.idle().push(connection);
        }
        result
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
