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
                    format!("{id} holds {} until {until}", matched(&said["hold"]))
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

fn matched(hold: &Value) -> String {
    let matchers = hold["matchers"].as_array().into_iter().flatten();
    let texts: Vec<&str> = matchers.filter_map(Value::as_str).collect();
    print::one_line(&texts.join(", "))
}
