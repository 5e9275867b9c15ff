//! Lets history age out by policy, a little at a time.
//!
//! In: how many days what is kept. Out: rounds of small batches through the ordinary writer, with
//! pauses that leave most of its time to others; what went is written on the system's timeline.
//! Never: a batch that acknowledgements notice; a clock that jumps and takes all history with it.

use super::journal::process;
use crate::clock::Clock;
use crate::config::{RetentionSettings, Settings};
use crate::model::system::SystemEntry;
use crate::schedule::{Job, Schedule};
use crate::store::retention::tombstones::Cut;
use crate::store::retention::{After, Old};
use crate::store::{Error, Store};
use crate::tasks::Tasks;
use serde::Serialize;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

const DAY_MS: i64 = 86_400_000;
/// Longer than any window that a safety rule counts over.
const COUNTS_DAYS: u32 = 400;
/// One round goes at most so far beyond the last one that succeeded: a clock that is a year ahead
/// takes days to do harm, and is seen before.
const STEP_MS: i64 = 8 * DAY_MS;
/// The writer rests so many times as long as a batch took.
const REST: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_secs(5);
/// A process that has just started has more urgent work.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// A replica that is gone holds the next one up for so long.
const LEASE: Duration = Duration::from_secs(120);
pub const JOB: &str = "retention";

/// The policy over a store.
#[derive(Clone)]
pub struct Retention {
    pub store: Store,
    pub clock: Clock,
    pub policy: RetentionSettings,
}

/// What one round removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Removed {
    pub deliveries: u64,
    pub outputs: u64,
    pub incidents: u64,
    pub messages: u64,
    pub counts: u64,
}

/// What would age out of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Planned {
    pub what: &'static str,
    /// 0: kept for ever.
    pub days: u32,
    pub before_ms: Option<i64>,
    pub old: Old,
    /// As old, and kept all the same: something about it is not over.
    pub held: i64,
}

/// Runs the policy among all replicas, until told to stop.
pub(super) fn start(settings: &Settings, schedule: Schedule, tasks: &Tasks) {
    let policy = settings.retention.clone();
    let every = Duration::from_secs(policy.every_s);
    let job = Job { name: JOB, every, lease: LEASE };
    let retention =
        Retention { store: schedule.store.clone(), clock: schedule.clock.clone(), policy };
    let stop = tasks.stopping();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FIRST_AFTER) => {}
        }
        let round = move || {
            let retention = retention.clone();
            async move { retention.round().await.map(|_| ()) }
        };
        schedule.run(job, stop, round).await;
    });
}

impl Retention {
    /// One round: everything that is old by now.
    ///
    /// # Errors
    /// The store cannot be asked; what was removed stays removed, the rest goes the next time.
    pub async fn round(&self) -> Result<Removed, Error> {
        let now_ms = self.now_ms().await?;
        let mut removed = Removed::default();
        if let Some(before_ms) = before(now_ms, self.policy.deliveries_days) {
            removed.deliveries = drain(|| self.store.age_out_deliveries(before_ms)).await?;
        }
        if let Some(before_ms) = before(now_ms, self.policy.outputs_days) {
            removed.outputs = self.outputs(before_ms).await?;
        }
        if let Some(before_ms) = before(now_ms, self.policy.incidents_days) {
            let cut = Cut {
                before_ms,
                days: i64::from(self.policy.incidents_days),
                process: process(),
                at_ms: self.clock.now_ms(),
            };
            removed.incidents = drain(|| self.store.age_out_incidents(cut.clone())).await?;
        }
        // Also what a round before left behind.
        drain(|| self.store.empty_tombstones()).await?;
        if let Some(before_ms) = before(now_ms, self.policy.messages_days) {
            removed.messages = drain(|| self.store.age_out_messages(before_ms)).await?;
        }
        if let Some(before_ms) = before(now_ms, COUNTS_DAYS) {
            removed.counts = drain(|| self.store.age_out_counts(before_ms)).await?;
        }
        self.give_space_back().await?;
        tell(&removed);
        Ok(removed)
    }

