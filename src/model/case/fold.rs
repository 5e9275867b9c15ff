//! The fold of a timeline into a case: what each entry changes.

use super::{
    AttachedAlert, CallAnswer, CallState, Case, End, Ending, Flapping, Measured, NOTE, Report,
    Turn, Verification,
};
use crate::model::action::{Action, ActionState, Answer, Proposal};
use crate::model::alert::{Alert, AlertKey, Severity};
use crate::model::ids::{ActionId, IncidentId};
use crate::model::message::Urgency;
use crate::model::timeline::{Entry, Finding, Outcome, Stored};
use crate::model::verdict::Decision;

impl Case {
    /// Folds a whole timeline.
    pub fn fold<'a>(
        id: IncidentId,
        scope: &str,
        entries: impl IntoIterator<Item = &'a Stored>,
    ) -> Self {
        let mut case = Self::new(id, scope);
        for stored in entries {
            case.apply(stored);
        }
        case
    }

    /// Adds the next entry.
    pub fn apply(&mut self, stored: &Stored) {
        self.seq = stored.seq;
        self.head.clone_from(&stored.hash);
        let at_ms = stored.at_ms;
        match &stored.entry {
            Entry::Opened { title, severity, correlation_key, group_key, continues: _ } => {
                self.title.clone_from(title);
                self.severity = *severity;
                self.correlation_key.clone_from(correlation_key);
                self.group_key.clone_from(group_key);
                self.opened_at_ms = at_ms;
                self.round_from_ms = at_ms;
            }
            Entry::AlertFired { alert, severity } => self.alert_fired(alert, *severity, stored),
            Entry::AlertResolved { .. } | Entry::Joined { .. } | Entry::Flapping { .. } => {
                self.apply_to_alert(&stored.entry, at_ms);
            }
            Entry::AlertMissing { .. }
            | Entry::AlertSeen { .. }
            | Entry::AlertSilenced { .. }
            | Entry::SilenceEnded { .. }
            | Entry::AlertHeardLate { .. } => self.apply_to_pipeline(&stored.entry, at_ms),
            Entry::Acknowledged { by } => self.acknowledged = Some((by.clone(), at_ms)),
            Entry::Started { mind, why: _ } => {
                self.mind = Some(mind.clone());
                self.started_at_ms.get_or_insert(at_ms);
            }
            Entry::TurnTaken { .. } | Entry::Judged { .. } | Entry::Answered { .. } => {
                self.apply_to_turns(stored);
            }
            Entry::Concluded { conclusion } => {
                self.conclusion = Some(conclusion.clone());
                self.concluded_at_ms = Some(at_ms);
            }
            Entry::VerificationStarted { action_id, by, until_ms } => {
                self.verification = Some(Verification {
                    action_id: *action_id,
                    by: by.clone(),
                    since_ms: at_ms,
                    until_ms: *until_ms,
                });
            }
            Entry::Measured { finding, text } => self.measure(*finding, text, stored),
            Entry::Resolved { by } => self.finish(Ending::Resolved, by, at_ms),
            Entry::Escalated { why } => self.finish(Ending::Escalated, why, at_ms),
            Entry::MessageQueued { transition, urgency, message_id: _, title: _ } => {
                self.announced.insert(transition.clone());
                // A mind's own words wake somebody, but they are no escalation: the deadline stays.
                if *urgency == Urgency::Page && !transition.starts_with(NOTE) {
                    self.paged_at_ms.get_or_insert(at_ms);
                }
            }
            Entry::ReportWritten { hash } => {
                self.report = Some(Report { hash: hash.clone(), seq: stored.seq, at_ms });
            }
            Entry::Proposed { .. }
            | Entry::ActionJudged { .. }
            | Entry::ApprovalOpened { .. }
            | Entry::Decided { .. }
            | Entry::Counted { .. }
            | Entry::Expired { .. }
            | Entry::Superseded { .. }
            | Entry::HeldBack { .. }
            | Entry::IntentWritten { .. }
            | Entry::OutcomeRecorded { .. } => self.apply_to_action(&stored.entry, at_ms),
            Entry::Unknown(_) => {}
        }
    }

    /// What is told of an alert that is known.
    fn apply_to_alert(&mut self, entry: &Entry, at_ms: i64) {
        if let Entry::AlertResolved { key, ends_at_ms } = entry
            && let Some(attached) = self.alert_mut(key)
        {
            attached.resolved_at_ms = Some(*ends_at_ms);
            attached.missing_since_ms = None;
            attached.silence = None;
        }
        if let Entry::Joined { key, labels, correlation_key: _ } = entry
            && let Some(attached) = self.alert_mut(key)
        {
            attached.joined_by = Some(labels.clone());
        }
        if let Entry::Flapping { key, times, within_ms } = entry {
            self.flaps(key, *times, *within_ms, at_ms);
        }
    }

    fn apply_to_turns(&mut self, stored: &Stored) {
        let (seq, at_ms) = (stored.seq, stored.at_ms);
        if let Entry::TurnTaken { turn, mind, said, raw, calls, usage, duration_ms: _ } =
            &stored.entry
        {
            self.usage.add(*usage);
            self.turns.push(Turn {
                number: *turn,
                mind: mind.clone(),
                said: said.clone(),
                raw: raw.clone(),
                calls: calls.iter().cloned().map(CallState::new).collect(),
                seq,
                at_ms,
            });
        }
        if let Entry::Judged { call_id, verdict } = &stored.entry
            && let Some(call) = self.call_mut(call_id)
        {
            call.verdict = Some(verdict.clone());
        }
        if let Entry::Answered { call_id, outcome, text, data, output, duration_ms: _ } =
            &stored.entry
            && let Some(call) = self.call_mut(call_id)
        {
            call.answer = Some(CallAnswer {
                outcome: *outcome,
                text: text.clone(),
                data: data.clone(),
                output: output.clone(),
                seq,
                at_ms,
            });
        }
    }

    fn alert_fired(&mut self, alert: &Alert, severity: Severity, stored: &Stored) {
        let key = alert.key();
        self.severity = self.severity.min(severity);
        // What was measured before says nothing of it.
        self.measured = None;
        // The same labels fire once at a time: a later start, e.g. after Prometheus was restarted,
        // takes the place of the earlier one, which will not get a notice of its own.
        for earlier in &mut self.alerts {
            let before = &earlier.alert;
            if before.source == alert.source
                && before.fingerprint == alert.fingerprint
                && before.starts_at_ms < alert.starts_at_ms
            {
                earlier.resolved_at_ms.get_or_insert(alert.starts_at_ms);
            }
        }
        match self.alert_mut(&key) {
            Some(attached) => {
                attached.alert = alert.clone();
                attached.resolved_at_ms = None;
                attached.missing_since_ms = None;
                attached.silence = None;
                attached.heard_late = false;
            }
            None => self.attach(alert, stored.at_ms),
        }
        let Some(end) = self.end.as_ref().filter(|end| end.how == Ending::Resolved) else { return };
        if alert.starts_at_ms <= end.at_ms {
            // It began before the end and was told late, as in a storm: measured once more first.
            self.recheck = true;
            self.end = None;
            self.measured = None;
            self.round_from_ms = stored.at_ms;
        } else {
            // A firing alert under a resolved incident opens the work again.
            self.reopen(stored);
        }
    }

    pub(super) fn attach(&mut self, alert: &Alert, at_ms: i64) {
        self.alert_places.insert(alert.key(), self.alerts.len());
        self.alerts.push(AttachedAlert {
            alert: alert.clone(),
            attached_at_ms: at_ms,
            resolved_at_ms: None,
            missing_since_ms: None,
            silence: None,
            heard_late: false,
            joined_by: None,
        });
    }

    fn flaps(&mut self, key: &AlertKey, times: i64, within_ms: i64, at_ms: i64) {
        let told = self.flapping.as_ref().map(|before| before.told_from_ms);
        self.flapping = Some(Flapping {
            key: key.clone(),
            times,
            told_from_ms: told.filter(|told| at_ms - told < within_ms).unwrap_or(at_ms),
            until_ms: at_ms.saturating_add(within_ms),
        });
    }

    fn reopen(&mut self, stored: &Stored) {
        self.recheck = false;
        self.round += 1;
        self.round_from_seq = stored.seq;
        self.round_from_ms = stored.at_ms;
        self.mind = None;
        // Whoever took it had it until it was over.
        self.acknowledged = None;
        self.paged_at_ms = None;
        self.end = None;
        self.conclusion = None;
        self.concluded_at_ms = None;
        self.measured = None;
        self.verification = None;
    }

    fn finish(&mut self, how: Ending, why: &str, at_ms: i64) {
        self.verification = None;
        self.recheck = false;
        self.end = Some(End { how, why: why.to_owned(), at_ms });
    }

    fn measure(&mut self, finding: Finding, text: &str, stored: &Stored) {
        self.measured =
            Some(Measured { finding, text: text.to_owned(), at_ms: stored.at_ms, seq: stored.seq });
        self.verification = None;
        for action in &mut self.actions {
            if action.ended_at_ms.is_some() && action.verified.is_none() {
                action.verified = Some(finding);
            }
        }
        if self.recheck && finding != Finding::Fixed {
            self.reopen(stored);
        }
    }

    fn apply_to_action(&mut self, entry: &Entry, at_ms: i64) {
        match entry {
            Entry::Proposed { proposal } => self.propose(proposal, at_ms),
            Entry::ActionJudged { action_id, verdict, basis } => {
                self.with_action(*action_id, |action| {
                    action.state = judged(verdict.decision);
                    action.verdict = Some(verdict.clone());
                    action.basis.clone_from(basis);
                });
            }
            Entry::ApprovalOpened { action_id, expires_at_ms } => {
                self.with_action(*action_id, |action| {
                    action.state = ActionState::Awaiting;
                    action.expires_at_ms = Some(*expires_at_ms);
                });
            }
            Entry::Decided { action_id, answer, by, comment, decided_at_ms } => {
                self.with_action(*action_id, |action| {
                    action.state = decided(*answer);
                    action.decided_by = Some(by.clone());
                    action.decided_at_ms = Some(*decided_at_ms);
                    action.comment.clone_from(comment);
                });
            }
            Entry::Counted { action_id, by, .. } => {
                self.with_action(*action_id, |action| action.approved_by.push(by.clone()));
            }
            Entry::Expired { action_id } => self.move_to(*action_id, ActionState::Expired),
            Entry::Superseded { action_id, why } => self.supersede(*action_id, why),
            Entry::HeldBack { action_id, why: _, until_ms } => {
                self.with_action(*action_id, |action| action.waits_until_ms = Some(*until_ms));
            }
            Entry::IntentWritten { action_id, start_before_ms: _ } => {
                self.with_action(*action_id, |action| {
                    action.state = ActionState::Intended;
                    action.intended_at_ms = Some(at_ms);
                });
            }
            Entry::OutcomeRecorded { action_id, outcome, text, output: _, duration_ms: _ } => {
                self.with_action(*action_id, |action| {
                    action.state = ended(*outcome);
                    action.outcome = Some(text.clone());
                    action.ended_at_ms = Some(at_ms);
                });
            }
            Entry::Opened { .. }
            | Entry::AlertFired { .. }
            | Entry::AlertResolved { .. }
            | Entry::AlertMissing { .. }
            | Entry::AlertSeen { .. }
            | Entry::AlertSilenced { .. }
            | Entry::SilenceEnded { .. }
            | Entry::AlertHeardLate { .. }
            | Entry::Joined { .. }
            | Entry::Flapping { .. }
            | Entry::Acknowledged { .. }
            | Entry::Started { .. }
            | Entry::TurnTaken { .. }
            | Entry::Judged { .. }
            | Entry::Answered { .. }
            | Entry::VerificationStarted { .. }
            | Entry::Measured { .. }
            | Entry::Concluded { .. }
            | Entry::Resolved { .. }
            | Entry::Escalated { .. }
            | Entry::MessageQueued { .. }
            | Entry::ReportWritten { .. }
            | Entry::Unknown(_) => {}
        }
    }

    fn supersede(&mut self, id: ActionId, why: &str) {
        self.with_action(id, |action| {
            action.state = ActionState::Superseded;
            action.outcome = Some(why.to_owned());
        });
    }

    fn propose(&mut self, proposal: &Proposal, at_ms: i64) {
        let action_id = proposal.action_id;
        if let Some(call) = self.call_mut(&proposal.call_id) {
            call.action_id = Some(action_id);
        }
        self.actions.push(Action {
            proposal: proposal.clone(),
            state: ActionState::Proposed,
            proposed_at_ms: at_ms,
            verdict: None,
            basis: None,
            expires_at_ms: None,
            approved_by: Vec::new(),
            decided_by: None,
            decided_at_ms: None,
            comment: None,
            waits_until_ms: None,
            intended_at_ms: None,
            ended_at_ms: None,
            outcome: None,
            verified: None,
        });
    }

    pub(super) fn alert_mut(&mut self, key: &AlertKey) -> Option<&mut AttachedAlert> {
        let place = self.alert_places.get(key)?;
        self.alerts.get_mut(*place)
    }

    fn move_to(&mut self, id: ActionId, state: ActionState) {
        self.with_action(id, |action| action.state = state);
    }

    fn with_action(&mut self, id: ActionId, change: impl FnOnce(&mut Action)) {
        if let Some(action) = self.actions.iter_mut().find(|action| action.id() == id) {
            change(action);
        }
    }

    fn call_mut(&mut self, call_id: &str) -> Option<&mut CallState> {
        self.turns
            .iter_mut()
            .rev()
            .flat_map(|turn| turn.calls.iter_mut())
            .find(|call| call.request.id == call_id)
    }
}

