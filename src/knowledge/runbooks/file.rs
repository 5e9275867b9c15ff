//! The runbooks file as it is written.

use crate::model::conclusion::Confidence;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The file as it is written.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunbooksFile {
    pub version: u32,
    pub runbooks: Vec<RunbookFile>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunbookFile {
    pub name: String,
    #[serde(rename = "match")]
    pub matchers: Vec<String>,
    pub steps: Vec<StepFile>,
    #[serde(default)]
    pub verify: Option<VerifyFile>,
    #[serde(default)]
    pub conclude: ConcludeFile,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    pub id: String,
    pub tool: String,
    #[serde(default)]
    pub args: Map<String, Value>,
    #[serde(default)]
    pub when: Option<String>,
    /// What follows when the step fails, is refused, rejected or expires.
    #[serde(default)]
    pub on_failure: OnFailure,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Conclude; the incident goes to a person.
    #[default]
    Stop,
    Continue,
}

/// How to measure that the problem is gone.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyFile {
    /// PromQL; each `${…}` stands between double quotes and is filled in with escaping.
    pub query: String,
    /// CEL over `value`, which every returned series must satisfy.
    pub expect: String,
    /// How long to go on measuring, e.g. `5m`.
    #[serde(default)]
    pub within: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConcludeFile {
    pub root_cause: String,
    pub remaining: String,
    pub confidence: Option<Confidence>,
}
