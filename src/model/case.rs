//! The case file: everything known of an incident, folded from its timeline.
//!
//! In: stored entries in order. Out: a [`Case`], from which the next step follows.
//! Never: knowledge that is not in the timeline; a fold of a prefix must equal the state at that
//! time. To add an entry, add its arm in [`Case::apply`].

use crate::model::action::{Action, ActionState, Answer, Proposal};
use crate::model::alert::{Alert, Severity};
use crate::model::conclusion::Conclusion;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::incident::State;
use crate::model::message::Urgency;
use crate::model::timeline::{
    Entry, Finding, Outcome, OutputRef, Stored, Success, TurnCall, Usage,
};
use crate::model::tool::Effect;
use crate::model::verdict::{Decision, VerdictRecord};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// How the transitions of a mind's own messages begin.
pub const NOTE: &str = "note:";

/// An incident as its timeline tells it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Case {
    pub id: IncidentId,
    pub scope: String,
    /// Number and hash of the last entry folded.
    pub seq: i64,
    pub head: String,
    pub title: String,
    pub severity: Severity,
    pub correlation_key: String,
    pub group_key: Option<String>,
    pub opened_at_ms: i64,
    /// 1 for the first investigation; each re-opening begins a new round.
    pub round: i64,
    pub round_from_seq: i64,
    pub round_from_ms: i64,
    pub alerts: Vec<AttachedAlert>,
    pub acknowledged: Option<(String, i64)>,
    /// The mind at work, once one was chosen.
    pub mind: Option<String>,
    pub started_at_ms: Option<i64>,
    pub turns: Vec<Turn>,
    pub actions: Vec<Action>,
    pub verification: Option<Verification>,
    pub measured: Option<Measured>,
    pub conclusion: Option<Conclusion>,
    pub concluded_at_ms: Option<i64>,
    pub end: Option<End>,
    /// Transitions that were already announced, so that each is announced once.
    pub announced: BTreeSet<String>,
    pub paged_at_ms: Option<i64>,
    /// A late alert of a resolved problem came: it is measured whether the problem is still gone.
    pub recheck: bool,
    pub report: Option<Report>,
    pub usage: Usage,
}

/// An alert of the incident and whether its source said that it is over.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttachedAlert {
    pub alert: Alert,
    pub attached_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
}

/// One answer of a mind.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Turn {
    pub number: i64,
    pub mind: String,
    pub said: String,
    pub raw: Option<Value>,
    pub calls: Vec<CallState>,
    pub seq: i64,
    pub at_ms: i64,
}

/// A call of a turn with its verdict and its answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CallState {
    pub request: TurnCall,
    pub verdict: Option<VerdictRecord>,
    pub action_id: Option<ActionId>,
    pub answer: Option<CallAnswer>,
}

/// What came back for a call.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CallAnswer {
    pub outcome: Success,
    pub text: String,
    pub data: Value,
    pub output: Option<OutputRef>,
    /// The timeline entry, which a conclusion may name as evidence.
    pub seq: i64,
    pub at_ms: i64,
}

/// A running measurement.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verification {
    pub action_id: Option<ActionId>,
    pub by: String,
    pub since_ms: i64,
    pub until_ms: i64,
}

/// The last measurement.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Measured {
    pub finding: Finding,
    pub text: String,
    pub at_ms: i64,
    pub seq: i64,
}

/// How the incident ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct End {
    pub how: Ending,
    pub why: String,
    pub at_ms: i64,
}

/// Resolved by evidence, or handed to a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Resolved,
    Escalated,
}

/// The last written report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    pub hash: String,
    /// Its own entry; it tells of those before.
    pub seq: i64,
    pub at_ms: i64,
}

