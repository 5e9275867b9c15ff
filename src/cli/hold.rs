//! `watchkeeper hold`: no change of certain targets, for a time.

use super::remote::At;
use super::{Global, print};
use crate::model::ids::HoldId;
use crate::model::matcher::Matcher;
use crate::model::time::parse_duration_ms;
use anyhow::Result;
use clap::{Args, Subcommand};
use print::{columns, field, time};
use serde_json::{Value, json};
use std::process::ExitCode;

const PATH: &str = "api/v1/holds";
/// Of the targets that a hold matches, so many of each kind are named.
const NAMES_MAX: usize = 20;

#[derive(Subcommand)]
pub enum Verb {
    /// Let no change of matching targets start.
    Add(Add),
    /// The holds in force.
    List(List),
    /// End a hold before its time.
    Remove(Remove),
}

#[derive(Args)]
pub struct Add {
    /// Alertmanager matchers, all of which have to match, e.g. 'host=~"db.*"'. They read host,
    /// service, class, region and owner of the inventory, and the labels of the alerts.
    #[arg(required = true, value_name = "MATCHER", value_parser = matcher)]
    matchers: Vec<String>,
    /// How long, e.g. 2h.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: String,
    /// Why, for everybody who meets the hold.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct List {
    /// Those that ended, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub struct Remove {
    id: HoldId,
    #[command(flatten)]
    at: At,
}

fn matcher(text: &str) -> Result<String, String> {
    Matcher::parse_all(text).map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<String, String> {
    parse_duration_ms(text).map(|_| text.to_owned())
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    super::block_on(async {
        match verb {
            Verb::Add(add) => {
                let body = json!({
                    "match": add.matchers.join(", "), "for": add.lasts, "reason": add.reason,
                });
                let said = add.at.remote(global)?.post(PATH, &body).await?;
                print::show(global.output, &said, |said| {
                    let (id, until) = (field(said, "/hold/id"), time(said, "/hold/until_ms"));
                    let targets = targets(&said["matches"]);
                    format!("{id} holds {} until {until}\n{targets}", matched(&said["hold"]))
                })?;
            }
            Verb::List(list) => {
                let all = [("all", list.all.to_string())];
                let said = list.at.remote(global)?.get(PATH, &all).await?;
                print::show(global.output, &said, table)?;
            }
            Verb::Remove(remove) => {
                let path = format!("{PATH}/{}", remove.id);
                let said = remove.at.remote(global)?.delete(&path).await?;
                print::show(global.output, &said, |said| {
                    format!("removed the hold on {}", matched(&said["removed"]))
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn table(said: &Value) -> String {
    let holds = said["holds"].as_array().cloned().unwrap_or_default();
    if holds.is_empty() {
        return "no holds".to_owned();
    }
    let rows: Vec<Vec<String>> = holds
        .iter()
        .map(|hold| {
            let state = match (&hold["removed_by"], &hold["in_force"]) {
                (Value::String(by), _) => format!("removed by {by}"),
                (_, Value::Bool(false)) => "over".to_owned(),
                (_, _) => "in force".to_owned(),
            };
            vec![
                field(hold, "/id"),
                state,
                matched(hold),
                time(hold, "/until_ms"),
                field(hold, "/by"),
                field(hold, "/reason"),
            ]
        })
        .collect();
    columns(&["ID", "STATE", "TARGETS", "UNTIL", "BY", "REASON"], &rows)
}

/// Which targets of the inventory a new hold matches, or that it matches none.
fn targets(matches: &Value) -> String {
    let names = |key: &str| -> Vec<&str> {
        matches[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let kinds = [("hosts", names("hosts")), ("services", names("services"))];
    let listed: Vec<String> = kinds
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| {
            let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(NAMES_MAX);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            print::one_line(&format!("{kind} {shown}{rest}"))
        })
        .collect();
    match (matches, listed.is_empty()) {
        (Value::Null, _) => "the server did not say which targets that is".to_owned(),
        (_, true) => {
            "no target of the inventory matches; it holds by labels of alerts alone".to_owned()
        }
        (_, false) => format!("in the inventory: {}", listed.join("; ")),
    }
}

fn matched(hold: &Value) -> String {
    let matchers = hold["matchers"].as_array().into_iter().flatten();
    let texts: Vec<&str> = matchers.filter_map(Value::as_str).collect();
    print::one_line(&texts.join(", "))
}
