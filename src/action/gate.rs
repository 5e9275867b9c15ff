//! The one door to the tools: judge, commit the intent, mint the permit, run.
//!
//! In: a canonical call and the facts of its incident. Out: a verdict, and only after it an output.
//! Never: a permit before the commit that proves its facts; a permit that outlives its call. A
//! resumed process that finds an intent never mints for it.

use crate::clients::prometheus::{Firing as PrometheusFiring, Prometheus};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::model::action::{Proposal, Risk, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::entity::{HostFacts, Located, ServiceFacts};
use crate::model::timeline::Stored;
use crate::model::tool::ArgKind;
use crate::model::verdict::{Decision, Limit};
use crate::safety::checker::{Checker, Firing, Halt, Request};
use crate::safety::circumstances::Circumstances;
use crate::safety::evidence::Seen;
use crate::safety::permit::{CapturePermit, Consent, Permit};
use crate::safety::provenance::Trusted;
use crate::safety::verdict::Verdict;
use crate::store::step::Step;
use crate::store::{self, Store};
use crate::targets::inventory::Inventory;
use crate::tools::{Bounds, Captured, Done, Error, Register};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many alerts of a storm are looked for in Prometheus; when none of them fires there, a person
/// is asked.
const CONFIRMED_MAX: usize = 50;

/// The door and what it has to know.
pub struct Gate {
    pub checker: Checker,
    pub register: Register,
    pub inventory: Arc<dyn Inventory>,
    pub prometheus: Option<Prometheus>,
    pub store: Store,
    pub clock: Clock,
    /// Labels that may name a target; Prometheus must confirm them before a SAFE change.
    pub target_labels: BTreeSet<String>,
}

/// What an incident brings to a judgement.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Labels of every alert.
    pub labels: Vec<Labels>,
    pub located: Located,
    pub trusted: Trusted,
    /// The looks that gave an answer.
    pub seen: Vec<Seen>,
}

/// A change that was judged, with what its target looked like.
#[derive(Debug)]
pub struct Judged {
    pub verdict: Verdict,
    pub captured: Captured,
}

/// Why a change did not run. None of these started anything.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The transaction was refused; judge again or drop the step.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The intent is committed; what follows is the only run that it will ever get.
#[derive(Debug)]
pub struct Intended {
    pub stored: Vec<Stored>,
    permit: Permit,
}

impl Gate {
    /// Judges a call that only looks, or only talks.
    pub fn judge_read(&self, facts: &Facts, call: &Call) -> Verdict {
        let asked = (Wanted::Rules, Risk::Low);
        self.judge_with(facts, call, &Value::Null, asked, Firing::NoSource, Counted::None)
    }

    /// Runs a judged look.
    ///
    /// # Errors
    /// What to tell the mind.
    pub async fn read(
        &self,
        verdict: &Verdict,
        call: &Call,
        bounds: Bounds,
    ) -> Result<Done, Error> {
        let permit = Permit::mint(call.clone(), verdict, Consent::None)
            .map_err(|denied| Error::Tell(denied.to_string()))?;
        self.tool(call)?.run(permit, None, bounds).await
    }

    /// Looks at the target of a change and judges the change, with true counts and the second
    /// source.
    ///
    /// # Errors
    /// `Unavailable` when the counts cannot be read: then nothing is decided.
    pub async fn judge_write(
        &self,
        facts: &Facts,
        proposal: &Proposal,
    ) -> Result<Judged, store::Error> {
        let call = &proposal.call;
        let asked = (proposal.wants_person, proposal.risk);
        let captured = self.capture(facts, call).await;
        let (captured, unseen) = match captured {
            Ok(captured) => (captured, None),
            Err(why) => (Captured::default(), Some(why)),
        };
        let judge =
            |firing, counts| self.judge_with(facts, call, &captured.state, asked, firing, counts);
        // Judged once to learn which limits apply, and whether the second source matters at all.
        let draft = judge(Firing::Confirmed, Counted::None);
        let counts = self
            .store
            .limit_counts(draft.limits().to_vec(), self.clock.now_ms())
            .await?
            .into_iter()
            .map(|(limit, count)| ((limit.key, limit.within_ms), count))
            .collect();
        // What would be done at another level is only worth knowing with the second source.
        let firing = match draft.record().would.unwrap_or(draft.decision()) {
            Decision::Allow => self.confirm_firing(facts).await,
            Decision::Ask | Decision::Refuse => Firing::Confirmed,
        };
        let halt = self.store.halt().await?;
        let halted = halt.as_ref().map(|halt| halt.by.as_str());
        let verdict = judge(firing, Counted::Known { counts: &counts, halted });
        if let Some(why) = unseen {
            tracing::warn!(%why, tool = %call.tool, "cannot look at the target of a change");
        }
        Ok(Judged { verdict, captured })
    }

    /// Looks at the target again just before the change, to find drift.
    ///
    /// # Errors
    /// Why it could not be seen.
    pub async fn capture(&self, facts: &Facts, call: &Call) -> Result<Captured, String> {
        let (host, service) = self.targets(call);
        let labels: Vec<&Labels> = facts.labels.iter().collect();
        let verdict = self.checker.judge_look(&Request {
            call,
            spec: self.register.get(&call.tool).map(|tool| tool.spec()),
            host: host.as_ref(),
            service: service.as_ref(),
            state: &Value::Null,
            labels: &labels,
            trusted: &facts.trusted,
            counts: &|_| 0,
            halt: Halt::Running,
            wanted: Wanted::Rules,
            risk: Risk::Low,
            seen: &[],
            firing: Firing::NoSource,
            circumstances: &Circumstances::calm(self.clock.now_ms()),
        });
        let permit =
            CapturePermit::mint(call.clone(), &verdict).map_err(|_| verdict.record().reason())?;
        let tool = self.tool(call).map_err(|error| error.to_string())?;
        tool.capture(permit).await.map_err(|error| error.to_string())
    }

