//! The intake's loop: waiting deliveries, oldest first, into incidents, a batch a transaction.

use super::{Malformed, Parsed, parser_of};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::incident::intake::{self, Correlator};
use crate::store::db::Conn;
use crate::store::deliveries::{self, Row};
use crate::store::{Error, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Deliveries taken in one transaction: enough to keep up with a storm, few enough that
/// acknowledgements do not wait long behind it.
const BATCH: i64 = 64;
/// Once so many alerts were taken in, the rest of a batch is left to the next transaction: one that
/// outlasts Postgres' time limit would be begun again for ever.
const ALERTS_MAX: usize = 1_000;
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
        if self.store.delivery_backlog().await?.waiting == 0 {
            return Ok(0);
        }
        let now_ms = self.clock.now_ms();
        let correlator = Arc::clone(&self.correlator);
        let taken = self
            .store
            .write(move |conn| Box::pin(async move { take(conn, &correlator, now_ms).await }))
            .await?;
        crash::at(Point::AfterIntake);
        Ok(taken)
    }
}

async fn take(conn: &mut Conn<'_>, correlator: &Correlator, now_ms: i64) -> Result<usize, Error> {
    let rows = deliveries::waiting(conn, BATCH).await?;
    let (mut taken, mut alerts) = (0, 0);
    for row in &rows {
        if alerts >= ALERTS_MAX {
            break;
        }
        taken += 1;
        match parse(row) {
            Ok(parsed) => {
                alerts += parsed.alerts.len();
                for alert in &parsed.alerts {
                    let group_key = parsed.group_key.as_deref();
                    intake::take_alert(conn, correlator, &row.scope, alert, group_key, now_ms)
                        .await?;
                }
                deliveries::mark_taken(conn, row.id, now_ms).await?;
            }
            Err(malformed) => {
                tracing::error!(delivery.id = %row.id, %malformed, "a stored delivery is unreadable");
                deliveries::mark_malformed(conn, row.id, &malformed.to_string()).await?;
            }
        }
    }
    crash::at(Point::BeforeIntake);
    Ok(taken)
}

fn parse(row: &Row) -> Result<Parsed, Malformed> {
    parser_of(&row.source)(&row.source, row.body.as_bytes())
}
