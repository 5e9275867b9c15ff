//! Runs one read-only command that the command grammar lets through.
//!
//! In: a command line. Out: what it printed and its exit code. Never: a shell; what was judged is
//! what runs, word by word.

use super::{Bounds, Deps, Done, Error, Output, Tool, on_host, told};
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::command::{Argv, judge};
use crate::safety::permit::Permit;
use crate::targets::{Exit, Ran};
use futures::future::BoxFuture;
use serde_json::{Value, json};

const COMMAND_CHARS_MAX: usize = 1_000;
const TIMEOUT_S_MAX: i64 = 120;

/// The tool `run_diagnosis_command`.
pub(super) struct RunDiagnosisCommand {
    spec: ToolSpec,
    deps: Deps,
}

impl RunDiagnosisCommand {
    pub(super) fn new(deps: &Deps) -> Self {
        let args = vec![
            Arg::required("host", ArgKind::Host, "where to run it"),
            Arg::required(
                "command",
                ArgKind::Text { chars_max: COMMAND_CHARS_MAX },
                "one read-only program with its arguments; no pipe, variable or redirection",
            ),
            Arg::with_default(
                "timeout",
                ArgKind::Integer { min: 1, max: TIMEOUT_S_MAX },
                json!(30),
                "seconds",
            ),
        ];
        let spec = ToolSpec {
            name: "run_diagnosis_command".into(),
            about: "Runs one read-only command such as `df -h` or `ss -tan` and shows its output."
                .into(),
            effect: Effect::Read,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn diagnose(&self, call: &Call, bounds: Bounds) -> Result<Done, Error> {
        let host = call.text("host").unwrap_or_default();
        let argv = judged(call.text("command").unwrap_or_default()).map_err(Error::Tell)?;
        let seconds = call.args.get("timeout").and_then(Value::as_u64).unwrap_or(30);
        let timeout_ms = (seconds * 1_000).min(bounds.timeout_ms);
        let reach = self.deps.targets.reach(host)?;
        let shown = argv.to_string();
        let ran = reach.diagnose(argv, timeout_ms, super::output::OUTPUT_BYTES_MAX).await?;
        Ok(Done::Output(report(host, &shown, timeout_ms, &ran)))
    }
}

impl Tool for RunDiagnosisCommand {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        "host"
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        let mut call = on_host(&self.deps, call)?;
        let argv = judged(call.text("command").unwrap_or_default())?;
        call.args.insert("command".to_owned(), Value::String(argv.to_string()));
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.diagnose(permit.call(), bounds).await.map_err(told) })
    }
}

fn judged(command: &str) -> Result<Argv, String> {
    judge(command).outcome.map_err(|refusal| refusal.to_string())
}

fn report(host: &str, command: &str, timeout_ms: u64, ran: &Ran) -> Output {
    let mut text = format!("{host}$ {command}\n{}", ran.stdout);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if !ran.stderr.trim().is_empty() {
        text.push_str(&format!("[on standard error]\n{}\n", ran.stderr.trim_end()));
    }
    match ran.exit {
        Exit::Code(0) if ran.stdout.trim().is_empty() => {
            text.push_str("[exit code 0; it printed nothing]\n");
        }
        Exit::Code(0) => {}
        // It was ended because it printed too much, which is said below.
        Exit::Signal(_) if ran.truncated => {}
        Exit::TimedOut => {
            text.push_str(&format!("[ended at the time limit of {timeout_ms} ms]\n"));
        }
        exit @ (Exit::Code(_) | Exit::Signal(_)) => text.push_str(&format!("[{exit}]\n")),
    }
    if ran.truncated {
        text.push_str("[it printed more than is kept; ask for less]\n");
    }
    let code = match ran.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::TimedOut => None,
    };
    let data = json!({
        "host": host,
        "command": command,
        "exit_code": code,
        "timed_out": ran.exit == Exit::TimedOut,
        "lines": ran.stdout.lines().count(),
    });
    Output::new(text, data)
}

#[cfg(test)]
#[path = "tests/run_diagnosis_command.rs"]
mod tests;
