//! What may follow what in the history of an incident.

use std::collections::BTreeSet;
use watchkeeper::model::action::{Action, ActionState};
use watchkeeper::model::case::Case;
use watchkeeper::model::timeline::{Entry, Finding, Stored};
use watchkeeper::model::verdict::Decision;

/// Whether an entry comes through the inbox.
pub fn is_brought(entry: &Entry) -> bool {
    match entry {
        Entry::AlertFired { .. }
        | Entry::AlertResolved { .. }
        | Entry::Acknowledged { .. }
        | Entry::Decided { .. }
        | Entry::Counted { .. } => true,
        Entry::MessageQueued { transition, .. } => transition.starts_with("overdue:"),
        _ => false,
    }
}

/// Why an entry may not follow those before it.
pub fn forbidden(case: &Case, stored: &Stored) -> Option<String> {
    match &stored.entry {
        Entry::IntentWritten { action_id, .. } => match case.action(*action_id) {
            Some(action) => forbidden_intent(action, stored.at_ms)
                .or_else(|| forbidden_repeat(case, action).map(str::to_owned)),
            None => Some("an intent for no action".into()),
        },
        Entry::OutcomeRecorded { action_id, .. } => {
            let state = case.action(*action_id).map(|action| action.state);
            (state != Some(ActionState::Intended)).then(|| format!("an outcome of {state:?}"))
        }
        Entry::Resolved { .. } => {
            let fixed = case.measured.as_ref().is_some_and(|m| m.finding == Finding::Fixed);
            (!fixed && !case.all_alerts_resolved()).then(|| "resolved without evidence".into())
        }
        Entry::MessageQueued { transition, .. } => {
            case.announced.contains(transition).then(|| format!("{transition} is announced twice"))
        }
        _ => None,
    }
}

fn forbidden_intent(action: &Action, at_ms: i64) -> Option<String> {
    let Some(verdict) = &action.verdict else { return Some("an intent without a verdict".into()) };
    match (action.state, verdict.decision) {
        (ActionState::Allowed, Decision::Allow) => None,
        (ActionState::Approved, _) => {
            let by = action.decided_by.as_deref().unwrap_or_default();
            let people: BTreeSet<&str> = by.split(", ").filter(|name| !name.is_empty()).collect();
            if people.len() < usize::try_from(verdict.approvals.quorum).unwrap_or(usize::MAX) {
                return Some(format!("approved by {by} alone"));
            }
            action
                .expires_at_ms
                .is_some_and(|expires| expires <= at_ms)
                .then(|| "an expired approval".into())
        }
        (state, decision) => {
            Some(format!("an intent of an action that is {state:?}, {decision:?}"))
        }
    }
}

/// A change of unknown outcome is repeated only with a person, a rejected one not at all.
fn forbidden_repeat(case: &Case, action: &Action) -> Option<&'static str> {
    let same = |other: &&Action| {
        let (a, b) = (&other.proposal.call, &action.proposal.call);
        (&a.tool, a.text("service")) == (&b.tool, b.text("service"))
    };
    let before = case.actions.iter().take_while(|other| other.id() != action.id());
    let before: Vec<ActionState> = before.filter(same).map(|other| other.state).collect();
    if before.contains(&ActionState::Unknown) && action.state != ActionState::Approved {
        return Some("a change of unknown outcome is repeated without a person");
    }
    before.contains(&ActionState::Rejected).then_some("a rejected change is made")
}
