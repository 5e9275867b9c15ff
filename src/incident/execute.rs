//! Executing: intent, run, outcome. The only place from which a change starts.
//!
//! A fresh permission is judged again with today's rules and a second look at the target; then the
//! intent is committed, and only the process that committed it runs the tool. Whoever finds an
//! intent without an outcome records it as unknown and never runs it.

use super::advance::{Stepped, commit, page_due};
use super::draft::{Draft, Known, Next, bounded_data};
use super::reconsider::asks_more;
use super::wait::Wait;
use super::{Desk, announce, breaker, flapping, wait};
use crate::action::gate::{Facts, Judged, NotRun};
use crate::model::action::{Action, ActionState, Proposal, Wanted};
use crate::model::ids::ActionId;
use crate::model::timeline::{Entry, Outcome, Success};
use crate::model::verdict::Decision;
use crate::safety::permit::Consent;
use crate::store::step::Inbox;
use crate::store::{Error, intents};
use crate::tools::{Bounds, Done, Error as ToolError};
use std::time::Instant;

/// Moves the open action on.
pub(super) async fn execute(desk: &Desk, mut draft: Draft) -> Result<Stepped, Error> {
    let Some(action) = draft.case.open_action().cloned() else {
        return commit(desk, draft, Next::Again).await;
    };
    match action.state {
        ActionState::Allowed => start(desk, draft, action, Consent::None).await,
        ActionState::Approved => start(desk, draft, action, Consent::Approved).await,
        ActionState::Intended => {
            lost(desk, &mut draft, &action);
            commit(desk, draft, Next::Again).await
        }
        ActionState::Proposed
        | ActionState::Refused
        | ActionState::Awaiting
        | ActionState::Rejected
        | ActionState::Expired
        | ActionState::Superseded
        | ActionState::Done
        | ActionState::Failed
        | ActionState::Unknown => commit(desk, draft, Next::Again).await,
    }
}

async fn start(
    desk: &Desk,
    mut draft: Draft,
    action: Action,
    consent: Consent,
) -> Result<Stepped, Error> {
    if let Some(why) = wait::still(desk, &draft, &action).await? {
        return hold_back(desk, draft, &action, why).await;
    }
    let judged = match judge_again(desk, &draft, &action, consent).await? {
        Ok(judged) => judged,
        Err(withdrawn) => {
            withdraw(&mut draft, &action, withdrawn);
            return commit(desk, draft, Next::Again).await;
        }
    };
    if desk.is_retired() {
        // Nothing starts on the word of a policy that is no longer in force.
        return commit(desk, draft, Next::Again).await;
    }
    draft.now_ms = desk.clock.now_ms();
    // Should the intent be refused, the step goes on from here.
    let before = draft.case.clone();
    let start_before_ms = draft.now_ms + desk.policy.start_within_ms;
    draft.add(Entry::IntentWritten { action_id: action.id(), start_before_ms });
    let page_due_at_ms = page_due(desk, &draft.case);
    let facts = desk.facts(&draft.case);
    let (lease, now_ms) = (draft.lease().clone(), draft.now_ms);
    let (mut step, case, row) = draft.into_step(Next::Again, page_due_at_ms);
    step.intent = Some(intents::Intent {
        action_id: action.id(),
        incident_id: lease.incident_id,
        from: action.state,
        limits: judged.verdict.limits().to_vec(),
        orders_version: judged.orders_version,
        watch: judged.watch,
        at_ms: now_ms,
        held_until_ms: wait::held_until_ms(desk, start_before_ms),
    });
    let call = &action.proposal.call;
    let intended = match desk.gate.intend(step, &judged.verdict, call, consent).await {
        Ok(intended) => intended,
        Err(NotRun::Store(error)) => {
            let draft = Draft::new(lease, before, now_ms);
            return refused(desk, draft, &action, error).await;
        }
    };
    let Known { case, .. } = Known::after(case, row, &intended.committed, None);
    let bounds = Bounds {
        start_before_ms,
        timeout_ms: desk.policy.tool_timeout_ms,
        output_bytes_max: desk.policy.output_bytes_max,
    };
    let started = Instant::now();
    let may_start = || may_start(desk, &facts, &action, consent);
    let result = desk.gate.run(intended, action.basis.clone(), bounds, may_start).await;
    let duration_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    let mut draft = Draft::new(lease, case, desk.clock.now_ms());
    record(desk, &mut draft, &action, result, duration_ms);
    commit(desk, draft, Next::Again).await
}

