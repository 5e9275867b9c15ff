//! Places at which a test lets the process die, as `kill -9` or a power failure would.
//!
//! In: `WATCHKEEPER_TEST_ABORT_AT=POINT:NTH` from the environment of any verb, or `none` to log each
//! point that is reached. Out: an abort when the point is reached for the n-th time. Unarmed, a
//! point costs one load. Never: a destructor, a flush or a goodbye on the way out.
//! To add a point: a line in `points!`, a call of [`at`] where losing the process matters, and a way
//! to it in `tests/it/crash_points.rs`, which fails when a point is never reached.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The setting's name.
pub const VARIABLE: &str = "WATCHKEEPER_TEST_ABORT_AT";

/// Writes the points down once: each with what is true there, and with its name.
macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal,)+) => {
        /// Where the process may die: before and after every commit and every call to the outside.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Point {
            $($(#[$doc])+ $point,)+
        }

        impl Point {
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A webhook was read, nothing of it is stored.
    BeforeAck = "before_ack",
    /// A webhook is stored, its sender does not know.
    AfterAck = "after_ack",
    /// Alerts were taken in, inside the open transaction.
    BeforeIntake = "before_intake",
    /// Alerts are under their incidents, nobody works on those.
    AfterIntake = "after_intake",
    /// Incidents are claimed, no step of them has begun.
    AfterClaim = "after_claim",
    /// Everything of a step is written, inside the open transaction.
    BeforeCommit = "before_commit",
    /// A step is committed, its worker does not know.
    AfterCommit = "after_commit",
    /// The mind is about to be asked.
    BeforeTurn = "before_turn",
    /// The mind has answered, the answer is not stored.
    AfterTurn = "after_turn",
    /// Looks are about to run.
    BeforeLook = "before_look",
    /// Looks have run, their outputs are not stored.
    AfterLook = "after_look",
    /// Prometheus is about to be asked whether an alert fires.
    BeforeConfirm = "before_confirm",
    /// Prometheus has said whether an alert fires, the verdict is not stored.
    AfterConfirm = "after_confirm",
    /// The intent is committed, the change is not started.
    BeforeRun = "before_run",
    /// The change has run, its outcome is not stored.
    AfterRun = "after_run",
    /// It is about to be measured whether the problem is gone.
    BeforeMeasure = "before_measure",
    /// It was measured whether the problem is gone, the reading is not stored.
    AfterMeasure = "after_measure",
    /// A step has returned, the lease is still held.
    AfterStep = "after_step",
    /// A lease was given back.
    AfterRelease = "after_release",
    /// The leases of the process were renewed.
    AfterRenew = "after_renew",
    /// Messages have their deliveries, inside the open transaction.
    BeforeExpand = "before_expand",
    /// Messages have their deliveries, none is claimed.
    AfterExpand = "after_expand",
    /// A delivery is claimed, nothing is sent.
    BeforeSend = "before_send",
    /// A message has arrived, the outbox does not know.
    AfterSend = "after_send",
    /// The outbox knows how an attempt ended.
    AfterDelivery = "after_delivery",
    /// A person's decision is written, inside the open transaction.
    BeforeDecision = "before_decision",
    /// A person's decision is stored, the person does not know.
    AfterDecision = "after_decision",
    /// A halt or its end is written, inside the open transaction.
    BeforeHalt = "before_halt",
    /// A halt or its end is stored, whoever ordered it does not know.
    AfterHalt = "after_halt",
    /// An overdue incident is announced, inside the open transaction.
    BeforePage = "before_page",
    /// An overdue incident was announced.
    AfterPage = "after_page",
    /// Messages that come too often are put together, inside the open transaction.
    BeforeDigest = "before_digest",
    /// Messages that come too often were put together, the one of them is not sent.
    AfterDigest = "after_digest",
    /// The peers of Alertmanager are about to be asked what they hold.
    BeforePoll = "before_poll",
    /// The peers of Alertmanager have told, nothing that follows is stored.
    AfterPoll = "after_poll",
    /// The turn at a job of all replicas is taken, its work has not begun.
    BeforeJob = "before_job",
    /// The work of a job is done, its turn is not given back.
    AfterJob = "after_job",
    /// Lines of a checkpoint are made, inside the open transaction.
    BeforeCheckpoint = "before_checkpoint",
    /// A checkpoint is stored, no target has it.
    AfterCheckpoint = "after_checkpoint",
    /// A target is about to be handed a checkpoint.
    BeforeCheckpointSent = "before_checkpoint_sent",
    /// A target has taken a checkpoint, the store does not know.
    AfterCheckpointSent = "after_checkpoint_sent",
    /// The tables are about to be brought up to date.
    BeforeMigrate = "before_migrate",
    /// The tables are up to date, nothing works on them.
    AfterMigrate = "after_migrate",
    /// Whatever it is about, everything of a transaction is written and its commit is not sent.
    BeforeStored = "before_stored",
    /// Whatever it is about, a transaction is committed and who waits for it does not know.
    AfterStored = "after_stored",
    /// An HTTP request to whatever service is about to be sent.
    BeforeRequest = "before_request",
    /// A service has answered an HTTP request, or failed to; nobody knows.
    AfterRequest = "after_request",
    /// A mail is about to be handed to its server.
    BeforeMail = "before_mail",
    /// A mail server has answered; nobody knows.
    AfterMail = "after_mail",
    /// A program on a target is about to be started.
    BeforeProgram = "before_program",
    /// A program on a target has ended, or was given up; nobody knows.
    AfterProgram = "after_program",
    /// A backup is whole, under another name.
    BeforeBackup = "before_backup",
    /// A backup has its name, whoever ordered it does not know.
    AfterBackup = "after_backup",
    /// A backup was read back and made safe, nothing of it is in force.
    BeforeRestore = "before_restore",
    /// A backup is in force, whoever ordered it does not know.
    AfterRestore = "after_restore",
    /// People and tokens are written, under another name.
    BeforeAccess = "before_access",
    /// People and tokens are in their file, whoever changed them does not know.
    AfterAccess = "after_access",
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
    let point = Point::ALL.iter().copied().find(|point| point.as_str() == name);
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
        for (place, point) in Point::ALL.iter().copied().enumerate() {
            assert_eq!(point as usize, place);
            assert_eq!(parse(point.as_str()), Ok(Some((point, 1))));
        }
    }
}
