//! `watchkeeper incident list|show|export|replay`: what the running server knows, as a file that
//! needs no server, and that file once more.

mod export;

use super::remote::At;
use super::{Global, Output, print};
use crate::model::ids::IncidentId;
use crate::model::incident::State;
use anyhow::Result;
use clap::{Args, Subcommand};
use print::{field, time};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// List incidents, newest first.
    List(List),
    /// Show one incident.
    Show(Show),
    /// Write one incident as a file that needs nothing else.
    Export(export::Export),
    /// Replay an exported incident offline: the same, or what differs.
    Replay(Box<super::replay::Replay>),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    at: At,
    /// Only those in this state, e.g. awaiting_approval.
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only those that were opened before this one.
    #[arg(long, value_name = "ID")]
    before: Option<IncidentId>,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    at: At,
    /// The incident's id, as `incident list` shows it.
    id: IncidentId,
    /// Print the report: Markdown, or JSON with --output json.
    #[arg(long)]
    report: bool,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::List(list) => super::block_on(list_all(global, &list)),
        Verb::Show(show) if show.report => super::block_on(report(global, &show)),
        Verb::Show(show) => super::block_on(show_one(global, &show)),
        Verb::Export(export) => super::block_on(export::run(global, &export)),
        Verb::Replay(replay) => super::replay::run(global, &replay),
    }
}

async fn list_all(global: &Global, list: &List) -> Result<ExitCode> {
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.state.map(|state| ("state", state.as_str().to_owned())));
    query.extend(list.before.map(|id| ("before", id.to_string())));
    let answer = list.at.remote(global)?.get("api/v1/incidents", &query).await?;
    print::show(global.output, &answer, |answer| {
        let none = Vec::new();
        let incidents = answer.get("incidents").and_then(Value::as_array).unwrap_or(&none);
        if incidents.is_empty() {
            return "no incidents".to_owned();
        }
        let rows: Vec<Vec<String>> = incidents.iter().map(row).collect();
        let titles = ["ID", "SEVERITY", "STATE", "OPENED", "ALERTS", "TITLE"];
        let mut text = print::columns(&titles, &rows);
        if let Some(before) = answer.get("next_before").and_then(Value::as_str) {
            text.push_str(&format!("\nthere are more: --before {before}"));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(incident: &Value) -> Vec<String> {
    vec![
        field(incident, "/id"),
        field(incident, "/severity"),
        field(incident, "/state"),
        time(incident, "/opened_at_ms"),
        field(incident, "/alerts"),
        field(incident, "/title"),
    ]
}

async fn report(global: &Global, show: &Show) -> Result<ExitCode> {
    let remote = show.at.remote(global)?;
    match global.output {
        Output::Table => {
            let markdown = remote.get_text(&format!("incidents/{}/report.md", show.id)).await?;
            print::out(&crate::web::visible(&markdown))?;
        }
        Output::Json | Output::Yaml => {
            let path = format!("api/v1/incidents/{}/report", show.id);
            let report = remote.get(&path, &[]).await?;
            print::show(global.output, &report, |_| String::new())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show_one(global: &Global, show: &Show) -> Result<ExitCode> {
    let path = format!("api/v1/incidents/{}", show.id);
    let answer = show.at.remote(global)?.get(&path, &[]).await?;
    print::show(global.output, &answer, for_people)?;
    Ok(ExitCode::SUCCESS)
}

fn for_people(answer: &Value) -> String {
    let mut lines = vec![
        vec!["incident".to_owned(), field(answer, "/incident/id")],
        vec!["title".to_owned(), field(answer, "/incident/title")],
        vec!["severity".to_owned(), field(answer, "/incident/severity")],
        vec!["state".to_owned(), field(answer, "/incident/state")],
        vec!["waits".to_owned(), place(answer)],
        vec!["opened".to_owned(), time(answer, "/incident/opened_at_ms")],
        vec!["ended".to_owned(), time(answer, "/incident/ended_at_ms")],
        vec!["mind".to_owned(), field(answer, "/mind")],
        vec!["taken by".to_owned(), field(answer, "/acknowledged/by")],
        vec!["page".to_owned(), field(answer, "/url")],
    ];
    let optional = [
        ("cause", "/conclusion/root_cause"),
        ("done", "/conclusion/done"),
        ("remaining", "/conclusion/remaining"),
        ("measured", "/measured/text"),
        ("ended because", "/end/why"),
    ];
    for (label, pointer) in optional {
        if answer.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            lines.push(vec![label.to_owned(), field(answer, pointer)]);
        }
    }
    let width = lines.iter().map(|line| line[0].chars().count()).max().unwrap_or(0);
    let lines = lines.iter().map(|line| format!("{:width$}  {}", line[0], line[1]));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push_str(&table(answer, "/alerts", &["ALERT", "FIRED", "OVER"], |alert| {
        vec![
            field(alert, "/alert/labels/alertname"),
            time(alert, "/alert/starts_at_ms"),
            time(alert, "/resolved_at_ms"),
        ]
    }));
    text.push_str(&table(answer, "/actions", &["ACTION", "STATE", "TIER", "CALL"], |action| {
        let call = format!(
            "{} {}",
            field(action, "/proposal/call/tool"),
            field(action, "/proposal/call/args")
        );
        vec![
            field(action, "/proposal/action_id"),
            field(action, "/state"),
            field(action, "/verdict/tier"),
            call,
        ]
    }));
    text
}

/// Its place among those that wait to be worked on.
fn place(answer: &Value) -> String {
    let number = |name: &str| answer.pointer(&format!("/waiting/{name}")).and_then(Value::as_i64);
    match (number("place"), number("waiting")) {
        (Some(place), Some(of)) => format!("for a free investigator, place {place} of {of}"),
        (Some(_) | None, _) => "no".to_owned(),
    }
}

/// A table of a list in the answer; nothing for an empty one.
fn table(
    answer: &Value,
    pointer: &str,
    titles: &[&str],
    row: impl Fn(&Value) -> Vec<String>,
) -> String {
    match answer.pointer(pointer).and_then(Value::as_array) {
        Some(list) if !list.is_empty() => {
            let rows: Vec<Vec<String>> = list.iter().map(row).collect();
            format!("\n\n{}", print::columns(titles, &rows))
        }
        Some(_) | None => String::new(),
    }
}

fn state(text: &str) -> Result<State, String> {
    let all: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
    State::parse(text).ok_or_else(|| format!("must be one of {}", all.join(", ")))
}
