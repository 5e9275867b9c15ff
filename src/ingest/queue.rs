//! The intake's loop: waiting deliveries, oldest first, into incidents, many alerts a transaction.

use super::{Malformed, Parsed, reader_of};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::incident::intake::{self, Arrival, Correlator};
use crate::model::ids::DeliveryId;
use crate::store::db::Conn;
use crate::store::deliveries::{self, Row};
use crate::store::{Error, Store};
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
    /// How long to sleep when nobody calls: deliveries of other replicas wait that long.
    pub poll: Duration,
}

/// Takes in deliveries until told to stop.
pub async fn run(intake: Intake, stop: CancellationToken) {
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
            taken += self.take(part).await?;
        }
        Ok(taken)
    }

    async fn take(&self, part: Part) -> Result<usize, Error> {
        let (now_ms, correlator) = (self.clock.now_ms(), Arc::clone(&self.correlator));
        let taken = self
            .store
            .write(move |conn| Box::pin(async move { take(conn, &correlator, part, now_ms).await }))
            .await?;
        crash::at(Point::AfterIntake);
        Ok(taken)
    }
}

/// Deliveries of one scope that share a transaction.
struct Part {
    scope: String,
    read: Vec<(DeliveryId, Result<Parsed, Malformed>)>,
}

impl Part {
    fn alerts(&self) -> usize {
        self.read.iter().filter_map(|(_, read)| read.as_ref().ok()).map(|p| p.alerts.len()).sum()
    }
}

async fn take(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    part: Part,
    now_ms: i64,
) -> Result<usize, Error> {
    let ids: Vec<DeliveryId> = part.read.iter().map(|(id, _)| *id).collect();
    let ours = deliveries::take(conn, &ids, now_ms).await?;
    let mut arrivals = Vec::new();
    for (id, read) in part.read.iter().filter(|(id, _)| ours.contains(id)) {
        match read {
            Ok(parsed) => {
                let group_key = parsed.group_key.as_deref();
                arrivals.extend(parsed.alerts.iter().map(|alert| Arrival { alert, group_key }));
            }
            Err(malformed) => {
                tracing::error!(delivery.id = %id, %malformed, "a stored delivery is unreadable");
                deliveries::mark_malformed(conn, *id, &malformed.to_string()).await?;
            }
        }
    }
    intake::take_all(conn, correlator, &part.scope, &arrivals, now_ms).await?;
    crash::at(Point::BeforeIntake);
    Ok(ours.len())
}

fn read(row: &Row) -> (DeliveryId, Result<Parsed, Malformed>) {
    (row.id, reader_of(&row.source).parse(&row.source, row.body.as_bytes()))
}
