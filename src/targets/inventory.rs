//! The catalogue of hosts and services: the only names that anything may be done to.
//!
//! In: the inventory file, and the names that people, labels and minds use. Out: facts for the
//! rules, ways in for the tools, and for a name that is not listed the valid ones. One service has
//! one canonical name however it is spelled. Never: a name taken on trust, a write grant by
//! default. To add another source of targets, implement [`Inventory`].

mod file;
mod locate;
pub mod names;

use crate::model::entity::{HostFacts, ServiceFacts};
use std::collections::BTreeMap;

pub use file::{
    Commands, Complaint, HostEntry, InventoryFile, LogEntry, ReachKind, ServiceEntry, Systemd,
};
pub use locate::{Mapping, To, Unknown, locate};

/// What is known of the targets.
pub trait Inventory: Send + Sync {
    /// The host of this name or address, in any spelling.
    fn host(&self, name: &str) -> Option<HostFacts>;
    /// The service of this name, alias or unit, in any spelling.
    fn service(&self, name: &str) -> Option<ServiceFacts>;
    /// Canonical names in order.
    fn host_names(&self) -> Vec<String>;
    /// Canonical names in order.
    fn service_names(&self) -> Vec<String>;
    /// How the host is reached.
    fn host_access(&self, name: &str) -> Option<HostAccess>;
    /// How the service is handled on a host that it runs on.
    fn service_access(&self, service: &str, host: &str) -> Option<ServiceAccess>;
    /// PromQL that gives values above 0 while the service is up.
    fn up_query(&self, service: &str) -> Option<String>;

    /// As [`Self::host`].
    ///
    /// # Errors
    /// `Unknown` with the valid names.
    fn known_host(&self, name: &str) -> Result<HostFacts, NameError> {
        self.host(name).ok_or_else(|| NameError::unknown("host", name, self.host_names()))
    }

    /// As [`Self::service`].
    ///
    /// # Errors
    /// `Unknown` with the valid names.
    fn known_service(&self, name: &str) -> Result<ServiceFacts, NameError> {
        self.service(name).ok_or_else(|| NameError::unknown("service", name, self.service_names()))
    }

    /// A service and the host meant: the one given, else its only one.
    ///
    /// # Errors
    /// A name that is not listed, a host that the service does not run on, or a choice to make.
    fn place(
        &self,
        service: &str,
        host: Option<&str>,
    ) -> Result<(ServiceFacts, HostFacts), NameError> {
        let service = self.known_service(service)?;
        let host = match (host, service.hosts.as_slice()) {
            (Some(host), _) => self.known_host(host)?,
            (None, [only]) => self.known_host(only)?,
            (None, []) => return Err(NameError::Nowhere { service: service.name }),
            (None, _) => {
                return Err(NameError::Several { service: service.name, hosts: service.hosts });
            }
        };
        if service.hosts.contains(&host.name) {
            return Ok((service, host));
        }
        if service.hosts.is_empty() {
            return Err(NameError::Nowhere { service: service.name });
        }
        Err(NameError::Elsewhere { service: service.name, host: host.name, hosts: service.hosts })
    }
}

/// Why a name leads nowhere, said to whoever used it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    #[error("there is no {kind} {name:?} in the inventory; {}", listed(.kind, .valid, .left_out))]
    Unknown { kind: &'static str, name: String, valid: Vec<String>, left_out: usize },
    #[error("{service} does not run on {host}; it runs on {hosts:?}")]
    Elsewhere { service: String, host: String, hosts: Vec<String> },
    #[error("{service} runs on several hosts; say which of {hosts:?}")]
    Several { service: String, hosts: Vec<String> },
    #[error("the inventory names no host for {service}")]
    Nowhere { service: String },
}

impl NameError {
    fn unknown(kind: &'static str, name: &str, valid: Vec<String>) -> Self {
        let name: String = name.chars().take(100).collect();
        let (valid, left_out) = names::nearest(&name, valid);
        Self::Unknown { kind, name, valid, left_out }
    }
}

fn listed(kind: &str, valid: &[String], left_out: &usize) -> String {
    match (valid.is_empty(), left_out) {
        (true, _) => format!("it lists no {kind}s"),
        (false, 0) => format!("valid are {valid:?}"),
        (false, more) => format!("valid are {valid:?} and {more} more"),
    }
}

/// How a host is reached, and what may be cleaned there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAccess {
    pub reach: ReachKind,
    pub systemd: Systemd,
    pub clean_owners: Vec<String>,
}

/// How a service is handled on one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceAccess {
    /// Where it stands in the inventory, e.g. `services.2`, for advice.
    pub path: String,
    pub unit: String,
    pub logs: Option<LogEntry>,
    /// The service's own, else the host's with the names filled in.
    pub commands: Commands,
}

/// An inventory that was read from a file.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    file: InventoryFile,
    hosts: BTreeMap<String, usize>,
    services: BTreeMap<String, usize>,
}

impl Catalogue {
    /// Reads an inventory file.
    ///
    /// # Errors
    /// Every complaint about it.
    pub fn parse(text: &str) -> Result<Self, Vec<Complaint>> {
        InventoryFile::parse(text).map(Self::of_checked)
    }

