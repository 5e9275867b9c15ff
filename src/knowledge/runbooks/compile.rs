//! Turns the file into runbooks and finds every mistake on the way.

use super::fill::{self, CLEAN_ROOTS, ends_quoted};
use super::{
    Complaint, ConcludeFile, ROOTS, Runbook, RunbookFile, RunbooksFile, Step, StepFile, Verify,
    VerifyFile,
};
use crate::model::expr::Expr;
use crate::model::matcher::Matcher;
use crate::model::time::parse_duration_ms;
use crate::model::tool::{ArgKind, ToolSpec};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a condition may read of an earlier step.
const OF_A_STEP: [&str; 3] = ["ok", "outcome", "data"];
/// Shorter than any scrape interval, so that nothing could change meanwhile.
const WITHIN_MS_MIN: i64 = 1_000;

pub(super) fn compile(
    file: RunbooksFile,
    tools: &[ToolSpec],
) -> Result<Vec<Runbook>, Vec<Complaint>> {
    let mut compiler = Compiler { complaints: Vec::new(), tools };
    match file.version {
        1 => {}
        0 => compiler.say("version", "write `version: 1` at the top"),
        other => compiler.say("version", format!("expected 1, got {other}")),
    }
    let mut names = BTreeSet::new();
    let mut runbooks = Vec::with_capacity(file.runbooks.len());
    for (position, runbook) in file.runbooks.into_iter().enumerate() {
        let path = format!("runbooks.{position}");
        if runbook.name.trim().is_empty() {
            compiler.say(format!("{path}.name"), "a runbook needs a name, since reports quote it");
        } else if !names.insert(runbook.name.clone()) {
            let message = format!("there are two runbooks named '{}'", runbook.name);
            compiler.say(format!("{path}.name"), message);
        }
        runbooks.push(compiler.runbook(&path, runbook));
    }
    if compiler.complaints.is_empty() { Ok(runbooks) } else { Err(compiler.complaints) }
}

struct Compiler<'a> {
    complaints: Vec<Complaint>,
    tools: &'a [ToolSpec],
}

