//! Open and Investigating: choose a mind, ask it for a turn, run the looks that it asked for.

use super::advance::Flow;
use super::draft::{Draft, Next, bounded_data, redacted};
use super::{Desk, announce, flapping};
use crate::action::gate::Facts;
use crate::agent::{Asked, Error as MindError, Thought, View, budget::Spent};
use crate::crash::{self, Point};
use crate::model::action::{ActionState, Proposal, Risk, Wanted};
use crate::model::call::Call;
use crate::model::case::{CallState, Case, NOTE};
use crate::model::conclusion::{Conclusion, Confidence};
use crate::model::ids::ActionId;
use crate::model::timeline::{Entry, Success, TurnCall};
use crate::model::tool::{ArgKind, Effect};
use crate::model::verdict::Decision;
use crate::store::Error;
use crate::tools::{Bounds, Done, Error as ToolError, Output, ReadBack, Request, output};
use futures::future::join_all;
use std::time::Instant;

/// Chooses the mind and tells people that the incident is looked at.
pub(super) async fn open(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    if let Some(flow) = flapping::rest(desk, draft) {
        return Ok(flow);
    }
    let mut mind = desk.minds.first();
    let mut why = String::from("first choice");
    if mind.name() == crate::agent::model::NAME
        && let Some(spent) = budget_spent(desk, draft).await?
    {
        mind = &desk.minds.runbook;
        why = format!("the model's budget is spent: {spent}");
    } else if desk.minds.model.is_none() {
        why = "no model is configured".into();
    }
    draft.add(Entry::Started { mind: mind.name().to_owned(), why });
    let facts = desk.facts(&draft.case);
    let labels: Vec<_> = facts.labels.iter().collect();
    let level = desk.gate.checker.granted(&labels).autonomy;
    let told_at_once = draft.case.round == 1 && draft.case.announced.contains(announce::AT_ONCE);
    if !told_at_once {
        let message = announce::started(desk, &draft.case, &facts.located, level);
        draft.announce(&format!("started:{}", draft.case.round), message);
    }
    Ok(Flow::Go)
}

/// Runs what waits to run, else asks the mind.
pub(super) async fn go_on(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    if draft.is_dirty() {
        return Ok(Flow::CommitFirst);
    }
    if draft.case.reads_to_run().is_empty() {
        ask(desk, draft).await
    } else {
        look(desk, draft).await
    }
}

async fn ask(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    let name = draft.case.mind.clone().unwrap_or_default();
    let mind = desk.minds.get(&name);
    if mind.name() == crate::agent::model::NAME
        && let Some(spent) = budget_spent(desk, draft).await?
    {
        fall_back(desk, draft, &format!("the model's budget is spent: {spent}"));
        return Ok(Flow::Go);
    }
    let follows = mind.name() == desk.minds.runbook.name();
    let located = if follows { desk.led(&draft.case) } else { desk.located(&draft.case) };
    let tools = desk.gate.register.specs();
    let started = Instant::now();
    let view = View { case: &draft.case, located: &located, tools, now_ms: draft.now_ms };
    let answer = tokio::select! {
        answer = mind.next(view) => answer,
        // Whoever goes on with the incident asks the same again.
        () = desk.hurry.cancelled() => return Ok(Flow::Rest(Next::Again)),
    };
    match answer {
        Ok(thought) => {
            let took_ms = elapsed_ms(started);
            crash::at(Point::AfterTurn);
            draft.now_ms = desk.clock.now_ms();
            take_turn(desk, draft, mind.name(), thought, took_ms);
        }
        Err(MindError::Down(why)) if mind.name() != desk.minds.runbook.name() => {
            draft.now_ms = desk.clock.now_ms();
            let hour = draft.now_ms / 3_600_000;
            let why = desk.redactor.text(&why).into_owned();
            let message = announce::model_down(desk, &draft.case.scope, &why);
            draft.report_health(format!("model:{hour}"), message);
            fall_back(desk, draft, &format!("every model is down: {why}"));
        }
        Err(MindError::Down(why)) => {
            draft.now_ms = desk.clock.now_ms();
            draft.add(Entry::Escalated { why: format!("nobody could investigate: {why}") });
        }
    }
    Ok(Flow::Go)
}

