//! The reasons that depend on more than the call: targets, grants, provenance, the second source,
//! limits, halts, a mind that asks for a person.

use super::{Firing, Halt, Request, because, shown};
use crate::model::action::{Risk, Wanted};
use crate::model::call::canonical;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::time::format_span_ms;
use crate::model::tool::ArgKind;
use crate::model::verdict::{Limit, Source, Tier, Traced};
use crate::safety::circumstances::Circumstances;
use crate::safety::evidence;
use crate::safety::floor::{DATABASE, canonical_unit};
use crate::safety::limits::canonical_host;
use crate::safety::provenance::Trusted;
use crate::safety::weigh::{Subject, Weighed};
use serde_json::Value;

/// A call that is not exactly what its tool takes is refused, whoever let it through.
pub(super) fn complete(subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    let Some(spec) = subject.spec else { return };
    match spec.complete(&subject.call.args) {
        Ok(call) if call.args == subject.call.args => {}
        Ok(_) => weighed.push("call", Tier::Forbidden, "a default is not written into the call"),
        Err(complaints) => weighed.push("call", Tier::Forbidden, complaints.join("; ")),
    }
}

/// Every host and service that the call names is the one whose facts are judged.
pub(super) fn named_targets(subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    let target = subject.target;
    for name in named(subject, &ArgKind::Host) {
        if target.host.is_none_or(|host| canonical_host(&host.name) != canonical_host(name)) {
            let note = format!("host {} is not in the inventory", shown(name));
            weighed.push("target", Tier::Forbidden, note);
        }
    }
    for name in named(subject, &ArgKind::Service) {
        if target.service.is_none_or(|service| !is_service(service, name)) {
            let note = format!("service {} is not in the inventory", shown(name));
            weighed.push("target", Tier::Forbidden, note);
        }
    }
}

/// A change needs a target, and a service is changed only where it runs.
pub(super) fn some_target(subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    match (subject.target.host, subject.target.service) {
        (None, None) => weighed.push(
            "target",
            Tier::Forbidden,
            "a change needs a host or a service of the inventory",
        ),
        (Some(host), Some(service)) if !runs_on(service, host) => weighed.push(
            "target",
            Tier::Forbidden,
            format!("{} does not run on {}, says the inventory", service.name, host.name),
        ),
        (Some(_), _) | (None, Some(_)) => {}
    }
}

/// Targets are read-only unless the inventory grants the tool on them.
pub(super) fn grant(subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    let tool = &subject.call.tool;
    let (host, service) = (subject.target.host, subject.target.service);
    let lists = [
        service.map(|service| ("service", &service.name, &service.allow)),
        host.map(|host| ("host", &host.name, &host.allow)),
    ];
    let mut lists = lists.into_iter().flatten().peekable();
    let Some(&(kind, name, allow)) = lists.peek() else { return };
    if let Some((kind, name, _)) = lists.find(|(_, _, allow)| allow.contains(tool)) {
        let note = format!("{kind} {name} allows {tool}");
        weighed.push("grant", Tier::Safe, note);
        return;
    }
    let mut line: Vec<&str> = allow.iter().map(String::as_str).collect();
    line.push(tool);
    let note = format!(
        "{kind} {name} is read-only for {tool}; to grant it, write `allow: [{}]` there in the \
         inventory",
        line.join(", ")
    );
    weighed.push("grant", Tier::Forbidden, note);
}

/// Every argument that a machine reads comes from a trusted place, or a person looks at it. Returns
/// where each was found.
pub(super) fn provenance(
    subject: &Subject<'_>,
    trusted: &Trusted,
    weighed: &mut Weighed<'_>,
) -> Vec<Traced> {
    let mut origins = Vec::new();
    for (name, value) in &subject.call.args {
        origins.extend(traced(subject, trusted, name, value));
    }
    for untraced in origins.iter().filter(|traced| !traced.source.is_trusted()) {
        let note = format!(
            "{} stands in no label, relation or runbook of this incident",
            shown(&untraced.value)
        );
        weighed.push(format!("provenance: {}", untraced.argument), Tier::Confirm, note);
    }
    origins
}

/// A change that nobody is asked about needs the alert firing in a second source.
pub(super) fn second_source(firing: Firing, weighed: &mut Weighed<'_>) {
    let (tier, note) = match firing {
        Firing::Confirmed => (Tier::Safe, "Prometheus has the alert firing too"),
        Firing::NotFiring => (
            Tier::Confirm,
            "Prometheus does not have the alert firing: it ended, or somebody made it up",
        ),
        Firing::NoSource => (
            Tier::Confirm,
            "nothing confirms the alert: set prometheus.url to a Prometheus that answers",
        ),
    };
    weighed.push("second source", tier, note);
}

/// Freezes, limits and expiry read a clock. One that leapt may leap back.
pub(super) fn clock(circumstances: &Circumstances, weighed: &mut Weighed<'_>) {
    let Some(by_ms) = circumstances.leapt_ms else { return };
    let far = format_span_ms(by_ms.saturating_abs());
    let whereto = if by_ms < 0 { "back" } else { "ahead" };
    let note = format!("the clock leapt {far} {whereto} a short while ago");
    weighed.push("clock", Tier::Confirm, note);
}

