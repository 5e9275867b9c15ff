//! `watchkeeper policy state|quarantine|unquarantine`: the rules of the running server, and those
//! that people want to be asked about.

use super::super::remote::At;
use super::super::{Global, print};
use anyhow::Result;
use clap::Args;
use print::{columns, field, time};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "api/v1/policy";
const QUARANTINE: &str = "api/v1/policy/quarantine";

#[derive(Args)]
pub struct State {
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Quarantine {
    /// The name of the rule, as in the rules file.
    rule: String,
    /// Why, for everybody who is asked because of it.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Unquarantine {
    /// The name of the rule, as in the rules file.
    rule: String,
    #[command(flatten)]
    at: At,
}

pub fn state(global: &Global, state: &State) -> Result<ExitCode> {
    super::super::block_on(async { shown(global, &state.at.remote(global)?.get(PATH, &[]).await?) })
}

pub fn quarantine(global: &Global, order: &Quarantine) -> Result<ExitCode> {
    let body = json!({"rule": order.rule, "reason": order.reason});
    super::super::block_on(async {
        shown(global, &order.at.remote(global)?.post(QUARANTINE, &body).await?)
    })
}

pub fn unquarantine(global: &Global, order: &Unquarantine) -> Result<ExitCode> {
    let query = [("rule", order.rule.clone())];
    super::super::block_on(async {
        shown(global, &order.at.remote(global)?.delete_with(QUARANTINE, &query).await?)
    })
}

fn shown(global: &Global, said: &Value) -> Result<ExitCode> {
    print::show(global.output, said, table)?;
    Ok(ExitCode::SUCCESS)
}

fn table(said: &Value) -> String {
    let list = |key: &str| said[key].as_array().cloned().unwrap_or_default();
    let quarantine = |order: &Value| {
        if order.is_null() {
            return "-".to_owned();
        }
        let because = match field(order, "/reason").as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        format!("by {} since {}{because}", field(order, "/by"), time(order, "/at_ms"))
    };
    let mut rows: Vec<Vec<String>> = list("rules")
        .iter()
        .map(|rule| {
            let asks = quarantine(&rule["quarantine"]);
            vec![field(rule, "/name"), field(rule, "/tool"), field(rule, "/tier"), asks]
        })
        .collect();
    rows.extend(list("quarantined_without_a_rule").iter().map(|order| {
        vec![field(order, "/rule"), "(no such rule)".to_owned(), "-".to_owned(), quarantine(order)]
    }));
    format!(
        "rules {}, autonomy {}, {} holds in force\n{}",
        field(said, "/rules_version"),
        field(said, "/autonomy"),
        list("holds").len(),
        columns(&["RULE", "TOOL", "TIER", "QUARANTINE"], &rows)
    )
}
