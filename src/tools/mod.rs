//! What Watchkeeper can do: one file per tool.
//!
//! In: a permit, which holds the one call that may run. Out: an output, or a message, a proposal or
//! a read-back that the incident commits. Never: a call without a permit, a store, a default
//! target. To add a tool, write its file and its line in `all`.

mod check_dependencies;
mod check_system_resources;
mod clean_disk_space;
mod get_metrics;
mod get_service_logs;
mod log_lines;
pub mod output;
mod read_output;
mod request_human_confirmation;
mod restart_service;
mod run_diagnosis_command;
mod send_notification;

use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::model::action::Risk;
use crate::model::alert::Severity;
use crate::model::call::Call;
use crate::model::message::Urgency;
use crate::model::tool::ToolSpec;
use crate::safety::permit::{CapturePermit, Permit};
use crate::targets::{self, Targets, inventory::Inventory};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use output::excerpt;

/// What tools reach the world through.
#[derive(Clone)]
pub struct Deps {
    pub inventory: Arc<dyn Inventory>,
    pub targets: Arc<Targets>,
    /// `None` when none is configured.
    pub prometheus: Option<Prometheus>,
    pub clock: Clock,
}

/// Every tool.
pub fn all(deps: &Deps) -> Register {
    Register::new([
        Arc::new(check_dependencies::CheckDependencies::new(deps)) as Arc<dyn Tool>,
        Arc::new(check_system_resources::CheckSystemResources::new(deps)),
        Arc::new(clean_disk_space::CleanDiskSpace::new(deps)),
        Arc::new(get_metrics::GetMetrics::new(deps)),
        Arc::new(get_service_logs::GetServiceLogs::new(deps)),
        Arc::new(read_output::ReadOutput::new()),
        Arc::new(request_human_confirmation::RequestHumanConfirmation::new()),
        Arc::new(restart_service::RestartService::new(deps)),
        Arc::new(run_diagnosis_command::RunDiagnosisCommand::new(deps)),
        Arc::new(send_notification::SendNotification::new()),
    ])
}

/// One thing that can be done.
pub trait Tool: Send + Sync {
    /// Name, arguments, effect.
    fn spec(&self) -> &ToolSpec;

    /// What it looks through, e.g. logs. Tools that read the same thing name the same source, and
    /// are no second witness for each other.
    fn source(&self) -> &str {
        &self.spec().name
    }

    /// What only this tool knows about its arguments, before anything is judged: a path that is
    /// not absolute, a command outside the grammar, a host that the inventory lacks. The call
    /// comes back canonical: the inventory's names, normal paths.
    ///
    /// # Errors
    /// What to change, for the mind that asked.
    fn canonical(&self, call: Call) -> Result<Call, String>;

    /// Looks at the target of a write: what the rules may read as `state`, and the basis that
    /// must be the same when the call runs.
    fn capture(&self, permit: CapturePermit) -> BoxFuture<'_, Result<Captured, Error>> {
        drop(permit);
        Box::pin(async { Ok(Captured::default()) })
    }

    /// Compares the basis that was judged or approved with a second look just before the run.
    ///
    /// # Errors
    /// What changed, for people: the call must not run.
    fn drift(&self, judged: &Value, seen: &Value) -> Result<(), String> {
        if judged == seen { Ok(()) } else { Err("the target changed since it was judged".into()) }
    }

    /// Runs the permitted call. `basis` is the judged one, as `capture` gave it; a tool that may
    /// only touch what was listed there reads it.
    fn run(
        &self,
        permit: Permit,
        basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>>;
}

/// How long and how much a run may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A change must not start after this, by the wall clock.
    pub start_before_ms: i64,
    pub timeout_ms: u64,
    pub output_bytes_max: usize,
}

/// What a target looked like.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Captured {
    /// For conditions; an object, e.g. `{"active": "failed"}`.
    pub state: Value,
    /// Compared with a second look just before the run; `None` when nothing can drift.
    pub basis: Option<Value>,
    /// What a person should see before agreeing, e.g. the files that would go.
    pub preview: Option<String>,
}

