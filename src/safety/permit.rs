//! The right to run one call once. A tool cannot be run without it, and only `action::gate` mints.
//!
//! In: the verdict for a call. Out: a permit that carries that call and is used up by running it.
//! Never: `Clone`, `Default`, deserialisation, or a permit for a call other than the judged one.

use crate::model::call::Call;
use crate::model::verdict::Decision;
use crate::safety::verdict::Verdict;

/// The right to run a call. Consumed by `Tool::run`.
#[derive(Debug)]
pub struct Permit {
    call: Call,
}

/// The right to look at the target of a call before it is decided. Consumed by `Tool::capture`.
#[derive(Debug)]
pub struct CapturePermit {
    call: Call,
}

/// Why no permit was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error("the verdict is about another call")]
    OtherCall,
    #[error("the verdict does not allow it")]
    NotAllowed,
}

/// What stands behind an `ask` verdict: a person's yes, read again in the intent transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    None,
    Approved,
}

impl Permit {
    /// Mints the permit for a judged call. Called by `action::gate` alone.
    ///
    /// # Errors
    /// `OtherCall` when the hashes differ; `NotAllowed` unless the verdict allows, or asks and a
    /// person agreed.
    pub(crate) fn mint(call: Call, verdict: &Verdict, consent: Consent) -> Result<Self, Denied> {
        if call.hash() != verdict.call_hash() {
            return Err(Denied::OtherCall);
        }
        match (verdict.decision(), consent) {
            (Decision::Allow, _) | (Decision::Ask, Consent::Approved) => Ok(Self { call }),
            (Decision::Ask, Consent::None) | (Decision::Refuse, _) => Err(Denied::NotAllowed),
        }
    }

    /// The call that may run: this one, unchanged.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

impl CapturePermit {
    /// Mints the permit to look at a target. `verdict` judges the same call as a read.
    ///
    /// # Errors
    /// As [`Permit::mint`]; nobody can consent to a refused look.
    pub(crate) fn mint(call: Call, verdict: &Verdict) -> Result<Self, Denied> {
        Permit::mint(call, verdict, Consent::None).map(|permit| Self { call: permit.call })
    }

    /// The call whose target may be looked at.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

#[cfg(test)]
mod for_tests {
    use super::{Call, CapturePermit, Permit};

    impl Permit {
        /// A permit without a verdict; exists in unit tests only.
        pub(crate) fn for_test(call: Call) -> Self {
            Self { call }
        }
    }

    impl CapturePermit {
        /// A permit without a verdict; exists in unit tests only.
        pub(crate) fn for_test(call: Call) -> Self {
            Self { call }
        }
    }
}
