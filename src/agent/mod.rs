//! The mind of an investigation: given this case file, what next?
//!
//! In: a [`View`] of the case. Out: a [`Thought`]: calls to make, or a conclusion. There are three
//! minds behind one trait: a model, the runbooks, and a script for tests, drills and replay.
//! Never: a tool run from here, a verdict, a memory between two turns. To add a mind, write its
//! file and let `app` hand it to [`Minds`].

pub mod breaker;
pub mod budget;
pub mod model;
pub mod prompt;
pub mod runbook;
pub mod scripted;

use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::conclusion::Conclusion;
use crate::model::entity::Located;
use crate::model::timeline::Usage;
use crate::model::tool::ToolSpec;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Decides the next move of an investigation.
pub trait Mind: Send + Sync {
    /// The word on the timeline: `model`, `runbook`, `scripted`.
    fn name(&self) -> &str;

    /// One turn. The same case gives the same question, so that a turn lost in a crash is asked
    /// again.
    fn next<'a>(&'a self, view: View<'a>) -> BoxFuture<'a, Result<Thought, Error>>;
}

/// What a mind sees.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub case: &'a Case,
    pub located: &'a Located,
    pub tools: &'a [ToolSpec],
    pub now_ms: i64,
}

/// One answer of a mind.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Thought {
    /// Prose for the timeline and the report.
    pub said: String,
    /// The assistant message to echo back, where the provider wants more than text and calls.
    pub raw: Option<Value>,
    pub calls: Vec<Asked>,
    pub conclusion: Option<Conclusion>,
    pub usage: Usage,
    /// Which endpoint answered, e.g. `local/qwen3`.
    pub by: String,
}

/// A call as the mind wrote it.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Unique within the incident.
    pub id: String,
    pub tool: String,
    /// Or why the arguments cannot be read, in words for the mind.
    pub args: Result<Map<String, Value>, String>,
}

impl Asked {
    /// The call, with empty arguments when they could not be read.
    pub fn call(&self) -> Call {
        Call { tool: self.tool.clone(), args: self.args.clone().unwrap_or_default() }
    }
}

/// Why a mind has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody can be asked; another mind takes over.
    #[error("{0}")]
    Down(String),
}

/// The minds at hand, in order of preference.
#[derive(Clone)]
pub struct Minds {
    /// Absent when no model is configured.
    pub model: Option<Arc<dyn Mind>>,
    /// Always there: what is followed without a model, and when every model fails.
    pub runbook: Arc<dyn Mind>,
}

impl Minds {
    /// The mind of this name; an unknown name, e.g. of a later version, means the runbooks.
    pub fn get(&self, name: &str) -> &Arc<dyn Mind> {
        match &self.model {
            Some(model) if model.name() == name => model,
            Some(_) | None => &self.runbook,
        }
    }

    /// The mind that a new investigation starts with.
    pub fn first(&self) -> &Arc<dyn Mind> {
        self.model.as_ref().unwrap_or(&self.runbook)
    }
}