fn fall_back(desk: &Desk, draft: &mut Draft, why: &str) {
    let why = desk.redactor.text(why).into_owned();
    draft.add(Entry::Started { mind: desk.minds.runbook.name().to_owned(), why });
    if draft.case.change_helped() {
        // The runbook would begin from its first step and change what is well already.
        draft.add(Entry::Concluded {
            conclusion: Conclusion {
                root_cause: "not named: the model gave no answer after a change that helped".into(),
                confidence: Confidence::Low,
                evidence: Vec::new(),
                done: String::new(),
                remaining: "find the cause".into(),
            },
        });
    }
}

async fn budget_spent(desk: &Desk, draft: &Draft) -> Result<Option<String>, Error> {
    // What this incident's last turn found is as good as asking: either way others go on spending
    // until this turn is answered.
    let day = match draft.used.and_then(|used| used.on(draft.now_ms)) {
        Some(day) => day,
        None => desk.store.usage_of_day(&draft.case.scope, draft.now_ms).await?,
    };
    let spent = Spent { tokens_today: day.tokens, cost_micros_today: day.cost_micros };
    Ok(desk.budget.spent(&draft.case, spent, draft.now_ms))
}

/// Writes the turn down: each call is completed, judged and recorded before anything runs.
fn take_turn(desk: &Desk, draft: &mut Draft, mind: &str, thought: Thought, duration_ms: i64) {
    let asked: Vec<(Asked, Result<Call, String>, Effect)> =
        thought.calls.into_iter().map(|asked| complete(desk, asked)).collect();
    let turn = i64::try_from(draft.case.turns.len()).unwrap_or(i64::MAX) + 1;
    draft.add(Entry::TurnTaken {
        turn,
        mind: mind.to_owned(),
        said: desk.redactor.text(&thought.said).into_owned(),
        raw: thought.raw,
        calls: asked
            .iter()
            .map(|(asked, completed, effect)| TurnCall {
                id: asked.id.clone(),
                call: completed.clone().unwrap_or_else(|_| redacted(&desk.redactor, asked.call())),
                effect: *effect,
            })
            .collect(),
        usage: thought.usage,
        duration_ms,
    });
    draft.charge(thought.usage);
    let tokens = thought.usage.tokens().unsigned_abs();
    metrics::counter!("watchkeeper_turns_total", "mind" => mind.to_owned()).increment(1);
    metrics::counter!("watchkeeper_model_tokens_total").increment(tokens);
    let facts = desk.facts(&draft.case);
    for (asked, completed, effect) in asked {
        match completed {
            // It may repeat what the mind wrote, of any length.
            Err(complaint) => fail(desk, draft, &asked.id, Success::Refused, &complaint, 0),
            Ok(call) => match effect {
                Effect::Read | Effect::Talk => judge_look(desk, draft, &facts, &asked.id, &call),
                Effect::Write => {
                    let reason = call.text("reason").unwrap_or(&thought.said).to_owned();
                    propose(desk, draft, &asked.id, call, reason);
                }
            },
        }
    }
    if let Some(conclusion) = thought.conclusion {
        let clean = |text: String| desk.redactor.text(&text).into_owned();
        draft.add(Entry::Concluded {
            conclusion: Conclusion {
                root_cause: clean(conclusion.root_cause),
                done: clean(conclusion.done),
                remaining: clean(conclusion.remaining),
                ..conclusion
            },
        });
    }
}

fn complete(desk: &Desk, asked: Asked) -> (Asked, Result<Call, String>, Effect) {
    let call = redacted(&desk.redactor, asked.call());
    let completed = asked.args.clone().and_then(|_| desk.gate.register.complete(&call));
    let effect =
        desk.gate.register.get(&asked.tool).map_or(Effect::Read, |tool| tool.spec().effect);
    (asked, completed, effect)
}

