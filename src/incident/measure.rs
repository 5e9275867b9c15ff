//! Verifying: whether a change helped, and whether a concluded incident is really over.

use super::Desk;
use super::advance::Flow;
use super::breaker;
use super::draft::{Draft, Next};
use crate::action::verify::Reading;
use crate::crash::{self, Point};
use crate::model::action::{Action, ActionState};
use crate::model::alert::Alert;
use crate::model::case::Case;
use crate::model::timeline::{Entry, Finding, Success};
use crate::store::Error;

/// A value that is right once may be wrong again a moment later, e.g. when a service crashes right
/// after its start; so a good reading is taken twice.
const SECOND_LOOK_MS_MAX: i64 = 5_000;

/// A measurement holds for a conclusion that follows within this; after it, it is taken again.
const SETTLED_MS_MAX: i64 = 120_000;

/// Takes one measurement.
pub(super) async fn verify(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    if draft.is_dirty() {
        return Ok(Flow::CommitFirst);
    }
    let located = desk.led(&draft.case);
    let action = draft.case.unverified_action().cloned();
    if draft.case.verification.is_none() && action.is_some() {
        let plan = desk.verifier.plan(&draft.case, &located).await;
        draft.now_ms = desk.clock.now_ms();
        draft.add(Entry::VerificationStarted {
            action_id: action.as_ref().map(Action::id),
            by: plan.by,
            until_ms: draft.now_ms + plan.for_ms,
        });
        return Ok(Flow::Go);
    }
    let recent = |at_ms: i64| draft.now_ms - at_ms < SETTLED_MS_MAX;
    let settled = draft.case.measured.as_ref().filter(|m| action.is_none() && recent(m.at_ms));
    if let Some(measured) = settled.filter(|measured| measured.finding == Finding::Fixed) {
        let by = measured.text.clone();
        draft.add(over(&draft.case, by));
        return Ok(Flow::Go);
    }
    crash::at(Point::BeforeMeasure);
    let mut reading = desk.verifier.measure(&draft.case, &located).await;
    if matches!(reading, Reading::Fixed(_)) && !draft.case.all_alerts_resolved() {
        let pause_ms = desk.policy.verify_poll_ms.clamp(0, SECOND_LOOK_MS_MAX);
        desk.clock.sleep(pause_ms.unsigned_abs()).await;
        reading = desk.verifier.measure(&draft.case, &located).await;
    }
    crash::at(Point::AfterMeasure);
    draft.now_ms = desk.clock.now_ms();
    match action {
        Some(action) => Ok(after_change(desk, draft, &action, reading)),
        None if draft.case.recheck => Ok(after_late_alert(draft, reading)),
        None => Ok(after_conclusion(draft, reading)),
    }
}

/// Until the deadline a problem may still be on its way out of the metrics.
fn after_change(desk: &Desk, draft: &mut Draft, action: &Action, reading: Reading) -> Flow {
    let until_ms = draft.case.verification.as_ref().map_or(draft.now_ms, |v| v.until_ms);
    let waits = draft.now_ms < until_ms;
    let (finding, text) = match reading {
        Reading::Fixed(text) => (Finding::Fixed, text),
        Reading::NotFixed(_) | Reading::Nothing(_) if waits => {
            let next_ms = draft.now_ms + desk.policy.verify_poll_ms;
            return Flow::Rest(Next::At(next_ms.min(until_ms)));
        }
        Reading::NotFixed(text) => (Finding::NotFixed, text),
        Reading::Nothing(text) => (Finding::Unverified, text),
    };
    draft.add(Entry::Measured { finding, text: text.clone() });
    if finding != Finding::Fixed {
        breaker::count(desk, draft, action);
    }
    let word = match finding {
        Finding::Fixed => "measured: fixed",
        Finding::NotFixed => "measured: not fixed",
        Finding::Unverified => "unverified: nothing could be measured",
    };
    let outcome = match action.state {
        ActionState::Done => Success::Ok,
        ActionState::Proposed
        | ActionState::Refused
        | ActionState::Allowed
        | ActionState::Awaiting
        | ActionState::Approved
        | ActionState::Rejected
        | ActionState::Expired
        | ActionState::Superseded
        | ActionState::Intended
        | ActionState::Failed
        | ActionState::Unknown => Success::Failed,
    };
    let said = action.outcome.clone().unwrap_or_default();
    let answer = format!("{}: {said}\n{word}: {text}", action.state.as_str());
    draft.answer(&action.proposal.call_id, outcome, answer);
    Flow::Go
}

/// How an incident ends whose problem was measured to be gone. Alerts of another key may have joined
/// it, and nothing was measured of those.
fn over(case: &Case, by: String) -> Entry {
    let beside: Vec<&str> = case.firing_beside().map(Alert::name).collect();
    let Some(first) = beside.first() else { return Entry::Resolved { by } };
    let others = beside.len() - 1;
    let others = if others == 0 { String::new() } else { format!(" and {others} more") };
    Entry::Escalated {
        why: format!(
            "what opened it was measured to be over ({by}), but {first}{others} joined it and still \
             fires: that was not looked at"
        ),
    }
}

/// A late alert of a resolved problem: it stays resolved if that can be measured, else the work is
/// opened again.
fn after_late_alert(draft: &mut Draft, reading: Reading) -> Flow {
    let (finding, text) = match reading {
        // Nothing was measured of it, and the round that people heard of is over: a new one begins.
        Reading::Fixed(text) if draft.case.firing_beside().next().is_some() => {
            (Finding::Unverified, text)
        }
        Reading::Fixed(text) => (Finding::Fixed, text),
        Reading::NotFixed(text) => (Finding::NotFixed, text),
        Reading::Nothing(text) => (Finding::Unverified, text),
    };
    draft.add(Entry::Measured { finding, text: text.clone() });
    if finding == Finding::Fixed {
        draft.add(Entry::Resolved { by: text });
    }
    Flow::Go
}

/// The mind has nothing more to do: it is over if that can be measured, else a person takes over.
fn after_conclusion(draft: &mut Draft, reading: Reading) -> Flow {
    match reading {
        Reading::Fixed(text) => {
            draft.add(Entry::Measured { finding: Finding::Fixed, text: text.clone() });
            draft.add(over(&draft.case, text));
        }
        Reading::NotFixed(text) => {
            draft.add(Entry::Measured { finding: Finding::NotFixed, text: text.clone() });
            draft.add(Entry::Escalated { why: format!("the problem is still there: {text}") });
        }
        Reading::Nothing(text) => {
            draft.add(Entry::Measured { finding: Finding::Unverified, text: text.clone() });
            draft.add(Entry::Escalated { why: format!("unverified: {text}") });
        }
    }
    Flow::Go
}
