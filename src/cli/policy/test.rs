//! `watchkeeper policy test`: whether the rules say what their author and others expect of them.
//!
//! In: the examples of the rules file, and YAML files of cases. Out: every expectation with what the
//! rules say; exit code 0 only when all hold. To add a kind of fact, add it to `Question`.

use super::super::{Global, Output, print, settings};
use super::cases::Question;
use super::judge::{Answer, Facts, Judge, decision};
use crate::app;
use crate::app::policy;
use crate::clock::Clock;
use crate::config::{Problem, Problems, Settings, yaml};
use crate::safety::rules::{Complaint, Rules, RulesFile};
use anyhow::{Result, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What a case may expect: a decision or a tier.
const EXPECTED: [&str; 6] = ["allow", "ask", "refuse", "safe", "confirm", "forbidden"];

#[derive(Args)]
pub struct Test {
    /// YAML files of cases: {tool, args} or {command}, expect, and optionally name, state, labels,
    /// trusted, firing, in a list under `cases`.
    files: Vec<PathBuf>,
    /// Test this rules file [default: the configured one].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasesFile {
    cases: Vec<Question>,
}

/// One expectation and what became of it.
#[derive(Serialize)]
struct Tested {
    /// File with line, or rule with the number of its example.
    at: String,
    name: String,
    expected: String,
    got: String,
    passed: bool,
    /// Why it is as it is, where something else was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub fn run(global: &Global, test: &Test) -> Result<ExitCode> {
    let settings = settings(global)?;
    let (judge, mut tested) = under_test(&settings, test.rules.as_deref())?;
    let mut problems = Vec::new();
    for file in &test.files {
        tested.extend(cases(&judge, file, &mut problems));
    }
    if !problems.is_empty() {
        return Err(anyhow!("{}", Problems(problems)));
    }
    let failed = tested.iter().filter(|one| !one.passed).count();
    let value = serde_json::json!({
        "passed": tested.len() - failed, "failed": failed, "tests": tested,
        "rules_version": judge.rules_version(),
    });
    print::show(global.output, &value, |_| for_people(&tested, failed))?;
    if failed > 0 && global.output == Output::Table {
        eprintln!("`watchkeeper policy explain` shows every reason for a verdict");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rules with the examples that they carry, those that fail included.
fn under_test(settings: &Settings, rules: Option<&Path>) -> Result<(Judge, Vec<Tested>)> {
    let specs = app::specs(&Clock::system());
    let path = rules.unwrap_or(&settings.safety_rules_file);
    let mut problems = Vec::new();
    let inventory = policy::inventory(&settings.inventory_file, &specs, &mut problems);
    let file = policy::rules_file(path, &mut problems);
    let (Some(inventory), Some((file, positions)), true) = (inventory, file, problems.is_empty())
    else {
        return Err(anyhow!("{}", Problems(problems)));
    };
    let placed = |complaints: Vec<Complaint>| {
        let placed = complaints.into_iter().map(|c| positions.problem(&c.path, c.message));
        anyhow!("{}", Problems(placed.collect()))
    };
    // Whatever is wrong beside the examples keeps the rules from meaning anything.
    let bare = Rules::compile(&without_examples(&file), &specs).map_err(placed)?;
    let (rules, complaints) = match Rules::compile(&file, &specs) {
        Ok(rules) => (rules, Vec::new()),
        Err(complaints) => (bare, complaints),
    };
    let mut tested = Vec::new();
    for (at, rule) in file.rules.iter().enumerate() {
        for (nth, example) in rule.examples.iter().enumerate() {
            let path = format!("rules.{at}.examples.{nth}");
            let of_this = |c: &&Complaint| {
                c.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'))
            };
            let complaint = complaints.iter().find(of_this);
            let expected = example.expect.as_str().to_owned();
            let problem = positions.problem(&path, "");
            tested.push(Tested {
                at: place(&problem),
                name: format!("rule {:?}, example {}", rule.name, nth + 1),
                got: if complaint.is_none() { expected.clone() } else { "other".to_owned() },
                expected,
                passed: complaint.is_none(),
                reason: complaint.map(|complaint| complaint.message.clone()),
            });
        }
    }
    let of_examples = |c: &Complaint| c.path.starts_with("rules.") && c.path.contains(".examples.");
    let others: Vec<Complaint> = complaints.into_iter().filter(|c| !of_examples(c)).collect();
    if !others.is_empty() {
        return Err(placed(others));
    }
    let judge = Judge::of(settings, Arc::new(inventory), &file, rules, None, &specs)?;
    Ok((judge, tested))
}

fn without_examples(file: &RulesFile) -> RulesFile {
    let mut file = file.clone();
    file.rules.iter_mut().for_each(|rule| rule.examples.clear());
    file
}

fn cases(judge: &Judge, path: &Path, problems: &mut Vec<Problem>) -> Vec<Tested> {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::about(&name, format!("cannot be read: {error}")));
            return Vec::new();
        }
    };
    let (file, positions) = match yaml::load::<CasesFile>(&name, &text) {
        Ok(loaded) => (loaded.value, loaded.positions),
        Err(found) => {
            problems.extend(found);
            return Vec::new();
        }
    };
    let mut tested = Vec::new();
    for (nth, case) in file.cases.iter().enumerate() {
        let at = format!("cases.{nth}");
        match &case.expect {
            Some(expected) if EXPECTED.contains(&expected.as_str()) => {
                let usual = Facts { at_ms: judge.quiet_ms(), ..Facts::default() };
                let answer = case.ask(judge, &usual).answer;
                let problem = positions.problem(&at, "");
                tested.push(compared(place(&problem), case, expected, &answer));
            }
            Some(_) => {
                let message = format!("must be one of {}", EXPECTED.join(", "));
                problems.push(positions.problem(&format!("{at}.expect"), message));
            }
            None => problems.push(positions.problem(&at, "has no 'expect'")),
        }
    }
    tested
}

fn compared(at: String, case: &Question, expected: &str, answer: &Answer) -> Tested {
    let tiers = EXPECTED[3..].contains(&expected);
    let got = if tiers { answer.tier.as_str() } else { decision(answer.decision) };
    let passed = got == expected;
    let called = case.name.as_ref().or(case.command.as_ref()).or(case.tool.as_ref());
    Tested {
        at,
        name: called.cloned().unwrap_or_default(),
        expected: expected.to_owned(),
        got: got.to_owned(),
        passed,
        reason: (!passed).then(|| answer.reason.clone()),
    }
}

fn place(problem: &Problem) -> String {
    match problem.line {
        Some(line) => format!("{}:{line}", problem.file),
        None => problem.file.clone(),
    }
}

fn for_people(tested: &[Tested], failed: usize) -> String {
    let mut lines = Vec::new();
    for one in tested.iter().filter(|one| !one.passed) {
        let reason = one.reason.as_deref().unwrap_or_default();
        lines.push(format!(
            "FAILED  {}  {}: expected {}, got {}: {}",
            one.at,
            print::one_line(&one.name),
            one.expected,
            one.got,
            print::one_line(reason)
        ));
    }
    lines.push(format!("{} passed, {failed} failed", tested.len() - failed));
    lines.join("\n")
}