/// A safe rule may want more sources than the one that has the alert firing.
pub(super) fn evidence(request: &Request<'_>, subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    let wanting: Vec<(String, usize)> = weighed
        .safe
        .iter()
        .filter_map(|rule| Some((rule.name.clone(), usize::try_from(rule.sources?).ok()?)))
        .collect();
    if wanting.is_empty() {
        return;
    }
    let mut sources = evidence::sources(request.seen, subject.target);
    match request.firing {
        Firing::Confirmed => sources.insert(evidence::MONITORING),
        // That a query was answered shows no need when the alert does not fire.
        Firing::NotFiring | Firing::NoSource => sources.remove(evidence::MONITORING),
    };
    let names = sources.iter().copied().collect::<Vec<_>>().join(", ");
    for (rule, wanted) in wanting {
        let tier = if sources.len() >= wanted { Tier::Safe } else { Tier::Confirm };
        let names = if names.is_empty() { "none" } else { &names };
        let note = format!("{} of {wanted} independent sources: {names}", sources.len());
        weighed.push(format!("evidence: {rule}"), tier, note);
    }
}

/// How bad it would be if the change went wrong. A mind may raise it.
pub(super) fn risk(subject: &Subject<'_>, asked: Risk, tier: Tier) -> Risk {
    let (host, service) = (subject.target.host, subject.target.service);
    let is_protected =
        service.is_some_and(|service| service.protected) || host.is_some_and(|host| host.protected);
    let holds_data = service.is_some_and(|service| service.class == DATABASE);
    let computed = match tier {
        _ if is_protected || holds_data => Risk::High,
        Tier::Safe => Risk::Low,
        Tier::Confirm | Tier::Forbidden => Risk::Medium,
    };
    computed.max(asked)
}

/// The limits of the safe rules that matched; one that is used up asks.
pub(super) fn limits(
    subject: &Subject<'_>,
    counts: &dyn Fn(&Limit) -> i64,
    weighed: &mut Weighed<'_>,
) -> Vec<Limit> {
    let mut limits = Vec::new();
    for rule in std::mem::take(&mut weighed.safe) {
        for limited in &rule.limits {
            let limit = limited.on(&rule.name, subject.target);
            let count = counts(&limit);
            let tier = if count >= limit.max { Tier::Confirm } else { Tier::Safe };
            let note = format!("{} of {} in {}", used(count), limit.max, limited.within);
            weighed.push(format!("limit: {}", limit.key), tier, note);
            limits.push(limit);
        }
    }
    limits
}

/// How often a limit was used, in words.
pub(super) fn used(count: i64) -> String {
    match count {
        i64::MAX => "an unknown number".to_owned(),
        count => count.to_string(),
    }
}

pub(super) fn halt(halt: Halt<'_>, weighed: &mut Weighed<'_>) {
    match halt {
        Halt::Running => {}
        Halt::Halted { by, reason } => {
            let note = because(format!("halted by {}", shown(by)), reason);
            weighed.push("halt", Tier::Forbidden, note);
        }
    }
}

pub(super) fn person(wanted: Wanted, weighed: &mut Weighed<'_>) {
    match wanted {
        Wanted::Rules => {}
        Wanted::Person => {
            weighed.push("person", Tier::Confirm, "the mind asked for a person");
        }
        Wanted::Waited => {
            let note = "it waited in vain for other changes to end";
            weighed.push("person", Tier::Confirm, note);
        }
        Wanted::Flapping => {
            let note = "an alert of the incident fires again and again";
            weighed.push("person", Tier::Confirm, note);
        }
    }
}

/// The names that arguments of a kind hold. A required one that is missing reads as empty.
fn named<'a>(subject: &Subject<'a>, kind: &ArgKind) -> Vec<&'a str> {
    let Some(spec) = subject.spec else {
        let usual = if *kind == ArgKind::Host { "host" } else { "service" };
        return subject.call.text(usual).into_iter().collect();
    };
    let call = subject.call;
    spec.args
        .iter()
        .filter(|arg| arg.kind == *kind && (arg.required || call.args.contains_key(&arg.name)))
        .map(|arg| call.text(&arg.name).unwrap_or_default())
        .collect()
}

fn is_service(service: &ServiceFacts, name: &str) -> bool {
    service.name == name
        || (!service.unit.is_empty() && canonical_unit(&service.unit) == canonical_unit(name))
}

fn runs_on(service: &ServiceFacts, host: &HostFacts) -> bool {
    let wanted = canonical_host(&host.name);
    service.hosts.is_empty() || service.hosts.iter().any(|host| canonical_host(host) == wanted)
}

/// The parts of an argument with where each was found.
fn traced(subject: &Subject<'_>, trusted: &Trusted, name: &str, value: &Value) -> Vec<Traced> {
    let arg = subject.spec.and_then(|spec| spec.arg(name));
    let is_default = arg.is_some_and(|arg| arg.default.as_ref() == Some(value));
    let source = |part: &Value| match (arg.map(|arg| &arg.kind), part) {
        _ if is_default => Source::Default,
        (Some(ArgKind::Prose { .. }), _) => Source::Prose,
        (Some(ArgKind::Host), Value::String(host)) => trusted.host(name, host),
        (Some(ArgKind::Service), Value::String(text)) => {
            let canonical = subject.target.service.filter(|service| is_service(service, text));
            trusted.service(name, canonical.map_or(text, |service| &service.name))
        }
        (Some(ArgKind::Paths { .. }), Value::String(path)) if may_clean(subject, path) => {
            Source::Inventory
        }
        (None, Value::String(host)) if name == "host" => trusted.host(name, host),
        (None, Value::String(service)) if name == "service" => trusted.service(name, service),
        _ => trusted.value(name, part),
    };
    let parts = match value {
        Value::Array(items) => items.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    };
    parts
        .iter()
        .map(|part| {
            let source = source(part);
            Traced {
                argument: name.to_owned(),
                value: part.as_str().map_or_else(|| canonical(part), str::to_owned),
                source,
                place: source.words().to_owned(),
            }
        })
        .collect()
}

/// Whether the inventory itself gives the folder for the host of the call.
fn may_clean(subject: &Subject<'_>, path: &str) -> bool {
    subject.target.host.is_some_and(|host| host.clean_roots.iter().any(|root| root == path))
}
