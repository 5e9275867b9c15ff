//! Remembers that an endpoint does not answer, for every incident that would ask it next.
//!
//! In: how each try ended. Out: whether to try. After some failures in a row the endpoint is left
//! alone for a while, then one incident tries for all; each failure of such a try doubles the time.
//! Never: a wait; whoever may not ask goes on to the next endpoint or the runbooks at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One or two may be a restart of the server, or a question that it cannot bear.
const FAILURES: u32 = 3;
const REST_FIRST: Duration = Duration::from_secs(15);
/// A model that comes back is found within this.
const REST_MAX: Duration = Duration::from_secs(300);

/// The memory of one endpoint.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rest: Duration,
    /// While it is left alone.
    until: Option<Instant>,
    /// Somebody tries for all.
    probing: bool,
    why: String,
}

/// Why the endpoint is not asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    pub failures: u32,
    pub again_in_s: u64,
    pub why: String,
}

/// The right to ask once. Dropped without a word, the try is as if it had not been.
#[derive(Debug)]
pub struct Try<'b> {
    breaker: &'b Breaker,
    probes: bool,
}

impl Breaker {
    /// Asks to try.
    ///
    /// # Errors
    /// The endpoint is left alone for now.
    pub fn enter(&self, now: Instant) -> Result<Try<'_>, Gone> {
        let mut state = self.lock();
        let Some(until) = state.until else { return Ok(Try { breaker: self, probes: false }) };
        if state.probing || now < until {
            let again_in_s = until.saturating_duration_since(now).as_secs();
            let (failures, why) = (state.failures, state.why.clone());
            return Err(Gone { failures, again_in_s, why });
        }
        state.probing = true;
        Ok(Try { breaker: self, probes: true })
    }

    /// Whether the endpoint is left alone.
    pub fn is_open(&self) -> bool {
        self.lock().until.is_some()
    }

    /// A panic elsewhere leaves the state whole, as nothing that is done to it can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Try<'_> {
    /// The endpoint answered.
    pub fn answered(self) {
        *self.breaker.lock() = State::default();
    }

    /// It did not.
    pub fn failed(self, why: &str, now: Instant) {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        why.clone_into(&mut state.why);
        // Of many that were asking at once, the first ones open it and the others change nothing.
        let opens = state.until.is_none() && state.failures >= FAILURES;
        if opens || self.probes {
            state.rest = (state.rest * 2).clamp(REST_FIRST, REST_MAX);
            state.until = Some(now + state.rest);
        }
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, at: Instant) {
        breaker.enter(at).unwrap().failed("no answer", at);
    }

    fn opened(at: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            fail(&breaker, at);
        }
        breaker
    }

    #[test]
    fn three_failures_in_a_row_leave_it_alone_and_an_answer_in_between_does_not() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            fail(&breaker, now);
            fail(&breaker, now);
            breaker.enter(now).unwrap().answered();
        }
        assert!(!breaker.is_open());
        let breaker = opened(now);
        let gone = breaker.enter(now + Duration::from_secs(5)).unwrap_err();
        assert_eq!(gone, Gone { failures: 3, again_in_s: 10, why: "no answer".into() });
    }

    #[test]
    fn after_the_rest_one_tries_for_all() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + REST_FIRST;
        let probe = breaker.enter(later).unwrap();
        assert!(breaker.enter(later).is_err(), "a second one tries beside it");
        probe.answered();
        assert!(breaker.enter(later).is_ok() && !breaker.is_open());
    }

    #[test]
    fn a_try_that_is_given_up_lets_the_next_one_try() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + REST_FIRST;
        drop(breaker.enter(later).unwrap());
        assert!(breaker.enter(later).is_ok());
    }

    #[test]
    fn each_failed_try_doubles_the_rest_up_to_five_minutes() {
        let mut now = Instant::now();
        let breaker = opened(now);
        let mut rests = Vec::new();
        for _ in 0..7 {
            let rest = breaker.enter(now).unwrap_err().again_in_s;
            rests.push(rest);
            now += Duration::from_secs(rest);
            fail(&breaker, now);
        }
        assert_eq!(rests, [15, 30, 60, 120, 240, 300, 300]);
    }
}
