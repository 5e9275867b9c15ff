//! What no rules file can allow.
//!
//! Refused: deleting data, failing over a database, changing security policy or firewall, and any
//! change to what the machines and we ourselves stand on: our own unit, its database and files,
//! remote access, time sync, audit, backups. Asked: any change to a database or to something
//! protected. To add a refusal, add a line to a table here.

use crate::model::tool::Effect;
use crate::model::verdict::{Matched, Tier};
use crate::safety::weigh::Subject;
use serde_json::Value;

/// What a name or a path stands for, e.g. `time sync`.
pub type Refusal = &'static str;

/// What Watchkeeper itself needs on the machines it watches; its own unit and the usual folders
/// are known without it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Own {
    /// Units, e.g. of the Postgres that holds the store.
    pub units: Vec<String>,
    /// Folders and files, e.g. the data folder.
    pub paths: Vec<String>,
}

/// Words of tool names: a verb of the first list with a noun of the second, as words or joined.
struct NamePattern {
    refusal: Refusal,
    verbs: &'static [&'static str],
    nouns: &'static [&'static str],
}

const NAMES: &[NamePattern] = &[
    NamePattern {
        refusal: "deleting data",
        verbs: &[
            "delete", "drop", "truncate", "purge", "wipe", "erase", "destroy", "remove", "format",
            "shred",
        ],
        nouns: &[
            "data",
            "database",
            "db",
            "table",
            "schema",
            "keyspace",
            "collection",
            "record",
            "row",
            "topic",
            "bucket",
            "volume",
            "pvc",
            "pv",
            "disk",
            "filesystem",
            "partition",
            "snapshot",
            "backup",
            "archive",
        ],
    },
    NamePattern {
        refusal: "failing over a database",
        verbs: &["promote", "demote"],
        nouns: &["data", "database", "db", "primary", "replica", "standby", "master", "leader"],
    },
    NamePattern {
        refusal: "changing security policy",
        verbs: &[
            "change", "set", "update", "edit", "modify", "write", "apply", "put", "patch",
            "create", "add", "delete", "remove", "disable", "enable", "reset", "grant", "revoke",
            "replace", "stop", "flush",
        ],
        nouns: &[
            "security",
            "selinux",
            "apparmor",
            "iam",
            "rbac",
            "acl",
            "sudoers",
            "sudo",
            "permission",
            "role",
            "rolebinding",
            "certificate",
            "secret",
            "credential",
            "password",
            "authorized",
        ],
    },
    NamePattern {
        refusal: "changing the firewall",
        verbs: &[
            "change", "set", "update", "edit", "modify", "write", "apply", "put", "patch",
            "create", "add", "delete", "remove", "disable", "enable", "reset", "replace", "open",
            "close", "allow", "stop", "flush", "restart", "reload",
        ],
        nouns: &["firewall", "iptable", "nftable", "ufw", "securitygroup", "networkpolicy"],
    },
];

/// Words that refuse on their own.
const WORDS: &[(Refusal, &[&str])] = &[("failing over a database", &["failover", "switchover"])];

/// Units by the part of their name before `@` and before the type; a dash may follow.
const UNITS: &[(Refusal, &[&str])] = &[
    ("Watchkeeper itself", &["watchkeeper"]),
    ("remote access", &["ssh", "sshd", "dropbear"]),
    (
        "time sync",
        &["chrony", "chronyd", "systemd-timesyncd", "ntp", "ntpd", "ntpsec", "openntpd", "ptp4l"],
    ),
    ("audit", &["audit", "auditd", "auditbeat", "osqueryd", "falco", "wazuh", "laurel"]),
    (
        "backup",
        &[
            "backup",
            "backups",
            "restic",
            "borg",
            "borgmatic",
            "bacula",
            "bareos",
            "barman",
            "pgbackrest",
            "wal-g",
            "duplicity",
            "duplicati",
            "backuppc",
            "rsnapshot",
            "amanda",
            "velero",
            "snapper",
            "btrbk",
        ],
    ),
    (
        "firewall",
        &[
            "firewalld",
            "ufw",
            "nftables",
            "iptables",
            "ip6tables",
            "netfilter-persistent",
            "shorewall",
        ],
    ),
    ("security policy", &["apparmor", "selinux", "polkit"]),
];

/// Paths with everything below them. The tier is for a path that holds one of them: cleaning old
/// files of `/var/log` may be agreed to, although the audit trail lies in it.
const PATHS: &[(Refusal, &str, Tier)] = &[
    ("Watchkeeper itself", "/etc/watchkeeper", Tier::Forbidden),
    ("Watchkeeper itself", "/var/lib/watchkeeper", Tier::Forbidden),
    ("remote access", "/etc/ssh", Tier::Forbidden),
    ("security policy", "/etc/sudoers", Tier::Forbidden),
    ("security policy", "/etc/sudoers.d", Tier::Forbidden),
    ("security policy", "/etc/pam.d", Tier::Forbidden),
    ("security policy", "/etc/selinux", Tier::Forbidden),
    ("security policy", "/etc/apparmor.d", Tier::Forbidden),
    ("security policy", "/etc/polkit-1", Tier::Forbidden),
    ("security policy", "/etc/passwd", Tier::Forbidden),
    ("security policy", "/etc/shadow", Tier::Forbidden),
    ("firewall", "/etc/nftables.conf", Tier::Forbidden),
    ("firewall", "/etc/iptables", Tier::Forbidden),
    ("firewall", "/etc/ufw", Tier::Forbidden),
    ("firewall", "/etc/firewalld", Tier::Forbidden),
    ("time sync", "/etc/chrony", Tier::Forbidden),
    ("time sync", "/etc/chrony.conf", Tier::Forbidden),
    ("time sync", "/etc/systemd/timesyncd.conf", Tier::Forbidden),
    ("audit", "/etc/audit", Tier::Forbidden),
    ("audit", "/var/log/audit", Tier::Confirm),
];

