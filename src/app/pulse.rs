//! Whether this process can do its work: its writes are kept, and every part of it runs.
//!
//! In: the store, and the tasks that must not end. Out: [`Health`], kept up to date for whoever tells
//! others: readiness, the last resort, the heartbeat. Never: a word to people from here.

use crate::clock::Clock;
use crate::store::Store;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two proofs. Each syncs the disk once.
const EVERY: Duration = Duration::from_secs(10);
/// The same while something is wrong, so that its end is seen soon.
const EVERY_IN_TROUBLE: Duration = Duration::from_secs(2);
/// A write that takes longer is no proof.
const WITHIN: Duration = Duration::from_secs(10);
/// A stored delivery that waits longer for the intake than this says that the intake stands still.
const INTAKE_WITHIN_MS: i64 = 120_000;

/// What is wrong, and since when.
#[derive(Clone, PartialEq, Debug)]
pub struct Trouble {
    pub since: Instant,
    pub since_ms: i64,
    pub what: What,
    /// For people and the log.
    pub why: String,
}

/// What does not work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Database,
    /// A part of the process has ended by itself.
    Part(&'static str),
    /// Deliveries wait although everything runs.
    Intake,
}

/// What is known at this moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Health {
    /// Whether a write was proved to be kept at least once.
    pub proved: bool,
    pub trouble: Option<Trouble>,
}

impl Health {
    /// Whether alerts are stored and worked on.
    pub fn is_well(&self) -> bool {
        self.proved && self.trouble.is_none()
    }
}

/// Feels the pulse of this process.
pub struct Pulse {
    store: Store,
    clock: Clock,
    process: String,
    /// Tasks that go on until the process stops.
    parts: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    health: watch::Sender<Health>,
}

impl Pulse {
    pub fn new(store: Store, clock: Clock, process: String) -> Self {
        let (health, _) = watch::channel(Health::default());
        Self { store, clock, process, parts: Mutex::default(), health }
    }

    /// Watches over a task that must not end by itself.
    pub fn watch_over(&self, name: &'static str, task: JoinHandle<()>) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push((name, task));
    }

    /// What is known, from now on.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// What is wrong, in words that anybody may read.
    pub fn complaint(&self) -> Option<&'static str> {
        match self.health.borrow().trouble.as_ref()?.what {
            What::Database => Some("writes are not kept; the log says more"),
            What::Part(_) => Some("a part of the process has ended; the log says more"),
            // Deliveries are still taken, and wait.
            What::Intake => None,
        }
    }

    /// Looks again and again, until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = self.look() => found,
            };
            let every = if found.is_some() { EVERY_IN_TROUBLE } else { EVERY };
            self.note(found);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// What is wrong right now.
    async fn look(&self) -> Option<(What, String)> {
        let now_ms = self.clock.now_ms();
        let proof = async {
            self.store.pulse(&self.process, now_ms).await?;
            self.store.delivery_backlog().await
        };
        let backlog = match tokio::time::timeout(WITHIN, proof).await {
            Ok(Ok(backlog)) => backlog,
            Ok(Err(error)) => return Some((What::Database, error.to_string())),
            Err(_) => {
                let why = format!("no write was kept within {} s", WITHIN.as_secs());
                return Some((What::Database, why));
            }
        };
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, _)) = parts.iter().find(|(_, task)| task.is_finished()) {
            return Some((What::Part(name), format!("the {name} has ended; restart this process")));
        }
        let waits_ms = now_ms - backlog.oldest_at_ms.unwrap_or(now_ms);
        (waits_ms > INTAKE_WITHIN_MS).then(|| {
            let waits_s = waits_ms / 1000;
            (What::Intake, format!("a delivery has waited for the intake for {waits_s} s"))
        })
    }

    fn note(&self, found: Option<(What, String)>) {
        let before = self.health.borrow().trouble.clone();
        metrics::gauge!("watchkeeper_healthy").set(if found.is_none() { 1.0 } else { 0.0 });
        match (&before, &found) {
            (None, Some((what, why))) => tracing::error!(?what, %why, "cannot do its work: {why}"),
            (Some(_), None) => tracing::warn!("does its work again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.health.send_modify(|health| {
            health.proved |= found.is_none();
            health.trouble = found.map(|(what, why)| match before {
                Some(before) if before.what == what => Trouble { why, ..before },
                Some(_) | None => {
                    Trouble { since: Instant::now(), since_ms: self.clock.now_ms(), what, why }
                }
            });
        });
    }
}
