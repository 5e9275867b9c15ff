//! The one door to the tools: judge, commit the intent, mint the permit, run.
//!
//! In: a canonical call and the facts of its incident. Out: a verdict, and only after it an output.
//! Never: a permit before the commit that proves its facts; a permit that outlives its call. A
//! resumed process that finds an intent never mints for it.

use super::halt_file::HaltFile;
use super::second_source::SecondSource;
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::model::action::{Proposal, Risk, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::entity::{HostFacts, Located, ServiceFacts};
use crate::model::guard::{Breaker, Watch};
use crate::model::orders::FileHalt;
use crate::model::tool::ArgKind;
use crate::model::verdict::{Decision, Limit};
use crate::safety::checker::{Checker, Firing, Halt, Request};
use crate::safety::circumstances::Circumstances;
use crate::safety::evidence::Seen;
use crate::safety::permit::{CapturePermit, Consent, Permit};
use crate::safety::provenance::Trusted;
use crate::safety::verdict::Verdict;
use crate::store::orders::Brake;
use crate::store::step::{Committed, Step};
use crate::store::{self, Store};
use crate::targets::inventory::Inventory;
use crate::tools::{Bounds, Captured, Done, Error, Register};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The door and what it has to know.
pub struct Gate {
    pub checker: Checker,
    pub register: Register,
    pub inventory: Arc<dyn Inventory>,
    pub second_source: SecondSource,
    pub store: Store,
    pub clock: Clock,
    pub halt_file: HaltFile,
}

/// What an incident brings to a judgement.
#[derive(Clone, Debug)]
pub struct Facts {
    pub scope: String,
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
    /// The number of the orders that it was judged under; the intent is written only under the same.
    pub orders_version: i64,
    /// What the guards looked up, to be looked up again with the intent.
    pub watch: Watch,
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
    pub committed: Committed,
    permit: Permit,
    orders_version: i64,
}

impl Gate {
    /// Judges a call that only looks, or only talks.
    pub fn judge_read(&self, facts: &Facts, call: &Call) -> Verdict {
        let calm = Circumstances::calm(self.clock.now_ms());
        let asked = (Wanted::Rules, Risk::Low);
        let counted = Counted::None(&calm);
        self.judge_with(facts, call, &Value::Null, asked, Firing::NoSource, counted)
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
        let calm = Circumstances::calm(self.clock.now_ms());
        let draft = judge(Firing::Confirmed, Counted::None(&calm));
        let watch = self.watch(facts, call);
        // What would be done at another level is only worth knowing with the second source.
        let decision = draft.record().would.unwrap_or(draft.decision());
        let limits = draft.limits().to_vec();
        let orders = self.store.orders(calm.now_ms).await?;
        let orders_version = orders.version;
        let found = self.store.circumstances(watch.clone(), limits, calm.now_ms).await?;
        let counts = found
            .counts
            .into_iter()
            .map(|(limit, count)| ((limit.key, limit.within_ms), count))
            .collect();
        let firing = match decision {
            Decision::Allow => self.confirm_firing(facts, call).await,
            Decision::Ask | Decision::Refuse => Firing::Confirmed,
        };
        let halt = self.halted().await?;
        let halted = halt.as_ref().map(|(by, reason)| (by.as_str(), reason.as_str()));
        // The second source may have taken a while, in which a freeze may have begun.
        let now_ms = self.clock.now_ms();
        let leapt_ms = self.clock.leapt_lately(Instant::now());
        let circumstances = Circumstances { recent: found.recent, orders, now_ms, leapt_ms };
        let known = Counted::Known { counts: &counts, halted, circumstances: &circumstances };
        let verdict = judge(firing, known);
        if let Some(why) = unseen {
            tracing::warn!(%why, tool = %call.tool, "cannot look at the target of a change");
        }
        Ok(Judged { verdict, captured, orders_version, watch })
    }

    /// Who or what halts every change, and why.
    async fn halted(&self) -> Result<Option<(String, String)>, store::Error> {
        if let Some(file) = self.halt_file.look() {
            return Ok(Some((file.path, file.reason)));
        }
        Ok(self.store.halt().await?.map(|halt| (halt.by, halt.reason)))
    }

    /// Which other changes in flight a change has to wait for; `None` when it is its turn.
    ///
    /// # Errors
    /// `Unavailable` when nobody can tell.
    pub async fn crowded(
        &self,
        facts: &Facts,
        call: &Call,
    ) -> Result<Option<String>, store::Error> {
        let slots = self.watch(facts, call).slots;
        let watch = Watch { slots, ..Watch::default() };
        let now_ms = self.clock.now_ms();
        let found = self.store.circumstances(watch.clone(), Vec::new(), now_ms).await?;
        Ok(found.recent.crowded(&watch))
    }

    /// The breakers that a change counts for when it ends badly.
    pub fn breakers(&self, facts: &Facts, call: &Call) -> Vec<Breaker> {
        let calm = Circumstances::calm(self.clock.now_ms());
        self.with_request(facts, call, &calm, |request| self.checker.breakers(&request))
    }

    fn watch(&self, facts: &Facts, call: &Call) -> Watch {
        let calm = Circumstances::calm(self.clock.now_ms());
        self.with_request(facts, call, &calm, |request| self.checker.watch(&facts.scope, &request))
    }

    /// Looks at the target again just before the change, to find drift.
    ///
    /// # Errors
    /// Why it could not be seen.
    pub async fn capture(&self, facts: &Facts, call: &Call) -> Result<Captured, String> {
        let calm = Circumstances::calm(self.clock.now_ms());
        let verdict =
            self.with_request(facts, call, &calm, |request| self.checker.judge_look(&request));
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
        if let Some(file) = self.halt_file.look() {
            return Err(store::Error::NoLonger(halted_by_file(&file)).into());
        }
        let orders_version = step.intent.as_ref().map_or(0, |intent| intent.orders_version);
        let committed = self.store.commit(step).await?;
        let permit = Permit::mint(call.clone(), verdict, consent)
            .map_err(|denied| store::Error::NoLonger(denied.to_string()))?;
        Ok(Intended { committed, permit, orders_version })
    }

    /// Why changes like this one are frozen at this moment, in spite of the consent that it has.
    pub fn frozen(&self, facts: &Facts, call: &Call, consent: Consent) -> Option<String> {
        let calm = Circumstances::calm(self.clock.now_ms());
        self.with_request(facts, call, &calm, |request| self.checker.frozen(&request, consent))
    }

    /// Runs the change that was intended. Halt, orders and deadline are looked at once more, because
    /// the commit may have waited; then whatever else the incident knows that may stop it, and last
    /// of all the halt file.
    ///
    /// # Errors
    /// `NotStarted` when something stopped it, `OutcomeUnknown` when it may have happened.
    pub async fn run(
        &self,
        intended: Intended,
        basis: Option<Value>,
        bounds: Bounds,
        may_start: impl Fn() -> Result<(), String> + Send + Sync,
    ) -> Result<Done, Error> {
        self.refuse_when_stopped(intended.orders_version).await?;
        if self.clock.now_ms() > bounds.start_before_ms {
            return Err(not_started("its time to start had passed"));
        }
        let tool = self.tool(intended.permit.call())?;
        may_start().map_err(|why| not_started(&why))?;
        if let Some(file) = self.halt_file.look() {
            return Err(not_started(&halted_by_file(&file)));
        }
        crash::at(Point::BeforeRun);
        let done = tool.run(intended.permit, basis, bounds).await;
        crash::at(Point::AfterRun);
        done
    }

    /// A halt or an order that came after the intent stops its tool while it has not started.
    async fn refuse_when_stopped(&self, judged: i64) -> Result<(), Error> {
        let why = match self.store.brake().await {
            Ok(Brake { halt: Some(halt), .. }) => format!("all changes are halted by {}", halt.by),
            Ok(Brake { halt: None, orders_version }) if orders_version == judged => return Ok(()),
            Ok(Brake { .. }) => "people gave orders since it was judged".to_owned(),
            Err(error) => format!("the database cannot be asked for a halt: {error}"),
        };
        Err(not_started(&why))
    }

    fn tool(&self, call: &Call) -> Result<&Arc<dyn crate::tools::Tool>, Error> {
        self.register
            .get(&call.tool)
            .ok_or_else(|| Error::NotStarted(format!("there is no tool '{}'", call.tool)))
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
        let (counts, halted, circumstances) = match counted {
            Counted::None(calm) => (None, None, calm),
            Counted::Known { counts, halted, circumstances } => {
                (Some(counts), halted, circumstances)
            }
        };
        let count = |limit: &Limit| match counts {
            None => 0,
            // A limit that was not counted stands as used up.
            Some(counts) => {
                let counted = counts.get(&(limit.key.clone(), limit.within_ms));
                counted.copied().unwrap_or(i64::MAX)
            }
        };
        let halt = halted.map_or(Halt::Running, |(by, reason)| Halt::Halted { by, reason });
        self.with_request(facts, call, circumstances, |request| {
            let counts = &count;
            self.checker.judge(&Request { state, counts, halt, wanted, risk, firing, ..request })
        })
    }

    /// Asks the checker something about a call of which nothing is supposed or counted.
    fn with_request<T>(
        &self,
        facts: &Facts,
        call: &Call,
        circumstances: &Circumstances,
        ask: impl FnOnce(Request<'_>) -> T,
    ) -> T {
        let (host, service) = self.targets(call);
        let labels: Vec<&Labels> = facts.labels.iter().collect();
        ask(Request {
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
            seen: &facts.seen,
            firing: Firing::NoSource,
            circumstances,
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

    /// Whether an alert that names the target of the call fires in Prometheus, too.
    async fn confirm_firing(&self, facts: &Facts, call: &Call) -> Firing {
        let (host, service) = self.targets(call);
        let target = (host.map(|host| host.name), service.map(|service| service.name));
        self.second_source.confirm(&*self.inventory, &facts.labels, target).await
    }
}

/// What was counted under each key within each window: one key may have several windows.
type Counts = BTreeMap<(String, i64), i64>;

#[derive(Clone, Copy)]
enum Counted<'a> {
    None(&'a Circumstances),
    Known {
        counts: &'a Counts,
        /// By whom, and why.
        halted: Option<(&'a str, &'a str)>,
        circumstances: &'a Circumstances,
    },
}

fn not_started(why: &str) -> Error {
    Error::NotStarted(format!("{why}; it was not started"))
}

fn halted_by_file(file: &FileHalt) -> String {
    let reason = if file.reason.is_empty() { String::new() } else { format!(": {}", file.reason) };
    format!("all changes are halted by the file {}{reason}", file.path)
}
