//! The case file: everything known of an incident, folded from its timeline.
//!
//! In: stored entries in order. Out: a [`Case`], from which the next step follows.
//! Never: knowledge that is not in the timeline; a fold of a prefix must equal the state at that
//! time. To add an entry, add its arm in [`Case::apply`], in `case/fold.rs`.

mod fold;
mod pipeline;

use crate::model::action::{Action, ActionState};
use crate::model::alert::{Alert, AlertKey, Severity, Silence};
use crate::model::conclusion::Conclusion;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::incident::State;
use crate::model::timeline::{Finding, OutputRef, Success, TurnCall, Usage};
use crate::model::tool::Effect;
use crate::model::verdict::{Decision, VerdictRecord};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

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
    /// Where each alert stands in `alerts`: a storm brings thousands.
    #[serde(skip)]
    alert_places: HashMap<AlertKey, usize>,
    pub flapping: Option<Flapping>,
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
    /// Until when every alert was kept quiet by people: nobody is paged before its time after that.
    pub quiet_until_ms: Option<i64>,
    pub report: Option<Report>,
    pub usage: Usage,
}

/// An alert of the incident and whether its source said that it is over.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttachedAlert {
    pub alert: Alert,
    pub attached_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
    /// Since when its source does not hold it, without a notice that it is resolved.
    pub missing_since_ms: Option<i64>,
    pub silence: Option<Silence>,
    /// It was over before it was first heard of.
    pub heard_late: bool,
    /// Its key is another one than the incident's; which labels they share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined_by: Option<String>,
}

/// An alert that begins to fire again and again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Flapping {
    pub key: AlertKey,
    pub times: i64,
    /// People are told once from here on.
    pub told_from_ms: i64,
    /// Calm from then on, unless it fires again.
    pub until_ms: i64,
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
            alert_places: HashMap::new(),
            flapping: None,
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
            quiet_until_ms: None,
            report: None,
            usage: Usage::default(),
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

    /// Allowed calls of this round's last turn that look or talk and have no answer.
    pub fn reads_to_run(&self) -> Vec<&CallState> {
        self.current_turns()
            .next_back()
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

    /// Whether this alert is here and has no resolved notice.
    pub fn is_firing(&self, key: &AlertKey) -> bool {
        self.attached(key).is_some_and(|attached| attached.resolved_at_ms.is_none())
    }

    /// The alert of this key.
    pub fn attached(&self, key: &AlertKey) -> Option<&AttachedAlert> {
        self.alert_places.get(key).and_then(|place| self.alerts.get(*place))
    }

    /// Alerts that are still firing as far as their source told.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|a| a.resolved_at_ms.is_none()).map(|a| &a.alert)
    }

    /// Alerts of another key that still fire: what is measured of the problem says nothing of them.
    pub fn firing_beside(&self) -> impl Iterator<Item = &Alert> {
        let beside = |a: &&AttachedAlert| a.joined_by.is_some() && a.resolved_at_ms.is_none();
        self.alerts.iter().filter(beside).map(|a| &a.alert)
    }

    /// The alert that flaps at this time.
    pub fn flapping_at(&self, now_ms: i64) -> Option<&Flapping> {
        self.flapping.as_ref().filter(|flapping| now_ms < flapping.until_ms)
    }

    /// The alert that the incident is named after: the first one that came.
    pub fn lead(&self) -> Option<&Alert> {
        self.alerts.first().map(|attached| &attached.alert)
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
