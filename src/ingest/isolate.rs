//! A delivery that cannot be taken in does not hold up the others.
//!
//! In: a part whose transaction failed. Out: the part in pieces: what can be taken in is; a delivery
//! with an alert that never can is set aside with the reason, and people are paged. Never: an alert set
//! aside because the database was away; the order of what can be taken in changed.

use super::queue::{Intake, Part, Read, arrivals, beat, take_alerts};
use super::reconcile::Watchdog;
use super::{Malformed, Parsed, SET_ASIDE, count};
use crate::model::alert::{Alert, Severity};
use crate::model::call::sha256_hex;
use crate::model::ids::{DeliveryId, MessageId};
use crate::model::message::{Event, Link, Message, Urgency};
use crate::store::db::Conn;
use crate::store::step::Announcement;
use crate::store::{Error, deliveries, outbox};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A part that failed so often for a reason that is not its content is taken in pieces: it may be too
/// large for the time that a transaction has.
const PIECES_AFTER: u32 = 3;
/// An alert that cannot be taken in for so long, while the database takes everything else, is set
/// aside whatever the reason. Replicas that hang hold locks for less than a minute.
const PATIENCE_MS: i64 = 10 * 60_000;
/// Of the alerts that are set aside, so many are named to people.
const NAMED_MAX: usize = 10;

/// What failed so far.
#[derive(Clone, Default)]
pub struct Failing(Arc<Mutex<HashMap<(Of, DeliveryId), Failure>>>);

/// Whose failures are counted: the delivery that is tried by itself is mostly the first of its part.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    /// A part, by its first delivery.
    Part,
    Delivery,
}

#[derive(Clone, Copy)]
struct Failure {
    times: u32,
    since_ms: i64,
}

impl Failing {
    fn again(&self, of: Of, id: DeliveryId, now_ms: i64) -> Failure {
        let mut all = self.lock();
        let failure = all.entry((of, id)).or_insert(Failure { times: 0, since_ms: now_ms });
        failure.times += 1;
        *failure
    }

    fn forget(&self, of: Of, id: DeliveryId) {
        self.lock().remove(&(of, id));
    }

    /// A panic elsewhere leaves the map whole, as every change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<(Of, DeliveryId), Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether trying the same again must fail the same way.
fn is_about_content(error: &Error) -> bool {
    match error {
        Error::Conflict(_) | Error::Corrupt(_) => true,
        Error::Unavailable(_)
        | Error::Busy
        | Error::Fenced
        | Error::OverLimit(_)
        | Error::OrdersChanged
        | Error::Crowded(_)
        | Error::Held(_)
        | Error::NoLonger(_) => false,
    }
}

impl Intake {
    /// Takes in what can be taken in of a part that failed. Returns how many deliveries are done with.
    ///
    /// # Errors
    /// The database is away, or the part has not failed often enough to tell.
    pub(super) async fn isolate(&self, part: Part, error: Error) -> Result<usize, Error> {
        let Some(first) = part.read.first().map(|read| read.id) else { return Err(error) };
        let failure = self.failing.again(Of::Part, first, self.clock.now_ms());
        if !is_about_content(&error) && failure.times < PIECES_AFTER {
            return Err(error);
        }
        self.probe().await?;
        tracing::warn!(%error, deliveries = part.read.len(), "taking deliveries in one by one");
        let mut done = 0;
        let mut waiting = part.halves();
        while let Some(part) = waiting.pop() {
            if let [read] = part.read.as_slice() {
                done += self.salvage(&part.scope, read).await?;
                continue;
            }
            match self.take(part.clone()).await {
                Ok(taken) => done += taken,
                Err(_) => waiting.extend(part.halves()),
            }
        }
        self.failing.forget(Of::Part, first);
        Ok(done)
    }

