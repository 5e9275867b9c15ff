//! What people order besides deciding: halts, holds, rules in quarantine.
//!
//! A hold reads the names of the inventory (`host`, `service`, `class`, `region`, `owner` of a
//! target) and the labels of alerts. Each of its matchers holds if any value does that the label has
//! in either place, so that a label from outside can add a hold and never take one away; a label
//! that the inventory does not know counts as missing, too. Hosts and services are meant in any
//! letter case, a service by name or unit, with and without `.service`.

use crate::model::alert::Labels;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::ids::HoldId;
use crate::model::matcher::Matcher;
use crate::model::verdict::{Autonomy, Tier};
use serde::{Deserialize, Serialize};

/// No change of a target that every matcher matches, until a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    /// Alertmanager's form, e.g. `host=~"db.*"`.
    pub matchers: Vec<String>,
    pub reason: String,
    pub by: String,
    pub at_ms: i64,
    pub until_ms: i64,
}

impl Hold {
    /// The matchers on one line.
    pub fn matched(&self) -> String {
        self.matchers.join(", ")
    }

    /// The hold, ready to be asked about targets.
    pub fn scope(&self) -> Scope {
        Scope(self.matchers.iter().filter_map(|text| Test::read(text)).collect())
    }
}

/// The matchers of a hold. One that cannot be read holds everything rather than nothing.
pub struct Scope(Vec<Test>);

impl Scope {
    /// Whether every matcher has a value that it accepts, of this target or in these labels.
    pub fn holds(
        &self,
        host: Option<&HostFacts>,
        service: Option<&ServiceFacts>,
        labels: &[&Labels],
    ) -> bool {
        self.0.iter().all(|test| {
            let things = things(test.matcher.label(), host, service, labels);
            things.iter().any(|spellings| test.accepts(spellings))
        })
    }
}

struct Test {
    matcher: Matcher,
    /// `!=` and `!~` want none of the spellings of one thing; `=` and `=~` want one of them.
    refuses: bool,
}

impl Test {
    fn read(text: &str) -> Option<Self> {
        let matcher = Matcher::parse(text).ok()?;
        let (_, rest) = text.split_once(matcher.label())?;
        let operator = rest.trim_start();
        let refuses = operator.starts_with('!');
        let exact = !operator.starts_with("=~") && !operator.starts_with("!~");
        // Only what is compared as it stands: in a pattern, `\S` and `\s` differ.
        let matcher = match matcher.label() {
            "host" | "service" if exact => Matcher::parse(&text.to_ascii_lowercase()).ok()?,
            _ => matcher,
        };
        Some(Self { matcher, refuses })
    }

    fn accepts(&self, spellings: &[String]) -> bool {
        let mut spellings = spellings.iter();
        if self.refuses {
            spellings.all(|spelling| self.matcher.accepts(spelling))
        } else {
            spellings.any(|spelling| self.matcher.accepts(spelling))
        }
    }
}

/// Everything that a label may mean for this target, each thing in all its spellings.
fn things(
    label: &str,
    host: Option<&HostFacts>,
    service: Option<&ServiceFacts>,
    labels: &[&Labels],
) -> Vec<Vec<String>> {
    let of_either = |of_host: Option<&str>, of_service: Option<&str>| {
        let both = of_host.into_iter().chain(of_service);
        both.map(|value| vec![value.to_owned()]).collect::<Vec<_>>()
    };
    let mut things = match label {
        "host" => match (host, service) {
            (Some(host), _) => vec![spellings(label, &host.name)],
            (None, Some(service)) => {
                service.hosts.iter().map(|name| spellings(label, name)).collect()
            }
            (None, None) => Vec::new(),
        },
        "service" => service
            .map(|service| {
                [spellings(label, &service.name), spellings(label, &service.unit)].concat()
            })
            .into_iter()
            .collect(),
        "class" => of_either(host.map(|h| h.class.as_str()), service.map(|s| s.class.as_str())),
        "region" => of_either(host.map(|h| h.region.as_str()), service.map(|s| s.region.as_str())),
        "owner" => of_either(host.map(|h| h.owner.as_str()), service.map(|s| s.owner.as_str())),
        _ => Vec::new(),
    };
    things.retain(|spellings| spellings.iter().any(|spelling| !spelling.is_empty()));
    if things.is_empty() {
        things.push(vec![String::new()]);
    }
    let told = labels.iter().filter_map(|labels| labels.get(label));
    things.extend(told.map(|value| spellings(label, value)));
    things
}

/// How a value may be written by whoever means the same thing.
fn spellings(label: &str, value: &str) -> Vec<String> {
    let lower = value.trim().to_ascii_lowercase();
    match label {
        _ if lower.is_empty() => vec![value.to_owned()],
        "host" => vec![value.to_owned(), lower],
        "service" => {
            let short = lower.strip_suffix(".service").unwrap_or(&lower).to_owned();
            vec![value.to_owned(), format!("{short}.service"), short]
        }
        _ => vec![value.to_owned()],
    }
}

/// The targets of the inventory that a hold matches, whatever the labels of alerts say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Held {
    pub hosts: Vec<String>,
    /// Those of which some host is held or which are held themselves.
    pub services: Vec<String>,
}

/// A rule whose SAFE asks a person until somebody lifts the quarantine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    pub rule: String,
    pub reason: String,
    pub by: String,
    pub at_ms: i64,
}

/// The orders in force at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Orders {
    /// Grows with every order; an intent is written only under the version that was judged.
    pub version: i64,
    pub holds: Vec<Hold>,
    pub quarantined: Vec<Quarantined>,
}

/// A halt file that exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileHalt {
    pub path: String,
    /// Its first line.
    pub reason: String,
}

/// A change whose intent is committed and whose outcome is not known yet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct InFlight {
    pub action_id: String,
    pub tool: String,
    pub args: serde_json::Value,
    /// The host and the service that the call names.
    pub targets: Vec<String>,
    pub incident_id: String,
    pub incident: String,
    pub since_ms: i64,
}

/// The rules in force, as far as people order about them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicySummary {
    pub rules_version: String,
    pub autonomy: Autonomy,
    pub rules: Vec<RuleSummary>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleSummary {
    pub name: String,
    pub tool: String,
    pub tier: Tier,
}
