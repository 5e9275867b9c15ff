//! What reconciliation with the source of the alerts means for an incident.
//!
//! In: that an alert is missing, silenced, or was heard of late. Out: an unstarted change
//! superseded, an incident that rests or is unverified, and words for people, once. Never: an
//! incident closed because nobody tells of it any more.

use super::advance::Flow;
use super::draft::{Draft, Next};
use super::events::{Reaction, supersede_unstarted};
use super::{Desk, announce, close};
use crate::action::verify::Reading;
use crate::model::case::Case;
use crate::model::incident::State;
use crate::model::timeline::{Entry, Finding};
use crate::store::Error;
use std::time::Duration;

/// How an incident ends of which everything was over before it was heard of. That it is over is
/// Prometheus' word; nothing was measured.
pub(super) const OVER_BEFORE_HEARD: &str =
    "over before it was heard of: Prometheus fires it no longer, and no delivery had come through";

/// An incident that a person has, and whose alerts nobody holds any more, is measured this often.
const LOOK_EVERY_MS: i64 = 5 * 60 * 1000;
/// As after a change: a good reading is taken twice.
const SECOND_LOOK_MS_MAX: i64 = 5_000;

/// The matrix's rows for what reconciliation brings.
pub(super) fn react(case: &Case, event: &Entry) -> Reaction {
    if let Entry::AlertHeardLate { alert, .. } = event {
        let known = case.attached(&alert.key()).is_some();
        return if known { Reaction::Ignore("the alert is known") } else { Reaction::Fold };
    }
    let (Entry::AlertMissing { key, .. }
    | Entry::AlertSeen { key }
    | Entry::AlertSilenced { key, .. }
    | Entry::SilenceEnded { key }) = event
    else {
        return Reaction::Ignore("reconciliation does not bring it");
    };
    let Some(attached) = case.attached(key).filter(|a| a.resolved_at_ms.is_none()) else {
        return Reaction::Ignore("the alert does not fire here");
    };
    if attached.says_already(event) {
        return Reaction::Ignore("it was said before");
    }
    match case.state() {
        State::Resolved => Reaction::Ignore("the incident was measured to be over"),
        State::Open
        | State::Investigating
        | State::Proposed
        | State::AwaitingApproval
        | State::Executing
        | State::Verifying
        | State::Escalated => Reaction::Fold,
    }
}

/// What a folded event sets in motion at once.
pub(super) fn follow(desk: &Desk, draft: &mut Draft, entry: &Entry) {
    if let Entry::AlertMissing { .. } = entry {
        let message = announce::unverified(desk, &draft.case);
        draft.announce(&format!("unverified:{}", draft.case.round), message);
    }
    if let Entry::AlertSilenced { key, silence } = entry {
        let name = draft.case.attached(key).map_or("an alert", |a| a.alert.name()).to_owned();
        let why = format!("{} silenced {name} in Alertmanager: {}", silence.by, silence.comment);
        supersede_unstarted(draft, why.trim_end_matches([':', ' ']));
    }
}

/// Whether the incident rests because people keep all of it quiet, and until when.
pub(super) fn rest(desk: &Desk, draft: &mut Draft) -> Option<Next> {
    let until_ms = draft.case.silenced_until(draft.now_ms)?;
    match draft.case.state() {
        State::Open | State::Investigating | State::Proposed | State::AwaitingApproval => {}
        // What was started is seen through, and what a person has stays with that person.
        State::Executing | State::Verifying | State::Resolved | State::Escalated => return None,
    }
    let silence = draft.case.alerts.iter().rev().find_map(|attached| attached.silence.clone())?;
    let message = announce::silenced(desk, &draft.case, &silence);
    draft.announce(&format!("silenced:{}", draft.case.round), message);
    Some(Next::At(until_ms))
}

/// Measures an incident that a person has and of which no source tells any more: a query that
/// returns data decides whether it is over.
pub(super) async fn look(desk: &Desk, draft: &mut Draft) -> Result<Flow, Error> {
    match close::close(desk, draft).await? {
        Flow::Rest(_) if !draft.is_dirty() => {}
        Flow::Rest(_) => return Ok(Flow::CommitFirst),
        flow @ (Flow::Go | Flow::CommitFirst) => return Ok(flow),
    }
    let located = desk.located(&draft.case);
    let mut reading = desk.verifier.measure(&draft.case, &located).await;
    if matches!(reading, Reading::Fixed(_)) {
        let pause_ms = desk.policy.verify_poll_ms.clamp(0, SECOND_LOOK_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause_ms.unsigned_abs())).await;
        reading = desk.verifier.measure(&draft.case, &located).await;
    }
    draft.now_ms = desk.clock.now_ms();
    let since_ms = draft.case.alerts.iter().filter_map(|a| a.missing_since_ms).min();
    let measured = draft.case.measured.as_ref().is_some_and(|m| Some(m.at_ms) >= since_ms);
    let (finding, text) = match reading {
        Reading::Fixed(text) => {
            draft.add(Entry::Measured { finding: Finding::Fixed, text: text.clone() });
            draft.add(Entry::Resolved { by: text });
            return Ok(Flow::Go);
        }
        Reading::NotFixed(text) => (Finding::NotFixed, text),
        Reading::Nothing(text) => (Finding::Unverified, text),
    };
    // Written down once; the looks that follow say the same until one finds it fixed.
    if !measured {
        draft.add(Entry::Measured { finding, text });
    }
    Ok(Flow::Rest(Next::At(draft.now_ms + LOOK_EVERY_MS)))
}
