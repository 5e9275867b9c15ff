//! `config/runbooks.yaml`: what to do when nobody has to think.
//!
//! In: the file. Out: compiled runbooks, or every mistake in it with its place. A runbook is matched
//! by Alertmanager matchers, its steps are tool calls with CEL conditions over earlier results.
//! Never: a step that runs by itself; each one is judged like any other call.
//! To add a key, add it in `file.rs` and check it in `compile.rs`.

mod compile;
mod file;
mod fill;

use crate::config::{Partial, Problem, yaml};
use crate::model::alert::{Alert, Labels};
use crate::model::case::Case;
use crate::model::expr::Expr;
use crate::model::matcher::Matcher;
use crate::model::tool::ToolSpec;
use serde_json::{Map, Value};

pub use file::{ConcludeFile, OnFailure, RunbookFile, RunbooksFile, StepFile, VerifyFile};
pub use fill::{lookup, text};

/// What conditions of a runbook may read.
pub const ROOTS: [&str; 5] = ["steps", "labels", "severity", "host", "service"];

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
    /// As written; [`Step::arguments`] fills them in.
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

/// Reads, checks and compiles a file; `file` is only its name in messages.
///
/// # Errors
/// Every problem of the file, in its order, with line and column.
pub fn load(file: &str, text: &str, tools: &[ToolSpec]) -> Result<Runbooks, Vec<Problem>> {
    let Partial { value, positions, problems } = yaml::read::<RunbooksFile>(file, text);
    let Some(value) = value else { return Err(problems) };
    match Runbooks::compile(value, tools) {
        Ok(runbooks) if problems.is_empty() => Ok(runbooks),
        Ok(_) => Err(problems),
        Err(complaints) => {
            let placed =
                complaints.into_iter().map(|said| positions.problem(&said.path, said.message));
            Err(yaml::join(problems, placed.collect()))
        }
    }
}

impl Runbook {
    /// Whether it is about an alert with these labels.
    pub fn fits(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

impl Runbooks {
    /// Compiles the file. `tools` are the known tools; empty skips the checks of calls.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn compile(file: RunbooksFile, tools: &[ToolSpec]) -> Result<Self, Vec<Complaint>> {
        compile::compile(file, tools).map(Self)
    }

    /// The first runbook that fits any of these alerts.
    pub fn find<'a>(&self, alerts: impl IntoIterator<Item = &'a Labels>) -> Option<&Runbook> {
        let alerts: Vec<&Labels> = alerts.into_iter().collect();
        self.0.iter().find(|runbook| alerts.iter().any(|labels| runbook.fits(labels)))
    }

    /// The runbook for a case: that of its first alert that has one. Alerts that come later do not
    /// change it.
    pub fn of_case(&self, case: &Case) -> Option<&Runbook> {
        self.find([&self.alert_of(case)?.labels])
    }

    /// The alert of a case that its runbook is for.
    pub fn alert_of<'a>(&self, case: &'a Case) -> Option<&'a Alert> {
        let has_one = |alert: &&Alert| self.find([&alert.labels]).is_some();
        case.alerts.iter().map(|attached| &attached.alert).find(has_one)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|runbook| runbook.name.as_str())
    }
}

#[cfg(test)]
#[path = "runbooks/tests.rs"]
mod tests;
