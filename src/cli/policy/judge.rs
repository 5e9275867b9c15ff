//! Judges calls of nobody's incident, with facts that are supposed.
//!
//! In: the configuration files, a question. Out: an answer, also to a question that makes no sense:
//! that is refused, as the call would be. Never: a network, a store, a verdict that could be used
//! to run something.

use crate::app;
use crate::app::policy;
use crate::clock::Clock;
use crate::config::{Problems, Settings};
use crate::model::action::{Risk, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::tool::{ArgKind, ToolSpec};
use crate::model::verdict::{Approvals, Autonomy, Decision, Limit, Matched, Tier, VerdictRecord};
use crate::safety::checker::{Checker, Firing, Halt, Request};
use crate::safety::circumstances::Circumstances;
use crate::safety::evidence::Seen;
use crate::safety::provenance::Trusted;
use crate::safety::rules::{LevelFile, Rules, RulesFile};
use crate::targets::inventory::{Catalogue, Inventory, Mapping, ReachKind, locate};
use crate::tools::Register;
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The label of the alert that is supposed where a question brings no labels.
const SUPPOSED: &str = "supposed";
/// A tool through which another call is proposed.
const PROPOSES: &str = "request_human_confirmation";
/// What a mind can look through, besides Prometheus.
const SOURCES: [&str; 3] = ["logs", "host", SUPPOSED];
const COMMANDS: &str = "run_diagnosis_command";

/// The policy, ready to judge.
pub struct Judge {
    /// The rules as they are written.
    written: Checker,
    /// The same with one level for the supposed alert.
    supposed: Checker,
    /// The alert that stands for all alerts of no matter which level.
    supposed_labels: Labels,
    labels_count: LabelsCount,
    pub register: Register,
    pub inventory: Arc<Catalogue>,
    mappings: Vec<Mapping>,
    /// Where command lines are judged: the first local host, else the first.
    command_host: Option<String>,
}

/// Whether the labels of a question choose the level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LabelsCount {
    Yes,
    /// An autonomy was asked for, in place of whatever the file says.
    No,
}

/// What stands in for the facts of an incident.
#[derive(Clone)]
pub struct Facts {
    /// The labels of every alert; `None` supposes one of the level `act`.
    pub labels: Option<Vec<Labels>>,
    pub state: Value,
    pub origin: Origin,
    pub firing: Firing,
    pub wanted: Wanted,
    /// The looks that gave an answer before; `None` supposes that every source looked at the target.
    pub seen: Option<Vec<Seen>>,
    /// The time that is supposed, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Laid over what the inventory knows of the host and the service.
    pub host: Map<String, Value>,
    pub service: Map<String, Value>,
}

/// Where the arguments come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// A trusted place vouches for every one of them.
    Trusted,
    /// Only what the labels name is trusted, with the inventory's relations of it.
    LabelsOnly,
    /// Every one is trusted but those of these names.
    AllBut(BTreeSet<String>),
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            labels: None,
            state: Value::Null,
            origin: Origin::Trusted,
            firing: Firing::Confirmed,
            wanted: Wanted::Rules,
            seen: None,
            at_ms: Clock::system().now_ms(),
            host: Map::new(),
            service: Map::new(),
        }
    }
}

/// What would become of a call.
#[derive(Serialize, Debug)]
pub struct Answer {
    pub decision: Decision,
    pub tier: Tier,
    /// The strictest reasons on one line.
    pub reason: String,
    pub matched: Vec<Matched>,
    /// As it would run: names of the inventory, defaults written in. Missing when it makes no sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autonomy: Option<Autonomy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Who has to agree, when the decision is to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    pub rules_version: String,
}

impl Judge {
    /// Reads inventory and rules; `rules` is another file than the configured one. `autonomy`
    /// replaces cap and levels of the file.
    ///
    /// # Errors
    /// Every problem of either file.
    pub fn new(
        settings: &Settings,
        rules: Option<&Path>,
        autonomy: Option<Autonomy>,
    ) -> Result<Self> {
        let specs = app::specs(&Clock::system());
        let mut problems = Vec::new();
        let inventory = policy::inventory(&settings.inventory_file, &specs, &mut problems);
        let rules = rules.unwrap_or(&settings.safety_rules_file);
        let file = policy::rules_file(rules, &mut problems);
        let (Some(inventory), Some((file, positions)), true) =
            (inventory, file, problems.is_empty())
        else {
            return Err(anyhow!("{}", Problems(problems)));
        };
        let compiled = compile(&file, &specs, None).map_err(|complaints| {
            let placed = complaints.iter().map(|c| positions.problem(&c.path, &*c.message));
            anyhow!("{}", Problems(placed.collect()))
        })?;
        Self::of(settings, Arc::new(inventory), &file, compiled, autonomy, &specs)
    }

