//! Delivers the outbox: every message to every channel that wants it, until it arrives.
//!
//! In: due deliveries from the store. Out: sent, again later, or given up and reported on another
//! channel. Never: a message forgotten; a slow channel holding back another one.

use super::{Attempt, Before, Channel, Failure, Repeat, Sent, answer, digest};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::model::alert::Severity;
use crate::model::ids::MessageId;
use crate::model::message::{Event, Message, Urgency};
use crate::store::digests::Rule;
use crate::store::outbox::{Attempted, Due, MaybeSent, SentBefore};
use crate::store::step::Announcement;
use crate::store::{Error, Store};
use futures::FutureExt as _;
use futures::future::join_all;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Deliveries of one channel in flight at once.
const BATCH: i64 = 16;
/// One attempt takes at most this long; after it the delivery falls due as possibly sent.
const ATTEMPT_MS: i64 = 60_000;
const BACKOFF_FIRST_MS: i64 = 1_000;
const BACKOFF_MAX_MS: i64 = 120_000;
/// How often deliveries to channels that are configured no more are given up.
const GONE_POLL: Duration = Duration::from_secs(10);
/// What falls due on such a channel is left alone for so long: while a configuration is rolled out,
/// another replica may know the channel.
const GONE_AFTER_MS: i64 = 10 * 60_000;
/// A delivery is tried at least so often, over some minutes, however old its message is: after a long
/// outage of this machine its network may come up last.
const ATTEMPTS_MIN: i64 = 10;
/// From this failed attempt on, people are told through the other channels.
const REPORT_AFTER: i64 = 3;

/// What delivers.
pub struct Outbox {
    pub store: Store,
    pub clock: Clock,
    pub channels: Vec<Arc<dyn Channel>>,
    pub scope: String,
    /// For links of our own.
    pub public_url: String,
    /// When messages of a channel are put together.
    pub digests: BTreeMap<String, Rule>,
    /// A delivery that has failed is given up when its message is older than this.
    pub give_up_after_ms: i64,
    /// Picks a number up to this one, so that channels that failed together do not come back
    /// together.
    pub jitter: fn(i64) -> i64,
}

/// Any number up to `max`.
pub fn jitter(max: i64) -> i64 {
    rand::rng().random_range(0..=max)
}

/// Delivers until told to stop. Each channel has a loop of its own, so that one that hangs holds
/// back nobody else's pages.
pub async fn run(outbox: Arc<Outbox>, poll: Duration, stop: CancellationToken) {
    let each = outbox.names().into_iter().map(|name| outbox.go_on(Some(name), poll, &stop));
    let gone = outbox.go_on(None, GONE_POLL, &stop);
    futures::future::join(join_all(each), gone).await;
}

impl Outbox {
    /// Expands new messages and tries what is due on every channel. Returns how many deliveries
    /// were tried.
    ///
    /// # Errors
    /// The store's; nothing is lost.
    pub async fn deliver_due(&self) -> Result<usize, Error> {
        let each = self.names().into_iter().map(Some).chain([None]);
        let tried = join_all(each.map(|name| self.deliver(name))).await;
        tried.into_iter().sum()
    }