    /// Compares the basis that was judged with a second look.
    ///
    /// # Errors
    /// What changed; the call must not run.
    pub fn drift(
        &self,
        call: &Call,
        judged: Option<&Value>,
        seen: Option<&Value>,
    ) -> Result<(), String> {
        match (judged, seen) {
            (None, None) => Ok(()),
            (Some(judged), Some(seen)) => {
                let tool = self.tool(call).map_err(|error| error.to_string())?;
                tool.drift(judged, seen)
            }
            (Some(_), None) | (None, Some(_)) => {
                Err("the target cannot be compared with what was judged".into())
            }
        }
    }

    /// Commits the step that holds the intent; only then there is a permit.
    ///
    /// # Errors
    /// `NotRun`: the transaction was refused, nothing was written and nothing will run.
    pub async fn intend(
        &self,
        step: Step,
        verdict: &Verdict,
        call: &Call,
        consent: Consent,
    ) -> Result<Intended, NotRun> {
        let stored = self.store.commit(step).await?;
        let permit = Permit::mint(call.clone(), verdict, consent)
            .map_err(|denied| store::Error::NoLonger(denied.to_string()))?;
        Ok(Intended { stored, permit })
    }

    /// Runs the change that was intended. The deadline is looked at once more, because the commit
    /// may have waited.
    ///
    /// # Errors
    /// `OutcomeUnknown` when the change may have happened.
    pub async fn run(
        &self,
        intended: Intended,
        basis: Option<Value>,
        bounds: Bounds,
    ) -> Result<Done, Error> {
        if self.clock.now_ms() > bounds.start_before_ms {
            return Err(Error::Tell("its time to start had passed; it was not started".into()));
        }
        let tool = self.tool(intended.permit.call())?;
        crash::at(Point::BeforeRun);
        let done = tool.run(intended.permit, basis, bounds).await;
        crash::at(Point::AfterRun);
        done
    }

    fn tool(&self, call: &Call) -> Result<&Arc<dyn crate::tools::Tool>, Error> {
        self.register
            .get(&call.tool)
            .ok_or_else(|| Error::Tell(format!("there is no tool '{}'", call.tool)))
    }

    fn judge_with(
        &self,
        facts: &Facts,
        call: &Call,
        state: &Value,
        (wanted, risk): (Wanted, Risk),
        firing: Firing,
        counted: Counted<'_>,
    ) -> Verdict {
        let (host, service) = self.targets(call);
        let labels: Vec<&Labels> = facts.labels.iter().collect();
        let (counts, halted) = match counted {
            Counted::None => (None, None),
            Counted::Known { counts, halted } => (Some(counts), halted),
        };
        let count = |limit: &Limit| match counts {
            None => 0,
            // A limit that was not counted stands as used up.
            Some(counts) => {
                let counted = counts.get(&(limit.key.clone(), limit.within_ms));
                counted.copied().unwrap_or(i64::MAX)
            }
        };
        self.checker.judge(&Request {
            call,
            spec: self.register.get(&call.tool).map(|tool| tool.spec()),
            host: host.as_ref(),
            service: service.as_ref(),
            state,
            labels: &labels,
            trusted: &facts.trusted,
            counts: &count,
            halt: halted.map_or(Halt::Running, |by| Halt::Halted { by }),
            wanted,
            risk,
            seen: &facts.seen,
            firing,
            circumstances: &Circumstances::calm(self.clock.now_ms()),
        })
    }

    /// What the inventory knows of the targets that the call names.
    fn targets(&self, call: &Call) -> (Option<HostFacts>, Option<ServiceFacts>) {
        let Some(tool) = self.register.get(&call.tool) else { return (None, None) };
        let named = |kind: &ArgKind| {
            let arg = tool.spec().args.iter().find(|arg| arg.kind == *kind)?;
            call.text(&arg.name)
        };
        (
            named(&ArgKind::Host).and_then(|name| self.inventory.host(name)),
            named(&ArgKind::Service).and_then(|name| self.inventory.service(name)),
        )
    }

    /// Asks Prometheus whether one of the incident's alerts fires there too, under labels that
    /// name the same targets.
    async fn confirm_firing(&self, facts: &Facts) -> Firing {
        let Some(prometheus) = &self.prometheus else { return Firing::NoSource };
        for labels in facts.labels.iter().take(CONFIRMED_MAX) {
            match prometheus.firing(labels).await {
                Ok(PrometheusFiring::Yes { unconfirmed, .. })
                    if !unconfirmed.iter().any(|label| self.target_labels.contains(label)) =>
                {
                    return Firing::Confirmed;
                }
                Ok(
                    PrometheusFiring::Yes { .. }
                    | PrometheusFiring::Pending(_)
                    | PrometheusFiring::No,
                ) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot ask Prometheus whether the alert fires");
                    return Firing::NoSource;
                }
            }
        }
        Firing::NotFiring
    }
}

/// What was counted under each key within each window: one key may have several windows.
type Counts = BTreeMap<(String, i64), i64>;

#[derive(Clone, Copy)]
enum Counted<'a> {
    None,
    Known { counts: &'a Counts, halted: Option<&'a str> },
}