impl Case {
    /// The empty case, before its first entry.
    pub fn new(id: IncidentId, scope: &str) -> Self {
        Self {
            id,
            scope: scope.to_owned(),
            seq: 0,
            head: String::new(),
            title: String::new(),
            severity: Severity::Warning,
            correlation_key: String::new(),
            group_key: None,
            opened_at_ms: 0,
            round: 1,
            round_from_seq: 0,
            round_from_ms: 0,
            alerts: Vec::new(),
            acknowledged: None,
            mind: None,
            started_at_ms: None,
            turns: Vec::new(),
            actions: Vec::new(),
            verification: None,
            measured: None,
            conclusion: None,
            concluded_at_ms: None,
            end: None,
            announced: BTreeSet::new(),
            paged_at_ms: None,
            recheck: false,
            report: None,
            usage: Usage::default(),
        }
    }

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
            Entry::AlertResolved { key, ends_at_ms } => {
                for attached in self.alerts.iter_mut().filter(|a| a.alert.key() == *key) {
                    attached.resolved_at_ms = Some(*ends_at_ms);
                }
            }
            Entry::Acknowledged { by } => self.acknowledged = Some((by.clone(), at_ms)),
            Entry::Started { mind, why: _ } => {
                self.mind = Some(mind.clone());
                self.started_at_ms.get_or_insert(at_ms);
            }
            Entry::TurnTaken { turn, mind, said, raw, calls, usage, duration_ms: _ } => {
                self.usage.add(*usage);
                self.turns.push(Turn {
                    number: *turn,
                    mind: mind.clone(),
                    said: said.clone(),
                    raw: raw.clone(),
                    calls: calls.iter().cloned().map(CallState::new).collect(),
                    seq: stored.seq,
                    at_ms,
                });
            }
            Entry::Judged { call_id, verdict } => {
                if let Some(call) = self.call_mut(call_id) {
                    call.verdict = Some(verdict.clone());
                }
            }
            Entry::Answered { call_id, outcome, text, data, output, duration_ms: _ } => {
                let answer = CallAnswer {
                    outcome: *outcome,
                    text: text.clone(),
                    data: data.clone(),
                    output: output.clone(),
                    seq: stored.seq,
                    at_ms,
                };
                if let Some(call) = self.call_mut(call_id) {
                    call.answer = Some(answer);
                }
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
            | Entry::Expired { .. }
            | Entry::Superseded { .. }
            | Entry::IntentWritten { .. }
            | Entry::OutcomeRecorded { .. } => self.apply_to_action(&stored.entry, at_ms),
            Entry::Unknown(_) => {}
        }
    }

    /// Where the incident stands.
    pub fn state(&self) -> State {
        match self.end.as_ref().map(|end| end.how) {
            Some(Ending::Resolved) => return State::Resolved,
            Some(Ending::Escalated) => return State::Escalated,
            None => {}
        }
        if self.recheck {
            return State::Verifying;
        }
        if self.mind.is_none() {
            return State::Open;
        }
        if !self.reads_to_run().is_empty() {
            return State::Investigating;
        }
        if let Some(action) = self.open_action() {
            return match action.state {
                ActionState::Proposed => State::Proposed,
                ActionState::Awaiting => State::AwaitingApproval,
                ActionState::Allowed | ActionState::Approved | ActionState::Intended => {
                    State::Executing
                }
                ActionState::Refused
                | ActionState::Rejected
                | ActionState::Expired
                | ActionState::Superseded
                | ActionState::Done
                | ActionState::Failed
                | ActionState::Unknown => State::Investigating,
            };
        }
        if self.unverified_action().is_some()
            || self.verification.is_some()
            || self.conclusion.is_some()
        {
            return State::Verifying;
        }
        State::Investigating
    }

    /// The turns of the current round: what the mind at work has to know.
    pub fn current_turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.turns.iter().filter(|turn| turn.seq > self.round_from_seq)
    }

    /// Calls of the current round that still wait for their answer.
    pub fn unanswered(&self) -> impl Iterator<Item = &CallState> {
        self.current_turns().flat_map(|turn| &turn.calls).filter(|call| call.answer.is_none())
    }

    /// Allowed calls of the last turn that look or talk and have no answer.
    pub fn reads_to_run(&self) -> Vec<&CallState> {
        self.turns
            .last()
            .map(|turn| turn.calls.iter().filter(|call| call.waits_to_run()).collect())
            .unwrap_or_default()
    }

    /// The action that the incident is busy with; at most one is open at a time.
    pub fn open_action(&self) -> Option<&Action> {
        self.actions.iter().find(|action| action.state.is_open())
    }

    /// A change that was started and whose effect was not measured.
    pub fn unverified_action(&self) -> Option<&Action> {
        self.actions.iter().find(|action| {
            action.verified.is_none()
                && matches!(
                    action.state,
                    ActionState::Done | ActionState::Failed | ActionState::Unknown
                )
        })
    }

    /// The action of this id.
    pub fn action(&self, id: ActionId) -> Option<&Action> {
        self.actions.iter().find(|action| action.id() == id)
    }

    /// Whether every alert got its resolved notice. False without any alert.
    pub fn all_alerts_resolved(&self) -> bool {
        !self.alerts.is_empty() && self.alerts.iter().all(|a| a.resolved_at_ms.is_some())
    }

    /// Whether a change of this round was measured to have fixed the problem.
    pub fn change_helped(&self) -> bool {
        self.actions.iter().any(|action| {
            action.proposed_at_ms >= self.round_from_ms && action.verified == Some(Finding::Fixed)
        })
    }

    /// Alerts that are still firing as far as their source told.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|a| a.resolved_at_ms.is_none()).map(|a| &a.alert)
    }

    /// The alert that the incident is named after: the first one that came.
    pub fn lead(&self) -> Option<&Alert> {
        self.alerts.first().map(|attached| &attached.alert)
    }

    fn alert_fired(&mut self, alert: &Alert, severity: Severity, stored: &Stored) {
        let key = alert.key();
        self.severity = self.severity.min(severity);
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
        match self.alerts.iter_mut().find(|attached| attached.alert.key() == key) {
            Some(attached) => {
                attached.alert = alert.clone();
                attached.resolved_at_ms = None;
            }
            None => self.alerts.push(AttachedAlert {
                alert: alert.clone(),
                attached_at_ms: stored.at_ms,
                resolved_at_ms: None,
            }),
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

    fn reopen(&mut self, stored: &Stored) {
        self.recheck = false;
        self.round += 1;
        self.round_from_seq = stored.seq;
        self.round_from_ms = stored.at_ms;
        self.mind = None;
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
                    action.state = match verdict.decision {
                        Decision::Allow => ActionState::Allowed,
                        Decision::Ask => ActionState::Proposed,
                        Decision::Refuse => ActionState::Refused,
                    };
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
                    action.state = match answer {
                        Answer::Approve => ActionState::Approved,
                        Answer::Reject => ActionState::Rejected,
                    };
                    action.decided_by = Some(by.clone());
                    action.decided_at_ms = Some(*decided_at_ms);
                    action.comment.clone_from(comment);
                });
            }
            Entry::Expired { action_id } => {
                self.with_action(*action_id, |action| action.state = ActionState::Expired);
            }
            Entry::Superseded { action_id, why } => self.with_action(*action_id, |action| {
                action.state = ActionState::Superseded;
                action.outcome = Some(why.clone());
            }),
            Entry::IntentWritten { action_id, start_before_ms: _ } => {
                self.with_action(*action_id, |action| {
                    action.state = ActionState::Intended;
                    action.intended_at_ms = Some(at_ms);
                });
            }
            Entry::OutcomeRecorded { action_id, outcome, text, output: _, duration_ms: _ } => {
                self.with_action(*action_id, |action| {
                    action.state = match outcome {
                        Outcome::Done => ActionState::Done,
                        Outcome::Failed => ActionState::Failed,
                        Outcome::Unknown => ActionState::Unknown,
                    };
                    action.outcome = Some(text.clone());
                    action.ended_at_ms = Some(at_ms);
                });
            }
            Entry::Opened { .. }
            | Entry::AlertFired { .. }
            | Entry::AlertResolved { .. }
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
            decided_by: None,
            decided_at_ms: None,
            comment: None,
            intended_at_ms: None,
            ended_at_ms: None,
            outcome: None,
            verified: None,
        });
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

impl CallState {
    fn new(request: TurnCall) -> Self {
        Self { request, verdict: None, action_id: None, answer: None }
    }

    fn waits_to_run(&self) -> bool {
        self.request.effect != Effect::Write
            && self.answer.is_none()
            && self.action_id.is_none()
            && self.verdict.as_ref().is_some_and(|v| v.decision == Decision::Allow)
    }
}
