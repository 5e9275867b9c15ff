//! What others bring to an incident, and what it means in each state.
//!
//! The matrix `event x state` has no empty cell: an event is folded into the timeline, or ignored
//! with a reason. What a folded event sets in motion (superseding, resolving) follows here too.

use super::draft::Draft;
use super::{Desk, announce, pipeline};
use crate::model::action::{Action, ActionState, Answer};
use crate::model::alert::Severity;
use crate::model::case::Case;
use crate::model::ids::ActionId;
use crate::model::incident::State;
use crate::model::message::Urgency;
use crate::model::timeline::{Entry, Success};
use crate::store::inbox::Item;

/// What becomes of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reaction {
    Fold,
    Ignore(&'static str),
}

/// Whoever took an incident is not paged for it again within a shift.
const SHIFT_MS: i64 = 8 * 3_600_000;

/// Folds what waits into the draft, in the order of arrival.
pub(super) fn fold(desk: &Desk, draft: &mut Draft, waiting: Vec<Item>) {
    let severity = draft.case.severity;
    let mut joined = false;
    for item in waiting {
        match react(&draft.case, &item.entry) {
            Reaction::Fold => {
                joined |= joins_escalated(&draft.case, &item.entry);
                let entry = without_secrets(desk, item.entry);
                draft.add_at(item.at_ms, entry.clone());
                tell_rejection(draft, &entry);
                pipeline::follow(desk, draft, &entry);
                tell_superseded(draft, &entry);
            }
            Reaction::Ignore(because) => tracing::info!(
                incident.id = %draft.case.id,
                event = item.entry.kind(),
                because,
                "ignored an event"
            ),
        }
        draft.fold(item.id);
    }
    after_events(draft);
    end_second_pages(desk, draft);
    if joined {
        tell_joined(desk, draft, severity);
    }
    if let Some((by, _)) = draft.case.acknowledged.clone() {
        let message = announce::acknowledged(desk, &draft.case, &by);
        draft.announce(&format!("acknowledged:{}", draft.case.round), message);
    }
}

/// Ends the pages for a further approval that nobody needs any more.
fn end_second_pages(desk: &Desk, draft: &mut Draft) {
    let settled = |action: &&Action| {
        action.state != ActionState::Awaiting
            && draft.case.announced.contains(&one_more_transition(action.id(), 1))
    };
    let settled: Vec<Action> = draft.case.actions.iter().filter(settled).cloned().collect();
    for action in settled {
        let message = announce::no_more(desk, &draft.case, &action);
        draft.announce(&format!("no_more:{}", action.id()), message);
    }
}

/// The transition that is announced when so many have approved and it takes more.
pub(super) fn one_more_transition(id: ActionId, approved: usize) -> String {
    format!("one_more:{id}:{approved}")
}

/// Whether an alert begins to fire under an incident that was handed to a person: no investigation
/// will speak of it.
fn joins_escalated(case: &Case, entry: &Entry) -> bool {
    let Entry::AlertFired { alert, .. } = entry else { return false };
    case.state() == State::Escalated && !case.is_firing(&alert.key())
}

/// Says so at once for each severity, and then once an hour.
fn tell_joined(desk: &Desk, draft: &mut Draft, before: Severity) {
    if draft.case.state() != State::Escalated {
        return;
    }
    let Some(end) = draft.case.end.clone() else { return };
    let taken =
        draft.case.acknowledged.as_ref().is_some_and(|(_, at_ms)| {
            draft.case.severity >= before && draft.now_ms - at_ms < SHIFT_MS
        });
    let urgency = if taken { Urgency::Tell } else { announce::loudness(&draft.case) };
    let message = announce::joined(desk, &draft.case, urgency);
    let hours = (draft.now_ms - end.at_ms) / 3_600_000;
    let severity = draft.case.severity.as_str();
    draft.announce(&format!("joined:{}:{severity}:{hours}", draft.case.round), message);
}

