//! A script as a file: the turns of a mind, one after the other.

use crate::agent::scripted::Scripted;
use crate::agent::{Asked, Thought};
use crate::config::yaml;
use crate::model::conclusion::{Conclusion, Confidence};
use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(default)]
    said: String,
    #[serde(default)]
    calls: Vec<CallFile>,
    #[serde(default)]
    conclude: Option<Conclude>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallFile {
    tool: String,
    #[serde(default)]
    args: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conclude {
    root_cause: String,
    confidence: Confidence,
}

/// Reads a script.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path) -> Result<Scripted> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let script = yaml::load::<Script>(&name, &text)
        .map_err(|problems| anyhow!("{}", crate::config::Problems(problems)))?
        .value;
    let thoughts = script.turns.into_iter().enumerate().map(|(turn, file)| thought(turn, file));
    Ok(Scripted::list(thoughts.collect()))
}

fn thought(turn: usize, file: Turn) -> Thought {
    let calls = file.calls.into_iter().enumerate().map(|(position, call)| Asked {
        id: format!("s{turn}_{position}"),
        tool: call.tool,
        args: Ok(call.args),
    });
    Thought {
        said: file.said,
        calls: calls.collect(),
        conclusion: file.conclude.map(|conclude| Conclusion {
            root_cause: conclude.root_cause,
            confidence: conclude.confidence,
            evidence: Vec::new(),
            done: String::new(),
            remaining: String::new(),
        }),
        ..Thought::default()
    }
}
