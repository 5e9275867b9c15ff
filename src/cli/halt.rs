//! `watchkeeper halt` and `watchkeeper resume`: the switch that every replica obeys.

use super::remote::At;
use super::{Global, print};
use anyhow::Result;
use clap::Args;
use print::{field, time};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "api/v1/halt";

#[derive(Args)]
pub struct Halt {
    #[command(flatten)]
    at: At,
    /// Why, for the server's log.
    #[arg(long)]
    reason: Option<String>,
}

pub fn run(global: &Global, halt: &Halt) -> Result<ExitCode> {
    let body = halt.reason.as_ref().map_or(json!({}), |reason| json!({ "reason": reason }));
    super::block_on(async {
        let state = halt.at.remote(global)?.post(PATH, &body).await?;
        shown(global, &state)
    })
}

pub fn resume(global: &Global, at: &At) -> Result<ExitCode> {
    super::block_on(async {
        let state = at.remote(global)?.delete(PATH).await?;
        shown(global, &state)
    })
}

fn shown(global: &Global, state: &Value) -> Result<ExitCode> {
    print::show(global.output, state, |state| {
        if state.get("halted") == Some(&Value::Bool(true)) {
            let (by, since) = (field(state, "/by"), time(state, "/at_ms"));
            return format!("halted by {by} since {since}; no change starts");
        }
        "not halted; changes go on".to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
}
