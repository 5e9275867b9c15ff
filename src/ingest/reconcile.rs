//! Fetches back what deliveries left out, by asking every Alertmanager what it holds.
//!
//! In: the peers' alerts, and what Prometheus fired while nobody could be told. Out: deliveries
//! through the same door as webhooks, so that a repeat changes nothing; and to incidents, that an
//! alert is missing at its source or silenced there. Never: an alert that is over because nobody
//! tells of it. A missing one counts after two polls of every peer that has been up for twice the
//! resolve time-out, and then it makes its incident unverified, no more.

mod body;
mod compare;
mod gap;
mod peers;
mod pulse;

use super::{Delivery, Ingest, Rejected};
use crate::clients::alertmanager::{Alertmanager, Silence};
use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::model::alert::AlertKey;
use crate::model::matcher::Matcher;
use crate::store::pipeline::Watched;
use crate::store::{Error, Store};
use peers::{Looks, Seen};
use regex::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Strangers can be refused as often as they like; each asks for a poll.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Alerts of one delivery of ours.
const ALERTS_AT_ONCE: usize = 500;
/// Changes that are written in one transaction.
const CHANGES_AT_ONCE: usize = 200;

/// Everything that it takes to reconcile.
pub struct Reconciler {
    pub store: Store,
    pub clock: Clock,
    pub ingest: Ingest,
    /// Fired when an incident has something to do.
    pub due: Arc<Notify>,
    pub peers: Vec<Alertmanager>,
    pub prometheus: Option<Prometheus>,
    pub rules: Rules,
    /// When this process began to listen.
    pub started_ms: i64,
    /// Whether something may have been missed since the last round that looked back.
    pub owes: AtomicBool,
}

/// What is configured.
#[derive(Clone, Debug)]
pub struct Rules {
    pub scope: String,
    pub source: String,
    /// Of the receivers that post to us; the whole name.
    pub receiver: Regex,
    pub poll_ms: i64,
    pub fill_after_ms: i64,
    pub resolve_timeout_ms: i64,
    pub look_back_ms: i64,
    /// Alerts that are never acted on.
    pub ignore: Vec<Matcher>,
    pub watchdog: Watchdog,
}

/// The alert that always fires.
#[derive(Clone, Debug)]
pub struct Watchdog {
    pub matcher: Matcher,
    pub absent_after_ms: i64,
    pub expected: Expected,
}

/// Whether the alert that always fires is missed although it was never delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    Always,
    OnceSeen,
}

/// What a round is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// This process began to listen.
    Start,
    /// A delivery was cut, refused or unreadable.
    Missed,
    Routine,
}

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// Peers that answered.
    pub answered: usize,
    /// Firing alerts that no delivery had brought.
    pub filled: usize,
    /// Alerts that were over before they were heard of.
    pub late: usize,
    /// What incidents were told.
    pub told: usize,
}

