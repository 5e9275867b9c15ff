//! What an investigation found.

use serde::{Deserialize, Serialize};

/// How sure the mind is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    Low,
    Medium,
    High,
}

/// The structured end of an investigation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conclusion {
    pub root_cause: String,
    pub confidence: Confidence,
    /// Timeline entries that support the cause. Without any, the cause is a hypothesis.
    pub evidence: Vec<i64>,
    pub done: String,
    pub remaining: String,
}

impl Conclusion {
    /// Whether nothing on the timeline supports the cause.
    pub fn is_hypothesis(&self) -> bool {
        self.evidence.is_empty()
    }
}
