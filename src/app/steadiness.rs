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
/// Leaps that are kept while the database is away; a clock that leaps more often is told in the log.
const UNWRITTEN_MAX: usize = 100;

/// Watches until told to stop.
pub(super) async fn watch(store: Store, clock: Clock, stop: CancellationToken) {
    let mut watch = Watch::new(store, clock, Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        watch.look(Instant::now()).await;
    }
}

struct Watch {
    store: Store,
    clock: Clock,
    steadiness: Steadiness,
    /// Leaps that the database did not take yet.
    unwritten: Vec<(i64, SystemEntry)>,
}

impl Watch {
    fn new(store: Store, clock: Clock, now: Instant) -> Self {
        let steadiness = Steadiness::new(now, clock.now_ms());
        Self { store, clock, steadiness, unwritten: Vec::new() }
    }

    async fn look(&mut self, now: Instant) {
        let now_ms = self.clock.now_ms();
        if let Some(by_ms) = self.steadiness.look(now, now_ms) {
            self.clock.leaps(by_ms, now);
            tracing::error!(by_ms, "the clock leapt; changes ask a person for the next minutes");
            metrics::counter!("watchkeeper_clock_leaps_total").increment(1);
            if self.unwritten.len() < UNWRITTEN_MAX {
                let entry = SystemEntry::ClockLeapt { process: process(), by_ms };
                self.unwritten.push((now_ms, entry));
            }
        }
        while let Some((at_ms, entry)) = self.unwritten.first().cloned() {
            if let Err(error) = self.store.record_system(at_ms, entry).await {
                tracing::error!(%error, "cannot write down that the clock leapt");
                return;
            }
            self.unwritten.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Error;
    use crate::store::tap::{Access, Tap};
    use crate::tasks::Tasks;
    use futures::future::BoxFuture;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const HOUR_MS: i64 = 3_600_000;

    /// A database that is away while this says so.
    #[derive(Default)]
    struct Away(AtomicBool);

    impl Tap for Away {
        fn before(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
            let away = self.0.load(Ordering::SeqCst);
            let told = if away { Err(Error::Unavailable("away".into())) } else { Ok(()) };
            Box::pin(async { told })
        }

        fn after(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }
    }

    async fn written(store: &Store) -> Vec<i64> {
        let entries = store.system_timeline(0, 100).await.unwrap();
        let by = entries.into_iter().map(|one| {
            let SystemEntry::ClockLeapt { by_ms, .. } = one.entry else { panic!("{one:?}") };
            by_ms
        });
        let mut by: Vec<i64> = by.collect();
        by.sort_unstable();
        by
    }

    #[tokio::test]
    async fn a_leap_is_known_to_the_gate_at_once_and_written_down_once() {
        let store = Store::open_in_memory(&Tasks::default()).await.unwrap();
        let (clock, start) = (Clock::set_at(1_000_000_000), Instant::now());
        let mut watch = Watch::new(store.clone(), clock.clone(), start);
        clock.advance(5_000);
        let at = start + EVERY;
        watch.look(at).await;
        assert_eq!((clock.leapt_lately(at), written(&store).await), (None, vec![]));

        clock.advance(5_000 - HOUR_MS);
        let at = at + EVERY;
        watch.look(at).await;
        assert_eq!(
            (clock.leapt_lately(at), written(&store).await),
            (Some(-HOUR_MS), vec![-HOUR_MS])
        );
        clock.advance(5_000);
        watch.look(at + EVERY).await;
        assert_eq!(written(&store).await, [-HOUR_MS], "no second time");
    }

    /// The gate does not wait for the database, and the database hears of every leap in the end.
    #[tokio::test]
    async fn leaps_while_the_database_is_away_are_written_down_later() {
        let store = Store::open_in_memory(&Tasks::default()).await.unwrap();
        let away = Arc::new(Away::default());
        let (clock, mut at) = (Clock::set_at(1_000_000_000), Instant::now());
        let mut watch = Watch::new(store.tapped(away.clone()), clock.clone(), at);
        away.0.store(true, Ordering::SeqCst);
        for by_ms in [HOUR_MS, 2 * HOUR_MS] {
            clock.advance(5_000 + by_ms);
            at += EVERY;
            watch.look(at).await;
            assert_eq!(clock.leapt_lately(at), Some(by_ms));
        }
        assert_eq!(written(&store).await, Vec::<i64>::new());
        away.0.store(false, Ordering::SeqCst);
        clock.advance(5_000);
        watch.look(at + EVERY).await;
        assert_eq!(written(&store).await, [HOUR_MS, 2 * HOUR_MS]);
    }
}
