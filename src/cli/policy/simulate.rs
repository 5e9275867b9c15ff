//! `watchkeeper policy simulate`: what another rules file would have decided.
//!
//! In: the recorded timelines, read only, also beside a running server; a rules file. Out: every
//! recorded decision that would have been another one. What a verdict depended on is taken from its
//! record: labels, untraced arguments, the second source, a halt; how often a limit was used up is
//! counted again over the recorded intents. Never: a write.

use super::super::{Global, block_on, print, settings};
use super::judge::{Facts, Judge, Origin, decision};
use super::past::{Event, Past, Recorded};
use crate::clock::Clock;
use crate::model::ids::ActionId;
use crate::model::time::parse_duration_ms;
use crate::model::verdict::{Decision, Limit, Tier};
use crate::safety::checker::Firing;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reasons that are found again from the file and the facts; others, such as a halt, stay.
const FOUND_AGAIN: [&str; 16] = [
    "rule: ",
    "default: ",
    "floor: ",
    "call",
    "target",
    "grant",
    "provenance: ",
    "second source",
    "evidence: ",
    "limit: ",
    "autonomy",
    "level: ",
    "person",
    "freeze: ",
    "blast radius: ",
    "recurrence: ",
];

#[derive(Args)]
pub struct Simulate {
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration_ms)]
    since: i64,
    /// The changed rules file [default: the configured one, as it is written].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

pub fn run(global: &Global, simulate: &Simulate) -> Result<ExitCode> {
    let settings = settings(global)?;
    let judge = Judge::new(&settings, simulate.rules.as_deref(), None)?;
    let past = block_on(Past::read(&settings, &judge.register))?;
    let from_ms = Clock::system().now_ms().saturating_sub(simulate.since);
    let replayed = replay(&judge, &past, from_ms);
    let judged = replayed.len();
    let differ: Vec<Value> = replayed.iter().filter(|again| again.differs()).map(told).collect();
    let value = json!({
        "judged": judged, "differ": differ.len(), "rules_version": judge.rules_version(),
        "decisions": differ,
    });
    print::show(global.output, &value, |_| for_people(judged, &differ))?;
    Ok(ExitCode::SUCCESS)
}

/// A recorded verdict that was judged again.
pub struct Again<'p> {
    pub at_ms: i64,
    pub recorded: &'p Recorded,
    pub decision: Decision,
    pub reason: String,
}

impl Again<'_> {
    /// Whether another decision comes of it.
    pub fn differs(&self) -> bool {
        self.decision != self.recorded.verdict.decision
    }
}

/// Judges everything since `from_ms` again, in the order in which it happened.
pub fn replay<'p>(judge: &Judge, past: &'p Past, from_ms: i64) -> Vec<Again<'p>> {
    let mut started: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut limits: BTreeMap<ActionId, BTreeSet<String>> = BTreeMap::new();
    let mut judged = Vec::new();
    for (at_ms, event) in &past.events {
        let at_ms = *at_ms;
        let recorded = match event {
            Event::Started(action) => {
                for key in limits.get(action).into_iter().flatten() {
                    started.entry(key.clone()).or_default().push(at_ms);
                }
                continue;
            }
            Event::Judged(recorded) => recorded,
        };
        let count = |limit: &Limit| {
            let times = started.get(&limit.key).into_iter().flatten();
            let within = times.filter(|time| **time > at_ms.saturating_sub(limit.within_ms));
            i64::try_from(within.count()).unwrap_or(i64::MAX)
        };
        let (decision, reason, found) = again(judge, recorded, at_ms, &count);
        if let Some(action) = recorded.action {
            limits.insert(action, found.into_iter().map(|limit| limit.key).collect());
        }
        if at_ms >= from_ms {
            judged.push(Again { at_ms, recorded, decision, reason });
        }
    }
    judged
}

/// A verdict then and again, for programs.
pub fn told(again: &Again<'_>) -> Value {
    let recorded = again.recorded;
    json!({
        "at_ms": again.at_ms, "incident": recorded.incident, "action": recorded.action,
        "call": recorded.call, "recorded": decision(recorded.verdict.decision),
        "recorded_reason": recorded.verdict.reason(), "decision": decision(again.decision),
        "reason": again.reason,
    })
}

/// The decision, the reason for it and the limits of a recorded call under the other rules.
fn again(
    judge: &Judge,
    recorded: &Recorded,
    at_ms: i64,
    count: &dyn Fn(&Limit) -> i64,
) -> (Decision, String, Vec<Limit>) {
    let call = match judge.register.complete(&recorded.call) {
        Ok(call) => call,
        Err(complaint) => return (Decision::Refuse, complaint, Vec::new()),
    };
    let mut record = match judge.record(&call, &facts(recorded, at_ms), count) {
        Ok(record) => record,
        Err(complaint) => return (Decision::Refuse, complaint, Vec::new()),
    };
    let stays = recorded
        .verdict
        .matched
        .iter()
        .filter(|reason| !FOUND_AGAIN.iter().any(|source| reason.source.starts_with(source)));
    record.matched.extend(stays.cloned());
    record.tier = record.matched.iter().map(|reason| reason.tier).max().unwrap_or(record.tier);
    (Decision::from(record.tier), record.reason(), record.limits)
}

/// What the record tells of the facts at that time. The state of a target is not recorded.
fn facts(recorded: &Recorded, at_ms: i64) -> Facts {
    let matched = &recorded.verdict.matched;
    let untraced = matched.iter().filter_map(|m| m.source.strip_prefix("provenance: "));
    let second = matched.iter().find(|m| m.source == "second source").map(|m| m.tier);
    Facts {
        labels: Some(recorded.labels.clone()),
        origin: Origin::AllBut(untraced.map(str::to_owned).collect()),
        firing: match second {
            Some(Tier::Safe) | None => Firing::Confirmed,
            Some(Tier::Confirm | Tier::Forbidden) => Firing::NotFiring,
        },
        wanted: recorded.wanted,
        seen: Some(recorded.seen.clone()),
        at_ms,
        ..Facts::default()
    }
}

fn for_people(judged: usize, differ: &[Value]) -> String {
    let mut text = format!("{judged} recorded verdicts, {} differ", differ.len());
    if !differ.is_empty() {
        let rows: Vec<Vec<String>> = differ
            .iter()
            .map(|one| {
                let at = |pointer| print::field(one, pointer);
                let call = format!("{} {}", at("/call/tool"), at("/call/args"));
                let was = at("/recorded");
                vec![
                    print::time(one, "/at_ms"),
                    at("/incident"),
                    was,
                    at("/decision"),
                    call,
                    at("/reason"),
                ]
            })
            .collect();
        let titles = ["AT", "INCIDENT", "WAS", "WOULD BE", "CALL", "BECAUSE"];
        text.push_str(&format!("\n\n{}", print::columns(&titles, &rows)));
    }
    text
}