    /// The catalogue of a file that was built or loaded elsewhere.
    ///
    /// # Errors
    /// Every complaint about it.
    pub fn new(file: InventoryFile) -> Result<Self, Vec<Complaint>> {
        let complaints = file.check();
        if complaints.is_empty() { Ok(Self::of_checked(file)) } else { Err(complaints) }
    }

    fn of_checked(file: InventoryFile) -> Self {
        let (mut hosts, mut services) = (BTreeMap::new(), BTreeMap::new());
        for (i, host) in file.hosts.iter().enumerate() {
            for spelling in std::iter::once(&host.name).chain(&host.addresses) {
                hosts.insert(names::address_key(spelling), i);
            }
        }
        for (i, service) in file.services.iter().enumerate() {
            let spellings = std::iter::once(&service.name).chain(&service.aliases);
            for spelling in spellings.chain(&service.unit) {
                services.insert(names::key(spelling), i);
            }
        }
        Self { file, hosts, services }
    }

    /// Every tool that is granted anywhere, with the place of the grant: a grant of a tool that
    /// does not exist is a typing mistake that would go unnoticed.
    pub fn grants(&self) -> Vec<(String, String)> {
        let hosts =
            self.file.hosts.iter().enumerate().map(|(i, h)| (format!("hosts.{i}"), &h.allow));
        let services =
            self.file.services.iter().enumerate().map(|(i, s)| (format!("services.{i}"), &s.allow));
        let places = hosts.chain(services);
        places
            .flat_map(|(at, allow)| {
                allow
                    .iter()
                    .enumerate()
                    .map(move |(n, tool)| (format!("{at}.allow.{n}"), tool.clone()))
            })
            .collect()
    }

    fn host_entry(&self, name: &str) -> Option<&HostEntry> {
        self.file.hosts.get(*self.hosts.get(&names::address_key(name))?)
    }

    fn service_entry(&self, name: &str) -> Option<(usize, &ServiceEntry)> {
        let at = *self.services.get(&names::key(name))?;
        Some((at, self.file.services.get(at)?))
    }

    fn canonical_service(&self, name: &str) -> String {
        self.service_entry(name).map_or_else(|| name.to_owned(), |(_, found)| found.name.clone())
    }

    fn canonical_host(&self, name: &str) -> String {
        self.host_entry(name).map_or_else(|| name.to_owned(), |found| found.name.clone())
    }
}

impl Inventory for Catalogue {
    fn host(&self, name: &str) -> Option<HostFacts> {
        let host = self.host_entry(name)?.clone();
        let normal = |root: &String| crate::safety::paths::normalise(root).ok();
        Some(HostFacts {
            clean_roots: host.clean_roots.iter().filter_map(normal).collect(),
            name: host.name,
            class: host.class,
            region: host.region,
            owner: host.owner,
            protected: host.protected,
            allow: host.allow,
        })
    }

    fn service(&self, name: &str) -> Option<ServiceFacts> {
        let service = self.service_entry(name)?.1.clone();
        let depends_on = service.depends_on.iter().map(|name| self.canonical_service(name));
        let hosts = service.hosts.iter().map(|name| self.canonical_host(name));
        Some(ServiceFacts {
            unit: names::unit(service.unit.as_deref().unwrap_or(&service.name)),
            depends_on: depends_on.collect(),
            hosts: hosts.collect(),
            name: service.name,
            class: service.class,
            region: service.region,
            owner: service.owner,
            protected: service.protected,
            allow: service.allow,
        })
    }

    fn host_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.file.hosts.iter().map(|h| h.name.clone()).collect();
        names.sort();
        names
    }

    fn service_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.file.services.iter().map(|s| s.name.clone()).collect();
        names.sort();
        names
    }

    fn host_access(&self, name: &str) -> Option<HostAccess> {
        let host = self.host_entry(name)?;
        Some(HostAccess {
            reach: host.reach,
            systemd: host.systemd,
            clean_owners: host.clean_owners.clone(),
        })
    }

    fn service_access(&self, service: &str, host: &str) -> Option<ServiceAccess> {
        let (at, entry) = self.service_entry(service)?;
        let host = self.host_entry(host)?;
        let facts = self.service(service)?;
        let shared = |argv: &Option<Vec<String>>| {
            argv.as_ref().map(|argv| filled(argv, &facts.name, &facts.unit))
        };
        let (own, common) = (entry.commands.clone(), &host.commands);
        Some(ServiceAccess {
            path: format!("services.{at}"),
            logs: entry.logs.clone(),
            commands: Commands {
                restart: own.restart.or_else(|| shared(&common.restart)),
                status: own.status.or_else(|| shared(&common.status)),
                health: own.health.or_else(|| shared(&common.health)),
            },
            unit: facts.unit,
        })
    }

    fn up_query(&self, service: &str) -> Option<String> {
        self.service_entry(service)?.1.up.clone()
    }
}

fn filled(argv: &[String], service: &str, unit: &str) -> Vec<String> {
    let fill = |word: &String| word.replace("{service}", service).replace("{unit}", unit);
    argv.iter().map(fill).collect()
}

#[cfg(test)]
mod tests;