impl Compiler<'_> {
    fn say(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.complaints.push(Complaint { path: path.into(), message: message.into() });
    }

    fn runbook(&mut self, path: &str, file: RunbookFile) -> Runbook {
        if file.matchers.is_empty() {
            self.say(format!("{path}.match"), "a runbook without a matcher would match everything");
        }
        if file.steps.is_empty() {
            self.say(format!("{path}.steps"), "a runbook needs at least one step");
        }
        let mut matchers = Vec::new();
        for (position, text) in file.matchers.iter().enumerate() {
            match Matcher::parse(text) {
                Ok(matcher) => matchers.push(matcher),
                Err(message) => self.say(format!("{path}.match.{position}"), in_short(&message)),
            }
        }
        let mut ids = BTreeSet::new();
        let mut steps = Vec::new();
        for (position, step) in file.steps.into_iter().enumerate() {
            steps.push(self.step(&format!("{path}.steps.{position}"), step, &mut ids));
        }
        let verify = file.verify.and_then(|verify| self.verify(&format!("{path}.verify"), verify));
        self.conclude(&format!("{path}.conclude"), &file.conclude);
        Runbook { name: file.name, matchers, steps, verify, conclude: file.conclude }
    }

    fn step(&mut self, path: &str, file: StepFile, ids: &mut BTreeSet<String>) -> Step {
        let StepFile { id, tool, args, when, on_failure } = file;
        let plain = !id.is_empty()
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !id.starts_with(|c: char| c.is_ascii_digit());
        if !plain {
            self.say(format!("{path}.id"), "use letters, digits and _, since conditions name it");
        }
        let when = when.and_then(|source| self.when(&format!("{path}.when"), &source, ids));
        self.call(&format!("{path}.tool"), &format!("{path}.args"), &tool, &args);
        for (name, value) in &args {
            self.placeholders(&format!("{path}.args.{name}"), value);
        }
        if !ids.insert(id.clone()) {
            self.say(format!("{path}.id"), format!("there are two steps '{id}'"));
        }
        Step { id, tool, args, when, on_failure }
    }

    fn when(&mut self, path: &str, source: &str, earlier: &BTreeSet<String>) -> Option<Expr> {
        let expr = match Expr::compile(source, &ROOTS) {
            Ok(expr) => expr,
            Err(message) => {
                self.say(path, in_short(&message));
                return None;
            }
        };
        for read in expr.paths().iter().filter_map(|path| path.strip_prefix("steps.")) {
            let mut parts = read.split('.');
            let id = parts.next().unwrap_or(read);
            if !earlier.contains(id) {
                self.say(path, format!("'{id}' is no earlier step of this runbook"));
            }
            if let Some(what) = parts.next().filter(|what| !OF_A_STEP.contains(what)) {
                self.say(path, format!("a step has no '{what}'; it has {OF_A_STEP:?}"));
            }
        }
        Some(expr)
    }

    /// Checks a call against the tool it names, and the call that it asks a person about, too.
    fn call(&mut self, at_tool: &str, at_args: &str, tool: &str, args: &Map<String, Value>) {
        if self.tools.is_empty() {
            return;
        }
        let Some(spec) = self.tools.iter().find(|spec| spec.name == tool) else {
            let known: Vec<&str> = self.tools.iter().map(|spec| spec.name.as_str()).collect();
            self.say(at_tool, format!("there is no tool '{tool}'; the tools are {known:?}"));
            return;
        };
        let complaints = spec.complete(&likely(spec, args)).err().unwrap_or_default();
        for message in complaints {
            // A complaint names its argument first, in single quotes.
            let named = message.split('\'').nth(1).filter(|name| args.contains_key(*name));
            let path = named.map_or(at_args.to_owned(), |name| format!("{at_args}.{name}"));
            self.say(path, message);
        }
        let named = args.get("tool").and_then(Value::as_str);
        if let (Some(tool), Some(Value::Object(inner))) = (named, args.get("args")) {
            self.call(&format!("{at_args}.tool"), &format!("{at_args}.args"), tool, inner);
        }
    }

    fn verify(&mut self, path: &str, file: VerifyFile) -> Option<Verify> {
        let at_query = format!("{path}.query");
        if file.query.trim().is_empty() {
            self.say(&at_query, "is empty");
        }
        self.placeholders(&at_query, &Value::String(file.query.clone()));
        for (at, _) in file.query.match_indices("${") {
            if !ends_quoted(&file.query[..at]) {
                let advice = r#"put it between double quotes, as in instance="${labels.instance}""#;
                self.say(&at_query, format!("a value is filled in outside of quotes; {advice}"));
            }
        }
        let within_ms = match file.within.as_deref().map(parse_duration_ms) {
            None => None,
            Some(Ok(ms)) if ms >= WITHIN_MS_MIN => Some(ms),
            Some(Ok(_)) => {
                self.say(format!("{path}.within"), "must be 1s or longer");
                None
            }
            Some(Err(message)) => {
                self.say(format!("{path}.within"), message);
                None
            }
        };
        match Expr::compile(&file.expect, &["value"]) {
            Ok(expect) if expect.reads("value") => {
                Some(Verify { query: file.query, expect, within_ms })
            }
            Ok(_) => {
                self.say(format!("{path}.expect"), "never reads `value`, e.g. value > 0.1");
                None
            }
            Err(message) => {
                self.say(format!("{path}.expect"), in_short(&message));
                None
            }
        }
    }

    fn conclude(&mut self, path: &str, conclude: &ConcludeFile) {
        for (key, text) in
            [("root_cause", &conclude.root_cause), ("remaining", &conclude.remaining)]
        {
            self.placeholders(&format!("{path}.{key}"), &Value::String(text.clone()));
        }
    }

    /// Every `${name}` must be one that can be filled in.
    fn placeholders(&mut self, path: &str, value: &Value) {
        match value {
            Value::String(text) => self.names(path, text),
            Value::Array(items) => {
                for (position, item) in items.iter().enumerate() {
                    if item.as_str() != Some(CLEAN_ROOTS) {
                        self.placeholders(&format!("{path}.{position}"), item);
                    }
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.placeholders(&format!("{path}.{key}"), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn names(&mut self, path: &str, text: &str) {
        let names = fill::names(text);
        if names.len() != text.matches("${").count() {
            self.say(path, "the } of a ${ is missing");
        }
        for name in names {
            let message = match name {
                "host" | "service" | "severity" => continue,
                "clean_roots" => {
                    "'${clean_roots}' is a list; write it as an item of its own: ['${clean_roots}']"
                        .to_owned()
                }
                other if is_label(other) => continue,
                other => format!(
                    "'${{{other}}}' cannot be filled in; use ${{host}}, ${{service}}, \
                     ${{severity}} or ${{labels.NAME}}"
                ),
            };
            self.say(path, message);
        }
    }
}

/// The parsers of conditions and patterns draw the place of a mistake over several lines; the words
/// for it stand in the first (conditions) or the last (patterns).
fn in_short(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    if let Some(syntax) = first.strip_prefix("ERROR: <input>:") {
        return format!("is no condition, see {syntax}");
    }
    match lines.next_back() {
        Some(last) => format!("{first} {}", last.trim()),
        None => first.to_owned(),
    }
}

fn is_label(name: &str) -> bool {
    name.strip_prefix("labels.").is_some_and(|label| !label.is_empty())
}

/// The arguments with something fitting in place of those that only an incident fills in.
fn likely(spec: &ToolSpec, args: &Map<String, Value>) -> Map<String, Value> {
    let mut likely = args.clone();
    for arg in &spec.args {
        let Some(value) = likely.get_mut(&arg.name).filter(|value| is_open(value)) else {
            continue;
        };
        match &arg.kind {
            ArgKind::Choice { of } => *value = json!(of.first()),
            ArgKind::Choices { of } => *value = json!([of.first()]),
            ArgKind::Paths { .. } if value.is_array() => *value = json!(["/"]),
            ArgKind::Paths { .. }
            | ArgKind::Host
            | ArgKind::Service
            | ArgKind::Prose { .. }
            | ArgKind::Text { .. }
            | ArgKind::Integer { .. }
            | ArgKind::Object => {}
        }
    }
    likely
}

fn is_open(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(is_open),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
