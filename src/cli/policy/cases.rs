//! A question as people and programs write it, one JSON object or one item of a YAML list.
//!
//! In: an object. Out: the call and the facts it supposes. Never: a key that is passed over, since a
//! misspelt fact would be answered as if it had not been there.

use super::judge::{Answer, Facts, Judge, Origin};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::safety::checker::Firing;
use crate::safety::command::{self, Role, WordVerdict};
use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One question. Either `tool` with `args`, or `command`, optionally with `host`.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// Given back with the answer.
    pub id: Option<Value>,
    /// For people; no part of the question.
    pub name: Option<String>,
    pub tool: Option<String>,
    pub args: Option<Map<String, Value>>,
    pub command: Option<String>,
    pub host: Option<String>,
    pub state: Option<Value>,
    /// Of the one alert.
    pub labels: Option<Labels>,
    /// Whether a trusted place vouches for the arguments.
    pub trusted: Option<bool>,
    /// Whether Prometheus has the alert firing, too.
    pub firing: Option<bool>,
    /// Whether the mind has looked at the target, through every source.
    pub looked: Option<bool>,
    /// The time that is supposed; freezes depend on it.
    pub at: Option<DateTime<FixedOffset>>,
    /// What `policy test` compares with; no part of the question.
    pub expect: Option<String>,
}

/// An answer with what the question brought along.
#[derive(Serialize, Debug)]
pub struct Answered {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    #[serde(flatten)]
    pub answer: Answer,
    /// A command line word by word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Value>,
}

impl Question {
    /// Judges it; `usual` are the facts that it does not bring itself.
    pub fn ask(&self, judge: &Judge, usual: &Facts) -> Answered {
        let facts = self.facts(usual);
        let words = self.command.as_deref().map(words).unwrap_or_default();
        let answer = match self.call(judge) {
            Ok(call) => judge.ask(&call, &facts),
            Err(why) => judge.refused("call", why),
        };
        Answered { id: self.id.clone(), answer, words }
    }

    fn call(&self, judge: &Judge) -> Result<Call, String> {
        match (&self.tool, &self.command) {
            (Some(tool), None) if self.host.is_some() => {
                Err(format!("'host' goes with 'command'; {tool} takes its host in 'args'"))
            }
            (Some(tool), None) => {
                Ok(Call { tool: tool.clone(), args: self.args.clone().unwrap_or_default() })
            }
            (None, Some(_)) if self.args.is_some() => {
                Err("'args' goes with 'tool'; a command line holds its own".to_owned())
            }
            (None, Some(line)) => judge.command(line, self.host.as_deref()),
            (Some(_), Some(_)) => Err("write either 'tool' or 'command'".to_owned()),
            (None, None) => Err("write 'tool' with 'args', or 'command'".to_owned()),
        }
    }

    fn facts(&self, usual: &Facts) -> Facts {
        Facts {
            labels: self.labels.clone().map(|one| vec![one]).or_else(|| usual.labels.clone()),
            state: self.state.clone().unwrap_or_else(|| usual.state.clone()),
            origin: match self.trusted {
                None => usual.origin.clone(),
                Some(true) => Origin::Trusted,
                Some(false) => Origin::LabelsOnly,
            },
            firing: match self.firing {
                None => usual.firing,
                Some(true) => Firing::Confirmed,
                Some(false) => Firing::NotFiring,
            },
            seen: match self.looked {
                None => usual.seen.clone(),
                Some(true) => None,
                Some(false) => Some(Vec::new()),
            },
            at_ms: self.at.map_or(usual.at_ms, |at| at.timestamp_millis()),
            ..usual.clone()
        }
    }
}

/// Each word of a command line, what it was taken for, and what was found.
fn words(line: &str) -> Vec<Value> {
    let judged = command::judge(line).words;
    judged
        .into_iter()
        .map(|word| {
            let (verdict, note) = match word.verdict {
                WordVerdict::Allowed(what) => ("allowed", what),
                WordVerdict::Refused(why) => ("refused", why),
                WordVerdict::NotReached => ("not reached", String::new()),
            };
            let role = match word.role {
                Role::Program => "program",
                Role::Subcommand => "subcommand",
                Role::Flag => "flag",
                Role::Value => "value",
                Role::Positional => "positional",
                Role::EndOfFlags => "end of flags",
                Role::Unknown => "word",
            };
            json!({
                "column": word.column, "word": word.word, "as": role, "verdict": verdict,
                "note": note,
            })
        })
        .collect()
}
