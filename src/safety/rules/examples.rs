//! Judges the examples that rules carry, so that a file that means something else than its author
//! thinks is refused when it is loaded.
//!
//! An example shows what rules, defaults and floor say of a call. What depends on the day is left
//! out: levels, grants, limits, provenance, halts.

use super::compile::Complaints;
use super::{ExampleFile, ExampleTargets, Rules, RulesFile};
use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::tool::{ArgKind, ToolSpec};
use crate::model::verdict::{Matched, Tier};
use crate::safety::floor::{self, Own};
use crate::safety::limits::canonical_host;
use crate::safety::weigh::{Subject, Target, weigh};
use std::collections::BTreeMap;

pub(super) fn check(
    file: &RulesFile,
    rules: &Rules,
    specs: &BTreeMap<&str, &ToolSpec>,
    complaints: &mut Complaints,
) {
    let targets = Targets::new(&file.example_targets, complaints);
    for (at, rule) in file.rules.iter().enumerate() {
        let spec = specs.get(rule.tool.as_str()).copied();
        for (nth, example) in rule.examples.iter().enumerate() {
            let path = format!("rules.{at}.examples.{nth}");
            match judge(rules, &targets, &rule.tool, spec, example) {
                Ok((tier, _)) if tier == example.expect => {}
                Ok((tier, reasons)) => complaints.add(
                    format!("{path}.expect"),
                    format!(
                        "expected {}, but the rules say {}: {}",
                        example.expect.as_str(),
                        tier.as_str(),
                        told(&reasons, tier),
                    ),
                ),
                Err(error) => complaints.add(format!("{path}.args"), error),
            }
        }
    }
}

fn judge(
    rules: &Rules,
    targets: &Targets,
    tool: &str,
    spec: Option<&ToolSpec>,
    example: &ExampleFile,
) -> Result<(Tier, Vec<Matched>), String> {
    let call = match spec {
        Some(spec) => spec.complete(&example.args).map_err(|complaints| complaints.join("; "))?,
        None => Call { tool: tool.to_owned(), args: example.args.clone() },
    };
    let host = named(&call, spec, &ArgKind::Host, "host").map(|name| targets.host(name));
    let service =
        named(&call, spec, &ArgKind::Service, "service").map(|name| targets.service(name));
    let target = Target { host: host.transpose()?, service: service.transpose()? };
    // A tool to come is taken for what its name says, since its author thinks of it as present.
    let effect = spec.map_or_else(|| floor::likely_effect(tool), |spec| spec.effect);
    let subject =
        Subject { call: &call, spec, effect: Some(effect), target, state: &example.state };
    let weighed = weigh(rules, &Own::default(), &subject);
    Ok((weighed.tier(), weighed.reasons))
}

/// The argument that names a host or a service; of a tool that nobody provides, the usual name.
fn named<'a>(
    call: &'a Call,
    spec: Option<&ToolSpec>,
    kind: &ArgKind,
    usual: &str,
) -> Option<&'a str> {
    match spec {
        Some(spec) => {
            let arg = spec.args.iter().find(|arg| arg.kind == *kind)?;
            call.text(&arg.name)
        }
        None => call.text(usual),
    }
}

fn told(reasons: &[Matched], tier: Tier) -> String {
    let told: Vec<String> = reasons
        .iter()
        .filter(|reason| reason.tier == tier)
        .map(|reason| format!("{} ({})", reason.source, reason.note))
        .collect();
    told.join("; ")
}

struct Targets {
    hosts: BTreeMap<String, HostFacts>,
    services: BTreeMap<String, ServiceFacts>,
}

impl Targets {
    fn new(file: &ExampleTargets, complaints: &mut Complaints) -> Self {
        let mut targets = Self { hosts: BTreeMap::new(), services: BTreeMap::new() };
        for (at, host) in file.hosts.iter().enumerate() {
            let facts = HostFacts {
                name: host.name.clone(),
                class: host.class.clone(),
                region: host.region.clone(),
                owner: host.owner.clone(),
                protected: host.protected,
                ..HostFacts::default()
            };
            if targets.hosts.insert(canonical_host(&host.name), facts).is_some() {
                complaints.add(format!("example_targets.hosts.{at}.name"), "is there twice");
            }
        }
        for (at, service) in file.services.iter().enumerate() {
            let facts = ServiceFacts {
                name: service.name.clone(),
                unit: service.unit.clone().unwrap_or_else(|| format!("{}.service", service.name)),
                class: service.class.clone(),
                region: service.region.clone(),
                owner: service.owner.clone(),
                protected: service.protected,
                ..ServiceFacts::default()
            };
            if targets.services.insert(service.name.clone(), facts).is_some() {
                complaints.add(format!("example_targets.services.{at}.name"), "is there twice");
            }
        }
        targets
    }

    fn host(&self, name: &str) -> Result<&HostFacts, String> {
        self.hosts.get(&canonical_host(name)).ok_or_else(|| {
            format!("host '{name}' is not in example_targets: add `- {{ name: {name} }}` to hosts")
        })
    }

    fn service(&self, name: &str) -> Result<&ServiceFacts, String> {
        self.services.get(name).ok_or_else(|| {
            format!(
                "service '{name}' is not in example_targets: add `- {{ name: {name} }}` to services"
            )
        })
    }
}