/// What a run gave.
#[derive(Clone, PartialEq, Debug)]
pub enum Done {
    Output(Output),
    /// Words for people; the incident puts them into the outbox.
    Message(Note),
    /// A call that the mind wants a person to decide.
    Proposal(Request),
    /// A stored output to look into again.
    ReadBack(ReadBack),
}

/// Text for the mind, with the same facts as data for conditions.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Output {
    pub text: String,
    pub data: Value,
}

/// A message to people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// `slack`, `pagerduty`, `email`, or `all`.
    pub channel: String,
    pub urgency: Urgency,
    pub severity: Severity,
    pub message: String,
    pub details: Option<String>,
}

/// A request for human confirmation of one exact call.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub call: Call,
    pub description: String,
    pub reason: String,
    pub risk: Risk,
    pub rollback: Option<String>,
}

/// Which part of a stored output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadBack {
    pub hash: String,
    pub offset: usize,
    pub grep: Option<String>,
}

/// Why a tool gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Told to the mind, which may try something else: a source is missing, a command failed.
    #[error("{0}")]
    Tell(String),
    /// A change that did not begin: nothing at its target was touched.
    #[error("{0}")]
    NotStarted(String),
    /// A change may or may not have happened: it timed out or the connection broke. Looked at,
    /// never repeated.
    #[error("{0}")]
    OutcomeUnknown(String),
}

impl From<targets::Error> for Error {
    fn from(error: targets::Error) -> Self {
        match error {
            targets::Error::Missing(why) | targets::Error::Failed(why) => Self::Tell(why),
            targets::Error::Unknown(why) => Self::OutcomeUnknown(why),
        }
    }
}

/// Every tool by name.
#[derive(Clone, Default)]
pub struct Register {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    specs: Arc<[ToolSpec]>,
}

impl Register {
    /// A register of these tools.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let tools: BTreeMap<String, Arc<dyn Tool>> =
            tools.into_iter().map(|tool| (tool.spec().name.clone(), tool)).collect();
        let specs = tools.values().map(|tool| tool.spec().clone()).collect();
        Self { tools, specs }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }

    /// The specs, in name order.
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Checks and completes a call: known tool, right arguments, canonical names.
    ///
    /// # Errors
    /// Every complaint, in words for the mind that asked.
    pub fn complete(&self, call: &Call) -> Result<Call, String> {
        let Some(tool) = self.get(&call.tool) else {
            let known: Vec<&str> = self.tools.keys().map(String::as_str).collect();
            return Err(format!("there is no tool '{}'; the tools are {known:?}", call.tool));
        };
        let complete =
            tool.spec().complete(&call.args).map_err(|complaints| complaints.join("; "))?;
        tool.canonical(complete)
    }
}

/// A look that broke off changed nothing, so there is no outcome to be unsure of.
fn told(error: Error) -> Error {
    match error {
        Error::Tell(why) | Error::NotStarted(why) | Error::OutcomeUnknown(why) => Error::Tell(why),
    }
}

/// The name of a host put into canonical form.
fn on_host(deps: &Deps, mut call: Call) -> Result<Call, String> {
    let host = deps.inventory.known_host(call.text("host").unwrap_or_default());
    let host = host.map_err(|error| error.to_string())?;
    call.args.insert("host".to_owned(), Value::String(host.name));
    Ok(call)
}

/// The name of a service and its host put into canonical form.
fn place(deps: &Deps, mut call: Call) -> Result<Call, String> {
    let service = call.text("service").unwrap_or_default();
    let placed = deps.inventory.place(service, call.text("host"));
    let (service, host) = placed.map_err(|error| error.to_string())?;
    call.args.insert("service".to_owned(), Value::String(service.name));
    call.args.insert("host".to_owned(), Value::String(host.name));
    Ok(call)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
#[path = "tests/attacks.rs"]
mod attacks;

#[cfg(test)]
#[path = "tests/register.rs"]
mod tests;
