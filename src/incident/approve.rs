//! Proposed and AwaitingApproval: the checker decides, or a person does, or nobody in time.

use super::advance::Flow;
use super::draft::{Draft, Next};
use super::events::one_more_transition;
use super::reconsider::reconsider;
use super::{Desk, announce, flapping, origins};
use crate::model::action::{Action, ActionState};
use crate::model::timeline::{Entry, Success};
use crate::model::verdict::{Decision, VerdictRecord};
use crate::store::{Error, actions};

/// Judges the proposed change.
pub(super) async fn judge(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    if draft.is_dirty() {
        return Ok(Flow::CommitFirst);
    }
    let Some(action) = draft.case.open_action().cloned() else { return Ok(Flow::Go) };
    let facts = desk.facts(&draft.case);
    let proposal = flapping::judged_as(&draft.case, &action.proposal, draft.now_ms);
    let judged = desk.gate.judge_write(&facts, &proposal).await?;
    draft.now_ms = desk.clock.now_ms();
    let mut record = judged.verdict.record().clone();
    origins::name_places(desk, &draft.case, &mut record.origins);
    let preview = judged.captured.preview.map(|text| desk.redactor.text(&text).into_owned());
    draft.add(Entry::ActionJudged {
        action_id: action.id(),
        verdict: record.clone(),
        basis: judged.captured.basis,
    });
    let row = row(desk, draft, &action, &record, preview.clone());
    draft.insert_action(row);
    let tier = record.tier.as_str();
    metrics::counter!("watchkeeper_verdicts_total", "tier" => tier).increment(1);
    match record.decision {
        Decision::Allow => {}
        Decision::Refuse => {
            let text = format!("refused: {}", record.reason());
            draft.answer(&action.proposal.call_id, Success::Refused, text);
        }
        Decision::Ask => {
            let expires_at_ms = draft.now_ms + desk.policy.approval_ttl_ms;
            draft.add(Entry::ApprovalOpened { action_id: action.id(), expires_at_ms });
            if let Some(action) = draft.case.action(action.id()).cloned() {
                let message = announce::needs_you(desk, &draft.case, &action, preview.as_deref());
                draft.announce(&format!("needs_you:{}", action.id()), message);
            }
        }
    }
    Ok(Flow::Go)
}

/// Waits for the decision, which comes through the inbox, or for the expiry.
pub(super) async fn wait(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    let Some(action) = draft.case.open_action().cloned() else { return Ok(Flow::Go) };
    let expires_at_ms = action.expires_at_ms.unwrap_or(draft.now_ms);
    if draft.now_ms < expires_at_ms {
        if let Some(flow) = reconsider(desk, draft, &action).await? {
            return Ok(flow);
        }
        if !action.approved_by.is_empty() {
            let message = announce::one_more(desk, &draft.case, &action);
            let transition = one_more_transition(action.id(), action.approved_by.len());
            draft.announce(&transition, message);
        }
        return Ok(Flow::Rest(Next::At(expires_at_ms)));
    }
    draft.move_action(action.id(), ActionState::Awaiting, ActionState::Expired);
    draft.add(Entry::Expired { action_id: action.id() });
    let minutes = desk.policy.approval_ttl_ms / 60_000;
    draft.answer(
        &action.proposal.call_id,
        Success::Refused,
        format!("expired: nobody answered within {minutes} minutes; it was not done"),
    );
    Ok(Flow::Go)
}

fn row(
    desk: &Desk,
    draft: &Draft,
    action: &Action,
    verdict: &VerdictRecord,
    preview: Option<String>,
) -> actions::Row {
    let proposal = &action.proposal;
    let (state, expires_at_ms) = match verdict.decision {
        Decision::Allow => (ActionState::Allowed, None),
        Decision::Refuse => (ActionState::Refused, None),
        Decision::Ask => (ActionState::Awaiting, Some(draft.now_ms + desk.policy.approval_ttl_ms)),
    };
    actions::Row {
        id: action.id(),
        scope: draft.case.scope.clone(),
        incident_id: draft.case.id,
        state,
        tool: proposal.call.tool.clone(),
        args: proposal.call.canonical_args(),
        call_hash: proposal.call.hash(),
        tier: verdict.tier.as_str().to_owned(),
        risk: proposal.risk_under(verdict).as_str().to_owned(),
        reason: format!("{}\n{}", proposal.reason, verdict.reason()).trim().to_owned(),
        description: proposal.description.clone(),
        rollback: proposal.rollback.clone(),
        preview,
        rules_version: verdict.rules_version.clone(),
        roles: verdict.approvals.roles.clone(),
        quorum: i64::from(verdict.approvals.quorum),
        approved_by: Vec::new(),
        proposed_at_ms: action.proposed_at_ms,
        expires_at_ms,
        decided_by: None,
        decided_at_ms: None,
        comment: None,
    }
}
