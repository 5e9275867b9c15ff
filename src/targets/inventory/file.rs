//! The inventory file: its shape, and everything that can be wrong with it.
//!
//! In: YAML text. Out: an [`InventoryFile`], or every complaint with the dotted path of the value.
//! Never: a default that lets something be changed: no `allow` means read-only, no `reach` means
//! that the host is known and never entered.

use super::names;
use crate::safety::paths;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that is wrong with the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Complaint {
    /// Where, e.g. `services.2.unit`; `line 3 column 7` when the text is no such document at all.
    pub path: String,
    pub message: String,
}

/// The file as it is written.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventoryFile {
    pub hosts: Vec<HostEntry>,
    pub services: Vec<ServiceEntry>,
}

/// One host.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    pub name: String,
    /// What labels call it, without a port.
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub region: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub protected: bool,
    #[serde(default)]
    pub reach: ReachKind,
    #[serde(default)]
    pub systemd: Systemd,
    /// Tools that may write here.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Folders whose old files `clean_disk_space` may delete.
    #[serde(default)]
    pub clean_roots: Vec<String>,
    /// Users whose files may go, beside root and the user that Watchkeeper runs as.
    #[serde(default)]
    pub clean_owners: Vec<String>,
    /// For every service here that has none of its own; `{service}` and `{unit}` are filled in.
    #[serde(default)]
    pub commands: Commands,
}

/// One service.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    pub name: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub unit: Option<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Required, since rules tell a database from a web server by it.
    pub class: String,
    #[serde(default)]
    pub region: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub protected: bool,
    #[serde(default)]
    pub depends_on: Vec<String>,
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub logs: Option<LogEntry>,
    #[serde(default)]
    pub commands: Commands,
    /// PromQL that gives a value above 0 while the service is up.
    #[serde(default)]
    pub up: Option<String>,
}

/// How a host is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReachKind {
    /// Known, e.g. from metrics, but not entered.
    #[default]
    None,
    /// The machine that Watchkeeper runs on.
    Local,
}

/// Whether services of a host are asked of systemd.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Systemd {
    #[default]
    Auto,
    Yes,
    No,
}

/// Where the lines of a service are; exactly one of the three.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogEntry {
    /// A unit in the journal.
    pub journal: Option<String>,
    pub file: Option<String>,
    /// An argv that prints them; `{lines}` is filled in.
    pub command: Option<Vec<String>>,
}

/// Ready argument lists, run without a shell; the first word is an absolute path.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    pub restart: Option<Vec<String>>,
    /// Exit code 0: active, 3: inactive, others: failed (as LSB init scripts and systemctl do).
    pub status: Option<Vec<String>>,
    /// Exit code 0: healthy.
    pub health: Option<Vec<String>>,
}

impl Commands {
    pub(super) fn named(&self) -> [(&'static str, Option<&Vec<String>>); 3] {
        [
            ("restart", self.restart.as_ref()),
            ("status", self.status.as_ref()),
            ("health", self.health.as_ref()),
        ]
    }
}

impl InventoryFile {
    /// Reads the text and checks it.
    ///
    /// # Errors
    /// One complaint when the text has another shape; else every complaint about its values.
    pub fn parse(text: &str) -> Result<Self, Vec<Complaint>> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: Self = serde_saphyr::from_str(text).map_err(|error| {
            let path = error.location().map_or_else(
                || "inventory".to_owned(),
                |at| format!("line {} column {}", at.line(), at.column()),
            );
            vec![Complaint { path, message: error.without_snippet().to_string() }]
        })?;
        let complaints = file.check();
        if complaints.is_empty() { Ok(file) } else { Err(complaints) }
    }

    /// Everything that is wrong with the values; empty when nothing is.
    pub fn check(&self) -> Vec<Complaint> {
        let mut check = Check::default();
        for (i, host) in self.hosts.iter().enumerate() {
            check.host(&format!("hosts.{i}"), host);
        }
        for (i, service) in self.services.iter().enumerate() {
            check.service(&format!("services.{i}"), service);
        }
        for (i, service) in self.services.iter().enumerate() {
            check.relations(&format!("services.{i}"), service);
        }
        check.complaints
    }
}

#[derive(Default)]
struct Check {
    complaints: Vec<Complaint>,
    hosts: BTreeMap<String, String>,
    services: BTreeMap<String, String>,
}

impl Check {
    fn complain(&mut self, path: String, message: impl Into<String>) {
        self.complaints.push(Complaint { path, message: message.into() });
    }

    fn host(&mut self, at: &str, host: &HostEntry) {
        if !names::is_host(&host.name) {
            let name = &host.name;
            self.complain(
                format!("{at}.name"),
                format!("{name:?} is no host name; use letters, digits and _ . -"),
            );
        }
        let mut own = BTreeSet::new();
        let spellings = std::iter::once((format!("{at}.name"), &host.name)).chain(
            host.addresses.iter().enumerate().map(|(i, a)| (format!("{at}.addresses.{i}"), a)),
        );
        for (path, spelling) in spellings {
            if !names::is_host(spelling) {
                if path.contains(".addresses.") {
                    self.complain(
                        path,
                        format!("{spelling:?} is no host name or IP address; leave out the port"),
                    );
                }
                continue;
            }
            let key = names::address_key(spelling);
            if !own.insert(key.clone()) {
                continue;
            }
            if let Some(first) = self.hosts.get(&key).cloned() {
                self.complain(path, format!("{spelling:?} already names {first}"));
            } else {
                self.hosts.insert(key, at.to_owned());
            }
        }
        self.tools(at, &host.allow);
        for (i, root) in host.clean_roots.iter().enumerate() {
            self.clean_root(format!("{at}.clean_roots.{i}"), root);
        }
        self.commands(at, &host.commands, &["{service}", "{unit}"]);
    }