    /// A judge under a file that was read already.
    ///
    /// # Errors
    /// The working folder is not known.
    pub fn of(
        settings: &Settings,
        inventory: Arc<Catalogue>,
        file: &RulesFile,
        compiled: Rules,
        autonomy: Option<Autonomy>,
        specs: &[ToolSpec],
    ) -> Result<Self> {
        let level = autonomy.unwrap_or(Autonomy::Act);
        let cap = autonomy.unwrap_or(file.autonomy);
        let supposed = compile(file, specs, Some((cap, level)))
            .map_err(|complaints| anyhow!("{}", told(&complaints)))?;
        let own = app::own(settings)?;
        let hosts = inventory.host_names();
        let local = |name: &&String| {
            inventory.host_access(name).is_some_and(|access| access.reach == ReachKind::Local)
        };
        Ok(Self {
            command_host: hosts.iter().find(local).or(hosts.first()).cloned(),
            written: Checker::new(Arc::new(compiled), own.clone()),
            supposed: Checker::new(Arc::new(supposed), own),
            supposed_labels: [(SUPPOSED.to_owned(), word(level))].into(),
            labels_count: match autonomy {
                Some(_) => LabelsCount::No,
                None => LabelsCount::Yes,
            },
            register: app::tools_over(inventory.clone(), &Clock::system()),
            mappings: app::mappings(settings)?,
            inventory,
        })
    }

    /// SHA-256 of the rules file in canonical form.
    pub fn rules_version(&self) -> &str {
        self.written.rules().version()
    }

    /// A moment of no freeze, the next there is: what is expected in a test does not change by the day.
    pub fn quiet_ms(&self) -> i64 {
        self.written.rules().thaw(Clock::system().now_ms())
    }

    /// What would become of a call as a mind writes it. One that makes no sense is refused.
    pub fn ask(&self, call: &Call, facts: &Facts) -> Answer {
        let complete = match self.register.complete(call) {
            Ok(complete) => complete,
            Err(complaint) if self.register.get(&call.tool).is_some() => {
                return self.refused("call", complaint);
            }
            Err(complaint) => return self.unknown(call, facts, complaint),
        };
        let record = match self.record(&complete, facts, &|_| 0) {
            Ok(record) => record,
            Err(complaint) => return self.refused("facts", complaint),
        };
        let answer = self.answer(record, complete);
        match (&answer.call, answer.decision) {
            // What counts is what would be proposed: asking for it changes nothing.
            (Some(outer), Decision::Allow) if outer.tool == PROPOSES => {
                let inner = Call::new(
                    outer.text("tool").unwrap_or_default(),
                    outer.args.get("args").cloned().unwrap_or_default(),
                );
                self.ask(&inner, &Facts { wanted: Wanted::Person, ..facts.clone() })
            }
            _ => answer,
        }
    }

    /// A tool that is not there is refused, with what rules and floor would say of it.
    fn unknown(&self, call: &Call, facts: &Facts, complaint: String) -> Answer {
        let mut answer = self.refused("call", complaint);
        if let Ok(record) = self.record(call, facts, &|_| 0) {
            answer.matched.extend(record.matched);
        }
        answer
    }

    /// A command line as the call that would run it.
    ///
    /// # Errors
    /// The inventory lists no host.
    pub fn command(&self, line: &str, host: Option<&str>) -> Result<Call, String> {
        let host = host.or(self.command_host.as_deref());
        let host = host.ok_or("the inventory lists no host to run a command on")?;
        Ok(Call::new(COMMANDS, serde_json::json!({"host": host, "command": line})))
    }

    /// The verdict for a completed call.
    ///
    /// # Errors
    /// The supposed facts are not those of a host or a service.
    pub fn record(
        &self,
        call: &Call,
        facts: &Facts,
        counts: &dyn Fn(&Limit) -> i64,
    ) -> Result<VerdictRecord, String> {
        let (host, service) = self.targets(call);
        let host = host.map(|known| overlaid(&known, &facts.host, "host")).transpose()?;
        let service =
            service.map(|known| overlaid(&known, &facts.service, "service")).transpose()?;
        let own_labels = facts.labels.as_ref().filter(|_| self.labels_count == LabelsCount::Yes);
        let (checker, labels) = match own_labels {
            Some(labels) => (&self.written, labels.as_slice()),
            None => (&self.supposed, std::slice::from_ref(&self.supposed_labels)),
        };
        let trusted = match &facts.origin {
            Origin::Trusted => Trusted::default().parameters(&call.args),
            Origin::LabelsOnly => self.trusted(facts.labels.as_deref().unwrap_or_default()),
            Origin::AllBut(untraced) => {
                let mut args = call.args.clone();
                args.retain(|name, _| !untraced.contains(name));
                Trusted::default().parameters(&args)
            }
        };
        let seen =
            facts.seen.clone().unwrap_or_else(|| every_source(host.as_ref(), service.as_ref()));
        let verdict = checker.judge(&Request {
            call,
            spec: self.register.get(&call.tool).map(|tool| tool.spec()),
            host: host.as_ref(),
            service: service.as_ref(),
            state: &facts.state,
            labels: &labels.iter().collect::<Vec<_>>(),
            trusted: &trusted,
            counts,
            halt: Halt::Running,
            wanted: facts.wanted,
            risk: Risk::Low,
            seen: &seen,
            firing: facts.firing,
            circumstances: &Circumstances::calm(facts.at_ms),
        });
        let mut record = verdict.record().clone();
        // The supposed level is no part of what was asked about.
        record.rules_version = self.rules_version().to_owned();
        Ok(record)
    }

