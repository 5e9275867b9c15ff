//! `watchkeeper reload`: the running server takes over changed rules, runbooks and inventory, and
//! secrets.
//!
//! In: an admin's token. Out: the version in force, or everything that is wrong with the files; then
//! the last good ones stay in force and the exit code is not 0.

use super::remote::At;
use super::{Global, print};
use anyhow::Result;
use print::{field, time};
use serde_json::{Value, json};
use std::process::ExitCode;

pub fn run(global: &Global, at: &At) -> Result<ExitCode> {
    super::block_on(async {
        let state = at.remote(global)?.post("-/reload", &json!({})).await?;
        print::show(global.output, &state, said)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn said(state: &Value) -> String {
    let (version, since) =
        (field(state, "/in_force/rules_version"), time(state, "/in_force/loaded_at_ms"));
    let mut text = format!("in force since {since}: rules {version}");
    let listed = |name: &str| {
        let all = state.pointer(&format!("/in_force/{name}")).and_then(Value::as_array);
        let names = all.into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    for (name, said) in [
        ("secrets_renewed", "other secrets, in force from here on"),
        ("needs_restart", "changed, and in force only after a restart"),
    ] {
        let names = listed(name);
        if !names.is_empty() {
            text.push_str(&format!("\n{said}: {names}"));
        }
    }
    if state.get("replicas_agree") == Some(&Value::Bool(false)) {
        text.push_str("\nother replicas run on other rules; each one is reloaded by itself:");
        for replica in state.get("replicas").and_then(Value::as_array).into_iter().flatten() {
            let (id, version) = (field(replica, "/id"), field(replica, "/rules_version"));
            text.push_str(&format!("\n  {id}  {version}"));
        }
    }
    text
}