fn judge_look(desk: &Desk, draft: &mut Draft, facts: &Facts, call_id: &str, call: &Call) {
    let verdict = desk.gate.judge_read(facts, call);
    let record = verdict.record().clone();
    let refusal = match record.decision {
        Decision::Allow => None,
        Decision::Ask => {
            Some(format!("a look that needs a person is not done: {}", record.reason()))
        }
        Decision::Refuse => Some(format!("refused: {}", record.reason())),
    };
    draft.add(Entry::Judged { call_id: call_id.to_owned(), verdict: record });
    if let Some(refusal) = refusal {
        draft.answer(call_id, Success::Refused, refusal);
    }
}

/// Makes a change a proposed action; one at a time, so that each effect can be measured.
fn propose(desk: &Desk, draft: &mut Draft, call_id: &str, call: Call, reason: String) {
    let request =
        Request { description: format!("{call}"), call, reason, risk: Risk::Low, rollback: None };
    propose_request(desk, draft, call_id, request, Wanted::Rules);
}

fn propose_request(
    desk: &Desk,
    draft: &mut Draft,
    call_id: &str,
    mut request: Request,
    mut wants_person: Wanted,
) {
    if draft.case.open_action().is_some() {
        draft.answer(
            call_id,
            Success::Refused,
            "one change at a time: wait for the outcome of the one before, then ask again",
        );
        return;
    }
    let before = ended_before(desk, draft, &request.call);
    if before.contains(&ActionState::Rejected) {
        let text = "a person rejected this very change in this incident; it is not asked again";
        draft.answer(call_id, Success::Refused, text);
        return;
    }
    if before.contains(&ActionState::Unknown) {
        wants_person = Wanted::Person;
        request.reason.insert_str(0, "It may have been done before: that outcome is unknown. ");
    }
    let clean = |text: String| desk.redactor.text(&text).into_owned();
    draft.add(Entry::Proposed {
        proposal: Proposal {
            action_id: ActionId::new(),
            call_id: call_id.to_owned(),
            call: request.call,
            reason: clean(request.reason),
            description: clean(request.description),
            risk: request.risk,
            rollback: request.rollback.map(clean),
            wants_person,
        },
    });
}