fn judged(decision: Decision) -> ActionState {
    match decision {
        Decision::Allow => ActionState::Allowed,
        Decision::Ask => ActionState::Proposed,
        Decision::Refuse => ActionState::Refused,
    }
}

fn decided(answer: Answer) -> ActionState {
    match answer {
        Answer::Approve => ActionState::Approved,
        Answer::Reject => ActionState::Rejected,
    }
}

fn ended(outcome: Outcome) -> ActionState {
    match outcome {
        Outcome::Done => ActionState::Done,
        Outcome::Failed => ActionState::Failed,
        Outcome::Unknown => ActionState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::Status;
    use crate::model::ids::MessageId;

    fn case(entries: impl IntoIterator<Item = Entry>) -> Case {
        let mut case = Case::new(IncidentId::new(), "default");
        for (seq, entry) in (1..).zip(entries) {
            case.apply(&Stored { seq, at_ms: seq * 1_000, entry, hash: String::new() });
        }
        case
    }

    fn fired(starts_at_ms: i64) -> Entry {
        let alert = Alert {
            source: "alertmanager".into(),
            fingerprint: "f".into(),
            status: Status::Firing,
            labels: Default::default(),
            annotations: Default::default(),
            starts_at_ms,
            ends_at_ms: None,
            generator_url: String::new(),
        };
        Entry::AlertFired { alert, severity: Severity::Critical }
    }

    fn queued(transition: &str) -> Entry {
        Entry::MessageQueued {
            message_id: MessageId::new(),
            transition: transition.into(),
            title: String::new(),
            urgency: Urgency::Page,
        }
    }

    #[test]
    fn a_note_of_a_mind_does_not_count_as_a_page() {
        assert_eq!(case([fired(1), queued("note:t1_0")]).paged_at_ms, None);
        assert_eq!(case([fired(1), queued("needs_you:x")]).paged_at_ms, Some(2_000));
    }

    #[test]
    fn nobody_has_taken_the_next_round() {
        let taken = Entry::Acknowledged { by: "ada".into() };
        let over = Entry::Resolved { by: "it was measured".into() };
        let again = case([fired(1), taken, over, fired(9_000)]);
        assert_eq!((again.round, again.acknowledged), (2, None));
    }

    #[test]
    fn a_measurement_says_nothing_of_alerts_that_come_after_it() {
        let fixed = || Entry::Measured { finding: Finding::Fixed, text: "up = 1".into() };
        assert!(case([fired(1), fixed()]).measured.is_some());
        assert_eq!(case([fired(1), fixed(), fired(2)]).measured, None);
    }
}
