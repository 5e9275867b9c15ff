//! Waits for a database that is away when the process starts.
//!
//! Meanwhile the server listens and answers 503, so that senders try again and whoever watches the
//! process sees why. Never: patience with what only a person can mend.

use super::Away;
use crate::store::db::Location;
use crate::store::{Error, Store};
use crate::tasks::Tasks;
use std::time::Duration;

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens the store.
///
/// # Errors
/// The store's; with [`Away::Wait`] only those that do not pass.
pub(super) async fn open(
    given: Option<Store>,
    location: &Location,
    tasks: &Tasks,
    away: Away,
) -> Result<Store, Error> {
    match given {
        Some(store) => Ok(store),
        None => {
            patiently(away, "open the database", async || Store::open(location, tasks).await).await
        }
    }
}

/// Does it again until it works or cannot work.
pub(super) async fn patiently<T>(
    away: Away,
    what: &str,
    mut work: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match (work().await, away) {
            (Err(Error::Unavailable(why)), Away::Wait) => {
                tracing::error!(%why, "cannot {what} yet, trying again: {why}");
                tokio::time::sleep(AGAIN).await;
            }
            (done, _) => return done,
        }
    }
}