/// The class of services that hold data.
pub(super) const DATABASE: &str = "database";

const READ_VERBS: &[&str] = &[
    "get", "list", "show", "check", "describe", "read", "search", "query", "find", "watch", "count",
];

const UNIT_TYPES: &[&str] = &[
    ".service",
    ".socket",
    ".timer",
    ".target",
    ".mount",
    ".automount",
    ".path",
    ".slice",
    ".scope",
    ".device",
    ".swap",
];

/// A unit's name in one spelling: lower case, with its type.
pub fn canonical_unit(name: &str) -> String {
    let mut name = name.trim().to_ascii_lowercase();
    if !UNIT_TYPES.iter().any(|suffix| name.ends_with(suffix)) {
        name.push_str(".service");
    }
    name
}

/// Whether a tool of this name is refused. Without an effect nobody provides the tool: then only
/// a name that begins like a look is taken for one.
pub(super) fn refused_tool(name: &str, effect: Option<Effect>) -> Option<Refusal> {
    let words = words(name);
    match effect.unwrap_or_else(|| likely_effect(name)) {
        Effect::Read | Effect::Talk => return None,
        Effect::Write => {}
    }
    let joined = words.concat();
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let alone = WORDS.iter().find(|(_, list)| list.iter().any(|word| joined.contains(word)));
    let pattern = || {
        NAMES.iter().find(|pattern| {
            pattern.verbs.iter().any(|verb| {
                pattern.nouns.iter().any(|noun| {
                    (has(verb) && has(noun)) || joined.contains(&format!("{verb}{noun}"))
                })
            })
        })
    };
    alone.map(|(refusal, _)| *refusal).or_else(|| pattern().map(|pattern| pattern.refusal))
}

/// What a tool that nobody provides would do, by its name: a change, unless it begins like a look.
pub(super) fn likely_effect(name: &str) -> Effect {
    let looks = words(name).first().is_some_and(|word| READ_VERBS.contains(&word.as_str()));
    if looks { Effect::Read } else { Effect::Write }
}

/// What the floor says of a change to its target.
pub(super) fn weigh(subject: &Subject<'_>, own: &Own, into: &mut Vec<Matched>) {
    let mut tell = |what: &str, tier, note: String| {
        into.push(Matched { source: format!("floor: {what}"), tier, note });
    };
    let (host, service) = (subject.target.host, subject.target.service);
    let names = service.map(|s| [s.name.as_str(), s.unit.as_str()]).unwrap_or_default();
    let named = subject.call.text("service").or(subject.call.text("unit")).unwrap_or_default();
    for name in names.into_iter().chain([named]).filter(|name| !name.is_empty()) {
        if let Some(what) = refused_unit(name, own) {
            tell(what, Tier::Forbidden, format!("{name} is never changed"));
            break;
        }
    }
    if let Some(service) = service {
        if matches!(service.class.as_str(), "backup" | "audit") {
            let note = format!("{} is of class {}", service.name, service.class);
            tell(&service.class, Tier::Forbidden, note);
        }
        if service.class == DATABASE {
            let note = format!("{} is a database: a person agrees first", service.name);
            tell("database", Tier::Confirm, note);
        }
        if service.protected {
            tell("protected", Tier::Confirm, format!("service {} is protected", service.name));
        }
    }
    if let Some(host) = host.filter(|host| host.protected) {
        tell("protected", Tier::Confirm, format!("host {} is protected", host.name));
    }
    for value in subject.call.args.values() {
        for path in paths(value) {
            if let Some((what, tier, note)) = refused_path(path, own) {
                tell(what, tier, note);
            }
        }
    }
}

fn refused_unit(name: &str, own: &Own) -> Option<Refusal> {
    let stem = stem(name);
    let is = |entry: &str| {
        stem.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if own.units.iter().any(|unit| canonical_unit(unit) == canonical_unit(name)) {
        return Some("Watchkeeper itself");
    }
    if stem.split(['-', '_', '.']).any(|word| matches!(word, "backup" | "backups")) {
        return Some("backup");
    }
    UNITS.iter().find(|(_, list)| list.iter().any(|entry| is(entry))).map(|(what, _)| *what)
}

fn stem(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).trim().to_ascii_lowercase();
    let name = UNIT_TYPES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    name.split('@').next().unwrap_or(name).to_owned()
}

fn paths(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.starts_with('/') => vec![text],
        Value::Array(items) => items.iter().flat_map(paths).collect(),
        Value::Object(map) => map.values().flat_map(paths).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn refused_path(path: &str, own: &Own) -> Option<(Refusal, Tier, String)> {
    let parts = parts(path);
    if parts.contains(&"..") {
        return Some(("path", Tier::Forbidden, format!("{path} climbs with '..'")));
    }
    let own = own.paths.iter().map(|path| ("Watchkeeper itself", path.as_str(), Tier::Forbidden));
    PATHS.iter().copied().chain(own).find_map(|(what, kept, holding)| {
        let kept_parts = self::parts(kept);
        if parts.starts_with(&kept_parts) {
            Some((what, Tier::Forbidden, format!("{path} is never changed")))
        } else if kept_parts.starts_with(&parts) {
            Some((what, holding, format!("{path} holds {kept}")))
        } else {
            None
        }
    })
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// Lower-case words of a name in snake, kebab, dotted or camel case, without a plural s; `fail
/// over` and `switch over` count as one.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let breaks = !c.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase());
        if breaks && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    for word in &mut words {
        if word.len() > 2 && word.ends_with('s') && !word.ends_with("ss") {
            word.pop();
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests;
