//! What runs when: jobs that one of all replicas does, again and again.
//!
//! In: a job, how often it is due, and the work. Out: the work is done by whoever gets the turn; a
//! failure is logged, counted and kept beside the job. Never: two replicas at the same turn, a turn
//! that outlives its lease, a job that ends because its work failed or panicked. To add a job, run
//! one in `App::start`.

use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::store::schedules::{Asking, Ended, Look, Turn};
use crate::store::{Error, Store};
use futures::FutureExt;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A failed turn is taken again after this, unless the job is due earlier anyway.
const AGAIN_AFTER_MS: i64 = 60_000;
/// A replica that waits looks at least so often, to take over from one that is gone.
const LOOK_AT_LEAST: Duration = Duration::from_secs(30);
const LOOK_AT_MOST: Duration = Duration::from_millis(100);

/// Does jobs in turn with the other processes on the same database.
#[derive(Clone)]
pub struct Schedule {
    pub store: Store,
    pub clock: Clock,
    /// Unique among all processes on one database.
    pub owner: String,
}

/// A job and how often it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// The same in every replica.
    pub name: &'static str,
    /// From the end of one turn to the next.
    pub every: Duration,
    /// How long a replica that is gone holds the others up. It is renewed while the work goes on.
    pub lease: Duration,
}

/// What came of a look at a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ran {
    Done,
    Failed(String),
    /// The lease could not be kept; the work was dropped.
    Lost,
    /// Told to stop; the work was dropped and the turn given back.
    Stopped,
    /// It is not our turn for so many milliseconds.
    Later(i64),
}

impl Schedule {
    /// Does a job whenever it is due and ours, until told to stop.
    pub async fn run<F, Fut, E>(self, job: Job, stop: CancellationToken, mut work: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Display,
    {
        let usual = job.every.clamp(LOOK_AT_MOST, LOOK_AT_LEAST);
        while !stop.is_cancelled() {
            let wait = match self.once(&job, &stop, &mut work).await {
                Ok(Ran::Later(ms)) => Duration::from_millis(ms.unsigned_abs()),
                Ok(Ran::Done | Ran::Failed(_) | Ran::Lost | Ran::Stopped) => usual,
                Err(error) => {
                    tracing::error!(job = job.name, %error, "cannot look at the job {}", job.name);
                    usual
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.clamp(LOOK_AT_MOST, usual)) => {}
            }
        }
    }

    /// Looks at a job once, and does it if it is our turn.
    ///
    /// # Errors
    /// The store cannot be asked. Work that was done is then done again by whoever comes next.
    pub async fn once<F, Fut, E>(
        &self,
        job: &Job,
        stop: &CancellationToken,
        work: &mut F,
    ) -> Result<Ran, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: Display,
    {
        let (every_ms, lease_ms) = (ms(job.every), ms(job.lease));
        let asking = Asking {
            job: job.name.to_owned(),
            owner: self.owner.clone(),
            now_ms: self.clock.now_ms(),
            every_ms,
            lease_ms,
        };
        let turn = match self.store.take_turn(asking).await? {
            Look::Later(ms) => return Ok(Ran::Later(ms)),
            Look::Ours(turn) => turn,
        };
        crash::at(Point::BeforeJob);
        let ran = tokio::select! {
            ran = guarded(work()) => ran,
            () = self.lose(&turn, job.lease) => Ran::Lost,
            () = stop.cancelled() => Ran::Stopped,
        };
        crash::at(Point::AfterJob);
        self.tell(job, &ran);
        let (due_in_ms, ended) = match &ran {
            Ran::Done => (every_ms, Ended::Done),
            Ran::Failed(why) => (every_ms.min(AGAIN_AFTER_MS), Ended::Failed(why.clone())),
            Ran::Stopped => (0, Ended::Left),
            Ran::Lost | Ran::Later(_) => return Ok(ran),
        };
        self.store.end_turn(turn, self.clock.now_ms(), due_in_ms, ended).await?;
        Ok(ran)
    }

    /// Renews the lease for as long as that works; returns when it is lost.
    async fn lose(&self, turn: &Turn, lease: Duration) {
        let mut sure_until = Instant::now() + lease;
        loop {
            tokio::time::sleep(lease / 3).await;
            let asked_at = Instant::now();
            let kept = self.store.keep_turn(turn, self.clock.now_ms(), ms(lease));
            match tokio::time::timeout_at(sure_until, kept).await {
                Ok(Ok(true)) => sure_until = asked_at + lease,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(job = %turn.job, %error, "cannot renew the turn");
                }
                Err(_) => {}
            }
            if Instant::now() >= sure_until {
                return;
            }
        }
    }

    fn tell(&self, job: &Job, ran: &Ran) {
        let result = match ran {
            Ran::Done => "done",
            Ran::Failed(why) => {
                tracing::error!(job = job.name, why, "the job {} failed: {why}", job.name);
                "failed"
            }
            Ran::Lost => {
                tracing::warn!(job = job.name, "the turn of the job {} was lost", job.name);
                "lost"
            }
            Ran::Stopped => "stopped",
            Ran::Later(_) => return,
        };
        let labels = [("job", job.name), ("result", result)];
        metrics::counter!("watchkeeper_schedule_turns_total", &labels).increment(1);
    }
}

/// A panic is a failure like any other: the next turn may go better.
async fn guarded<E: Display>(work: impl Future<Output = Result<(), E>>) -> Ran {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => Ran::Done,
        Ok(Err(error)) => Ran::Failed(error.to_string()),
        Err(_) => Ran::Failed("it panicked".to_owned()),
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