/// The matrix.
pub(super) fn react(case: &Case, event: &Entry) -> Reaction {
    let state = case.state();
    match event {
        Entry::Opened { .. } if case.seq > 0 => Reaction::Ignore("it was opened before"),
        Entry::Opened { .. } => Reaction::Fold,
        // A firing alert joins in every state, and opens a resolved incident again.
        Entry::AlertFired { .. } => Reaction::Fold,
        // Of a resolved incident, too: should it open again, this alert is no reason.
        Entry::AlertResolved { .. } => Reaction::Fold,
        Entry::AlertMissing { .. }
        | Entry::AlertSeen { .. }
        | Entry::AlertSilenced { .. }
        | Entry::SilenceEnded { .. }
        | Entry::AlertHeardLate { .. } => pipeline::react(case, event),
        // They say more of an alert that fires.
        Entry::Joined { .. } | Entry::Flapping { .. } => Reaction::Fold,
        Entry::Decided { action_id, .. } | Entry::Counted { action_id, .. } => {
            match case.action(*action_id).map(|a| a.state) {
                Some(ActionState::Awaiting) => Reaction::Fold,
                Some(_) => Reaction::Ignore("the action no longer waits for a decision"),
                None => Reaction::Ignore("the incident has no such action"),
            }
        }
        // The database was set back: what was permitted then is off, and its row says so already.
        Entry::Superseded { action_id, .. } => match case.action(*action_id).map(|a| a.state) {
            Some(ActionState::Allowed | ActionState::Awaiting | ActionState::Approved) => {
                Reaction::Fold
            }
            Some(_) => Reaction::Ignore("the action is over, or has started"),
            None => Reaction::Ignore("the incident has no such action"),
        },
        Entry::Acknowledged { .. } => match state {
            State::Resolved => Reaction::Ignore("there is nothing left to take over"),
            State::Open
            | State::Investigating
            | State::Proposed
            | State::AwaitingApproval
            | State::Executing
            | State::Verifying
            | State::Escalated => Reaction::Fold,
        },
        Entry::MessageQueued { transition, .. } if case.announced.contains(transition) => {
            Reaction::Ignore("it was announced before")
        }
        Entry::MessageQueued { .. } => Reaction::Fold,
        Entry::Started { .. }
        | Entry::TurnTaken { .. }
        | Entry::Judged { .. }
        | Entry::Answered { .. }
        | Entry::Proposed { .. }
        | Entry::ActionJudged { .. }
        | Entry::ApprovalOpened { .. }
        | Entry::Expired { .. }
        | Entry::HeldBack { .. }
        | Entry::IntentWritten { .. }
        | Entry::OutcomeRecorded { .. }
        | Entry::VerificationStarted { .. }
        | Entry::Measured { .. }
        | Entry::Concluded { .. }
        | Entry::Resolved { .. }
        | Entry::Escalated { .. }
        | Entry::ReportWritten { .. }
        | Entry::Unknown(_) => Reaction::Ignore("only a step of the incident itself writes this"),
    }
}

/// People's own words without the secrets in them: they stand in the history, and a rejection's
/// go to a model. Whoever wrote the entry may have left them in.
fn without_secrets(desk: &Desk, mut entry: Entry) -> Entry {
    if let Entry::Decided { comment: Some(text), .. } | Entry::Counted { comment: Some(text), .. } =
        &mut entry
    {
        *text = desk.redactor.text(text).into_owned();
    }
    entry
}

/// A rejection is the answer that the mind waits for; without it, it would ask the same again.
fn tell_rejection(draft: &mut Draft, entry: &Entry) {
    let Entry::Decided { action_id, answer: Answer::Reject, by, comment, .. } = entry else {
        return;
    };
    let Some(action) = draft.case.action(*action_id) else { return };
    let call_id = action.proposal.call_id.clone();
    let comment = comment.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let text = format!("rejected by {by}, it was not done{comment}");
    draft.answer(&call_id, Success::Refused, text);
}

/// As after a rejection: whoever proposed the change is waiting for its fate.
fn tell_superseded(draft: &mut Draft, entry: &Entry) {
    let Entry::Superseded { action_id, why } = entry else { return };
    let Some(action) = draft.case.action(*action_id) else { return };
    let call_id = action.proposal.call_id.clone();
    draft.answer(&call_id, Success::Refused, format!("superseded, not done: {why}"));
}

/// When every alert has its resolved notice: a change that has not started is superseded, and an
/// incident without a change in flight is over.
fn after_events(draft: &mut Draft) {
    if !draft.case.all_alerts_resolved() {
        return;
    }
    supersede_unstarted(draft, "every alert was resolved in the meantime");
    let over = match draft.case.state() {
        State::Open | State::Proposed | State::AwaitingApproval => true,
        // After a change that helped, the mind still names the cause for the report.
        State::Investigating => !draft.case.change_helped(),
        // A conclusion waits for its measurement, which the notices settle.
        State::Verifying => draft.case.unverified_action().is_none(),
        State::Escalated => true,
        State::Executing | State::Resolved => false,
    };
    if over {
        let by = if draft.case.only_heard_late() {
            pipeline::OVER_BEFORE_HEARD
        } else {
            "every alert got its resolved notice"
        };
        draft.add(Entry::Resolved { by: by.into() });
    }
}

pub(super) fn supersede_unstarted(draft: &mut Draft, why: &str) {
    let Some(action) = draft.case.open_action() else { return };
    let (id, from) = (action.id(), action.state);
    let call_id = action.proposal.call_id.clone();
    match from {
        ActionState::Proposed => {}
        ActionState::Allowed | ActionState::Awaiting | ActionState::Approved => {
            draft.move_action(id, from, ActionState::Superseded);
        }
        ActionState::Intended
        | ActionState::Refused
        | ActionState::Rejected
        | ActionState::Expired
        | ActionState::Superseded
        | ActionState::Done
        | ActionState::Failed
        | ActionState::Unknown => return,
    }
    draft.add(Entry::Superseded { action_id: id, why: why.to_owned() });
    draft.answer(&call_id, Success::Refused, format!("superseded, not done: {why}"));
}
