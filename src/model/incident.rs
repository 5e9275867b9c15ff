//! The states of an incident and the row that lists and claims are made from.

use crate::model::alert::Severity;
use crate::model::ids::IncidentId;
use serde::{Deserialize, Serialize};

/// Where an incident stands. The next step follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Investigating,
    Proposed,
    AwaitingApproval,
    Executing,
    Verifying,
    Resolved,
    Escalated,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::Investigating,
        Self::Proposed,
        Self::AwaitingApproval,
        Self::Executing,
        Self::Verifying,
        Self::Resolved,
        Self::Escalated,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Investigating => "investigating",
            Self::Proposed => "proposed",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Executing => "executing",
            Self::Verifying => "verifying",
            Self::Resolved => "resolved",
            Self::Escalated => "escalated",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One incident as lists show it; its history is the timeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncidentRow {
    pub id: IncidentId,
    pub scope: String,
    pub title: String,
    pub severity: Severity,
    pub state: State,
    pub correlation_key: String,
    pub opened_at_ms: i64,
    pub updated_at_ms: i64,
    pub ended_at_ms: Option<i64>,
    pub alerts: i64,
    pub seq: i64,
}
