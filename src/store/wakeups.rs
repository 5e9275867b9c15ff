//! Tells the other replicas that something is due, so that they need not wait for their next look.
//!
//! In: a transaction that makes an incident due. Out: once it is committed, every process that
//! listens on the same Postgres is called. On SQLite there is nobody else. Never: a promise; a call
//! may be lost with its connection, or never pass a pooler, and polling finds the work all the same.

use super::Error;
use super::db::{Conn, Store};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CHANNEL: &str = "watchkeeper_due";
/// A server that cannot be listened to is asked again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// A link may have died without a word, so a connection that was quiet for so long is made anew.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// Calls the others when the transaction is committed. Several calls of one transaction are one.
pub(super) async fn call(conn: &mut Conn<'_>) -> Result<(), Error> {
    if let Conn::Pg(c) = conn {
        sqlx::query("select pg_notify($1, '')").bind(CHANNEL).execute(&mut **c).await?;
    }
    Ok(())
}

impl Store {
    /// Runs `heard` for every call of any replica, this one included, until told to stop. Ends at
    /// once on SQLite.
    pub async fn listen(&self, heard: impl Fn() + Send, stop: CancellationToken) {
        let Some(options) = self.postgres() else { return };
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = hear(&options, &heard) => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "cannot listen for wake-ups; polling goes on");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

/// A connection of its own, so that the others need not wait for the one that listens.
async fn hear(options: &PgConnectOptions, heard: &impl Fn()) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Something may have been missed before it listened, and while its connection was lost.
        heard();
        match tokio::time::timeout(QUIET_MAX, listener.try_recv()).await {
            Ok(answered) => drop(answered?),
            Err(_) => return Ok(()),
        }
    }
}
