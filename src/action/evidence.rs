//! The looks of an incident that count as evidence for a change.
//!
//! In: the case, the tools. Out: what was looked through and at what, for each look of the round
//! under way that was answered. Never: what an answer says, a look that failed or was refused, one
//! of an earlier round.

use crate::model::case::{CallState, Case};
use crate::model::timeline::Success;
use crate::model::tool::{ArgKind, Effect};
use crate::safety::evidence::Seen;
use crate::tools::Register;

/// The looks of this round that gave an answer.
pub fn seen(case: &Case, register: &Register) -> Vec<Seen> {
    let calls = case.current_turns().flat_map(|turn| &turn.calls);
    let mut seen: Vec<Seen> = Vec::new();
    for one in calls.filter(|call| was_answered(call)).filter_map(|call| look(call, register)) {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

fn was_answered(call: &CallState) -> bool {
    call.answer.as_ref().is_some_and(|answer| {
        answer.outcome == Success::Ok && !(answer.text.trim().is_empty() && answer.data.is_null())
    })
}

fn look(state: &CallState, register: &Register) -> Option<Seen> {
    let call = &state.request.call;
    let tool = register.get(&call.tool)?;
    let spec = tool.spec();
    let named = |kind: ArgKind| {
        let arg = spec.args.iter().find(|arg| arg.kind == kind)?;
        call.text(&arg.name).map(str::to_owned)
    };
    (spec.effect == Effect::Read).then(|| Seen {
        source: tool.source().to_owned(),
        host: named(ArgKind::Host),
        service: named(ArgKind::Service),
    })
}
