//! Waiting for other changes: so many may be in flight at once, and whoever comes later waits.
//!
//! In: an action that may run, and what is in flight. Out: when it is tried again, or that it waited
//! long enough. Nothing is decided meanwhile: the permission stands, and is judged again before the
//! change starts. Never: a wait without an end.

use super::Desk;
use super::draft::Draft;
use crate::model::action::{Action, ActionState};
use crate::store::Error;

/// Most changes take seconds.
const TRY_AGAIN_MS: i64 = 1_000;
/// After this a person is asked: a change that helps in an hour helps nobody.
const WAIT_MS_MAX: i64 = 5 * 60_000;
/// A change is in flight until its tool must have ended, and as long again as a worker may need to
/// write that down.
const WRITE_DOWN_MS: i64 = 60_000;

/// What a change that is held back does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    Begins {
        until_ms: i64,
        next_at_ms: i64,
    },
    GoesOn {
        next_at_ms: i64,
    },
    /// A person decides.
    Ends,
    /// A person had decided, and that no longer counts.
    Expires,
}

/// Why an action that waits has to wait on; `None` when it can be tried, or never waited.
pub(super) async fn still(
    desk: &Desk,
    draft: &Draft,
    action: &Action,
) -> Result<Option<String>, Error> {
    if action.waits_until_ms.is_none() {
        return Ok(None);
    }
    desk.gate.crowded(&desk.facts(&draft.case), &action.proposal.call).await
}

/// How an action that cannot start yet goes on. An approved one waits as long as its approval counts.
pub(super) fn next(draft: &Draft, action: &Action) -> Wait {
    let now_ms = draft.now_ms;
    let approved = action.state == ActionState::Approved;
    let until_ms = match action.waits_until_ms {
        Some(until_ms) => until_ms,
        None => action.expires_at_ms.filter(|_| approved).unwrap_or(now_ms + WAIT_MS_MAX),
    };
    let next_at_ms = until_ms.min(now_ms + TRY_AGAIN_MS);
    match (now_ms < until_ms, action.waits_until_ms) {
        (true, None) => Wait::Begins { until_ms, next_at_ms },
        (true, Some(_)) => Wait::GoesOn { next_at_ms },
        (false, _) if approved => Wait::Expires,
        (false, _) => Wait::Ends,
    }
}

/// When the places of a change are free again even if nobody wrote its outcome.
pub(super) fn held_until_ms(desk: &Desk, start_before_ms: i64) -> i64 {
    let runs_ms = i64::try_from(desk.policy.tool_timeout_ms).unwrap_or(i64::MAX);
    start_before_ms.saturating_add(runs_ms).saturating_add(WRITE_DOWN_MS)
}