    /// What the labels name and the inventory relates to it, as in an incident without a runbook.
    fn trusted(&self, labels: &[Labels]) -> Trusted {
        let labels: Vec<&Labels> = labels.iter().collect();
        let located = locate(&*self.inventory, &labels, &self.mappings);
        let names = self.inventory.service_names();
        let services: Vec<ServiceFacts> =
            names.iter().filter_map(|name| self.inventory.service(name)).collect();
        Trusted::of_incident(&located).relate(&services)
    }

    /// What the inventory knows of the targets that a call names.
    pub fn targets(&self, call: &Call) -> (Option<HostFacts>, Option<ServiceFacts>) {
        // Of a tool that is not there, the usual names of the arguments are taken.
        let named = |kind: &ArgKind, usual: &str| match self.register.get(&call.tool) {
            Some(tool) => {
                let arg = tool.spec().args.iter().find(|arg| arg.kind == *kind)?;
                call.text(&arg.name).map(str::to_owned)
            }
            None => call.text(usual).map(str::to_owned),
        };
        (
            named(&ArgKind::Host, "host").and_then(|name| self.inventory.host(&name)),
            named(&ArgKind::Service, "service").and_then(|name| self.inventory.service(&name)),
        )
    }

    fn answer(&self, record: VerdictRecord, call: Call) -> Answer {
        Answer {
            decision: record.decision,
            tier: record.tier,
            reason: record.reason(),
            matched: record.matched,
            call: Some(call),
            call_hash: Some(record.call_hash),
            autonomy: Some(record.autonomy),
            limits: record.limits,
            approvals: (record.decision == Decision::Ask).then_some(record.approvals),
            rules_version: record.rules_version,
        }
    }

    /// The answer to what is no call.
    pub fn refused(&self, source: &str, why: impl Into<String>) -> Answer {
        let note = why.into();
        let matched = Matched { source: source.to_owned(), tier: Tier::Forbidden, note };
        Answer {
            decision: Decision::Refuse,
            tier: Tier::Forbidden,
            reason: format!("{}: {}", matched.source, matched.note),
            matched: vec![matched],
            call: None,
            call_hash: None,
            autonomy: None,
            limits: Vec::new(),
            approvals: None,
            rules_version: self.rules_version().to_owned(),
        }
    }
}

/// Looks at the target through as many sources as any rule will want.
fn every_source(host: Option<&HostFacts>, service: Option<&ServiceFacts>) -> Vec<Seen> {
    let look = |source: &str| Seen {
        source: source.to_owned(),
        host: host.map(|host| host.name.clone()),
        service: service.map(|service| service.name.clone()),
    };
    SOURCES.map(look).into()
}

/// Compiles a file; `supposed` is a cap and one level in place of those of the file.
fn compile(
    file: &RulesFile,
    specs: &[ToolSpec],
    supposed: Option<(Autonomy, Autonomy)>,
) -> Result<Rules, Vec<crate::safety::rules::Complaint>> {
    let Some((cap, level)) = supposed else { return Rules::compile(file, specs) };
    let matcher = format!("{SUPPOSED}=\"{}\"", word(level));
    let mut file = file.clone();
    file.autonomy = cap;
    file.levels = vec![LevelFile { matchers: vec![matcher], autonomy: level }];
    // They were judged with the file as it is written.
    file.rules.iter_mut().for_each(|rule| rule.examples.clear());
    Rules::compile(&file, specs)
}

fn told(complaints: &[crate::safety::rules::Complaint]) -> String {
    complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The word of the file for an autonomy.
pub fn word(autonomy: Autonomy) -> String {
    let word = match autonomy {
        Autonomy::Observe => "observe",
        Autonomy::Page => "page",
        Autonomy::Advise => "advise",
        Autonomy::Act => "act",
    };
    word.to_owned()
}

/// The word for a decision.
pub fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Ask => "ask",
        Decision::Refuse => "refuse",
    }
}

/// What the inventory knows with supposed facts laid over it.
fn overlaid<T: Serialize + DeserializeOwned + Clone>(
    known: &T,
    with: &Map<String, Value>,
    what: &str,
) -> Result<T, String> {
    if with.is_empty() {
        return Ok(known.clone());
    }
    let mut value = serde_json::to_value(known).map_err(|error| error.to_string())?;
    let Some(fields) = value.as_object_mut() else { return Ok(known.clone()) };
    for (key, supposed) in with {
        if !fields.contains_key(key) {
            let all: Vec<&String> = fields.keys().collect();
            return Err(format!("a {what} has no '{key}'; it has {all:?}"));
        }
        fields.insert(key.clone(), supposed.clone());
    }
    serde_json::from_value(value).map_err(|error| format!("supposed {what}: {error}"))
}
