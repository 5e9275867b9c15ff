//! `config/runbooks.yaml`: what to do when nobody has to think.
//!
//! In: the file. Out: compiled runbooks, or every mistake in it with its path. A runbook is matched
//! by Alertmanager matchers, its steps are tool calls with CEL conditions over earlier results.
//! Never: a step that runs by itself; each one is judged like any other call.

use crate::model::alert::Labels;
use crate::model::conclusion::Confidence;
use crate::model::expr::Expr;
use crate::model::matcher::Matcher;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What conditions and texts of a runbook may read.
pub const ROOTS: [&str; 5] = ["steps", "labels", "severity", "host", "service"];

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
    /// PromQL; `${…}` is filled in as a quoted label value.
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

/// A mistake, with its dotted path, e.g. `runbooks.2.steps.0.when`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    pub path: String,
    pub message: String,
}

/// All runbooks, in the order of the file; the first that matches is followed.
#[derive(Clone, Debug, Default)]
pub struct Runbooks(Vec<Runbook>);

#[derive(Clone, Debug)]
pub struct Runbook {
    pub name: String,
    matchers: Vec<Matcher>,
    pub steps: Vec<Step>,
    pub verify: Option<Verify>,
    pub conclude: ConcludeFile,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub tool: String,
    pub args: Map<String, Value>,
    pub when: Option<Expr>,
    pub on_failure: OnFailure,
}

#[derive(Clone, Debug)]
pub struct Verify {
    pub query: String,
    pub expect: Expr,
    pub within_ms: Option<i64>,
}

impl Runbooks {
    /// Compiles the file. `tools` are the known tool names; empty skips that check.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn compile(file: RunbooksFile, tools: &[&str]) -> Result<Self, Vec<Complaint>> {
        let mut compiler = Compiler { complaints: Vec::new(), tools };
        if file.version != 1 {
            compiler.say("version", format!("expected 1, got {}", file.version));
        }
        let mut names = BTreeSet::new();
        let mut runbooks = Vec::with_capacity(file.runbooks.len());
        for (position, runbook) in file.runbooks.into_iter().enumerate() {
            let path = format!("runbooks.{position}");
            if !names.insert(runbook.name.clone()) {
                compiler.say(
                    format!("{path}.name"),
                    format!("there are two runbooks named '{}'", runbook.name),
                );
            }
            runbooks.push(compiler.runbook(&path, runbook));
        }
        if compiler.complaints.is_empty() { Ok(Self(runbooks)) } else { Err(compiler.complaints) }
    }

    /// The first runbook that fits any of these alerts.
    pub fn find<'a>(&self, alerts: impl IntoIterator<Item = &'a Labels>) -> Option<&Runbook> {
        let alerts: Vec<&Labels> = alerts.into_iter().collect();
        self.0.iter().find(|runbook| {
            alerts.iter().any(|labels| runbook.matchers.iter().all(|m| m.matches(labels)))
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|runbook| runbook.name.as_str())
    }
}

struct Compiler<'a> {
    complaints: Vec<Complaint>,
    tools: &'a [&'a str],
}

impl Compiler<'_> {
    fn say(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.complaints.push(Complaint { path: path.into(), message: message.into() });
    }

    fn runbook(&mut self, path: &str, file: RunbookFile) -> Runbook {
        if file.matchers.is_empty() {
            self.say(format!("{path}.match"), "a runbook without a matcher would match everything");
        }
        if file.steps.is_empty() {
            self.say(format!("{path}.steps"), "a runbook needs at least one step");
        }
        let mut matchers = Vec::new();
        for (position, text) in file.matchers.iter().enumerate() {
            match Matcher::parse(text) {
                Ok(matcher) => matchers.push(matcher),
                Err(message) => self.say(format!("{path}.match.{position}"), message),
            }
        }
        let mut ids = BTreeSet::new();
        let mut steps = Vec::new();
        for (position, step) in file.steps.into_iter().enumerate() {
            let path = format!("{path}.steps.{position}");
            if let Some(step) = self.step(&path, step, &mut ids) {
                steps.push(step);
            }
        }
        let verify = file.verify.and_then(|verify| self.verify(&format!("{path}.verify"), verify));
        self.texts(&format!("{path}.conclude"), &file.conclude);
        Runbook { name: file.name, matchers, steps, verify, conclude: file.conclude }
    }

    fn step(&mut self, path: &str, file: StepFile, ids: &mut BTreeSet<String>) -> Option<Step> {
        let plain = !file.id.is_empty()
            && file.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !file.id.starts_with(|c: char| c.is_ascii_digit());
        if !plain {
            self.say(format!("{path}.id"), "use letters, digits and _, since conditions name it");
        }
        if !self.tools.is_empty() && !self.tools.contains(&file.tool.as_str()) {
            self.say(
                format!("{path}.tool"),
                format!("there is no tool '{}'; the tools are {:?}", file.tool, self.tools),
            );
        }
        for value in file.args.values() {
            self.placeholders(&format!("{path}.args"), value);
        }
        let when = match file.when.as_deref().map(|source| Expr::compile(source, &ROOTS)) {
            None => None,
            Some(Ok(expr)) => {
                for read in expr.paths().iter().filter_map(|path| path.strip_prefix("steps.")) {
                    let earlier = read.split('.').next().unwrap_or(read);
                    if !ids.contains(earlier) {
                        self.say(
                            format!("{path}.when"),
                            format!("'{earlier}' is no earlier step of this runbook"),
                        );
                    }
                }
                Some(expr)
            }
            Some(Err(message)) => {
                self.say(format!("{path}.when"), message);
                return None;
            }
        };
        if !ids.insert(file.id.clone()) {
            self.say(format!("{path}.id"), format!("there are two steps '{}'", file.id));
        }
        Some(Step {
            id: file.id,
            tool: file.tool,
            args: file.args,
            when,
            on_failure: file.on_failure,
        })
    }

    fn verify(&mut self, path: &str, file: VerifyFile) -> Option<Verify> {
        self.placeholders(&format!("{path}.query"), &Value::String(file.query.clone()));
        let within_ms = match file.within.as_deref().map(crate::model::time::parse_duration_ms) {
            None => None,
            Some(Ok(ms)) => Some(ms),
            Some(Err(message)) => {
                self.say(format!("{path}.within"), message);
                None
            }
        };
        match Expr::compile(&file.expect, &["value"]) {
            Ok(expect) => Some(Verify { query: file.query, expect, within_ms }),
            Err(message) => {
                self.say(format!("{path}.expect"), message);
                None
            }
        }
    }

    fn texts(&mut self, path: &str, conclude: &ConcludeFile) {
        for text in [&conclude.root_cause, &conclude.remaining] {
            self.placeholders(path, &Value::String(text.clone()));
        }
    }

    /// Every `${name}` must be one that can be filled in.
    fn placeholders(&mut self, path: &str, value: &Value) {
        match value {
            Value::String(text) => {
                for name in crate::model::fill::names(text) {
                    let known = matches!(name, "host" | "service" | "severity") || is_label(name);
                    if !known {
                        self.say(
                            path,
                            format!(
                                "'${{{name}}}' cannot be filled in; use ${{host}}, ${{service}}, \
                                 ${{severity}} or ${{labels.NAME}}"
                            ),
                        );
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.placeholders(path, item)),
            Value::Object(map) => map.values().for_each(|item| self.placeholders(path, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn is_label(name: &str) -> bool {
    name.strip_prefix("labels.").is_some_and(|label| !label.is_empty())
}