/// What may have changed since the intent was decided on: the policy, and the hour.
fn may_start(desk: &Desk, facts: &Facts, action: &Action, consent: Consent) -> Result<(), String> {
    if desk.is_retired() {
        return Err("other policy files are in force since it was judged".to_owned());
    }
    desk.gate.frozen(facts, &action.proposal.call, consent).map_or(Ok(()), Err)
}

/// Why a permission no longer stands.
pub(super) enum Withdrawn {
    /// The call is off, and the mind is told so.
    Off(String),
    /// What was allowed before is a person's to decide now.
    AskFirst(String),
    /// It waited in vain for other changes to end, so that a person decides.
    AskWaited(String),
}

/// Other changes are in flight: the permission stands, and the change is tried again shortly.
async fn hold_back(
    desk: &Desk,
    mut draft: Draft,
    action: &Action,
    why: String,
) -> Result<Stepped, Error> {
    draft.now_ms = desk.clock.now_ms();
    let withdrawn = match wait::next(&draft, action) {
        Wait::Begins { until_ms, next_at_ms } => {
            draft.add(Entry::HeldBack { action_id: action.id(), why, until_ms });
            return commit(desk, draft, Next::At(next_at_ms)).await;
        }
        Wait::GoesOn { next_at_ms } => {
            return commit(desk, draft, Next::At(next_at_ms)).await;
        }
        Wait::Ends => Withdrawn::AskWaited(format!("it waited in vain: {why}")),
        Wait::Expires => Withdrawn::Off(format!("the approval has expired while: {why}")),
    };
    withdraw(&mut draft, action, withdrawn);
    commit(desk, draft, Next::Again).await
}

/// Judges the call with the rules in force and looks at the target again. `Err` says why the
/// permission no longer stands.
async fn judge_again(
    desk: &Desk,
    draft: &Draft,
    action: &Action,
    consent: Consent,
) -> Result<Result<Judged, Withdrawn>, Error> {
    let proposal = &action.proposal;
    let facts = desk.facts(&draft.case);
    let asked = flapping::judged_as(&draft.case, proposal, desk.clock.now_ms());
    let judged = desk.gate.judge_write(&facts, &asked).await?;
    let record = judged.verdict.record();
    let before = action.verdict.as_ref().map(|verdict| verdict.rules_version.as_str());
    let given = action.verdict.as_ref().map(|verdict| &verdict.approvals);
    match (record.decision, consent) {
        (Decision::Refuse, _) => {
            let why = format!("now refused: {}", record.reason());
            return Ok(Err(Withdrawn::Off(why)));
        }
        (Decision::Ask, Consent::None) => {
            let why = format!("now needs a person: {}", record.reason());
            return Ok(Err(Withdrawn::AskFirst(why)));
        }
        (Decision::Ask, Consent::Approved) if before != Some(record.rules_version.as_str()) => {
            let why = "the safety rules changed since it was approved";
            return Ok(Err(Withdrawn::Off(why.into())));
        }
        // The inventory may say more of the target, or its state have changed.
        (Decision::Ask, Consent::Approved)
            if given.is_none_or(|given| asks_more(given, &record.approvals)) =>
        {
            let why = "it needs other or more people than those who approved it";
            return Ok(Err(Withdrawn::AskFirst(why.into())));
        }
        (Decision::Allow, _) | (Decision::Ask, Consent::Approved) => {}
    }
    let basis = judged.captured.basis.as_ref();
    if let Err(drift) = desk.gate.drift(&proposal.call, action.basis.as_ref(), basis) {
        return Ok(Err(Withdrawn::Off(drift)));
    }
    Ok(Ok(judged))
}

/// The intent transaction said no; nothing was started.
async fn refused(
    desk: &Desk,
    mut draft: Draft,
    action: &Action,
    error: Error,
) -> Result<Stepped, Error> {
    let withdrawn = match error {
        Error::OverLimit(over) => {
            let used: Vec<String> = over
                .iter()
                .map(|(limit, count)| format!("{}: {count} of {}", limit.key, limit.max))
                .collect();
            let why = format!("a limit was used up meanwhile: {}", used.join("; "));
            Withdrawn::AskFirst(why)
        }
        Error::Held(why) => Withdrawn::AskFirst(format!("held meanwhile: {why}")),
        Error::Crowded(why) => return hold_back(desk, draft, action, why).await,
        Error::NoLonger(why) => Withdrawn::Off(why),
        // Nothing was written: the next step judges the same action under the orders in force.
        Error::OrdersChanged => {
            return Ok((
                Next::Again,
                Known { case: draft.case, inbox: Inbox::Waiting, used: None, row: None },
            ));
        }
        Error::Unavailable(_)
        | Error::Busy
        | Error::Fenced
        | Error::Conflict(_)
        | Error::Corrupt(_) => return Err(error),
    };
    withdraw(&mut draft, action, withdrawn);
    commit(desk, draft, Next::Again).await
}

