//! Claims incidents that are due and takes their steps, a bounded number at once.
//!
//! In: the store's due incidents, the more severe first. Out: steps. Leases are renewed for the
//! whole process with one statement; a process that cannot renew drops what it was doing, since
//! its commits would be fenced off anyway.

use super::advance::{Next, advance};
use super::claims::Claims;
use super::desks::Desks;
use super::{Desk, announce};
use crate::crash::{self, Point};
use crate::model::ids::IncidentId;
use crate::store::Error;
use crate::store::incidents::Lease;
use crate::store::step::Announcement;
use crate::tasks::Tasks;
use futures::FutureExt as _;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

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
const RETRY_MS: i64 = 2_000;
/// After so many failures in a row people are told.
const REPORT_AFTER: u32 = 10;

/// The steps of one process.
pub struct Worker {
    desks: Arc<Desks>,
    setup: Setup,
    /// Changes when the leases are taken for lost.
    lost: watch::Sender<u64>,
    /// Leases that could not be given back. They run out, but on SQLite nobody takes one from
    /// himself, so that without this nobody would ever claim their incidents again.
    abandoned: Mutex<Vec<Lease>>,
    /// Failures in a row, by incident.
    failures: Mutex<HashMap<IncidentId, u32>>,
    /// Renewals that failed in a row.
    failed_renewals: AtomicU32,
    claims: Claims,
}