    async fn go_on(&self, name: Option<String>, poll: Duration, stop: &CancellationToken) {
        loop {
            // The panic itself is logged where it happens; nobody else's messages wait for its end.
            let worked = match AssertUnwindSafe(self.deliver(name.clone())).catch_unwind().await {
                Ok(Ok(worked)) => worked,
                Ok(Err(error)) => {
                    tracing::error!(%error, "cannot read the outbox");
                    0
                }
                Err(_) => 0,
            };
            if worked > 0 && !stop.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// Tries what is due on one channel; `None` means those that are configured no more.
    ///
    /// # Errors
    /// The store's; nothing is lost.
    pub async fn deliver(&self, name: Option<String>) -> Result<usize, Error> {
        let names = self.names();
        self.store.expand_messages(names.clone(), self.clock.now_ms()).await?;
        let (wanted, since_ms) = match name {
            Some(name) => (vec![name], 0),
            None => {
                let waiting = self.store.waiting_channels().await?;
                let gone = waiting.into_iter().filter(|name| !names.contains(name)).collect();
                (gone, GONE_AFTER_MS)
            }
        };
        let mut tried = 0;
        for name in &wanted {
            self.gather(name, self.clock.now_ms()).await?;
            let now_ms = self.clock.now_ms();
            let until_ms = now_ms + 2 * ATTEMPT_MS;
            let due_ms = now_ms - since_ms;
            let due = self.store.claim_deliveries(name, BATCH, due_ms, until_ms).await?;
            if self.clock.now_ms() > until_ms - ATTEMPT_MS {
                // A slow database: the claim could run out before an attempt ends, and somebody
                // else would send the same beside us.
                continue;
            }
            let results = join_all(due.iter().map(|due| self.attempt(due))).await;
            results.into_iter().collect::<Result<Vec<()>, Error>>()?;
            tried += due.len();
        }
        Ok(tried)
    }

    /// Holds what is beyond the rate of a channel, and puts together what was held long enough.
    async fn gather(&self, name: &str, now_ms: i64) -> Result<(), Error> {
        match self.digests.get(name) {
            Some(rule) if rule.messages_max > 0 => {
                self.store.hold(name, *rule, now_ms).await?;
            }
            // Nobody would put together what was held under other settings.
            Some(_) => return self.store.let_go(name).await,
            None => return Ok(()),
        }
        let (channel, public_url) = (name.to_owned(), self.public_url.clone());
        let compose =
            move |members: &[Message]| digest::compose(&channel, &public_url, members, now_ms);
        let members = self.store.put_together(name, now_ms, compose).await?;
        if members > 0 {
            tracing::info!(channel = %name, members, "put {members} messages together");
            let of = u64::try_from(members).unwrap_or(u64::MAX);
            metrics::counter!(
                "watchkeeper_notifications_total",
                "channel" => name.to_owned(), "result" => "digested"
            )
            .increment(of);
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.channels.iter().map(|channel| channel.name().to_owned()).collect()
    }

    async fn attempt(&self, due: &Due) -> Result<(), Error> {
        let Some(channel) = self.channels.iter().find(|c| c.name() == due.channel) else {
            let error = format!("there is no channel '{}' any more", due.channel);
            return self.record(due, Attempted::GaveUp { error }).await;
        };
        let failure = match AssertUnwindSafe(hand_over(&**channel, due)).catch_unwind().await {
            Ok(None) => return self.record(due, Attempted::Skipped).await,
            Ok(Some(Ok(sent))) => {
                tracing::info!(
                    message.id = %due.message.id,
                    channel = %due.channel,
                    note = sent.note.as_deref().unwrap_or(""),
                    "delivered"
                );
                let at_ms = self.clock.now_ms();
                return self.record(due, Attempted::Sent { at_ms }).await;
            }
            Ok(Some(Err(failure))) => failure,
            Err(_) => {
                let why = format!("the channel '{}' panicked over a message", due.channel);
                Failure::Permanent { why }
            }
        };
        self.failed(due, failure).await
    }

    async fn failed(&self, due: &Due, failure: Failure) -> Result<(), Error> {
        let now_ms = self.clock.now_ms();
        let (how, why) = match failure {
            Failure::Permanent { why } => (Attempted::GaveUp { error: why.clone() }, why),
            Failure::Retry { why, .. }
                if now_ms - due.message.created_at_ms > self.give_up_after_ms
                    && due.attempts + 1 >= ATTEMPTS_MIN =>
            {
                (Attempted::GaveUp { error: why.clone() }, why)
            }
            Failure::Retry { after_ms, why, maybe_sent } => {
                let asked_ms = after_ms.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
                let wait_ms = self.backoff_ms(due.attempts).max(asked_ms);
                let maybe_sent = match maybe_sent {
                    Repeat::AfterCrash => MaybeSent::Yes,
                    Repeat::Fresh => MaybeSent::No,
                };
                let next_at_ms = now_ms + wait_ms;
                (Attempted::Again { next_at_ms, error: why.clone(), maybe_sent }, why)
            }
        };
        tracing::warn!(message.id = %due.message.id, channel = %due.channel, %why, "not delivered");
        let gave_up = matches!(how, Attempted::GaveUp { .. });
        self.record(due, how).await?;
        if (gave_up || due.attempts + 1 == REPORT_AFTER) && due.message.event != Event::Health {
            self.report_elsewhere(due, &why).await?;
        }
        Ok(())
    }

    async fn record(&self, due: &Due, how: Attempted) -> Result<(), Error> {
        let result = match &how {
            Attempted::Sent { .. } => "sent",
            Attempted::Again { .. } => "again",
            Attempted::GaveUp { .. } => "gave_up",
            Attempted::Skipped => "skipped",
        };
        let channel = due.channel.clone();
        metrics::counter!(
            "watchkeeper_notifications_total", "channel" => channel, "result" => result
        )
        .increment(1);
        self.store.attempted(due.message.id, &due.channel, how).await?;
        crash::at(Point::AfterDelivery);
        Ok(())
    }

    /// Says on the other channels that this one does not work; once for each channel and hour.
    async fn report_elsewhere(&self, due: &Due, why: &str) -> Result<(), Error> {
        let others: Vec<String> = self
            .channels
            .iter()
            .map(|channel| channel.name().to_owned())
            .filter(|name| *name != due.channel)
            .collect();
        if others.is_empty() {
            tracing::error!(channel = %due.channel, %why, "the only channel does not deliver");
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let hour = now_ms / 3_600_000;
        let message = Message {
            id: MessageId::new(),
            scope: self.scope.clone(),
            incident_id: None,
            event: Event::Health,
            urgency: Urgency::Page,
            severity: Severity::Critical,
            title: format!("Watchkeeper cannot deliver to {}", due.channel),
            facts: vec![("Channel".into(), due.channel.clone())],
            paragraphs: vec![why.to_owned(), format!("First undelivered: {}", due.message.title)],
            links: Vec::new(),
            dedup_key: format!("watchkeeper-channel-{}", due.channel),
            created_at_ms: now_ms,
            channels: others,
        };
        let transition = format!("channel:{}:{hour}", due.channel);
        self.store.announce(Announcement { transition, message }).await
    }

    /// Doubles from a second to two minutes, with a fifth of jitter.
    fn backoff_ms(&self, attempts: i64) -> i64 {
        let doublings = u32::try_from(attempts.clamp(0, 16)).unwrap_or(16);
        let base = BACKOFF_FIRST_MS.saturating_mul(1_i64 << doublings).min(BACKOFF_MAX_MS);
        base + (self.jitter)(base / 5)
    }
}

/// Hands a message to a channel; `None` when the channel does not want it.
async fn hand_over(channel: &dyn Channel, due: &Due) -> Option<Result<Sent, Failure>> {
    let before = match due.sent_before {
        SentBefore::Yes => Before::Something,
        SentBefore::No => Before::Nothing,
    };
    if !channel.wants(&due.message, before) {
        return None;
    }
    let attempt = Attempt {
        number: u32::try_from(due.attempts + 1).unwrap_or(u32::MAX),
        maybe_sent: match due.maybe_sent {
            MaybeSent::Yes => Repeat::AfterCrash,
            MaybeSent::No => Repeat::Fresh,
        },
    };
    let limit = Duration::from_millis(ATTEMPT_MS.unsigned_abs());
    crash::at(Point::BeforeSend);
    let sent = tokio::time::timeout(limit, channel.send(&due.message, attempt)).await;
    crash::at(Point::AfterSend);
    Some(sent.unwrap_or_else(|_| Err(answer::doubtful("no answer in a minute".into()))))
}
