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

/// Where the process may die: before and after every commit and every call to the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// A webhook was read, nothing of it is stored.
    BeforeAck,
    /// A webhook is stored, its sender does not know.
    AfterAck,
    /// Alerts were taken in, inside the open transaction.
    BeforeIntake,
    /// Alerts are under their incidents, nobody works on those.
    AfterIntake,
    /// Incidents are claimed, no step of them has begun.
    AfterClaim,
    /// Everything of a step is written, inside the open transaction.
    BeforeCommit,
    /// A step is committed, its worker does not know.
    AfterCommit,
    /// The mind is about to be asked.
    BeforeTurn,
    /// The mind has answered, the answer is not stored.
    AfterTurn,
    /// Looks are about to run.
    BeforeLook,
    /// Looks have run, their outputs are not stored.
    AfterLook,
    /// Prometheus is about to be asked whether an alert fires.
    BeforeConfirm,
    /// Prometheus has said whether an alert fires, the verdict is not stored.
    AfterConfirm,
    /// The intent is committed, the change is not started.
    BeforeRun,
    /// The change has run, its outcome is not stored.
    AfterRun,
    /// It is about to be measured whether the problem is gone.
    BeforeMeasure,
    /// It was measured whether the problem is gone, the reading is not stored.
    AfterMeasure,
    /// A step has returned, the lease is still held.
    AfterStep,
    /// A lease was given back.
    AfterRelease,
    /// The leases of the process were renewed.
    AfterRenew,
    /// Messages have their deliveries, inside the open transaction.
    BeforeExpand,
    /// Messages have their deliveries, none is claimed.
    AfterExpand,
    /// A delivery is claimed, nothing is sent.
    BeforeSend,
    /// A message has arrived, the outbox does not know.
    AfterSend,
    /// The outbox knows how an attempt ended.
    AfterDelivery,
    /// A person's decision is written, inside the open transaction.
    BeforeDecision,
    /// A person's decision is stored, the person does not know.
    AfterDecision,
    /// A halt or its end is written, inside the open transaction.
    BeforeHalt,
    /// A halt or its end is stored, whoever ordered it does not know.
    AfterHalt,
    /// An overdue incident is announced, inside the open transaction.
    BeforePage,
    /// An overdue incident was announced.
    AfterPage,
    /// A checkpoint is stored, no target has it.
    AfterCheckpoint,
    /// A target has taken a checkpoint, the store does not know.
    AfterCheckpointSent,
}

impl Point {
    pub const ALL: [Self; 33] = [
        Self::BeforeAck,
        Self::AfterAck,
        Self::BeforeIntake,
        Self::AfterIntake,
        Self::AfterClaim,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeTurn,
        Self::AfterTurn,
        Self::BeforeLook,
        Self::AfterLook,
        Self::BeforeConfirm,
        Self::AfterConfirm,
        Self::BeforeRun,
        Self::AfterRun,
        Self::BeforeMeasure,
        Self::AfterMeasure,
        Self::AfterStep,
        Self::AfterRelease,
        Self::AfterRenew,
        Self::BeforeExpand,
        Self::AfterExpand,
        Self::BeforeSend,
        Self::AfterSend,
        Self::AfterDelivery,
        Self::BeforeDecision,
        Self::AfterDecision,
        Self::BeforeHalt,
        Self::AfterHalt,
        Self::BeforePage,
        Self::AfterPage,
        Self::AfterCheckpoint,
        Self::AfterCheckpointSent,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeAck => "before_ack",
            Self::AfterAck => "after_ack",
            Self::BeforeIntake => "before_intake",
            Self::AfterIntake => "after_intake",
            Self::AfterClaim => "after_claim",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::BeforeTurn => "before_turn",
            Self::AfterTurn => "after_turn",
            Self::BeforeLook => "before_look",
            Self::AfterLook => "after_look",
            Self::BeforeConfirm => "before_confirm",
            Self::AfterConfirm => "after_confirm",
            Self::BeforeRun => "before_run",
            Self::AfterRun => "after_run",
            Self::BeforeMeasure => "before_measure",
            Self::AfterMeasure => "after_measure",
            Self::AfterStep => "after_step",
            Self::AfterRelease => "after_release",
            Self::AfterRenew => "after_renew",
            Self::BeforeExpand => "before_expand",
            Self::AfterExpand => "after_expand",
            Self::BeforeSend => "before_send",
            Self::AfterSend => "after_send",
            Self::AfterDelivery => "after_delivery",
            Self::BeforeDecision => "before_decision",
            Self::AfterDecision => "after_decision",
            Self::BeforeHalt => "before_halt",
            Self::AfterHalt => "after_halt",
            Self::BeforePage => "before_page",
            Self::AfterPage => "after_page",
            Self::AfterCheckpoint => "after_checkpoint",
            Self::AfterCheckpointSent => "after_checkpoint_sent",
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
    let reached = [const { AtomicU32::new(0) }; Point::ALL.len()];
    let _ = ARMED.set(Armed { target, reached });
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
