//! `watchkeeper policy explain`: what would become of a call, and why.
//!
//! In: a tool with arguments, a command line, or questions on standard input. Out: decision, tier,
//! every rule that matched. Exit code 0 whatever the decision is: the question was answered.

use super::super::{Global, pair, print, settings};
use super::cases::{Answered, Question};
use super::judge::{Facts, Judge, Origin, decision};
use super::lines;
use crate::clock::Clock;
use crate::model::action::Wanted;
use crate::model::alert::Labels;
use crate::model::verdict::{Autonomy, Decision};
use crate::safety::checker::Firing;
use crate::safety::command::quote;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::ExitCode;

/// What is shown of each word of a command line.
const COLUMNS: [&str; 5] = ["/column", "/word", "/as", "/verdict", "/note"];

#[derive(Args)]
pub struct Explain {
    /// A tool, e.g. restart_service, with --args; or a command line, judged word by word, e.g.
    /// 'ss -tan'.
    #[arg(required_unless_present = "stdin", value_name = "TOOL | COMMAND")]
    what: Vec<String>,
    /// The tool's arguments, a JSON object.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Read questions from standard input, one JSON object a line: {"tool": …, "args": …} or
    /// {"command": …}, optionally with state, labels, trusted, firing, looked, at, id; answer each
    /// with a line.
    #[arg(long, conflicts_with_all = ["what", "args", "host"])]
    stdin: bool,
    /// Where a command line would run [default: the first local host of the inventory].
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    suppose: Suppose,
}

/// What stands in for the facts of an incident.
#[derive(Args)]
pub struct Suppose {
    /// A label of the alert, e.g. alertname=DiskSpaceLow; may be repeated. The labels choose the
    /// level. Without any, the alert is supposed to be of level `act`.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Suppose this autonomy in place of the file's cap and levels.
    #[arg(long, value_enum)]
    autonomy: Option<Level>,
    /// Suppose that nothing vouches for the arguments but the labels [default: all are trusted].
    #[arg(long)]
    untrusted: bool,
    /// Suppose that Prometheus does not have the alert firing [default: it has].
    #[arg(long)]
    not_firing: bool,
    /// Suppose that the mind has not looked at the target [default: through every source].
    #[arg(long)]
    not_looked: bool,
    /// Suppose that the mind asks for a person.
    #[arg(long)]
    person: bool,
    /// What the target looks like, a JSON object [default: unknown].
    #[arg(long, value_name = "JSON")]
    state: Option<String>,
    /// Facts of the host in place of the inventory's, e.g. '{"class":"database"}'.
    #[arg(long, value_name = "JSON")]
    host_facts: Option<String>,
    /// Facts of the service in place of the inventory's, e.g. '{"protected":true}'.
    #[arg(long, value_name = "JSON")]
    service_facts: Option<String>,
    /// Suppose this time, e.g. 2026-12-24T18:00:00+01:00; freezes depend on it [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<i64>,
    /// Judge under this rules file [default: the configured one].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// The words of the rules file.
#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Observe,
    Page,
    Advise,
    Act,
}