/// Takes the rounds that only this process knows to be due, until told to stop: at its start, and
/// when one of its senders gave a delivery up. Those at intervals are a job of all replicas.
pub async fn run(reconciler: Arc<Reconciler>, stop: CancellationToken) {
    let missed = reconciler.ingest.missed();
    let pause = Duration::from_millis(reconciler.rules.poll_ms.unsigned_abs()).min(PAUSE_MAX);
    let mut why = Why::Start;
    loop {
        if let Err(error) = reconciler.once(why).await {
            // The next round at its interval does it again.
            tracing::error!(%error, "cannot reconcile with Alertmanager");
        }
        why = Why::Missed;
        tokio::select! {
            () = stop.cancelled() => return,
            () = missed.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Reconciler {
    /// The round that is due at each interval.
    ///
    /// # Errors
    /// The store cannot be asked or written; the next round does it again.
    pub async fn routine(&self) -> Result<(), Error> {
        self.once(Why::Routine).await?;
        self.watch_pulses().await
    }

    /// Polls every peer once and does what follows from it.
    ///
    /// # Errors
    /// The store cannot be asked or written; the next round does it again.
    pub async fn once(&self, why: Why) -> Result<Round, Error> {
        if self.peers.is_empty() {
            return Ok(Round::default());
        }
        if why != Why::Routine {
            self.owes.store(true, Ordering::Release);
        }
        let Rules { scope, source, .. } = &self.rules;
        let mark_ms = self.store.reconciled_until(scope, source).await?;
        // Read before the peers are asked: what is delivered meanwhile is not missing.
        let watched = self.store.watched_alerts(scope, source).await?;
        crash::at(Point::BeforePoll);
        let looks = peers::poll(&self.peers, &self.rules.receiver).await;
        crash::at(Point::AfterPoll);
        let now_ms = self.clock.now_ms();
        self.note(&looks, now_ms).await?;
        let mut round = Round { answered: looks.answered().count(), ..Round::default() };
        if round.answered == 0 {
            return Ok(round);
        }
        let seen = Seen::of(&looks, now_ms, 2 * self.rules.resolve_timeout_ms);
        round.filled = self.fill(&seen, &watched, now_ms).await?;
        // Two polls in a row are an interval apart.
        if why == Why::Routine {
            let silences = self.silences(&seen).await;
            round.told = self.tell(&watched, &seen, &silences, now_ms).await?;
        }
        let gap_ms = mark_ms.map_or(0, |mark_ms| now_ms - mark_ms);
        let owes = why != Why::Routine || self.owes.load(Ordering::Acquire);
        let look_back = owes || gap_ms > 3 * self.rules.poll_ms;
        let done = match (mark_ms, &self.prometheus) {
            (Some(mark_ms), Some(prometheus)) if look_back && self.rules.look_back_ms > 0 => {
                let found = self.look_back(prometheus, &looks, mark_ms, now_ms).await?;
                round.late = found.unwrap_or(0);
                found.is_some()
            }
            _ => true,
        };
        // What Prometheus could not be asked is asked by the next round, which sees the same gap.
        if done {
            // Another round that owes may have begun meanwhile; one that did not look back pays nothing.
            if look_back {
                self.owes.store(false, Ordering::Release);
            }
            self.store.set_reconciled(scope, source, now_ms).await?;
        }
        Ok(round)
    }

    /// Writes down which peers answered, and tells people of those that have not for long.
    async fn note(&self, looks: &Looks, now_ms: i64) -> Result<(), Error> {
        let scope = &self.rules.scope;
        for look in &looks.0 {
            let problem = look.told.as_ref().err().map(|problem| self.clean(problem));
            let outcome = if problem.is_some() { "failed" } else { "ok" };
            let name = look.name.clone();
            metrics::counter!("watchkeeper_reconcile_polls_total",
                "peer" => name, "outcome" => outcome)
            .increment(1);
            if let Some(problem) = &problem {
                tracing::warn!(peer = look.name, problem, "cannot reconcile with {}", look.name);
            }
            let peer = self.store.note_peer(scope, &look.name, problem, now_ms).await?;
            self.report_peer(&peer, now_ms).await?;
        }
        let names = looks.0.iter().map(|look| look.name.clone()).collect();
        self.store.forget_peers(scope, names).await?;
        if let Some(held) = looks.holding(&self.rules.watchdog.matcher) {
            tracing::debug!(peer = held, "Alertmanager holds the alert that always fires");
            self.store.pulse_held(scope, &self.rules.source, now_ms).await?;
        }
        Ok(())
    }

    /// Delivers what fires at the source and is not known to fire here.
    async fn fill(&self, seen: &Seen, watched: &[Watched], now_ms: i64) -> Result<usize, Error> {
        let due = |starts_at_ms: i64| now_ms - starts_at_ms >= self.rules.fill_after_ms;
        let candidates: BTreeMap<AlertKey, &_> = seen
            .firing()
            .filter(|alert| due(alert.starts_at_ms) && !self.is_left_alone(&alert.labels))
            .map(|alert| {
                let key = AlertKey {
                    source: self.rules.source.clone(),
                    fingerprint: alert.fingerprint.clone(),
                    starts_at_ms: alert.starts_at_ms,
                };
                (key, alert)
            })
            .collect();
        let keys: Vec<AlertKey> = candidates.keys().cloned().collect();
        let known = self.store.known_alerts(&self.rules.scope, keys).await?;
        let mut later: BTreeMap<&str, i64> = BTreeMap::new();
        for alert in watched {
            let latest = later.entry(&alert.key.fingerprint).or_insert(i64::MIN);
            *latest = alert.key.starts_at_ms.max(*latest);
        }
        let missed: Vec<_> = candidates
            .iter()
            .filter(|(key, _)| {
                let latest = later.get(key.fingerprint.as_str());
                compare::is_missed(known.get(key), now_ms)
                    && latest.is_none_or(|latest| *latest < key.starts_at_ms)
            })
            .map(|(_, alert)| *alert)
            .collect();
        for part in missed.chunks(ALERTS_AT_ONCE) {
            self.deliver(body::firing(part)).await?;
        }
        count("alertmanager", missed.len());
        Ok(missed.len())
    }

    /// Tells incidents which of their alerts are missing or silenced at the source, and which are no
    /// longer.
    async fn tell(
        &self,
        watched: &[Watched],
        seen: &Seen,
        silences: &[Silence],
        now_ms: i64,
    ) -> Result<usize, Error> {
        let changes = compare::changes(watched, seen, silences, now_ms);
        let told = changes.iter().map(|change| change.tell.len()).sum();
        for part in changes.chunks(CHANGES_AT_ONCE) {
            self.store.change_doubts(&self.rules.scope, part.to_vec(), now_ms).await?;
        }
        if told > 0 {
            self.due.notify_one();
        }
        self.store.forget_doubts(&self.rules.scope).await?;
        Ok(told)
    }

    /// The silences behind those alerts that are silenced; what cannot be asked is told later.
    async fn silences(&self, seen: &Seen) -> Vec<Silence> {
        if !seen.any_silenced() {
            return Vec::new();
        }
        let mut silences = peers::silences(&self.peers).await;
        for silence in &mut silences {
            // People write passwords into comments, too.
            silence.created_by = self.clean(&silence.created_by);
            silence.comment = self.clean(&silence.comment);
        }
        silences
    }

    fn clean(&self, text: &str) -> String {
        self.ingest.redactor.text(text).into_owned()
    }

    /// Delivers what fired and was over since `mark_ms`; returns how many, or `None` when nobody could
    /// be asked.
    async fn look_back(
        &self,
        prometheus: &Prometheus,
        looks: &Looks,
        mark_ms: i64,
        now_ms: i64,
    ) -> Result<Option<usize>, Error> {
        let since_ms = (mark_ms - self.rules.fill_after_ms).max(now_ms - self.rules.look_back_ms);
        let found = match gap::fired_and_over(prometheus, since_ms, now_ms).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot ask Prometheus what fired while nobody listened");
                return Ok(None);
            }
        };
        let silences =
            if found.is_empty() { Vec::new() } else { peers::silences(&self.peers).await };
        let mut late = Vec::new();
        for episode in found {
            let silenced = silences
                .iter()
                .any(|silence| silence.covers(&episode.labels, episode.from_ms, episode.until_ms));
            let ours = looks.routes_to_us(&episode.labels, &self.rules.receiver);
            if ours && !silenced && !self.is_left_alone(&episode.labels) {
                late.push(episode);
            }
        }
        let late = self.unheard(late).await?;
        for part in late.chunks(ALERTS_AT_ONCE) {
            self.deliver(body::late(part)).await?;
        }
        count("prometheus", late.len());
        Ok(Some(late.len()))
    }

    /// Those of which no alert here tells.
    async fn unheard(&self, episodes: Vec<gap::Episode>) -> Result<Vec<gap::Episode>, Error> {
        let mut unheard = Vec::new();
        for episode in episodes {
            let name = episode.labels.get("alertname").map_or("unnamed", String::as_str);
            let Rules { scope, source, .. } = &self.rules;
            let (from_ms, until_ms) = (episode.from_ms, episode.until_ms);
            let known = self.store.alerts_between(scope, source, name, from_ms, until_ms).await?;
            if !known.iter().any(|labels| episode.is_about(labels)) {
                unheard.push(episode);
            }
        }
        Ok(unheard)
    }

    /// Whether an alert is the pulse, or is never acted on.
    fn is_left_alone(&self, labels: &BTreeMap<String, String>) -> bool {
        let Rules { ignore, watchdog, .. } = &self.rules;
        watchdog.matcher.matches(labels) || ignore.iter().any(|matcher| matcher.matches(labels))
    }

    async fn deliver(&self, body: serde_json::Value) -> Result<(), Error> {
        let delivery = Delivery {
            source: self.rules.source.clone(),
            scope: self.rules.scope.clone(),
            bytes: body.to_string().into(),
        };
        match self.ingest.receive(delivery).await {
            Ok(_) => Ok(()),
            Err(Rejected::Busy) => Err(Error::Busy),
            Err(other) => Err(Error::Unavailable(other.to_string())),
        }
    }
}

fn count(from: &'static str, alerts: usize) {
    let filled = metrics::counter!("watchkeeper_reconcile_filled_total", "from" => from);
    filled.increment(alerts as u64);
    if alerts > 0 {
        tracing::warn!(from, alerts, "{alerts} alerts had not been delivered");
    }
}
