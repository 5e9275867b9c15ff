//! Makes checkpoints at intervals and brings them to every target.
//!
//! In: the heads that changed. Out: lines, stored first and sent then, in order, each until it is
//! taken. Never: silence about a target that does not take them.

use super::line::{self, Key};
use super::target::Target;
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::model::alert::Severity;
use crate::model::ids::MessageId;
use crate::model::message::{Event, Message, Urgency};
use crate::store::checkpoints::{HEADS_AT_ONCE, Material};
use crate::store::step::Announcement;
use crate::store::{Error, Store};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lines that are sent to a target before the next one gets its turn.
const LINES_AT_ONCE: i64 = 100;

/// The writer and what it has to know.
#[derive(Clone)]
pub struct Writer {
    pub store: Store,
    pub clock: Clock,
    pub key: Key,
    pub targets: Vec<Target>,
    pub every: Duration,
    /// Longer than any target may take for a line.
    pub lease_ms: i64,
    /// Unique among all processes on one database.
    pub owner: String,
    pub scope: String,
}

impl Writer {
    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.once().await {
                metrics::counter!("watchkeeper_checkpoint_failures_total", "target" => "store")
                    .increment(1);
                tracing::error!(%error, "cannot make a checkpoint");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    /// One checkpoint, if anything changed, and whatever some target has not taken. Returns how many
    /// lines were taken, over all targets.
    ///
    /// # Errors
    /// The store cannot be asked; what was not sent is sent the next time.
    pub async fn once(&self) -> Result<usize, Error> {
        if !self.holds_the_lease().await? {
            return Ok(0);
        }
        self.record().await?;
        let mut taken = 0;
        for target in &self.targets {
            taken += self.bring(target).await?;
            let waiting = self.store.count_unsent_checkpoints(target.name()).await?;
            let unsent =
                metrics::gauge!("watchkeeper_checkpoint_unsent", "target" => target.name());
            unsent.set(waiting as f64);
        }
        let names = self.targets.iter().map(|target| target.name().to_owned()).collect();
        self.store.forget_checkpoints(names).await?;
        Ok(taken)
    }

    /// Makes lines of everything that changed, in as many transactions as it takes.
    async fn record(&self) -> Result<(), Error> {
        loop {
            let at_ms = self.clock.now_ms();
            let make = |material: &Material| line::write(&self.key, material, at_ms);
            let recorded = self.store.make_checkpoint(&self.owner, at_ms, make).await?;
            if recorded > 0 {
                crash::at(Point::AfterCheckpoint);
            }
            if recorded < HEADS_AT_ONCE || !self.holds_the_lease().await? {
                return Ok(());
            }
        }
    }

    async fn holds_the_lease(&self) -> Result<bool, Error> {
        self.store.lease_checkpoints(&self.owner, self.clock.now_ms(), self.lease_ms).await
    }

    /// Sends a target what it has not taken, as far as it takes it.
    async fn bring(&self, target: &Target) -> Result<usize, Error> {
        let name = target.name();
        let mut taken = 0;
        loop {
            let lines = self.store.unsent_checkpoints(name, LINES_AT_ONCE).await?;
            if lines.is_empty() {
                return Ok(taken);
            }
            for (number, line) in lines {
                // It may have taken long since the last one.
                if !self.holds_the_lease().await? {
                    return Ok(taken);
                }
                crash::at(Point::BeforeCheckpointSent);
                if let Err(why) = target.send(number, &line, self.clock.now_ms()).await {
                    self.report(name, number, &why).await;
                    return Ok(taken);
                }
                crash::at(Point::AfterCheckpointSent);
                self.store.sent_checkpoint(name, number).await?;
                taken += 1;
            }
        }
    }

    /// Tells log, metrics, and people once for each line that a target refuses.
    async fn report(&self, target: &'static str, number: i64, why: &str) {
        metrics::counter!("watchkeeper_checkpoint_failures_total", "target" => target).increment(1);
        tracing::error!(target_name = target, number, why, "a checkpoint was not taken: {why}");
        let message = Message {
            id: MessageId::new(),
            scope: self.scope.clone(),
            incident_id: None,
            event: Event::Health,
            urgency: Urgency::Tell,
            severity: Severity::Warning,
            title: format!("Checkpoints of the history do not reach their {target}"),
            facts: vec![("Target".into(), target.into()), ("Line".into(), number.to_string())],
            paragraphs: vec![
                why.to_owned(),
                "Lines are kept and sent again. Until they arrive, a change of the history could go \
                 unnoticed."
                    .to_owned(),
            ],
            links: Vec::new(),
            dedup_key: format!("watchkeeper-checkpoint-{target}"),
            created_at_ms: self.clock.now_ms(),
            channels: Vec::new(),
        };
        let transition = format!("checkpoint:{target}:{number}");
        if let Err(error) = self.store.announce(Announcement { transition, message }).await {
            tracing::error!(%error, "cannot tell that checkpoints do not arrive");
        }
    }
}
