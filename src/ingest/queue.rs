//! The intake's loop: waiting deliveries, oldest first, into incidents, many alerts a transaction.

use super::isolate::Failing;
use super::reconcile::Watchdog;
use super::{Malformed, Parsed, reader_of};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::incident::intake::{self, Arrival, Correlator};
use crate::model::alert::{Alert, Status};
use crate::model::ids::DeliveryId;
use crate::store::db::Conn;
use crate::store::deliveries::{self, Row};
use crate::store::{Error, Store, pipeline};
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Deliveries that are read at once.
const BATCH: i64 = 64;
/// Alerts taken in one transaction: enough to keep up with a storm, few enough that
/// acknowledgements do not wait long behind it. A delivery is never divided.
const ALERTS: usize = 64;
/// How long a failing store is left alone.
const RETRY_MS: u64 = 500;

/// Everything the intake needs.
#[derive(Clone)]
pub struct Intake {
    pub store: Store,
    pub clock: Clock,
    pub correlator: Arc<Correlator>,
    /// Fires when a delivery was stored.
    pub arrived: Arc<Notify>,
    /// Fired when an incident has something to do.
    pub due: Arc<Notify>,
    /// Fired when a sender left alerts out.
    pub missed: Arc<Notify>,
    pub watchdog: Watchdog,
    /// How long to sleep when nobody calls: deliveries of other replicas wait that long.
    pub poll: Duration,
    /// What could not be taken in so far.
    pub failing: Failing,
}

/// Takes in deliveries until told to stop.
pub async fn run(intake: Intake, stop: CancellationToken) {
    // An alert looks at how it grows, which a series that begins with the first one cannot show.
    super::counter(super::SET_ASIDE).increment(0);
    loop {
        match intake.take_batch().await {
            Ok(0) => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = intake.arrived.notified() => {}
                    () = tokio::time::sleep(intake.poll) => {}
                }
            }
            Ok(_) => intake.due.notify_one(),
            Err(error) => {
                tracing::error!(%error, "cannot take in deliveries");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(RETRY_MS)) => {}
                }
            }
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

impl Intake {
    /// Takes in what waits, at most one batch. Returns how many deliveries.
    pub async fn take_batch(&self) -> Result<usize, Error> {
        let mut taken = 0;
        let mut rows = self.store.waiting_deliveries(BATCH).await?.into_iter().peekable();
        while let Some(row) = rows.next() {
            // Read outside the transaction, which holds up everybody else's writes.
            let mut part = Part { scope: row.scope.clone(), read: vec![read(&row)] };
            while part.alerts() < ALERTS
                && let Some(row) = rows.next_if(|next| next.scope == part.scope)
            {
                part.read.push(read(&row));
            }
            taken += match self.take(part.clone()).await {
                Ok(taken) => taken,
                Err(error) => self.isolate(part, error).await?,
            };
        }
        Ok(taken)
    }

    pub(super) async fn take(&self, part: Part) -> Result<usize, Error> {
        let (now_ms, correlator) = (self.clock.now_ms(), Arc::clone(&self.correlator));
        let truncated = part.truncated();
        let watchdog = self.watchdog.clone();
        let taken = self
            .store
            .write(move |conn| {
                Box::pin(async move { take(conn, &correlator, &watchdog, part, now_ms).await })
            })
            .await?;
        if truncated > 0 {
            tracing::warn!(truncated, "a sender left {truncated} alerts out of its deliveries");
            metrics::counter!("watchkeeper_truncated_alerts_total").increment(truncated);
            self.missed.notify_one();
        }
        crash::at(Point::AfterIntake);
        Ok(taken)
    }
}

/// Deliveries of one scope that share a transaction.
#[derive(Clone)]
pub(super) struct Part {
    pub scope: String,
    pub read: Vec<Arc<Read>>,
}

/// A stored delivery, and what could be read of it.
pub(super) struct Read {
    pub id: DeliveryId,
    pub parsed: Result<Parsed, Malformed>,
}

impl Part {
    fn alerts(&self) -> usize {
        self.read.iter().filter_map(|read| read.parsed.as_ref().ok()).map(|p| p.alerts.len()).sum()
    }

    /// The second half and the first one; of a single delivery, itself.
    pub(super) fn halves(mut self) -> Vec<Self> {
        if self.read.len() < 2 {
            return vec![self];
        }
        let second = self.read.split_off(self.read.len() / 2);
        vec![Self { scope: self.scope.clone(), read: second }, self]
    }

    /// Alerts that the senders left out.
    fn truncated(&self) -> u64 {
        self.read.iter().filter_map(|read| read.parsed.as_ref().ok()).map(|p| p.truncated).sum()
    }
}

async fn take(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    watchdog: &Watchdog,
    part: Part,
    now_ms: i64,
) -> Result<usize, Error> {
    let ids: Vec<DeliveryId> = part.read.iter().map(|read| read.id).collect();
    let ours = deliveries::take(conn, &ids, now_ms).await?;
    let mut taken = Vec::new();
    for read in part.read.iter().filter(|read| ours.contains(&read.id)) {
        match &read.parsed {
            Ok(parsed) => {
                taken.extend(arrivals(watchdog, parsed, &parsed.alerts));
                beat(conn, watchdog, &part.scope, parsed, now_ms).await?;
            }
            Err(malformed) => {
                let id = read.id;
                tracing::error!(delivery.id = %id, %malformed, "a stored delivery is unreadable");
                deliveries::mark_malformed(conn, id, &malformed.to_string()).await?;
            }
        }
    }
    take_alerts(conn, correlator, &part.scope, &taken, now_ms).await?;
    crash::at(Point::BeforeIntake);
    Ok(ours.len())
}

/// Those of some alerts of a delivery that are taken in: the pulse of the pipeline opens nothing.
pub(super) fn arrivals<'a>(
    watchdog: &Watchdog,
    parsed: &'a Parsed,
    alerts: &'a [Alert],
) -> impl Iterator<Item = Arrival<'a>> {
    let (group_key, heard) = (parsed.group_key.as_deref(), parsed.heard);
    alerts
        .iter()
        .filter(|alert| !watchdog.matcher.matches(&alert.labels))
        .map(move |alert| Arrival { alert, group_key, heard })
}

/// Counts the beats of the alert that always fires in a delivery; with the row of the delivery, so that
/// each counts once.
pub(super) async fn beat(
    conn: &mut Conn<'_>,
    watchdog: &Watchdog,
    scope: &str,
    parsed: &Parsed,
    now_ms: i64,
) -> Result<(), Error> {
    for alert in &parsed.alerts {
        if alert.status == Status::Firing && watchdog.matcher.matches(&alert.labels) {
            let deadline_ms = watchdog.absent_after_ms;
            pipeline::beat(conn, scope, &alert.source, now_ms, deadline_ms).await?;
        }
    }
    Ok(())
}

/// Takes in alerts; a panic over one of them is an error like any other.
pub(super) async fn take_alerts(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    scope: &str,
    arrivals: &[Arrival<'_>],
    now_ms: i64,
) -> Result<(), Error> {
    let taking = intake::take_all(conn, correlator, scope, arrivals, now_ms);
    let taken = AssertUnwindSafe(taking).catch_unwind().await;
    taken.unwrap_or_else(|_| Err(Error::Corrupt("the intake panicked over it".into())))
}

fn read(row: &Row) -> Arc<Read> {
    let parsed = reader_of(&row.source).parse(&row.source, row.body.as_bytes());
    Arc::new(Read { id: row.id, parsed })
}
