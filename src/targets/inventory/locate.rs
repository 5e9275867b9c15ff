//! Finds the targets of an alert by its labels.
//!
//! In: label sets and the configured mappings. Out: hosts and services of the inventory, and for
//! names that it lacks the line to paste. Never: a guess; a label is compared, not interpreted.

use super::{Inventory, names};
use crate::model::alert::Labels;
use crate::model::entity::{Located, Missing};
use regex::Regex;
use serde_json::{Value, json};

/// Label values longer than this are not names of anything.
const VALUE_CHARS_MAX: usize = 253;

/// Says which label names a target, and which part of its value is the name.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub label: String,
    /// The first group that took part is the name; without a group, the whole match.
    pub pattern: Regex,
    pub to: To,
    pub unknown: Unknown,
}

/// What a name means that the inventory lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// The incident's people are told which line to add.
    Reported,
    /// The label often names something else, e.g. a scrape job.
    Ignored,
}

/// What kind of target a label names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum To {
    Host,
    Service,
}

/// The targets that the labels name.
///
/// In each label set the mappings are tried in order, separately for hosts and for services, and
/// the first that names a listed target wins. Only when none does is a name reported as missing:
/// the one of the first reporting mapping that gave any. Where no label
/// names a host, the only host of each service is taken.
pub fn locate(inventory: &dyn Inventory, labels: &[&Labels], mappings: &[Mapping]) -> Located {
    let mut located = Located::default();
    let mut names_host = false;
    for labels in labels {
        for to in [To::Host, To::Service] {
            let named: Vec<(&Mapping, String)> = mappings
                .iter()
                .filter(|mapping| mapping.to == to)
                .filter_map(|mapping| Some((mapping, mapping.name(labels)?)))
                .collect();
            let unknown = named.iter().find(|(mapping, _)| mapping.unknown == Unknown::Reported);
            names_host |= to == To::Host && !named.is_empty();
            let known = named.iter().find_map(|(_, name)| match to {
                To::Host => inventory.host(name).map(|host| host.name),
                To::Service => inventory.service(name).map(|service| service.name),
            });
            match (known, unknown) {
                (Some(name), _) => match to {
                    To::Host => located.hosts.push(name),
                    To::Service => located.services.push(name),
                },
                (None, Some((mapping, name))) => {
                    located.missing.push(missing(&mapping.label, name, to));
                }
                (None, None) => {}
            }
        }
    }
    if !names_host {
        // A service on one host says where it is, unless a label says otherwise.
        for service in located.services.iter().filter_map(|name| inventory.service(name)) {
            if let [only] = service.hosts.as_slice() {
                located.hosts.push(only.clone());
            }
        }
    }
    for list in [&mut located.hosts, &mut located.services] {
        list.sort();
        list.dedup();
    }
    located.missing.sort();
    located.missing.dedup();
    located
}

impl Mapping {
    fn name(&self, labels: &Labels) -> Option<String> {
        let value = labels.get(&self.label)?;
        let found = self.pattern.captures(value)?;
        let group = found.iter().skip(1).flatten().next().or_else(|| found.get(0))?;
        let name = group.as_str().trim();
        (!name.is_empty()).then(|| name.chars().take(VALUE_CHARS_MAX).collect())
    }
}

fn missing(label: &str, value: &str, to: To) -> Missing {
    // JSON strings are YAML strings, so that no value can break out of the line.
    let quoted: Value = json!(value);
    let line = match to {
        To::Host if names::is_host(value) => {
            format!("- {{ name: {quoted}, addresses: [{quoted}] }}  # under hosts:")
        }
        To::Service if names::is_service(value) => {
            format!("- {{ name: {quoted}, class: web, hosts: [] }}  # under services:")
        }
        To::Host | To::Service => {
            "# no name can look like this; map another label in ingest.targets".to_owned()
        }
    };
    Missing { label: label.to_owned(), value: value.to_owned(), line }
}