    /// Asks whether the database takes writes at all.
    async fn probe(&self) -> Result<(), Error> {
        self.store.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// Takes in the alerts of one delivery in as few pieces as it needs, and sets it aside when some
    /// cannot be taken in. Each piece is a transaction; one that is taken twice changes nothing.
    async fn salvage(&self, scope: &str, read: &Arc<Read>) -> Result<usize, Error> {
        let Ok(parsed) = &read.parsed else {
            return self.take(Part { scope: scope.to_owned(), read: vec![Arc::clone(read)] }).await;
        };
        let mut bad: Vec<(usize, Error)> = Vec::new();
        let mut ranges: Vec<_> = std::iter::once(0..parsed.alerts.len()).collect();
        while let Some(range) = ranges.pop() {
            let Err(error) = self.take_alerts(scope, read, range.clone()).await else { continue };
            if !is_about_content(&error) {
                self.probe().await?;
            }
            if range.len() > 1 {
                let middle = range.start + range.len() / 2;
                ranges.extend([middle..range.end, range.start..middle]);
            } else {
                bad.push((range.start, error));
            }
        }
        let failure = self.failing.again(Of::Delivery, read.id, self.clock.now_ms());
        let waited_ms = self.clock.now_ms() - failure.since_ms;
        let hopeless = |error: &Error| is_about_content(error) || waited_ms >= PATIENCE_MS;
        if !bad.iter().all(|(_, error)| hopeless(error)) {
            tracing::error!(delivery.id = %read.id, "a delivery cannot be taken in yet");
            return Ok(0);
        }
        self.failing.forget(Of::Delivery, read.id);
        if bad.is_empty() {
            return self.take_alerts_done(scope, read).await;
        }
        self.set_aside(scope, read, parsed, &bad).await
    }

    async fn take_alerts(
        &self,
        scope: &str,
        read: &Arc<Read>,
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let (now_ms, correlator) = (self.clock.now_ms(), Arc::clone(&self.correlator));
        let (scope, read) = (scope.to_owned(), Arc::clone(read));
        let watchdog = self.watchdog.clone();
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let Ok(parsed) = &read.parsed else { return Ok(()) };
                    let alerts = &parsed.alerts[range];
                    let arrivals: Vec<_> = arrivals(&watchdog, parsed, alerts).collect();
                    take_alerts(conn, &correlator, &scope, &arrivals, now_ms).await
                })
            })
            .await
    }

    async fn take_alerts_done(&self, scope: &str, read: &Arc<Read>) -> Result<usize, Error> {
        let (scope, read) = (scope.to_owned(), Arc::clone(read));
        let (now_ms, watchdog) = (self.clock.now_ms(), self.watchdog.clone());
        let taken = self.store.write(move |conn| {
            Box::pin(async move { take_row(conn, &watchdog, &scope, &read, now_ms).await })
        });
        taken.await
    }

    async fn set_aside(
        &self,
        scope: &str,
        read: &Arc<Read>,
        parsed: &Parsed,
        bad: &[(usize, Error)],
    ) -> Result<usize, Error> {
        let id = read.id;
        let Some((at, error)) = bad.first() else { return Ok(0) };
        let others = match bad.len() {
            1 => String::new(),
            more => format!("; {} more alerts of it cannot be taken in either", more - 1),
        };
        let why = Malformed {
            path: format!("alerts[{at}]"),
            message: format!("it cannot be taken in: {error}{others}"),
        };
        let problem = why.to_string();
        tracing::error!(delivery.id = %id, %problem, "a delivery is set aside");
        let alerts: Vec<&Alert> = bad.iter().map(|(at, _)| &parsed.alerts[*at]).collect();
        let announcement = self.tell(scope, id, &alerts, &problem);
        let (scope, read) = (scope.to_owned(), Arc::clone(read));
        let (now_ms, watchdog) = (self.clock.now_ms(), self.watchdog.clone());
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    take_row(conn, &watchdog, &scope, &read, now_ms).await?;
                    deliveries::mark_malformed(conn, id, &problem).await?;
                    outbox::queue(conn, &announcement).await
                })
            })
            .await?;
        count(SET_ASIDE);
        Ok(1)
    }

    /// Pages once an hour for the same alerts: whoever sent them sends them again.
    fn tell(&self, scope: &str, id: DeliveryId, alerts: &[&Alert], why: &str) -> Announcement {
        let now_ms = self.clock.now_ms();
        let prints: Vec<&str> = alerts.iter().map(|alert| alert.fingerprint.as_str()).collect();
        let what = &sha256_hex(prints.join("\n").as_bytes())[..16];
        let named = alerts.iter().take(NAMED_MAX);
        let mut paragraphs =
            vec!["They are on no incident: nobody looks at them unless you do.".to_owned()];
        paragraphs.extend(named.map(|alert| format!("{}: {}", alert.name(), alert.summary())));
        paragraphs.push(why.to_owned());
        let url = self.correlator.words.public_url.trim_end_matches('/');
        let message = Message {
            id: MessageId::new(),
            scope: scope.to_owned(),
            incident_id: None,
            event: Event::Health,
            urgency: Urgency::Page,
            severity: Severity::Critical,
            title: format!("{} alerts could not be taken in", alerts.len()),
            facts: vec![("Delivery".into(), id.to_string())],
            paragraphs,
            links: vec![Link { label: "Incidents".into(), url: format!("{url}/") }],
            dedup_key: format!("watchkeeper-set-aside-{what}"),
            created_at_ms: now_ms,
            channels: Vec::new(),
        };
        let transition = format!("set_aside:{what}:{}", now_ms / 3_600_000);
        Announcement { transition, message }
    }
}

/// Marks a delivery as taken and counts its beats; what somebody else took meanwhile has had them
/// counted. Returns how many deliveries that were.
async fn take_row(
    conn: &mut Conn<'_>,
    watchdog: &Watchdog,
    scope: &str,
    read: &Read,
    now_ms: i64,
) -> Result<usize, Error> {
    let ours = deliveries::take(conn, &[read.id], now_ms).await?;
    if let (false, Ok(parsed)) = (ours.is_empty(), &read.parsed) {
        beat(conn, watchdog, scope, parsed, now_ms).await?;
    }
    Ok(ours.len())
}