/// Ends an action that will not run. What only needs a person now is proposed again, so that it is
/// judged with the true counts.
pub(super) fn withdraw(draft: &mut Draft, action: &Action, withdrawn: Withdrawn) {
    let (Withdrawn::Off(why) | Withdrawn::AskFirst(why) | Withdrawn::AskWaited(why)) = &withdrawn;
    draft.move_action(action.id(), action.state, ActionState::Superseded);
    draft.add(Entry::Superseded { action_id: action.id(), why: why.clone() });
    match withdrawn {
        Withdrawn::Off(why) => {
            let text = format!("superseded, not done: {why}");
            draft.answer(&action.proposal.call_id, Success::Refused, text);
        }
        Withdrawn::AskFirst(_) => {
            let proposal = Proposal { action_id: ActionId::new(), ..action.proposal.clone() };
            draft.add(Entry::Proposed { proposal });
        }
        Withdrawn::AskWaited(_) => {
            let action_id = ActionId::new();
            let wants_person = Wanted::Waited;
            let proposal = Proposal { action_id, wants_person, ..action.proposal.clone() };
            draft.add(Entry::Proposed { proposal });
        }
    }
}

fn record(
    desk: &Desk,
    draft: &mut Draft,
    action: &Action,
    result: Result<Done, ToolError>,
    duration_ms: i64,
) {
    let started = !matches!(result, Err(ToolError::NotStarted(_)));
    let (outcome, text) = match result {
        Ok(Done::Output(output)) => {
            let data = bounded_data(output.data);
            (Outcome::Done, with_data(output.text, &data))
        }
        Ok(Done::Message(_) | Done::Proposal(_) | Done::ReadBack(_)) => {
            (Outcome::Failed, "the tool answered something that is no outcome of a change".into())
        }
        Err(ToolError::Tell(why) | ToolError::NotStarted(why)) => (Outcome::Failed, why),
        Err(ToolError::OutcomeUnknown(why)) => (Outcome::Unknown, why),
    };
    let (text, output) = draft.keep_output(&desk.redactor, &text, desk.policy.output_bytes_max);
    end(desk, draft, action, outcome, text, output, duration_ms);
    if started && outcome != Outcome::Done {
        breaker::count(desk, draft, action);
    }
}

fn with_data(text: String, data: &serde_json::Value) -> String {
    if text.is_empty() && !data.is_null() { data.to_string() } else { text }
}

/// An intent without an outcome: the process that wrote it is gone.
fn lost(desk: &Desk, draft: &mut Draft, action: &Action) {
    let text = "the process stopped between the intent and the outcome".to_owned();
    end(desk, draft, action, Outcome::Unknown, text, None, 0);
    breaker::count(desk, draft, action);
}

fn end(
    desk: &Desk,
    draft: &mut Draft,
    action: &Action,
    outcome: Outcome,
    text: String,
    output: Option<crate::model::timeline::OutputRef>,
    duration_ms: i64,
) {
    let to = match outcome {
        Outcome::Done => ActionState::Done,
        Outcome::Failed => ActionState::Failed,
        Outcome::Unknown => ActionState::Unknown,
    };
    let tool = action.proposal.call.tool.clone();
    metrics::counter!("watchkeeper_actions_total", "tool" => tool, "outcome" => to.as_str())
        .increment(1);
    draft.move_action(action.id(), ActionState::Intended, to);
    draft.add(Entry::OutcomeRecorded {
        action_id: action.id(),
        outcome,
        text,
        output,
        duration_ms,
    });
    if outcome == Outcome::Unknown
        && let Some(action) = draft.case.action(action.id()).cloned()
    {
        let message = announce::unknown_outcome(desk, &draft.case, &action);
        draft.announce(&format!("unknown:{}", action.id()), message);
    }
}
