//! `watchkeeper action`: proposed changes of the running server, with where their arguments come
//! from.

use super::decide::described;
use super::remote::At;
use super::{Global, print};
use crate::model::action::ActionState;
use crate::model::ids::ActionId;
use anyhow::Result;
use clap::{Args, Subcommand};
use print::{field, time};
use serde_json::Value;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// List actions, newest first.
    List(List),
    /// Show one exact call, where its arguments come from, and what became of it.
    Show(Show),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    at: At,
    /// Only those in this state, e.g. awaiting.
    #[arg(long, value_parser = state)]
    state: Option<ActionState>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    at: At,
    /// The action's id, as `action list` gives it.
    action_id: ActionId,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    super::block_on(async {
        match verb {
            Verb::List(list) => list_actions(global, &list).await,
            Verb::Show(show) => show_action(global, &show).await,
        }
    })
}

async fn list_actions(global: &Global, list: &List) -> Result<ExitCode> {
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.state.map(|state| ("state", state.as_str().to_owned())));
    let found = list.at.remote(global)?.get("api/v1/actions", &query).await?;
    print::show(global.output, &found, |found| {
        let rows: Vec<Vec<String>> = found
            .get("actions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|action| {
                let at = |pointer| field(action, pointer);
                let call = format!("{} {}", at("/tool"), at("/args"));
                vec![at("/id"), at("/state"), at("/risk"), time(action, "/proposed_at_ms"), call]
            })
            .collect();
        if rows.is_empty() {
            return "no actions".to_owned();
        }
        print::columns(&["ID", "STATE", "RISK", "PROPOSED", "CALL"], &rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn show_action(global: &Global, show: &Show) -> Result<ExitCode> {
    let path = format!("api/v1/actions/{}", show.action_id);
    let action = show.at.remote(global)?.get(&path, &[]).await?;
    print::show(global.output, &action, |action| {
        let mut text = format!("{}\nstate     {}", described(action), field(action, "/state"));
        for (label, pointer) in [("decided", "/decided_by"), ("comment", "/comment")] {
            if action.pointer(pointer).is_some_and(|value| !value.is_null()) {
                text.push_str(&format!("\n{label:8}  {}", field(action, pointer)));
            }
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn state(word: &str) -> Result<ActionState, String> {
    ActionState::parse(word).ok_or_else(|| {
        let all: Vec<&str> = ActionState::ALL.iter().map(|state| state.as_str()).collect();
        format!("must be one of {}", all.join(", "))
    })
}
