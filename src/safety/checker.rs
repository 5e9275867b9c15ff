//! Judges a call: every reason is found and recorded, and the strictest wins.
//!
//! In: a completed call, what the inventory knows of its target, the incident's labels, counts, the
//! halt. Out: a [`Verdict`]. Never: I/O, a clock, randomness, prose, an answer without a reason.
//! To add a kind of reason, add a function to `checks` and its line to [`Checker::judge`].

mod checks;
mod guards;
mod orders;

use crate::model::action::{Risk, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::guard::{Breaker, Watch};
use crate::model::tool::{Effect, ToolSpec};
use crate::model::verdict::{Approvals, Autonomy, Decision, Limit, Tier, Traced, VerdictRecord};
use crate::safety::circumstances::Circumstances;
use crate::safety::evidence::Seen;
use crate::safety::floor::Own;
use crate::safety::levels::Granted;
use crate::safety::provenance::Trusted;
use crate::safety::rules::Rules;
use crate::safety::verdict::Verdict;
use crate::safety::weigh::{Subject, Target, Weighed, weigh, weigh_look};
use serde_json::Value;
use std::sync::Arc;

/// Everything that a verdict depends on, apart from the rules.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The call, completed and canonical: what is judged is what runs.
    pub call: &'a Call,
    /// `None` when nobody provides the tool.
    pub spec: Option<&'a ToolSpec>,
    /// The host that the call names, as the inventory knows it.
    pub host: Option<&'a HostFacts>,
    pub service: Option<&'a ServiceFacts>,
    /// What `capture` saw; null when nobody looked.
    pub state: &'a Value,
    /// The labels of every alert of the incident. They choose the level and nothing else.
    pub labels: &'a [&'a Labels],
    pub trusted: &'a Trusted,
    /// Intents already written under a limit's key within its window; `i64::MAX` when they cannot
    /// be counted.
    pub counts: &'a dyn Fn(&Limit) -> i64,
    pub halt: Halt<'a>,
    pub wanted: Wanted,
    /// The risk that the mind sees; it can only raise ours.
    pub risk: Risk,
    /// The looks of the incident that gave an answer.
    pub seen: &'a [Seen],
    pub firing: Firing,
    pub circumstances: &'a Circumstances,
}

/// Whether changes are stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halt<'a> {
    Running,
    Halted { by: &'a str, reason: &'a str },
}

/// What a second source says of the alert, before a change that nobody is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firing {
    /// Prometheus has it firing too.
    Confirmed,
    NotFiring,
    /// There is no Prometheus to ask, or it does not answer.
    NoSource,
}

/// The rules in force, ready to judge.
#[derive(Clone, Debug)]
pub struct Checker {
    rules: Arc<Rules>,
    own: Arc<Own>,
}

