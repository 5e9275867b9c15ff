//! The safety rules: the file as people write it, and the same compiled for the checker.
//!
//! In: `config/safety_rules.yaml` as text, the specs of the tools. Out: [`Rules`], or every
//! complaint at once with its place in the file. Never: a rule that was not understood in full.
//! To add a key, add its field to a struct here and its check to `compile`.

mod compile;
mod difference;
mod examples;

pub(super) use compile::Complaints;
pub use difference::difference;

use crate::model::orders::{PolicySummary, RuleSummary};
use crate::model::tool::Effect;
use crate::model::verdict::{Approvals, Autonomy, Tier};
use crate::safety::condition::{Condition, Reads};
use crate::safety::floor::Refusal;
use crate::safety::guards::{
    BlastRadiusFile, BreakerFile, CommonCauseFile, FreezeFile, Guards, RecurrenceFile,
};
use crate::safety::levels::Levels;
use crate::safety::limits::LimitRule;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The rules file, key by key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    pub version: u32,
    /// Caps what every level grants.
    pub autonomy: Autonomy,
    #[serde(default)]
    pub levels: Vec<LevelFile>,
    #[serde(default)]
    pub defaults: Defaults,
    #[serde(default, skip_serializing_if = "ApprovalsFile::is_usual")]
    pub approvals: ApprovalsFile,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadiusFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_cause: Option<CommonCauseFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<RecurrenceFile>,
    pub rules: Vec<RuleFile>,
    #[serde(default)]
    pub example_targets: ExampleTargets,
}

/// How much may be done for the alerts that all matchers of a level match.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelFile {
    #[serde(rename = "match")]
    pub matchers: Vec<String>,
    pub autonomy: Autonomy,
}

/// The tier of a call that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    pub read: Tier,
    pub write: Tier,
    pub unknown_tool: Tier,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { read: Tier::Safe, write: Tier::Confirm, unknown_tool: Tier::Forbidden }
    }
}

/// What holds for every approval, whatever a rule says of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalsFile {
    /// So many people at least have to agree to a change of high risk.
    pub high_risk_quorum: u32,
}

impl ApprovalsFile {
    /// What is left out leaves the version of a file as it was.
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ApprovalsFile {
    fn default() -> Self {
        Self { high_risk_quorum: 2 }
    }
}

/// One rule: the tier of the calls of one tool for which the condition holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub name: String,
    pub tool: String,
    /// CEL over `args`, `service`, `host` and `state`; without it the rule is about every call.
    #[serde(default)]
    pub when: Option<String>,
    pub tier: Tier,
    #[serde(default)]
    pub limit: Vec<LimitFile>,
    /// Of a safe rule: so many independent sources must show the need before it runs by itself.
    #[serde(default)]
    pub independent_sources: Option<u32>,
    #[serde(default)]
    pub approvals: Option<Approvals>,
    #[serde(default)]
    pub examples: Vec<ExampleFile>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// At most `max` runs for each `per` within a sliding window.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFile {
    pub max: i64,
    pub per: Vec<String>,
    pub within: String,
}

/// A call with the tier that rules and floor must give it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleFile {
    pub args: Map<String, Value>,
    #[serde(default)]
    pub state: Value,
    pub expect: Tier,
}

/// The hosts and services that examples name; they need not exist anywhere.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExampleTargets {
    pub hosts: Vec<ExampleHost>,
    pub services: Vec<ExampleService>,
}

/// A host of the examples.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleHost {
    pub name: String,
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub region: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub protected: bool,
}

/// A service of the examples.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleService {
    pub name: String,
    /// The systemd unit; `<name>.service` when left out.
    #[serde(default)]
    pub unit: Option<String>,
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub region: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub protected: bool,
}

impl RulesFile {
    /// Reads YAML. A key that no struct here names is an error.
    ///
    /// # Errors
    /// What is wrong and where, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

/// Something in the file that does not make sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Dotted path of the place, e.g. `rules.3.when`.
    pub path: String,
    pub message: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Rules that were understood in full.
#[derive(Debug)]
pub struct Rules {
    version: String,
    text: String,
    autonomy: Autonomy,
    summaries: Vec<RuleSummary>,
    pub(super) levels: Levels,
    pub(super) defaults: Defaults,
    high_risk_quorum: u32,
    guards: Guards,
    tools: BTreeMap<String, ToolRules>,
    unknown_tools: Vec<String>,
}

/// What the rules say of one tool.
#[derive(Debug, Default)]
pub(super) struct ToolRules {
    pub rules: Vec<Rule>,
    /// What any of the conditions reads, so that only this is prepared for them.
    pub reads: Reads,
    /// The effect for which the name was looked up in the floor's tables.
    pub effect: Option<Effect>,
    /// What the floor says of the name, found once because names never change.
    pub refusal: Option<Refusal>,
}

/// One compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub name: String,
    /// `rule: <name>`, as verdicts write it.
    pub source: String,
    pub when: Option<Condition>,
    pub tier: Tier,
    pub limits: Vec<LimitRule>,
    /// So many independent sources must show the need.
    pub sources: Option<u32>,
    pub approvals: Approvals,
    /// Why, for a person: the file's reason, else the condition.
    pub note: String,
}

impl Rules {
    /// SHA-256 of the parsed file in canonical form. Comments and layout do not count.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The parsed file in canonical form: what the version is the hash of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The rules by name, in the order of the file, with what caps them.
    pub fn summary(&self) -> PolicySummary {
        PolicySummary {
            rules_version: self.version.clone(),
            autonomy: self.autonomy,
            rules: self.summaries.clone(),
        }
    }

    /// Tools that rules name and nobody provides: a typing error, or a tool yet to come.
    pub fn unknown_tools(&self) -> &[String] {
        &self.unknown_tools
    }

    /// How many people at least have to agree to a change of high risk.
    pub fn high_risk_quorum(&self) -> u32 {
        self.high_risk_quorum
    }

    /// Whom confirm rules ask, by the name of the rule.
    pub fn asked(&self) -> impl Iterator<Item = (&str, &Approvals)> {
        let rules = self.tools.values().flat_map(|tool| &tool.rules);
        rules
            .filter(|rule| rule.tier == Tier::Confirm)
            .map(|rule| (rule.name.as_str(), &rule.approvals))
    }

    /// The limits over time and recent history that hold for every change.
    pub(super) fn guards(&self) -> &Guards {
        &self.guards
    }

    /// The first moment from this one on at which no freeze is in force.
    pub fn thaw(&self, from_ms: i64) -> i64 {
        self.guards.thaw(from_ms)
    }

    pub(super) fn tool(&self, name: &str) -> Option<&ToolRules> {
        self.tools.get(name)
    }

    /// The tier where no rule matches; `None` is a tool that nobody provides.
    pub(super) fn default_tier(&self, effect: Option<Effect>) -> (&'static str, Tier) {
        match effect {
            Some(Effect::Read) => ("read", self.defaults.read),
            Some(Effect::Talk) => ("talk", Tier::Safe),
            // Silence of the rules must not allow a change, whatever the file says.
            Some(Effect::Write) => ("write", self.defaults.write.max(Tier::Confirm)),
            None => ("unknown_tool", self.defaults.unknown_tool.max(Tier::Confirm)),
        }
    }
}

#[cfg(test)]
mod tests;