/// A panic elsewhere leaves each of them whole, as every change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until told to stop.
pub async fn run(desks: Arc<Desks>, setup: Setup, due: Arc<Notify>, tasks: Tasks) {
    let stop = tasks.stopping();
    let slots = Arc::new(Semaphore::new(setup.investigations_max));
    let worker = Arc::new(Worker::new(desks, setup));
    tasks.spawn(renew(Arc::clone(&worker), tasks.stopping()));
    loop {
        let free = i64::try_from(slots.available_permits()).unwrap_or(i64::MAX);
        match worker.claim(free).await {
            Ok(leases) if !leases.is_empty() => {
                for lease in leases {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    let (worker, due, stop) =
                        (Arc::clone(&worker), Arc::clone(&due), tasks.stopping());
                    tasks.spawn(async move {
                        worker.work(lease, &stop).await;
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
            () = tokio::time::sleep(worker.setup.poll) => {}
        }
    }
}

impl Worker {
    pub fn new(desks: Arc<Desks>, setup: Setup) -> Self {
        let (lost, _) = watch::channel(0);
        Self {
            desks,
            setup,
            lost,
            abandoned: Mutex::default(),
            failures: Mutex::default(),
            failed_renewals: AtomicU32::new(0),
            claims: Claims::default(),
        }
    }

    /// Claims what is due, at most so many.
    ///
    /// # Errors
    /// The store's; nothing is claimed, or what is claimed runs out.
    pub async fn claim(&self, at_most: i64) -> Result<Vec<Lease>, Error> {
        let leases = self.claims.next(&self.desks.current(), &self.setup, at_most).await?;
        if !leases.is_empty() {
            crash::at(Point::AfterClaim);
        }
        Ok(leases)
    }

    /// Takes steps of one incident until it rests, then gives the lease back.
    pub async fn work(&self, lease: Lease, stop: &CancellationToken) {
        self.take_steps(lease.clone(), stop).await;
        self.claims.done(&lease);
    }

    async fn take_steps(&self, lease: Lease, stop: &CancellationToken) {
        let mut lost = self.lost.subscribe();
        // A step that fails leaves none, so that the next one begins with what is stored.
        let mut known = None;
        let given_back = loop {
            // Each step begins with the policy in force and ends with the same.
            let desk = &self.desks.current();
            let step = Box::pin(advance(desk, &lease, known.take()));
            let step = tokio::select! {
                // First: the commits of a step whose lease is lost would be fenced off anyway.
                biased;
                Ok(()) = lost.changed() => {
                    let id = lease.incident_id;
                    tracing::warn!(incident.id = %id, "lease lost, the step is dropped");
                    self.abandon(lease);
                    return;
                }
                step = AssertUnwindSafe(step).catch_unwind() => step,
            };
            // The panic itself is logged where it happens.
            let step = step.unwrap_or_else(|_| Err(Error::Corrupt("a step panicked".into())));
            let step = step.map(|(next, left)| {
                known = Some(left);
                next
            });
            if step.is_ok() {
                self.went_well(lease.incident_id);
                crash::at(Point::AfterStep);
            }
            match step {
                Ok(Next::Again) if !stop.is_cancelled() => {
                    metrics::counter!("watchkeeper_steps_total").increment(1);
                }
                // What rests under an older policy has to be looked at under the one in force.
                Ok(Next::At(_) | Next::WhenTold) if desk.is_retired() && !stop.is_cancelled() => {}
                Ok(Next::Again | Next::At(_) | Next::WhenTold) => {
                    break desk.store.release(lease.clone()).await;
                }
                Err(Error::Fenced) => {
                    let id = lease.incident_id;
                    tracing::warn!(incident.id = %id, "another worker has the incident");
                    return;
                }
                Err(error) => {
                    self.failed(desk, &lease, &error).await;
                    let due_at_ms = desk.clock.now_ms() + RETRY_MS;
                    break desk.store.put_off(lease.clone(), due_at_ms).await;
                }
            }
        };
        match given_back {
            Ok(()) => crash::at(Point::AfterRelease),
            Err(error) => {
                tracing::warn!(%error, "cannot give a lease back yet");
                self.abandon(lease);
            }
        }
    }

    /// Renews every lease that somebody here works under. From the second failure in a row on its steps
    /// are dropped.
    pub async fn renew(&self) {
        let (desk, every) = (self.desks.current(), self.renew_every());
        // Within the time that is left for a renewal, whatever the database does.
        let _ = tokio::time::timeout(every / 2, self.give_back(&desk)).await;
        let Setup { owner, lease_ms, .. } = &self.setup;
        let (known, now_ms) = (self.claims.known(), desk.clock.now_ms());
        let renewal = desk.store.renew_leases(owner, known, now_ms, *lease_ms);
        match tokio::time::timeout(every, renewal).await {
            Ok(Ok(_)) => {
                crash::at(Point::AfterRenew);
                self.failed_renewals.store(0, Ordering::SeqCst);
            }
            Ok(Err(_)) | Err(_) => {
                let failures = self.failed_renewals.fetch_add(1, Ordering::SeqCst) + 1;
                tracing::error!(failures, "cannot renew the leases");
                // Each time: what was claimed since the last one is not renewed either.
                if failures >= 2 {
                    self.lost.send_modify(|lost| *lost += 1);
                }
            }
        }
    }

    fn renew_every(&self) -> Duration {
        Duration::from_millis((self.setup.lease_ms / 3).unsigned_abs().max(1))
    }

    fn abandon(&self, lease: Lease) {
        locked(&self.abandoned).push(lease);
    }

    fn went_well(&self, id: IncidentId) {
        locked(&self.failures).remove(&id);
    }

    fn count_failure(&self, id: IncidentId) -> u32 {
        let mut failures = locked(&self.failures);
        let count = failures.entry(id).or_default();
        *count += 1;
        *count
    }

    async fn give_back(&self, desk: &Desk) {
        // Each stays in the list until it is given back, since the caller may stop waiting.
        loop {
            let Some(lease) = locked(&self.abandoned).last().cloned() else { return };
            if desk.store.release(lease.clone()).await.is_err() {
                return;
            }
            locked(&self.abandoned).retain(|other| *other != lease);
        }
    }

    /// Counts a failure; people hear of an incident that does not go on.
    async fn failed(&self, desk: &Desk, lease: &Lease, error: &Error) {
        metrics::counter!("watchkeeper_step_failures_total").increment(1);
        tracing::error!(incident.id = %lease.incident_id, %error, "a step failed");
        if self.count_failure(lease.incident_id) < REPORT_AFTER {
            return;
        }
        self.went_well(lease.incident_id);
        let why = desk.redactor.text(&error.to_string()).into_owned();
        let message = announce::stuck(desk, &lease.scope, lease.incident_id, &why);
        let transition = format!("stuck:{}", lease.incident_id);
        if let Err(error) = desk.store.announce(Announcement { transition, message }).await {
            tracing::error!(%error, "cannot tell that an incident does not go on");
        }
    }
}

/// Renews every third of the lease. A failed renewal makes every step in flight stop: by the time
/// somebody else may claim, nothing of ours runs.
async fn renew(worker: Arc<Worker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(worker.renew_every()) => {}
        }
        worker.renew().await;
    }
}
