//! Claims incidents that are due and takes their steps, a bounded number at once.
//!
//! In: the store's due incidents, the more severe first. Out: steps. Leases are renewed for the
//! whole process with one statement; a process that cannot renew drops what it was doing, since
//! its commits would be fenced off anyway.

use super::Desk;
use super::advance::{Next, advance};
use crate::crash::{self, Point};
use crate::store::Error;
use crate::store::incidents::Lease;
use crate::tasks::Tasks;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Unique among all processes on one database.
    pub owner: String,
    pub investigations_max: usize,
    pub lease_ms: i64,
    /// Hints wake the worker at once; this is for incidents that fall due by themselves or were
    /// told something by another replica.
    pub poll: Duration,
}

/// A failing incident is left alone this long, so that it does not starve the others.
const RETRY_MS: u64 = 1_000;

/// Runs until told to stop.
pub async fn run(desk: Arc<Desk>, setup: Setup, due: Arc<Notify>, tasks: Tasks) {
    let stop = tasks.stopping();
    let slots = Arc::new(Semaphore::new(setup.investigations_max));
    let (alive, _) = watch::channel(0_u64);
    let alive = Arc::new(alive);
    tasks.spawn(renew(Arc::clone(&desk), setup.clone(), Arc::clone(&alive), tasks.stopping()));
    loop {
        let free = i64::try_from(slots.available_permits()).unwrap_or(i64::MAX);
        let now_ms = desk.clock.now_ms();
        match desk.store.claim(&setup.owner, free, now_ms, setup.lease_ms).await {
            Ok(leases) if !leases.is_empty() => {
                for lease in leases {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    let (desk, due, tasks2) = (Arc::clone(&desk), Arc::clone(&due), tasks.clone());
                    let lost = alive.subscribe();
                    tasks.spawn(async move {
                        work(&desk, lease, &tasks2, lost).await;
                        drop(slot);
                        due.notify_one();
                    });
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot claim incidents"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.notified() => {}
            () = tokio::time::sleep(setup.poll) => {}
        }
    }
}

/// Takes steps of one incident until it rests, then gives the lease back.
async fn work(desk: &Desk, lease: Lease, tasks: &Tasks, mut lost: watch::Receiver<u64>) {
    let stop = tasks.stopping();
    lost.mark_unchanged();
    loop {
        let step = tokio::select! {
            step = Box::pin(advance(desk, &lease)) => step,
            _ = lost.changed() => {
                tracing::warn!(incident.id = %lease.incident_id, "lease lost, the step is dropped");
                return;
            }
        };
        if step.is_ok() {
            crash::at(Point::AfterStep);
        }
        match step {
            Ok(Next::Again) if stop.is_cancelled() => break,
            Ok(Next::Again) => metrics::counter!("watchkeeper_steps_total").increment(1),
            Ok(Next::At(_) | Next::WhenTold) => break,
            Err(Error::Fenced) => {
                tracing::warn!(incident.id = %lease.incident_id, "another worker has the incident");
                return;
            }
            Err(error) => {
                metrics::counter!("watchkeeper_step_failures_total").increment(1);
                tracing::error!(incident.id = %lease.incident_id, %error, "a step failed");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(RETRY_MS)) => {}
                }
                break;
            }
        }
    }
    if let Err(error) = desk.store.release(lease).await {
        tracing::warn!(%error, "cannot give a lease back; it will run out");
    }
}

/// Renews every third of the lease. A failed renewal makes every step in flight stop: by the time
/// somebody else may claim, nothing of ours runs.
async fn renew(
    desk: Arc<Desk>,
    setup: Setup,
    alive: Arc<watch::Sender<u64>>,
    stop: tokio_util::sync::CancellationToken,
) {
    let every = Duration::from_millis((setup.lease_ms / 3).unsigned_abs().max(1));
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let renewal = desk.store.renew_leases(&setup.owner, desk.clock.now_ms(), setup.lease_ms);
        match tokio::time::timeout(every, renewal).await {
            Ok(Ok(_)) => failures = 0,
            Ok(Err(_)) | Err(_) => {
                failures += 1;
                tracing::error!(failures, "cannot renew the leases");
                if failures == 2 {
                    alive.send_modify(|lost| *lost += 1);
                }
            }
        }
    }
}
