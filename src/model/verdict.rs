//! What the safety checker says of a call, as it is written down.
//!
//! These are records: anybody may build one. The proof that a call was judged is
//! `safety::Verdict`, which only the checker can make.

use crate::model::action::Risk;
use serde::{Deserialize, Serialize};

/// How dangerous a call is under the rules. The order is strictness: the greatest wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Safe,
    Confirm,
    Forbidden,
}

impl Tier {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Confirm => "confirm",
            Self::Forbidden => "forbidden",
        }
    }
}

/// What follows from the tier: run it, wait for a person, or never run it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Ask,
    Refuse,
}

impl From<Tier> for Decision {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Safe => Self::Allow,
            Tier::Confirm => Self::Ask,
            Tier::Forbidden => Self::Refuse,
        }
    }
}

/// How much Watchkeeper may do for an alert. The order is freedom: the least wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    /// Look and record what would have been done.
    Observe,
    /// Read and page a human at once; no write is even proposed for approval.
    Page,
    /// Every write needs a human.
    Advise,
    /// SAFE writes run by themselves.
    Act,
}

impl Autonomy {
    /// What it makes of a change that is safe otherwise.
    pub fn tier_of_write(self) -> Tier {
        match self {
            Self::Observe | Self::Page => Tier::Forbidden,
            Self::Advise => Tier::Confirm,
            Self::Act => Tier::Safe,
        }
    }

    /// What it means for a change, for a person.
    pub fn means(self) -> &'static str {
        match self {
            Self::Observe => "observe: look, and change nothing",
            Self::Page => "page: read only, a person acts",
            Self::Advise => "advise: every write needs a person",
            Self::Act => "act: safe writes run by themselves",
        }
    }
}

/// One reason for a verdict: a rule of the file, a level, a limit, a built-in refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Matched {
    /// Where the reason comes from, e.g. `rule: restart one service`, `floor: own unit`.
    pub source: String,
    pub tier: Tier,
    /// Why, for a person.
    pub note: String,
}

/// At most `max` intents under `key` within `within_ms` before now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    pub key: String,
    pub max: i64,
    pub within_ms: i64,
}

/// Where an argument of a change was found. The order is trust, the most trusted first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A label of an authenticated source of alerts.
    Alert,
    /// The inventory: where a service of the incident runs, what it depends on, what may be
    /// cleaned on the host.
    Inventory,
    /// A runbook of the incident.
    Runbook,
    /// The default that the tool declares.
    Default,
    /// Words for people, which decide nothing.
    Prose,
    /// The output of a tool, an annotation, a label that names no target.
    Text,
    /// Nothing of the incident holds it: the mind wrote it itself.
    Nowhere,
}

impl Source {
    /// Whether a change may follow it without a person who looks.
    pub fn is_trusted(self) -> bool {
        self < Self::Text
    }

    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Alert => "a label of the alert",
            Self::Inventory => "the inventory",
            Self::Runbook => "the runbook",
            Self::Default => "the tool's default",
            Self::Prose => "words for people; no rule reads them",
            Self::Text => "text from outside",
            Self::Nowhere => "nowhere in this incident: whoever asked for it wrote it",
        }
    }
}

/// An argument of a change, or one item of it, with where it was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traced {
    pub argument: String,
    /// As text; a word is written without quotes.
    pub value: String,
    pub source: Source,
    /// The very place, in words.
    pub place: String,
}

/// A verdict as the timeline keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VerdictRecord {
    pub tier: Tier,
    pub decision: Decision,
    pub autonomy: Autonomy,
    pub matched: Vec<Matched>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Approvers needed and the roles that count, when the decision is to ask.
    #[serde(default)]
    pub approvals: Approvals,
    pub rules_version: String,
    pub call_hash: String,
    /// What would have been decided had the level not been `observe` or `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<Decision>,
    /// How bad it would be if the change went wrong; what a mind says can only raise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// Where each argument of a change was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Traced>,
}

impl VerdictRecord {
    /// The strictest reasons on one line.
    pub fn reason(&self) -> String {
        let strictest: Vec<String> = self
            .matched
            .iter()
            .filter(|m| m.tier == self.tier)
            .map(|m| format!("{}: {}", m.source, m.note))
            .collect();
        strictest.join("; ")
    }
}

/// Who has to agree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approvals {
    pub quorum: u32,
    /// Any of these roles; empty means any approver.
    pub roles: Vec<String>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { quorum: 1, roles: Vec::new() }
    }
}
