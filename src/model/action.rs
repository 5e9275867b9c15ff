//! A proposed change and the words for what became of it.

use crate::model::call::Call;
use crate::model::ids::ActionId;
use crate::model::verdict::{Tier, VerdictRecord};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How bad it would be if the change went wrong. A mind may raise it, nothing lowers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    Low,
    Medium,
    High,
}

impl Risk {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Where an action stands. Expired, rejected and superseded are different things: nobody answered,
/// somebody said no, the reason for asking went away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    Proposed,
    Refused,
    Allowed,
    Awaiting,
    Approved,
    Rejected,
    Expired,
    Superseded,
    /// The intent is committed; the tool may or may not have started.
    Intended,
    Done,
    Failed,
    /// The process died, or the target stopped answering, between intent and outcome.
    Unknown,
}

impl ActionState {
    pub const ALL: [Self; 12] = [
        Self::Proposed,
        Self::Refused,
        Self::Allowed,
        Self::Awaiting,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Superseded,
        Self::Intended,
        Self::Done,
        Self::Failed,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Refused => "refused",
            Self::Allowed => "allowed",
            Self::Awaiting => "awaiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The state of this name, as the store keeps it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the incident still has to do something about the action.
    pub fn is_open(self) -> bool {
        match self {
            Self::Proposed | Self::Allowed | Self::Awaiting | Self::Approved | Self::Intended => {
                true
            }
            Self::Refused
            | Self::Rejected
            | Self::Expired
            | Self::Superseded
            | Self::Done
            | Self::Failed
            | Self::Unknown => false,
        }
    }
}

/// What a person said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Approve,
    Reject,
}

/// What was proposed, in full: this is what is judged, shown, approved and run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    pub action_id: ActionId,
    /// The call of the turn that asked for it.
    pub call_id: String,
    pub call: Call,
    pub reason: String,
    pub description: String,
    pub risk: Risk,
    pub rollback: Option<String>,
    /// Whether the mind asked for a person even if the rules would not.
    pub wants_person: Wanted,
}

impl Proposal {
    /// The risk that people are told. A mind may raise what the rules see, never lower it.
    pub fn risk_under(&self, verdict: &VerdictRecord) -> Risk {
        // Verdicts of earlier versions say nothing of it.
        let least = if verdict.tier == Tier::Safe { Risk::Low } else { Risk::Medium };
        self.risk.max(verdict.risk.unwrap_or(least))
    }
}

/// Who wants it confirmed: a mind may explicitly ask for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Person,
    Rules,
    /// It waited in vain for other changes to end, so that a person decides.
    Waited,
    /// An alert of the incident fires again and again.
    Flapping,
}

/// An action with everything that happened to it, folded from the timeline.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Action {
    pub proposal: Proposal,
    pub state: ActionState,
    pub proposed_at_ms: i64,
    pub verdict: Option<VerdictRecord>,
    /// What the target looked like when the call was judged; drift refuses.
    pub basis: Option<Value>,
    pub expires_at_ms: Option<i64>,
    /// Who approved so far, where several people have to.
    pub approved_by: Vec<String>,
    pub decided_by: Option<String>,
    pub decided_at_ms: Option<i64>,
    pub comment: Option<String>,
    /// It waits for other changes to end, until then.
    pub waits_until_ms: Option<i64>,
    pub intended_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    /// What the tool said, or why the action ended without it.
    pub outcome: Option<String>,
    pub verified: Option<crate::model::timeline::Finding>,
}

impl Action {
    pub fn id(&self) -> ActionId {
        self.proposal.action_id
    }

    /// The risk that people are told.
    pub fn risk(&self) -> Risk {
        let verdict = self.verdict.as_ref();
        verdict.map_or(self.proposal.risk, |verdict| self.proposal.risk_under(verdict))
    }
}