    fn clean_root(&mut self, path: String, root: &str) {
        match paths::normalise(root) {
            Err(denied) => self.complain(path, denied.to_string()),
            // A root with one component would put whole trees like /etc or /home at stake.
            Ok(normal) if normal.split('/').count() < 3 && normal != "/tmp" => self.complain(
                path,
                format!("{root:?} is too wide; name a folder such as /var/log/nginx"),
            ),
            Ok(_) => {}
        }
    }

    fn service(&mut self, at: &str, service: &ServiceEntry) {
        let mut spellings = vec![(format!("{at}.name"), &service.name)];
        spellings.extend(
            service.aliases.iter().enumerate().map(|(i, a)| (format!("{at}.aliases.{i}"), a)),
        );
        spellings.extend(service.unit.iter().map(|unit| (format!("{at}.unit"), unit)));
        let mut own = BTreeSet::new();
        for (path, spelling) in spellings {
            if !names::is_service(spelling) {
                self.complain(
                    path,
                    format!(
                        "{spelling:?} is no service name; use letters, digits and : _ . - and at \
                         most one @, and no unit of another type"
                    ),
                );
                continue;
            }
            let key = names::key(spelling);
            if !own.insert(key.clone()) {
                continue;
            }
            if let Some(first) = self.services.get(&key).cloned() {
                self.complain(path, format!("{spelling:?} already names {first}"));
            } else {
                self.services.insert(key, at.to_owned());
            }
        }
        if service.class.trim().is_empty() {
            self.complain(format!("{at}.class"), "say what it is, e.g. web, database, queue");
        }
        self.tools(at, &service.allow);
        self.commands(at, &service.commands, &[]);
        if let Some(logs) = &service.logs {
            self.logs(&format!("{at}.logs"), logs);
        }
        if service.up.as_deref().is_some_and(|up| up.trim().is_empty()) {
            self.complain(format!("{at}.up"), "is empty; write a PromQL query or leave it out");
        }
    }

    fn logs(&mut self, at: &str, logs: &LogEntry) {
        let given = [logs.journal.is_some(), logs.file.is_some(), logs.command.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            self.complain(at.to_owned(), "give exactly one of journal, file, command");
        }
        if let Some(unit) = &logs.journal
            && !names::is_service(unit)
        {
            self.complain(format!("{at}.journal"), format!("{unit:?} is no unit name"));
        }
        if let Some(file) = &logs.file
            && let Err(denied) = paths::normalise(file)
        {
            self.complain(format!("{at}.file"), denied.to_string());
        }
        if let Some(argv) = &logs.command {
            self.argv(&format!("{at}.command"), argv, &["{lines}"]);
        }
    }

    fn tools(&mut self, at: &str, allow: &[String]) {
        for (i, tool) in allow.iter().enumerate() {
            let plain =
                tool.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
            if tool.is_empty() || !plain {
                self.complain(format!("{at}.allow.{i}"), format!("{tool:?} is no tool name"));
            }
        }
    }

    fn commands(&mut self, at: &str, commands: &Commands, holes: &[&str]) {
        for (name, argv) in commands.named() {
            if let Some(argv) = argv {
                self.argv(&format!("{at}.commands.{name}"), argv, holes);
            }
        }
    }

    fn argv(&mut self, at: &str, argv: &[String], holes: &[&str]) {
        let Some(program) = argv.first() else {
            self.complain(at.to_owned(), "is empty; give a list such as [/usr/sbin/x, reload]");
            return;
        };
        if !program.starts_with('/') {
            self.complain(
                format!("{at}.0"),
                format!("{program:?} must be an absolute path; no shell and no PATH is used"),
            );
        }
        for (i, word) in argv.iter().enumerate() {
            if word.contains('\0') {
                self.complain(format!("{at}.{i}"), "holds a NUL character");
            }
            for hole in ["{service}", "{unit}", "{lines}"] {
                if word.contains(hole) && !holes.contains(&hole) {
                    self.complain(format!("{at}.{i}"), format!("{hole} is not filled in here"));
                }
            }
        }
    }

    fn relations(&mut self, at: &str, service: &ServiceEntry) {
        for (i, host) in service.hosts.iter().enumerate() {
            if !self.hosts.contains_key(&names::address_key(host)) {
                self.complain(format!("{at}.hosts.{i}"), format!("there is no host {host:?}"));
            }
        }
        for (i, dependency) in service.depends_on.iter().enumerate() {
            match self.services.get(&names::key(dependency)) {
                None => self.complain(
                    format!("{at}.depends_on.{i}"),
                    format!("there is no service {dependency:?}"),
                ),
                Some(found) if found == at => {
                    self.complain(format!("{at}.depends_on.{i}"), "a service cannot need itself");
                }
                Some(_) => {}
            }
        }
    }
}