impl Checker {
    pub fn new(rules: Arc<Rules>, own: Own) -> Self {
        Self { rules, own: Arc::new(own) }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges a call that is to run. The same request gets the same verdict.
    pub fn judge(&self, request: &Request<'_>) -> Verdict {
        let subject = request.subject();
        let mut weighed = weigh(&self.rules, &self.own, &subject);
        checks::complete(&subject, &mut weighed);
        checks::named_targets(&subject, &mut weighed);
        checks::person(request.wanted, &mut weighed);
        let granted = self.rules.levels.grant(request.labels);
        let (mut limits, mut cap) = (Vec::new(), Autonomy::Act);
        let mut change = Change::default();
        match subject.effect() {
            Effect::Write => {
                checks::some_target(&subject, &mut weighed);
                checks::grant(&subject, &mut weighed);
                change.origins = checks::provenance(&subject, request.trusted, &mut weighed);
                checks::second_source(request.firing, &mut weighed);
                checks::clock(request.circumstances, &mut weighed);
                checks::evidence(request, &subject, &mut weighed);
                orders::quarantine(&request.circumstances.orders, &mut weighed);
                limits = checks::limits(&subject, request.counts, &mut weighed);
                let guards = self.rules.guards();
                guards::freeze(guards, request, &mut weighed);
                guards::in_flight(guards, &subject, request, &mut weighed);
                limits.extend(guards::limits(guards, &subject, request.counts, &mut weighed));
                guards::breaker(guards, &subject, request, &mut weighed);
                cap = guards::common_cause(guards, request, &mut weighed);
                let others = weighed.tier();
                change.would = granted.weigh_write(others, &mut weighed.reasons);
                checks::halt(request.halt, &mut weighed);
                change.risk = Some(checks::risk(&subject, request.risk, weighed.tier()));
                orders::holds(request.circumstances, &subject, request.labels, &mut weighed);
            }
            Effect::Read | Effect::Talk => {}
        }
        self.verdict(request.call, granted.autonomy.min(cap), limits, change, weighed)
    }

    /// What has to be looked up before a change, and again with its intent.
    pub fn watch(&self, scope: &str, request: &Request<'_>) -> Watch {
        let subject = request.subject();
        match subject.effect() {
            Effect::Write => {
                let tool = &request.call.tool;
                self.rules.guards().watch(scope, tool, subject.target, request.labels)
            }
            Effect::Read | Effect::Talk => Watch::default(),
        }
    }

    /// The breakers that a change counts for when it ends badly.
    pub fn breakers(&self, request: &Request<'_>) -> Vec<Breaker> {
        self.rules.guards().breakers(&request.call.tool, request.subject().target)
    }

    /// How much may be done for these alerts.
    pub fn granted(&self, labels: &[&Labels]) -> Granted {
        self.rules.levels.grant(labels)
    }

    /// Judges a look at the target of a change, as a read under the hash of the change.
    pub fn judge_look(&self, request: &Request<'_>) -> Verdict {
        let subject = request.subject();
        let mut weighed = weigh_look(&self.rules, &subject);
        checks::complete(&subject, &mut weighed);
        checks::named_targets(&subject, &mut weighed);
        let autonomy = self.rules.levels.grant(request.labels).autonomy;
        self.verdict(request.call, autonomy, Vec::new(), Change::default(), weighed)
    }

    fn verdict(
        &self,
        call: &Call,
        autonomy: Autonomy,
        limits: Vec<Limit>,
        change: Change,
        weighed: Weighed<'_>,
    ) -> Verdict {
        let tier = weighed.tier();
        let decision = Decision::from(tier);
        let mut approvals = match decision {
            Decision::Ask => weighed.approvals.into_approvals(),
            Decision::Allow | Decision::Refuse => Approvals::default(),
        };
        if (decision, change.risk) == (Decision::Ask, Some(Risk::High)) {
            approvals.quorum = approvals.quorum.max(self.rules.high_risk_quorum());
        }
        Verdict::new(VerdictRecord {
            tier,
            decision,
            autonomy,
            matched: weighed.reasons,
            limits,
            approvals,
            rules_version: self.rules.version().to_owned(),
            call_hash: call.hash(),
            would: change.would.map(Decision::from),
            risk: change.risk,
            origins: change.origins,
        })
    }
}

/// What a verdict says of changes only.
#[derive(Default)]
struct Change {
    would: Option<Tier>,
    risk: Option<Risk>,
    origins: Vec<Traced>,
}

impl<'a> Request<'a> {
    fn subject(&self) -> Subject<'a> {
        // A spec of another tool says nothing about this call.
        let spec = self.spec.filter(|spec| spec.name == self.call.tool);
        Subject {
            call: self.call,
            spec,
            effect: spec.map(|spec| spec.effect),
            target: Target { host: self.host, service: self.service },
            state: self.state,
        }
    }
}

/// Text from outside as it may stand in a note: quoted, escaped, short.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let short: String = text.chars().take(CHARS_MAX).collect();
    format!("{short:?}…")
}

/// What was done, with the reason that its author gave, if any.
fn because(said: String, reason: &str) -> String {
    if reason.is_empty() { said } else { format!("{said}: {}", shown(reason)) }
}

#[cfg(test)]
mod tests;
