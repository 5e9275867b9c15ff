//! Watches the machine's clock: a leap is written down, and changes ask a person for a while.
//!
//! Leases do not depend on it: on Postgres they are measured by the database, and on SQLite nobody
//! else could take them. Never: a correction of the time.

use super::journal::process;
use crate::clock::{Clock, Steadiness};
use crate::model::system::SystemEntry;
use crate::store::Store;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Watches until told to stop.
pub(super) async fn watch(store: Store, clock: Clock, stop: CancellationToken) {
    let mut steadiness = Steadiness::new(Instant::now(), clock.now_ms());
    let mut unwritten = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let (now, now_ms) = (Instant::now(), clock.now_ms());
        if let Some(by_ms) = steadiness.look(now, now_ms) {
            clock.leaps(by_ms, now);
            tracing::error!(by_ms, "the clock leapt; changes ask a person for the next minutes");
            metrics::counter!("watchkeeper_clock_leaps_total").increment(1);
            unwritten = Some((now_ms, SystemEntry::ClockLeapt { process: process(), by_ms }));
        }
        if let Some((at_ms, entry)) = unwritten.take()
            && let Err(error) = store.record_system(at_ms, entry.clone()).await
        {
            tracing::error!(%error, "cannot write down that the clock leapt");
            unwritten = Some((at_ms, entry));
        }
    }
}
