//! Where the arguments of a change come from.
//!
//! Trusted are the targets that the incident's labels name, the inventory's relations of those,
//! and the parameters of its runbooks. Whatever else stands in a call was read in the output of a
//! tool or made up, and a person has to look at it.
//! In: facts that the incident gathers. Never: text of logs, hosts, annotations or models.

use crate::model::call::canonical;
use crate::model::entity::{Located, ServiceFacts};
use crate::model::verdict::Source;
use crate::safety::limits::canonical_host;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The values that may stand in a change without a person looking at them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trusted {
    hosts: BTreeMap<String, Source>,
    services: BTreeMap<String, Source>,
    /// Argument names with canonical values: a number that a runbook gives for days says nothing
    /// about replicas.
    parameters: BTreeSet<(String, String)>,
}

impl Trusted {
    /// Trusts what the incident's labels name.
    pub fn of_incident(located: &Located) -> Self {
        let mut trusted = Self::default();
        for host in &located.hosts {
            trusted.hosts.insert(canonical_host(host), Source::Alert);
        }
        for service in &located.services {
            trusted.services.insert(service.clone(), Source::Alert);
        }
        trusted
    }

    /// Trusts the relations of the incident's services: the hosts they run on, the services they
    /// depend on, and the hosts of those. One step, so that trust does not spread over the fleet;
    /// and not from a host to all that runs on it, since any text could then choose among them.
    pub fn relate<'a>(mut self, services: impl IntoIterator<Item = &'a ServiceFacts>) -> Self {
        let all: BTreeMap<&str, &ServiceFacts> =
            services.into_iter().map(|service| (service.name.as_str(), service)).collect();
        let own: Vec<&ServiceFacts> = self
            .services
            .iter()
            .filter(|(_, origin)| **origin == Source::Alert)
            .filter_map(|(name, _)| all.get(name.as_str()).copied())
            .collect();
        for service in own {
            let needed = service.depends_on.iter().filter_map(|name| all.get(name.as_str()));
            for related in std::iter::once(&service).chain(needed) {
                self.services.entry(related.name.clone()).or_insert(Source::Inventory);
                for host in &related.hosts {
                    self.hosts.entry(canonical_host(host)).or_insert(Source::Inventory);
                }
            }
        }
        self
    }

    /// Trusts a runbook's value for the argument of this name; of a list also each item.
    pub fn parameter(mut self, argument: &str, value: &Value) -> Self {
        if let Value::Array(items) = value {
            for item in items {
                self.parameters.insert((argument.to_owned(), canonical(item)));
            }
        }
        self.parameters.insert((argument.to_owned(), canonical(value)));
        self
    }

    /// Trusts every argument of a runbook's step.
    pub fn parameters(self, args: &Map<String, Value>) -> Self {
        args.iter().fold(self, |trusted, (name, value)| trusted.parameter(name, value))
    }

    /// Where the name of a host comes from.
    pub fn host(&self, argument: &str, name: &str) -> Source {
        let named = self.hosts.get(&canonical_host(name)).copied();
        named.unwrap_or_else(|| self.value(argument, &Value::String(name.to_owned())))
    }

    /// Where the name of a service comes from.
    pub fn service(&self, argument: &str, name: &str) -> Source {
        let named = self.services.get(name).copied();
        named.unwrap_or_else(|| self.value(argument, &Value::String(name.to_owned())))
    }

    /// Where any other argument comes from.
    pub fn value(&self, argument: &str, value: &Value) -> Source {
        if self.parameters.is_empty() {
            return Source::Nowhere;
        }
        if self.parameters.contains(&(argument.to_owned(), canonical(value))) {
            Source::Runbook
        } else {
            Source::Nowhere
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, hosts: &[&str], depends_on: &[&str]) -> ServiceFacts {
        ServiceFacts {
            name: name.into(),
            hosts: hosts.iter().map(|h| (*h).into()).collect(),
            depends_on: depends_on.iter().map(|d| (*d).into()).collect(),
            ..ServiceFacts::default()
        }
    }

    #[test]
    fn trust_reaches_one_dependency_and_no_further() {
        let inventory = [
            service("shop", &["web1", "web2"], &["cache"]),
            service("cache", &["cache1"], &["disk"]),
            service("disk", &["san1"], &[]),
            service("mail", &["web1"], &[]),
        ];
        let located =
            Located { hosts: vec!["WEB1".into()], services: vec!["shop".into()], missing: vec![] };
        let trusted = Trusted::of_incident(&located).relate(&inventory);
        for (name, expected) in [
            ("web1", Source::Alert),
            ("Web2", Source::Inventory),
            ("cache1", Source::Inventory),
            ("san1", Source::Nowhere),
        ] {
            assert_eq!(trusted.host("host", name), expected, "{name}");
        }
        for (name, expected) in [
            ("shop", Source::Alert),
            ("cache", Source::Inventory),
            ("disk", Source::Nowhere),
            ("mail", Source::Nowhere),
        ] {
            assert_eq!(trusted.service("service", name), expected, "{name}");
        }
    }

    #[test]
    fn a_runbook_vouches_for_one_argument_only() {
        let args = json!({"paths": ["/var/log/a", "/var/log/b"], "days": 7, "host": "web9"});
        let trusted = Trusted::default().parameters(args.as_object().unwrap());
        assert_eq!(trusted.value("paths", &json!("/var/log/a")), Source::Runbook);
        assert_eq!(trusted.value("days", &json!(7)), Source::Runbook);
        assert_eq!(trusted.host("host", "web9"), Source::Runbook);
        assert_eq!(trusted.value("replicas", &json!(7)), Source::Nowhere);
        assert_eq!(trusted.value("days", &json!("7")), Source::Nowhere);
        assert_eq!(trusted.service("service", "web9"), Source::Nowhere);
    }
}
