//! The only place that reads the time of day.
//!
//! Out: milliseconds since the Unix epoch. Tests and replay set a clock of their own.
//! Never: durations inside a process; those come from the monotonic clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Hands out the time. Cheap to clone; clones share the same hands.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System,
    Set(AtomicI64),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Arc::new(Kind::System))
    }

    /// A clock that stands still until it is moved.
    pub fn set_at(now_ms: i64) -> Self {
        Self(Arc::new(Kind::Set(AtomicI64::new(now_ms))))
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match &*self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Kind::System => chrono::Utc::now().timestamp_millis(),
            Kind::Set(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Waits. A set clock moves on by itself instead.
    pub async fn sleep(&self, ms: u64) {
        match &*self.0 {
            Kind::System => tokio::time::sleep(Duration::from_millis(ms)).await,
            Kind::Set(now_ms) => {
                now_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
            }
        }
    }

    /// Sets a set clock, to an earlier time too.
    pub fn set_to(&self, now_ms: i64) {
        if let Kind::Set(hands) = &*self.0 {
            hands.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Moves a set clock forward; the machine's clock cannot be moved.
    pub fn advance(&self, by_ms: i64) {
        if let Kind::Set(now_ms) = &*self.0 {
            now_ms.fetch_add(by_ms, Ordering::SeqCst);
        }
    }
}

/// A time as people read it: RFC 3339 in UTC, to the second.
pub fn format_ms(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| at_ms.to_string(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
