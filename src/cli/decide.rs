//! `watchkeeper approve` and `watchkeeper reject`: answer a call that waits.
//!
//! The call is read and shown first, and its hash goes with the answer, so that the decision
//! covers what was shown and nothing else.

use super::remote::At;
use super::{Global, print};
use crate::model::action::Answer;
use crate::model::ids::ActionId;
use crate::model::verdict::Source;
use crate::web::visible;
use anyhow::Result;
use clap::Args;
use print::{field, time};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

#[derive(Args)]
pub struct Decide {
    #[command(flatten)]
    at: At,
    /// The action's id, as the notification and `incident show` give it.
    action_id: ActionId,
    /// Why, for the history.
    #[arg(long)]
    comment: Option<String>,
}

pub fn run(global: &Global, decide: &Decide, answer: Answer) -> Result<ExitCode> {
    super::block_on(send(global, decide, answer))
}

async fn send(global: &Global, decide: &Decide, answer: Answer) -> Result<ExitCode> {
    let remote = decide.at.remote(global)?;
    let path = format!("api/v1/actions/{}", decide.action_id);
    let waiting = remote.get(&path, &[]).await?;
    eprintln!("{}", visible(&described(&waiting)));
    let mut body = Map::new();
    let hash = waiting.get("call_hash").and_then(Value::as_str);
    let fields = [("call_hash", hash), ("comment", decide.comment.as_deref())];
    for (name, value) in fields {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    let verb = match answer {
        Answer::Approve => "approve",
        Answer::Reject => "reject",
    };
    let decided = remote.post(&format!("{path}/{verb}"), &Value::Object(body)).await?;
    print::show(global.output, &decided, outcome)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the action stands after the answer.
fn outcome(action: &Value) -> String {
    let mut text = format!("{} is {}", field(action, "/id"), field(action, "/state"));
    let approved = action.get("approved_by").and_then(Value::as_array).map_or(0, Vec::len);
    if action.get("state") == Some(&json!("awaiting")) {
        let needed = field(action, "/quorum");
        text.push_str(&format!(": {approved} of {needed} approvals; somebody else has to approve"));
    }
    text
}

/// An action on its lines, for whoever decides.
pub fn described(action: &Value) -> String {
    let lines = [
        ("call", format!("{} {}", field(action, "/tool"), field(action, "/args"))),
        ("risk", field(action, "/risk")),
        ("undo", field(action, "/rollback")),
        ("expires", time(action, "/expires_at_ms")),
        ("incident", field(action, "/incident_id")),
    ];
    let mut lines = lines.map(|(label, text)| format!("{label:8}  {text}")).to_vec();
    let origins = action.get("origins").and_then(Value::as_array).into_iter().flatten();
    lines.splice(1..1, origins.map(whence).chain(whys(action)));
    let (needed, may) = (action.get("quorum"), action.get("may_decide"));
    if let (Some(needed), Some(may)) = (needed.and_then(Value::as_i64), may.and_then(Value::as_i64))
        && may < needed
    {
        lines.push(format!("{:8}  {needed} have to agree, and only {may} may decide", "people"));
    }
    lines.join("\n")
}

/// What whoever proposed it says, and then each reason for which a person is asked.
fn whys(action: &Value) -> Vec<String> {
    let text = action.get("reason").and_then(Value::as_str).unwrap_or("-");
    let said = text.lines().map(print::one_line).filter(|line| !line.is_empty());
    said.map(|line| format!("{:8}  {line}", "why")).collect()
}

/// Where one argument, or one item of it, was found.
fn whence(origin: &Value) -> String {
    let source: Option<Source> =
        origin.get("source").and_then(|source| serde_json::from_value(source.clone()).ok());
    // A word of a later version is no reason to trust.
    let mark = if source.is_some_and(Source::is_trusted) { "" } else { "NOT TRUSTED: " };
    let at = |pointer| field(origin, pointer);
    format!("{:8}  {mark}{} {}: {}", "from", at("/argument"), at("/value"), at("/place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_line_of_its_own() {
        let action = json!({"reason": "it is down\n\nsecond source: nothing confirms the alert"});
        let said = described(&action);
        assert!(said.contains("\nwhy       it is down\nwhy       second source: "), "{said}");
    }

    #[test]
    fn an_approval_that_is_not_enough_says_how_many_are_missing() {
        let action = json!({"id": "a", "state": "awaiting", "quorum": 2, "approved_by": ["kim"]});
        assert_eq!(
            outcome(&action),
            "a is awaiting: 1 of 2 approvals; somebody else has to approve"
        );
        assert_eq!(outcome(&json!({"id": "a", "state": "rejected"})), "a is rejected");
    }
}
