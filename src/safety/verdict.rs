//! The checker's answer. Only this module's checker can make one, and it cannot be read back from
//! storage: what is stored is its [`VerdictRecord`].

use crate::model::verdict::{Decision, Limit, Tier, VerdictRecord};

/// Proof that the checker judged one exact call.
#[derive(Debug)]
pub struct Verdict {
    record: VerdictRecord,
}

impl Verdict {
    pub(super) fn new(record: VerdictRecord) -> Self {
        Self { record }
    }

    pub fn tier(&self) -> Tier {
        self.record.tier
    }

    pub fn decision(&self) -> Decision {
        self.record.decision
    }

    /// What must still hold, counted in the store, when the intent is written.
    pub fn limits(&self) -> &[Limit] {
        &self.record.limits
    }

    /// SHA-256 of the judged call.
    pub fn call_hash(&self) -> &str {
        &self.record.call_hash
    }

    /// The verdict as the timeline keeps it.
    pub fn record(&self) -> &VerdictRecord {
        &self.record
    }
}
