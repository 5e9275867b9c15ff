//! The only place that reads the time of day.
//!
//! Out: milliseconds since the Unix epoch. Tests and replay set a clock of their own.
//! Never: durations inside a process; those come from the monotonic clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time of day and the monotonic clock may drift apart by this between two looks; more is a leap.
const LEAP_MS: i64 = 60_000;
/// After a leap the time of day is not trusted for so long: whoever set it may set it again.
const UNSTEADY: Duration = Duration::from_secs(600);

/// Hands out the time. Cheap to clone; clones share the same hands.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    kind: Kind,
    /// When the time of day last leapt, and how far.
    leapt: Mutex<Option<(Instant, i64)>>,
}

#[derive(Debug)]
enum Kind {
    System,
    Set(AtomicI64),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self::of(Kind::System)
    }

    /// A clock that stands still until it is moved.
    pub fn set_at(now_ms: i64) -> Self {
        Self::of(Kind::Set(AtomicI64::new(now_ms)))
    }

    fn of(kind: Kind) -> Self {
        Self(Arc::new(Hands { kind, leapt: Mutex::default() }))
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0.kind {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Kind::System => chrono::Utc::now().timestamp_millis(),
            Kind::Set(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Moves a set clock forward; the machine's clock cannot be moved.
    pub fn advance(&self, by_ms: i64) {
        if let Kind::Set(now_ms) = &self.0.kind {
            now_ms.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Notes that the time of day leapt.
    pub fn leaps(&self, by_ms: i64, at: Instant) {
        *self.0.leapt.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, by_ms));
    }

    /// How far the time of day leapt, if that was a short while ago.
    pub fn leapt_lately(&self, now: Instant) -> Option<i64> {
        let leapt = *self.0.leapt.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = leapt.filter(|(at, _)| now.saturating_duration_since(*at) < UNSTEADY);
        lately.map(|(_, by_ms)| by_ms)
    }
}

/// Compares the time of day with the monotonic clock, from one look to the next.
#[derive(Debug)]
pub struct Steadiness {
    at: Instant,
    at_ms: i64,
}

impl Steadiness {
    pub fn new(now: Instant, now_ms: i64) -> Self {
        Self { at: now, at_ms: now_ms }
    }

    /// How far the time of day leapt since the last look, forward or back.
    pub fn look(&mut self, now: Instant, now_ms: i64) -> Option<i64> {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed_ms = i64::try_from(passed).unwrap_or(i64::MAX);
        let by_ms = now_ms.saturating_sub(self.at_ms).saturating_sub(passed_ms);
        *self = Self::new(now, now_ms);
        (by_ms.saturating_abs() > LEAP_MS).then_some(by_ms)
    }
}

/// A time as people read it: RFC 3339 in UTC, to the second.
pub fn format_ms(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| at_ms.to_string(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn only_a_difference_beyond_a_minute_is_a_leap() {
        let (start, start_ms) = (Instant::now(), 1_000_000_000);
        let mut steadiness = Steadiness::new(start, start_ms);
        let (mut at, mut at_ms) = (start, start_ms);
        for (passed_s, shown_ms, leap) in [
            (5, 5_000, None),
            (5, 65_000, None),
            (5, -55_000, None),
            (5, 5_000 + HOUR_MS, Some(HOUR_MS)),
            (5, 5_000, None),
            (5, 5_000 - HOUR_MS, Some(-HOUR_MS)),
            // A machine that was busy for an hour did not leap.
            (3_600, HOUR_MS, None),
        ] {
            at += Duration::from_secs(passed_s);
            at_ms += shown_ms;
            assert_eq!(steadiness.look(at, at_ms), leap, "{passed_s} s, {shown_ms} ms");
        }
    }

    #[test]
    fn a_leap_is_remembered_for_a_while() {
        let (clock, now) = (Clock::set_at(0), Instant::now());
        assert_eq!(clock.leapt_lately(now), None);
        clock.leaps(-HOUR_MS, now);
        let clone = clock.clone();
        assert_eq!(clone.leapt_lately(now + UNSTEADY - Duration::from_secs(1)), Some(-HOUR_MS));
        assert_eq!(clone.leapt_lately(now + UNSTEADY), None);
    }
}
