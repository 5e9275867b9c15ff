//! An alert that fires and resolves again and again: people hear of it once a window, nothing is
//! investigated anew, and nothing is changed without a person, until it is calm.
//!
//! In: the case, in which the intake counted the firings. Out: whether the step rests, the words, and
//! who has to agree to a change. Never: silence for good; when it fires on, the incident's page falls
//! due as any other's, and calm begins with an investigation of whatever still fires.

use super::advance::Flow;
use super::draft::{Draft, Next};
use super::{Desk, announce};
use crate::model::action::{Proposal, Wanted};
use crate::model::case::Case;
use std::borrow::Cow;

/// What a new investigation does instead while the alert flaps; `None` when it is calm.
pub(super) fn rest(desk: &Desk, draft: &mut Draft) -> Option<Flow> {
    let flapping = draft.case.flapping_at(draft.now_ms)?.clone();
    let message = announce::flapping(desk, &draft.case, &flapping);
    draft.announce(&format!("flapping:{}", flapping.told_from_ms), message);
    Some(Flow::Rest(Next::At(flapping.until_ms)))
}

/// When people are told that a flapping alert is over: not at each of its ends.
pub(super) fn calm_at_ms(draft: &Draft) -> Option<i64> {
    draft.case.flapping_at(draft.now_ms).map(|flapping| flapping.until_ms)
}

/// A change as it is judged: while an alert of the incident flaps, a person has to agree.
pub(super) fn judged_as<'a>(case: &Case, proposal: &'a Proposal, now_ms: i64) -> Cow<'a, Proposal> {
    if case.flapping_at(now_ms).is_none() || proposal.wants_person != Wanted::Rules {
        return Cow::Borrowed(proposal);
    }
    Cow::Owned(Proposal { wants_person: Wanted::Flapping, ..proposal.clone() })
}
