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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::{Approvals, Autonomy, Tier, VerdictRecord};
    use serde_json::json;

    fn call(host: &str) -> Call {
        Call::new("restart_service", json!({ "host": host }))
    }

    fn verdict(tier: Tier) -> Verdict {
        Verdict::new(VerdictRecord {
            tier,
            decision: Decision::from(tier),
            autonomy: Autonomy::Act,
            matched: Vec::new(),
            limits: Vec::new(),
            approvals: Approvals::default(),
            rules_version: "1".into(),
            call_hash: call("web1").hash(),
            would: None,
            risk: None,
            origins: Vec::new(),
        })
    }

    #[test]
    fn a_verdict_permits_its_own_call_only() {
        let allows = verdict(Tier::Safe);
        let permit = Permit::mint(call("web1"), &allows, Consent::None).unwrap();
        assert_eq!(*permit.call(), call("web1"));
        let look = CapturePermit::mint(call("web1"), &allows).unwrap();
        assert_eq!(*look.call(), call("web1"));
        let other = Permit::mint(call("web2"), &allows, Consent::Approved);
        assert_eq!(other.unwrap_err(), Denied::OtherCall);
        let other = CapturePermit::mint(call("web2"), &allows);
        assert_eq!(other.unwrap_err(), Denied::OtherCall);
    }

    #[test]
    fn only_an_allowed_or_agreed_call_is_permitted() {
        for (tier, consent, expected) in [
            (Tier::Safe, Consent::None, None),
            (Tier::Safe, Consent::Approved, None),
            (Tier::Confirm, Consent::None, Some(Denied::NotAllowed)),
            (Tier::Confirm, Consent::Approved, None),
            (Tier::Forbidden, Consent::None, Some(Denied::NotAllowed)),
            (Tier::Forbidden, Consent::Approved, Some(Denied::NotAllowed)),
        ] {
            let minted = Permit::mint(call("web1"), &verdict(tier), consent);
            assert_eq!(minted.err(), expected, "{tier:?} {consent:?}");
        }
        for tier in [Tier::Confirm, Tier::Forbidden] {
            let look = CapturePermit::mint(call("web1"), &verdict(tier));
            assert_eq!(look.unwrap_err(), Denied::NotAllowed, "{tier:?}");
        }
    }
}
