//! `watchkeeper halt` and `watchkeeper resume`: the switch that every replica obeys.

use super::remote::At;
use super::{Global, Output, print};
use anyhow::Result;
use clap::Args;
use print::{columns, field, time};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "api/v1/halt";

#[derive(Args)]
pub struct Halt {
    #[command(flatten)]
    at: At,
    /// Why, for everybody who meets the halt.
    #[arg(long)]
    reason: Option<String>,
    /// Change nothing; say whether changes are halted and what is in flight.
    #[arg(long, conflicts_with = "reason")]
    status: bool,
}

pub fn run(global: &Global, halt: &Halt) -> Result<ExitCode> {
    let body = halt.reason.as_ref().map_or(json!({}), |reason| json!({ "reason": reason }));
    super::block_on(async {
        let remote = halt.at.remote(global)?;
        let state = match halt.status {
            true => remote.get(PATH, &[]).await?,
            false => remote.post(PATH, &body).await?,
        };
        print::show(global.output, &state, told)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Fails when a halt file goes on halting: changes do not go on then.
pub fn resume(global: &Global, at: &At) -> Result<ExitCode> {
    super::block_on(async {
        let state = at.remote(global)?.delete(PATH).await?;
        let file = state.pointer("/file/path").and_then(Value::as_str);
        if let (Output::Table, Some(file)) = (global.output, file) {
            let file = print::one_line(file);
            eprintln!(
                "watchkeeper: the switch is off, but the server's halt file {file} still halts every \
                 change; it is lifted only by removing the file there"
            );
            return Ok(ExitCode::FAILURE);
        }
        print::show(global.output, &state, told)?;
        Ok(if file.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

fn told(state: &Value) -> String {
    let because = |pointer| match field(state, pointer).as_str() {
        "" | "-" => String::new(),
        reason => format!(" ({reason})"),
    };
    let mut lines = Vec::new();
    if state.get("by").is_some() {
        let (by, since) = (field(state, "/by"), time(state, "/at_ms"));
        let reason = because("/reason");
        lines.push(format!("halted by {by} since {since}{reason}; no change starts"));
    }
    if state.get("file").is_some() {
        let (path, reason) = (field(state, "/file/path"), because("/file/reason"));
        lines.push(format!("halted by the file {path}{reason}; no change starts on that server"));
    }
    if lines.is_empty() {
        lines.push("not halted; changes go on".to_owned());
    }
    let flying = state.get("in_flight").and_then(Value::as_array).cloned().unwrap_or_default();
    if !flying.is_empty() {
        lines.push("in flight, and not interrupted:".to_owned());
        let row = |one: &Value| {
            let targets = one["targets"].as_array().into_iter().flatten();
            let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
            vec![
                time(one, "/since_ms"),
                field(one, "/tool"),
                targets.join(", "),
                field(one, "/incident_id"),
                field(one, "/incident"),
            ]
        };
        let rows: Vec<Vec<String>> = flying.iter().map(row).collect();
        lines.push(columns(&["SINCE", "TOOL", "TARGETS", "INCIDENT", "TITLE"], &rows));
    }
    lines.join("\n")
}