    /// What a round would remove if it ran by now; changes nothing.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn plan(&self) -> Result<Vec<Planned>, Error> {
        let now_ms = self.clock.now_ms();
        let policy = &self.policy;
        let store = &self.store;
        let mut planned = Vec::new();
        for (what, days) in [
            ("deliveries", policy.deliveries_days),
            ("outputs", policy.outputs_days),
            ("incidents", policy.incidents_days),
            ("messages", policy.messages_days),
        ] {
            let before_ms = before(now_ms, days);
            let (mut old, mut held) = (Old::default(), 0);
            if let Some(before_ms) = before_ms {
                old = match what {
                    "deliveries" => store.old_deliveries(before_ms).await?,
                    "outputs" => store.old_outputs(before_ms).await?,
                    "incidents" => store.old_incidents(before_ms).await?,
                    _ => store.old_messages(before_ms).await?,
                };
                if what == "incidents" {
                    held = store.ended_incidents(before_ms).await?.rows - old.rows;
                }
            }
            planned.push(Planned { what, days, before_ms, old, held });
        }
        Ok(planned)
    }

    /// The time by which ages are judged.
    async fn now_ms(&self) -> Result<i64, Error> {
        let now_ms = self.clock.now_ms();
        let jobs = self.store.scheduled().await?;
        let last = jobs.into_iter().find(|job| job.job == JOB).and_then(|job| job.succeeded_at_ms);
        Ok(last.map_or(now_ms, |last_ms| now_ms.min(last_ms.saturating_add(STEP_MS))))
    }

    async fn outputs(&self, before_ms: i64) -> Result<u64, Error> {
        let in_use = self.store.outputs_in_use(before_ms).await?;
        let found = self.store.outputs_to_age_out(before_ms, &in_use).await?;
        if found == 0 {
            return Ok(0);
        }
        // First, so that at no moment an output is gone that no entry accounts for.
        let entry = SystemEntry::OutputsAgedOut {
            process: process(),
            days: i64::from(self.policy.outputs_days),
            before_ms,
            count: i64::try_from(found).unwrap_or(i64::MAX),
        };
        self.store.record_system(self.clock.now_ms(), entry).await?;
        let mut after = Some(After::default());
        let mut removed = 0;
        while let Some(from) = after.take() {
            let began = Instant::now();
            let (next, some) = self.store.age_out_outputs(before_ms, &in_use, from).await?;
            removed += some;
            after = next;
            rest(began).await;
        }
        Ok(removed)
    }

    async fn give_space_back(&self) -> Result<(), Error> {
        loop {
            let began = Instant::now();
            if self.store.give_space_back().await? == 0 {
                return Ok(());
            }
            rest(began).await;
        }
    }
}

/// The time before which something of this policy is old; none when it is kept for ever.
fn before(now_ms: i64, days: u32) -> Option<i64> {
    (days > 0).then(|| now_ms.saturating_sub(i64::from(days).saturating_mul(DAY_MS)))
}

/// Takes batches until none is left; returns how many rows they had.
async fn drain<F, Fut>(batch: F) -> Result<u64, Error>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, Error>>,
{
    let mut all = 0;
    loop {
        let began = Instant::now();
        let some = batch().await?;
        if some == 0 {
            return Ok(all);
        }
        all += some;
        rest(began).await;
    }
}

async fn rest(began: Instant) {
    tokio::time::sleep((began.elapsed() * REST).clamp(REST_MIN, REST_MAX)).await;
}

fn tell(removed: &Removed) {
    let counts = [
        ("deliveries", removed.deliveries),
        ("outputs", removed.outputs),
        ("incidents", removed.incidents),
        ("messages", removed.messages),
        ("counts", removed.counts),
    ];
    for (what, count) in counts {
        metrics::counter!("watchkeeper_aged_out_total", "what" => what).increment(count);
    }
    if *removed != Removed::default() {
        tracing::info!(
            deliveries = removed.deliveries,
            outputs = removed.outputs,
            incidents = removed.incidents,
            messages = removed.messages,
            "history aged out: {} deliveries, {} outputs, {} incidents, {} messages",
            removed.deliveries,
            removed.outputs,
            removed.incidents,
            removed.messages
        );
    }
}
