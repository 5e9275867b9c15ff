//! AwaitingApproval under changed rules: the question is judged again before anybody answers it.
//!
//! In: a question that was put under other rules. Out: the same question, of the rules in force; or
//! it is superseded, because they refuse, or ask other people. Never: an answer that counts for
//! rules under which it was not given.

use super::advance::Flow;
use super::draft::Draft;
use super::execute::{Withdrawn, withdraw};
use super::{Desk, flapping, origins};
use crate::model::action::Action;
use crate::model::timeline::Entry;
use crate::model::verdict::{Approvals, Decision};
use crate::store::Error;

/// Judges the open question again if the rules changed; `None` when there is nothing to do.
pub(super) async fn reconsider(
    desk: &Desk,
    draft: &mut Draft,
    action: &Action,
) -> Result<Option<Flow>, Error> {
    let Some(before) = &action.verdict else { return Ok(None) };
    if before.rules_version == desk.gate.checker.rules().version() {
        return Ok(None);
    }
    if draft.is_dirty() {
        return Ok(Some(Flow::CommitFirst));
    }
    let facts = desk.facts(&draft.case);
    let proposal = flapping::judged_as(&draft.case, &action.proposal, draft.now_ms);
    let judged = desk.gate.judge_write(&facts, &proposal).await?;
    draft.now_ms = desk.clock.now_ms();
    let mut verdict = judged.verdict.record().clone();
    origins::name_places(desk, &draft.case, &mut verdict.origins);
    let tier = verdict.tier.as_str();
    metrics::counter!("watchkeeper_verdicts_total", "tier" => tier).increment(1);
    if verdict.decision == Decision::Refuse {
        let why = format!("the safety rules changed: now refused: {}", verdict.reason());
        withdraw(draft, action, Withdrawn::Off(why));
        return Ok(Some(Flow::Go));
    }
    let stricter =
        verdict.decision == Decision::Ask && asks_more(&before.approvals, &verdict.approvals);
    if stricter || !action.approved_by.is_empty() {
        let why = "the safety rules changed since people were asked; they are asked again";
        withdraw(draft, action, Withdrawn::AskFirst(why.to_owned()));
        return Ok(Some(Flow::Go));
    }
    // Rules that allow it by now take no question back that people are looking at, and what they
    // see of the target is what must still be there when it runs.
    draft.rejudge_action(action.id(), verdict.rules_version.clone());
    let action_id = action.id();
    draft.add(Entry::ActionJudged { action_id, verdict, basis: action.basis.clone() });
    let expires_at_ms = action.expires_at_ms.unwrap_or(draft.now_ms);
    draft.add(Entry::ApprovalOpened { action_id, expires_at_ms });
    Ok(Some(Flow::Go))
}

/// Whether somebody who could have settled the question before no longer can.
pub(super) fn asks_more(before: &Approvals, after: &Approvals) -> bool {
    let narrower = match (before.roles.as_slice(), after.roles.as_slice()) {
        (_, []) => false,
        ([], _) => true,
        (before, after) => before.iter().any(|role| !after.contains(role)),
    };
    after.quorum > before.quorum || narrower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_people_or_fewer_roles_ask_more() {
        let approvals = |quorum, roles: &[&str]| Approvals {
            quorum,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        };
        for (before, after, expected) in [
            (approvals(1, &[]), approvals(1, &[]), false),
            (approvals(1, &[]), approvals(2, &[]), true),
            (approvals(2, &["sre"]), approvals(1, &["sre"]), false),
            (approvals(1, &[]), approvals(1, &["sre"]), true),
            (approvals(1, &["sre"]), approvals(1, &[]), false),
            (approvals(1, &["sre"]), approvals(1, &["sre", "dba"]), false),
            (approvals(1, &["sre", "dba"]), approvals(1, &["sre"]), true),
        ] {
            assert_eq!(asks_more(&before, &after), expected, "{before:?} {after:?}");
        }
    }
}