/// How the same change ended earlier in this round. Words for people do not make it another one.
fn ended_before(desk: &Desk, draft: &Draft, call: &Call) -> Vec<ActionState> {
    let Some(tool) = desk.gate.register.get(&call.tool) else { return Vec::new() };
    let is_prose = |name: &String| {
        tool.spec().arg(name).is_some_and(|arg| matches!(arg.kind, ArgKind::Prose { .. }))
    };
    let machine_args = |call: &Call| -> Vec<_> {
        let args = call.args.iter().filter(|(name, _)| !is_prose(name));
        args.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let wanted = machine_args(call);
    draft
        .case
        .actions
        .iter()
        .filter(|action| action.proposed_at_ms >= draft.case.round_from_ms)
        .filter(|action| action.proposal.call.tool == call.tool)
        .filter(|action| machine_args(&action.proposal.call) == wanted)
        .map(|action| action.state)
        .collect()
}

/// Runs the allowed looks of the last turn side by side.
async fn look(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    let facts = desk.facts(&draft.case);
    let waiting: Vec<CallState> = draft.case.reads_to_run().into_iter().cloned().collect();
    let bounds = Bounds {
        start_before_ms: i64::MAX,
        timeout_ms: desk.policy.tool_timeout_ms,
        output_bytes_max: desk.policy.output_bytes_max,
    };
    let runs = waiting.iter().map(|state| {
        let (call, facts) = (&state.request.call, &facts);
        async move {
            let started = Instant::now();
            // The verdict on the timeline is a record; the permit needs one from the checker.
            let verdict = desk.gate.judge_read(facts, call);
            (desk.gate.read(&verdict, call, bounds).await, elapsed_ms(started))
        }
    });
    let results = tokio::select! {
        results = join_all(runs) => results,
        () = desk.hurry.cancelled() => return Ok(Flow::Rest(Next::Again)),
    };
    crash::at(Point::AfterLook);
    draft.now_ms = desk.clock.now_ms();
    for (state, (result, duration_ms)) in waiting.iter().zip(results) {
        let call_id = &state.request.id;
        match result {
            Ok(Done::Output(output)) => answer_output(desk, draft, call_id, output, duration_ms),
            Ok(Done::Message(note)) => {
                let message = announce::note(desk, &draft.case, &note);
                draft.announce(&format!("{NOTE}{call_id}"), message);
                draft.answer(call_id, Success::Ok, "queued for delivery");
            }
            Ok(Done::ReadBack(wanted)) => {
                let (outcome, text) = read_back(desk, &draft.case, &wanted).await?;
                draft.answer(call_id, outcome, text);
            }
            Ok(Done::Proposal(request)) => confirm_request(desk, draft, call_id, request),
            Err(
                ToolError::Tell(why) | ToolError::NotStarted(why) | ToolError::OutcomeUnknown(why),
            ) => {
                fail(desk, draft, call_id, Success::Failed, &why, duration_ms);
            }
        }
    }
    Ok(Flow::Go)
}

fn fail(
    desk: &Desk,
    draft: &mut Draft,
    call_id: &str,
    outcome: Success,
    why: &str,
    duration_ms: i64,
) {
    let (text, output) = draft.keep_output(&desk.redactor, why, desk.policy.output_bytes_max);
    draft.add(Entry::Answered {
        call_id: call_id.to_owned(),
        outcome,
        text,
        data: serde_json::Value::Null,
        output,
        duration_ms,
    });
}

fn answer_output(desk: &Desk, draft: &mut Draft, call_id: &str, output: Output, duration_ms: i64) {
    let (text, kept) =
        draft.keep_output(&desk.redactor, &output.text, desk.policy.output_bytes_max);
    let mut data = output.data;
    desk.redactor.json(&mut data);
    draft.add(Entry::Answered {
        call_id: call_id.to_owned(),
        outcome: Success::Ok,
        text,
        data: bounded_data(data),
        output: kept,
        duration_ms,
    });
}

/// A mind asked for a person's word on one exact call, which is completed like any other.
fn confirm_request(desk: &Desk, draft: &mut Draft, call_id: &str, request: Request) {
    let inner = redacted(&desk.redactor, request.call.clone());
    let completed = desk.gate.register.complete(&inner).and_then(|call| {
        let effect = desk.gate.register.get(&call.tool).map(|tool| tool.spec().effect);
        match effect {
            Some(Effect::Write) => Ok(call),
            Some(Effect::Read | Effect::Talk) | None => {
                Err(format!("'{}' changes nothing; call it directly", call.tool))
            }
        }
    });
    match completed {
        Ok(call) => {
            propose_request(desk, draft, call_id, Request { call, ..request }, Wanted::Person);
        }
        Err(complaint) => draft.answer(call_id, Success::Refused, complaint),
    }
}

/// Reads a stored output of this very incident; other incidents' outputs are not its business.
async fn read_back(
    desk: &Desk,
    case: &Case,
    wanted: &ReadBack,
) -> Result<(Success, String), Error> {
    let hash = case
        .turns
        .iter()
        .flat_map(|turn| &turn.calls)
        .filter_map(|call| call.answer.as_ref()?.output.as_ref())
        .map(|output| &output.hash)
        .find(|hash| hash.starts_with(&wanted.hash));
    let body = match hash {
        Some(hash) => desk.store.blob(hash).await?,
        None => None,
    };
    let Some(body) = body else {
        return Ok((
            Success::Failed,
            format!("this incident has no stored output '{}', or it has aged out", wanted.hash),
        ));
    };
    Ok(match output::read_back(&body, wanted, desk.policy.output_bytes_max) {
        Ok(part) => (Success::Ok, part),
        Err(complaint) => (Success::Failed, complaint),
    })
}

fn elapsed_ms(started: Instant) -> i64 {
    i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX)
}
