//! The `when` of a rule: CEL over four roots, with only what it reads prepared for it.
//!
//! In: `args` of the call, `service` and `host` of the inventory, `state` of the target. A root or
//! a field that is missing fails the evaluation, and the caller takes a failure as the strict
//! answer. Never: prose of the call, text of a host.

use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::expr::{Expr, Scope};
use crate::safety::weigh::Subject;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a condition may read.
pub(super) const ROOTS: [&str; 4] = ["args", "service", "host", "state"];
pub(super) const HOST_FIELDS: [&str; 5] = ["name", "class", "region", "owner", "protected"];
pub(super) const SERVICE_FIELDS: [&str; 8] =
    ["name", "unit", "hosts", "class", "region", "owner", "protected", "depends_on"];

/// A compiled condition.
#[derive(Debug)]
pub(super) struct Condition(Expr);

impl Condition {
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        Expr::compile(source, &ROOTS).map(Self)
    }

    /// True or false, or why it cannot be told.
    pub(super) fn holds(&self, scope: &Scope) -> Result<bool, String> {
        self.0.holds(scope)
    }

    pub(super) fn reads_state(&self) -> bool {
        self.0.reads("state")
    }

    /// Root and first field of every path that is read; the field is missing when the root is
    /// read as a whole.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.0.paths().iter().filter_map(|path| {
            let mut parts = path.split('.');
            let first = parts.next();
            let root = ROOTS.into_iter().find(|root| Some(*root) == first)?;
            Some((root, parts.next()))
        })
    }
}

/// What the conditions of one tool read.
#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<&'static str, Wanted>);

#[derive(Debug)]
enum Wanted {
    All,
    Fields(BTreeSet<String>),
}

impl Reads {
    pub(super) fn add(&mut self, condition: &Condition) {
        for (root, field) in condition.fields() {
            let wanted = self.0.entry(root).or_insert_with(|| Wanted::Fields(BTreeSet::new()));
            match (&mut *wanted, field) {
                (Wanted::All, _) => {}
                (Wanted::Fields(_), None) => *wanted = Wanted::All,
                (Wanted::Fields(fields), Some(field)) => {
                    fields.insert(field.to_owned());
                }
            }
        }
    }

    /// The variables for one subject. A root whose object is unknown stays unbound.
    pub(super) fn scope(&self, subject: &Subject<'_>) -> Scope {
        let mut bound: Vec<(&str, Value)> = Vec::with_capacity(self.0.len());
        for (&root, wanted) in &self.0 {
            let value = match root {
                "args" => Some(wanted.of_map(&subject.call.args)),
                "service" => subject.target.service.map(|s| wanted.pick(|f| service_field(s, f))),
                "host" => subject.target.host.map(|h| wanted.pick(|f| host_field(h, f))),
                _ => subject.state.as_object().map(|state| wanted.of_map(state)),
            };
            bound.extend(value.map(|value| (root, value)));
        }
        Scope::new(bound.iter().map(|(root, value)| (*root, value)))
    }
}

impl Wanted {
    fn of_map(&self, map: &Map<String, Value>) -> Value {
        match self {
            Self::All => Value::Object(map.clone()),
            Self::Fields(_) => self.pick(|field| map.get(field).cloned()),
        }
    }

    fn pick(&self, get: impl Fn(&str) -> Option<Value>) -> Value {
        match self {
            // Loading refuses a condition that reads host or service as a whole.
            Self::All => Value::Null,
            Self::Fields(fields) => fields
                .iter()
                .filter_map(|field| Some((field.clone(), get(field)?)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

fn host_field(host: &HostFacts, field: &str) -> Option<Value> {
    match field {
        "name" => Some(json!(host.name)),
        "class" => Some(json!(host.class)),
        "region" => Some(json!(host.region)),
        "owner" => Some(json!(host.owner)),
        "protected" => Some(json!(host.protected)),
        _ => None,
    }
}

fn service_field(service: &ServiceFacts, field: &str) -> Option<Value> {
    match field {
        "name" => Some(json!(service.name)),
        "unit" => Some(json!(service.unit)),
        "hosts" => Some(json!(service.hosts)),
        "class" => Some(json!(service.class)),
        "region" => Some(json!(service.region)),
        "owner" => Some(json!(service.owner)),
        "protected" => Some(json!(service.protected)),
        "depends_on" => Some(json!(service.depends_on)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_field_can_be_read() {
        let (host, service) = (HostFacts::default(), ServiceFacts::default());
        assert!(HOST_FIELDS.iter().all(|field| host_field(&host, field).is_some()));
        assert!(SERVICE_FIELDS.iter().all(|field| service_field(&service, field).is_some()));
    }

    #[test]
    fn loop_variables_are_not_fields() {
        let condition = Condition::compile("args.paths.all(p, p.startsWith('/var/'))").unwrap();
        assert_eq!(condition.fields().collect::<Vec<_>>(), [("args", Some("paths"))]);
    }
}