pub fn run(global: &Global, explain: &Explain) -> Result<ExitCode> {
    let settings = settings(global)?;
    let judge =
        Judge::new(&settings, explain.suppose.rules.as_deref(), explain.suppose.autonomy())?;
    let usual = explain.suppose.facts()?;
    if explain.stdin {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        lines::answer_all(&judge, &usual, input.lock(), output.lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let question = explain.question(&judge)?;
    let answered = question.ask(&judge, &usual);
    let value = serde_json::to_value(&answered)?;
    print::show(global.output, &value, |_| for_people(&question, &answered))?;
    Ok(ExitCode::SUCCESS)
}

impl Explain {
    /// A name of a tool, or anything with arguments, is a tool; all else is a command line.
    fn question(&self, judge: &Judge) -> Result<Question> {
        let args = self.args.as_deref().map(|text| object(text, "--args")).transpose()?;
        match (self.what.as_slice(), args) {
            ([tool], args) if args.is_some() || judge.register.get(tool).is_some() => {
                if self.host.is_some() {
                    bail!("--host goes with a command line; {tool} takes its host in --args");
                }
                Ok(Question { tool: Some(tool.clone()), args, ..Question::default() })
            }
            ([_, _, ..], Some(_)) => bail!("--args goes with one tool"),
            (words, _) => {
                let line = match words {
                    [line] => line.clone(),
                    words => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
                };
                let host = self.host.clone();
                Ok(Question { command: Some(line), host, ..Question::default() })
            }
        }
    }
}

impl Suppose {
    fn autonomy(&self) -> Option<Autonomy> {
        self.autonomy.map(|level| match level {
            Level::Observe => Autonomy::Observe,
            Level::Page => Autonomy::Page,
            Level::Advise => Autonomy::Advise,
            Level::Act => Autonomy::Act,
        })
    }

    fn facts(&self) -> Result<Facts> {
        let labels: Labels = self.labels.iter().cloned().collect();
        let facts = |text: &Option<String>, flag| match text {
            Some(text) => object(text, flag),
            None => Ok(Map::new()),
        };
        Ok(Facts {
            labels: (!labels.is_empty()).then(|| vec![labels]),
            state: match &self.state {
                Some(text) => Value::Object(object(text, "--state")?),
                None => Value::Null,
            },
            origin: if self.untrusted { Origin::LabelsOnly } else { Origin::Trusted },
            firing: if self.not_firing { Firing::NotFiring } else { Firing::Confirmed },
            wanted: if self.person { Wanted::Person } else { Wanted::Rules },
            seen: self.not_looked.then(Vec::new),
            at_ms: self.at.unwrap_or_else(|| Clock::system().now_ms()),
            host: facts(&self.host_facts, "--host-facts")?,
            service: facts(&self.service_facts, "--service-facts")?,
        })
    }
}

/// A time as RFC 3339 writes it, in milliseconds.
fn moment(text: &str) -> Result<i64, String> {
    let at = chrono::DateTime::parse_from_rfc3339(text);
    at.map(|at| at.timestamp_millis())
        .map_err(|_| format!("'{text}' is not a time; write e.g. 2026-12-24T18:00:00+01:00"))
}

fn object(text: &str, flag: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).with_context(|| format!("{flag} must be a JSON object, got {text}"))
}

fn for_people(question: &Question, answered: &Answered) -> String {
    let answer = &answered.answer;
    let what = match (&question.command, &answer.call, &question.tool) {
        (Some(line), _, _) => line.clone(),
        (None, Some(call), _) => call.to_string(),
        (None, None, Some(tool)) => tool.clone(),
        (None, None, None) => String::new(),
    };
    let decision = decision(answer.decision);
    let mut text = format!("{decision} ({})  {}", answer.tier.as_str(), print::one_line(&what));
    if answer.decision != Decision::Allow {
        text.push_str(&format!("\nbecause  {}", print::one_line(&answer.reason)));
    }
    if let Some(approvals) = &answer.approvals {
        let whom = match approvals.roles.as_slice() {
            [] => "any approver".to_owned(),
            roles => roles.join(" or "),
        };
        text.push_str(&format!("\nasked    {} of {whom}", approvals.quorum));
    }
    if !answered.words.is_empty() {
        let rows: Vec<Vec<String>> = answered
            .words
            .iter()
            .map(|word| COLUMNS.map(|at| print::field(word, at)).into())
            .collect();
        text.push_str("\n\n");
        text.push_str(&print::columns(&["COLUMN", "WORD", "AS", "JUDGED", "WHY"], &rows));
    }
    let rows: Vec<Vec<String>> = answer
        .matched
        .iter()
        .map(|m| vec![m.tier.as_str().to_owned(), m.source.clone(), m.note.clone()])
        .collect();
    text.push_str("\n\n");
    text.push_str(&print::columns(&["TIER", "FROM", "WHY"], &rows));
    text
}
