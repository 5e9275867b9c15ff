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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
const RETRY_MS: i64 = 2_000;
/// After so many failures in a row people are told.
const REPORT_AFTER: u32 = 10;

/// What the steps of one process share.
#[derive(Default)]
struct Crew {
    /// Leases that could not be given back. They are renewed with all others, so that without
    /// this nobody would ever claim their incidents again.
    abandoned: Mutex<Vec<Lease>>,
    /// Failures in a row, by incident.
    failures: Mutex<HashMap<IncidentId, u32>>,
    claims: Claims,
}

impl Crew {
    fn abandon(&self, lease: Lease) {
        locked(&self.abandoned).push(lease);
    }

    fn went_well(&self, id: IncidentId) {
        locked(&self.failures).remove(&id);
    }

    fn failed(&self, id: IncidentId) -> u32 {
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
}

/// A panic elsewhere leaves each of them whole, as every change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until told to stop.
pub async fn run(desks: Arc<Desks>, setup: Setup, due: Arc<Notify>, tasks: Tasks) {
    let stop = tasks.stopping();
    let slots = Arc::new(Semaphore::new(setup.investigations_max));
    let (alive, _) = watch::channel(0_u64);
    let alive = Arc::new(alive);
    let crew = Arc::new(Crew::default());
    tasks.spawn(renew(
        desks.current(),
        setup.clone(),
        Arc::clone(&crew),
        Arc::clone(&alive),
        tasks.stopping(),
    ));
    loop {
        let desk = desks.current();
        let free = i64::try_from(slots.available_permits()).unwrap_or(i64::MAX);
        match crew.claims.next(&desk, &setup, free).await {
            Ok(leases) if !leases.is_empty() => {
                for lease in leases {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    let (desks, due, tasks2) =
                        (Arc::clone(&desks), Arc::clone(&due), tasks.clone());
                    let (crew, lost) = (Arc::clone(&crew), alive.subscribe());
                    tasks.spawn(async move {
                        work(&desks, &crew, lease.clone(), &tasks2, lost).await;
                        crew.claims.done(&lease);
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
async fn work(
    desks: &Desks,
    crew: &Crew,
    lease: Lease,
    tasks: &Tasks,
    mut lost: watch::Receiver<u64>,
) {
    let stop = tasks.stopping();
    lost.mark_unchanged();
    // A step that fails leaves none, so that the next one begins with what is stored.
    let mut known = None;
    let given_back = loop {
        // Each step begins with the policy in force and ends with the same.
        let desk = &desks.current();
        let step = Box::pin(advance(desk, &lease, known.take()));
        let step = tokio::select! {
            step = AssertUnwindSafe(step).catch_unwind() => step,
            // When the process stops nobody renews any more, which takes no lease from a step.
            Ok(()) = lost.changed() => {
                tracing::warn!(incident.id = %lease.incident_id, "lease lost, the step is dropped");
                crew.abandon(lease);
                return;
            }
        };
        // The panic itself is logged where it happens.
        let step = step.unwrap_or_else(|_| Err(Error::Corrupt("a step panicked".into())));
        let step = step.map(|(next, left)| {
            known = Some(left);
            next
        });
        if step.is_ok() {
            crew.went_well(lease.incident_id);
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
                tracing::warn!(incident.id = %lease.incident_id, "another worker has the incident");
                return;
            }
            Err(error) => {
                failed(desk, crew, &lease, &error).await;
                let due_at_ms = desk.clock.now_ms() + RETRY_MS;
                break desk.store.put_off(lease.clone(), due_at_ms).await;
            }
        }
    };
    if let Err(error) = given_back {
        tracing::warn!(%error, "cannot give a lease back yet");
        crew.abandon(lease);
    }
}

/// Counts a failure; people hear of an incident that does not go on.
async fn failed(desk: &Desk, crew: &Crew, lease: &Lease, error: &Error) {
    metrics::counter!("watchkeeper_step_failures_total").increment(1);
    tracing::error!(incident.id = %lease.incident_id, %error, "a step failed");
    if crew.failed(lease.incident_id) < REPORT_AFTER {
        return;
    }
    crew.went_well(lease.incident_id);
    let why = desk.redactor.text(&error.to_string()).into_owned();
    let message = announce::stuck(desk, &lease.scope, lease.incident_id, &why);
    let transition = format!("stuck:{}", lease.incident_id);
    if let Err(error) = desk.store.announce(Announcement { transition, message }).await {
        tracing::error!(%error, "cannot tell that an incident does not go on");
    }
}

/// Renews every third of the lease. A failed renewal makes every step in flight stop: by the time
/// somebody else may claim, nothing of ours runs.
async fn renew(
    desk: Arc<Desk>,
    setup: Setup,
    crew: Arc<Crew>,
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
        // Within the time that is left for a renewal, whatever the database does.
        let _ = tokio::time::timeout(every / 2, crew.give_back(&desk)).await;
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
