//! Places at which a test lets the process die, as `kill -9` or a power failure would.
//!
//! In: `WATCHKEEPER_TEST_ABORT_AT=POINT:NTH` from the environment of `serve`, or `none` to log each
//! point that is reached. Out: an abort when the point is reached for the n-th time. Unarmed, a
//! point costs one load. Never: a destructor, a flush or a goodbye on the way out.
//! To add a point: a variant with its name, and a call of [`at`] where losing the process matters.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The setting's name.
pub const VARIABLE: &str = "WATCHKEEPER_TEST_ABORT_AT";

/// Where the process may die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// A webhook was read, nothing of it is stored.
    BeforeAck,
    /// A webhook is stored, its sender does not know.
    AfterAck,
    /// Alerts were taken in, inside the open transaction.
    BeforeIntake,
    AfterIntake,
    /// Everything of a step is written, inside the open transaction.
    BeforeCommit,
    AfterCommit,
    /// The mind has answered, the answer is not stored.
    AfterTurn,
    /// Looks have run, their outputs are not stored.
    AfterLook,
    /// The intent is committed, the change is not started.
    BeforeRun,
    /// The change has run, its outcome is not stored.
    AfterRun,
    /// A delivery is claimed, nothing is sent.
    BeforeSend,
    /// A message has arrived, the outbox does not know.
    AfterSend,
    /// A person's decision is stored, the person does not know.
    AfterDecision,
    /// An overdue incident was announced.
    AfterPage,
    /// A step has returned, the lease is still held.
    AfterStep,
}

impl Point {
    pub const ALL: [Self; 15] = [
        Self::BeforeAck,
        Self::AfterAck,
        Self::BeforeIntake,
        Self::AfterIntake,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::AfterTurn,
        Self::AfterLook,
        Self::BeforeRun,
        Self::AfterRun,
        Self::BeforeSend,
        Self::AfterSend,
        Self::AfterDecision,
        Self::AfterPage,
        Self::AfterStep,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeAck => "before_ack",
            Self::AfterAck => "after_ack",
            Self::BeforeIntake => "before_intake",
            Self::AfterIntake => "after_intake",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::AfterTurn => "after_turn",
            Self::AfterLook => "after_look",
            Self::BeforeRun => "before_run",
            Self::AfterRun => "after_run",
            Self::BeforeSend => "before_send",
            Self::AfterSend => "after_send",
            Self::AfterDecision => "after_decision",
            Self::AfterPage => "after_page",
            Self::AfterStep => "after_step",
        }
    }
}

struct Armed {
    /// `None` only counts.
    target: Option<(Point, u32)>,
    reached: [AtomicU32; Point::ALL.len()],
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms the switch for the rest of the process.
///
/// # Errors
/// The text names no point.
pub fn arm(text: &str) -> Result<(), String> {
    let target = parse(text)?;
    let _ = ARMED.set(Armed { target, reached: Default::default() });
    tracing::warn!("{VARIABLE}={text}: this process may abort on purpose");
    Ok(())
}

/// Dies here if the switch says so.
pub fn at(point: Point) {
    if let Some(armed) = ARMED.get() {
        reach(armed, point);
    }
}

#[cold]
fn reach(armed: &Armed, point: Point) {
    let nth = armed.reached[point as usize].fetch_add(1, Ordering::SeqCst) + 1;
    tracing::info!("crash point {}:{nth}", point.as_str());
    if armed.target == Some((point, nth)) {
        std::process::abort();
    }
}

fn parse(text: &str) -> Result<Option<(Point, u32)>, String> {
    if text == "none" {
        return Ok(None);
    }
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let point = Point::ALL.into_iter().find(|point| point.as_str() == name);
    let nth = nth.parse::<u32>().ok().filter(|nth| *nth > 0);
    match (point, nth) {
        (Some(point), Some(nth)) => Ok(Some((point, nth))),
        (None, _) | (_, None) => {
            let names: Vec<&str> = Point::ALL.iter().map(|point| point.as_str()).collect();
            Err(format!("{VARIABLE}: write POINT:NTH, the points are {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_number() {
        assert_eq!(parse("after_commit:3"), Ok(Some((Point::AfterCommit, 3))));
        assert_eq!(parse("before_run"), Ok(Some((Point::BeforeRun, 1))));
        assert_eq!(parse("none"), Ok(None));
        for wrong in ["", "after_commit:0", "after_commit:x", "elsewhere:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_point_has_its_own_place_and_name() {
        for (place, point) in Point::ALL.into_iter().enumerate() {
            assert_eq!(point as usize, place);
            assert_eq!(parse(point.as_str()), Ok(Some((point, 1))));
        }
    }
}
