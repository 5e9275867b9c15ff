//! Changes that ended badly: they failed, nobody knows how they ended, or they were not measured to
//! help. Counted with the step that found out; the count that is one too many opens a breaker.
//! Never: a change that was stopped before it started.

use super::draft::Draft;
use super::{Desk, announce};
use crate::model::action::{Action, ActionState};
use crate::store::breakers::Failure;
use crate::store::step::Announcement;

/// Counts a change for every breaker that it concerns.
pub(super) fn count(desk: &Desk, draft: &mut Draft, action: &Action) {
    if action.state == ActionState::Failed {
        // It was measured after its failure, which was counted if it had started.
        return;
    }
    let breakers = desk.gate.breakers(&desk.facts(&draft.case), &action.proposal.call);
    let at_ms = draft.now_ms;
    let announced = breakers.into_iter().map(|breaker| {
        let message = announce::breaker_open(desk, &draft.case.scope, &breaker, at_ms);
        let transition = format!("{}:{at_ms}", breaker.name);
        (breaker, Announcement { transition, message })
    });
    let breakers: Vec<_> = announced.collect();
    if !breakers.is_empty() {
        draft.count_failure(Failure { action_id: action.id(), at_ms, breakers });
    }
}
