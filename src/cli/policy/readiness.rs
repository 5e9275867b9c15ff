//! `watchkeeper policy readiness`: what acting would have meant, from what was recorded.
//!
//! In: the recorded timelines, read only. Out: for each rule how often it would have acted or asked,
//! what people did meanwhile, and how it ended. Never: a guess; what was not recorded is counted
//! nowhere.

use super::super::{Global, block_on, print, settings};
use super::past::Past;
use crate::app;
use crate::clock::Clock;
use crate::model::action::{Action, ActionState};
use crate::model::case::{Case, Ending};
use crate::model::time::parse_duration_ms;
use crate::model::timeline::Finding;
use crate::model::verdict::{Decision, VerdictRecord};
use crate::targets::inventory::Catalogue;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
pub struct Readiness {
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = parse_duration_ms)]
    since: i64,
}

/// What became of the calls that one rule decided.
#[derive(Default, Serialize)]
struct Row {
    rule: String,
    tool: String,
    judged: usize,
    would: Would,
    people: People,
    ended: Ended,
}

/// What would have been decided at the level `act`, or as high as the other levels reach.
#[derive(Default, Serialize)]
struct Would {
    act: usize,
    ask: usize,
    refuse: usize,
}

/// What people did about it.
#[derive(Default, Serialize)]
struct People {
    approved: usize,
    rejected: usize,
    /// Asked, and nobody answered.
    expired: usize,
    /// Nothing was run, and the problem went away: somebody mended it, or it did so by itself.
    resolved_without_us: usize,
    /// Nothing was run, and a person was handed the incident.
    escalated: usize,
}

/// How what was run ended.
#[derive(Default, Serialize)]
struct Ended {
    fixed: usize,
    not_fixed: usize,
    /// Nothing could be measured, the outcome is unknown, or it is not measured yet.
    unverified: usize,
}

pub fn run(global: &Global, readiness: &Readiness) -> Result<ExitCode> {
    let settings = settings(global)?;
    let register = app::tools_over(Arc::new(Catalogue::default()), &Clock::system());
    let past = block_on(Past::read(&settings, &register))?;
    let from_ms = Clock::system().now_ms().saturating_sub(readiness.since);
    let rows = rows(&past, from_ms);
    let incidents = past.cases.iter().filter(|case| case.opened_at_ms >= from_ms).count();
    let value = json!({ "since_ms": from_ms, "incidents": incidents, "rules": rows });
    print::show(global.output, &value, |_| for_people(incidents, &rows))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(past: &Past, from_ms: i64) -> Vec<Row> {
    let mut judged: Vec<(&Case, &Action, &VerdictRecord)> =
        past.cases.iter().flat_map(of_case).collect();
    judged.sort_by_key(|(_, action, _)| action.proposed_at_ms);
    let mut started = Started::default();
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for (case, action, verdict) in judged {
        let would = started.would(action, verdict);
        if action.proposed_at_ms < from_ms {
            continue;
        }
        let key = (decisive(verdict), action.proposal.call.tool.clone());
        let row = rows.entry(key.clone()).or_default();
        (row.rule, row.tool) = key;
        row.judged += 1;
        match would {
            Decision::Allow => row.would.act += 1,
            Decision::Ask => row.would.ask += 1,
            Decision::Refuse => row.would.refuse += 1,
        }
        row.add(case, action);
    }
    rows.into_values().collect()
}

/// The judged changes of an incident. What was proposed again in the place of an earlier action is
/// the same change, and its last question counts.
fn of_case(case: &Case) -> impl Iterator<Item = (&Case, &Action, &VerdictRecord)> {
    let replaced = |action: &Action| {
        let later = case.actions.iter().rev().take_while(|other| other.id() != action.id());
        action.state == ActionState::Superseded
            && later.into_iter().any(|other| other.proposal.call_id == action.proposal.call_id)
    };
    case.actions
        .iter()
        .filter(move |action| !replaced(action))
        .filter_map(move |action| Some((case, action, action.verdict.as_ref()?)))
}

/// The rule that decides, else the default.
fn decisive(verdict: &VerdictRecord) -> String {
    let of_file = |source: &str| source.starts_with("rule: ") || source.starts_with("default: ");
    let matched = verdict.matched.iter().filter(|matched| of_file(&matched.source));
    let strictest = matched.max_by_key(|matched| matched.tier);
    strictest.map_or_else(|| "none".to_owned(), |matched| matched.source.clone())
}

/// When changes would have started under each limit: in observe none does, so that the store counts
/// none.
#[derive(Default)]
struct Started(BTreeMap<String, Vec<i64>>);

impl Started {
    fn would(&mut self, action: &Action, verdict: &VerdictRecord) -> Decision {
        let at_ms = action.proposed_at_ms;
        let decision = verdict.would.unwrap_or(verdict.decision);
        let used_up = verdict.limits.iter().any(|limit| {
            let times = self.0.get(&limit.key).into_iter().flatten();
            let within = times.filter(|time| **time > at_ms.saturating_sub(limit.within_ms));
            i64::try_from(within.count()).unwrap_or(i64::MAX) >= limit.max
        });
        let decision = match decision {
            Decision::Allow if used_up => Decision::Ask,
            Decision::Allow | Decision::Ask | Decision::Refuse => decision,
        };
        if decision == Decision::Allow || action.intended_at_ms.is_some() {
            for limit in &verdict.limits {
                let times = self.0.entry(limit.key.clone()).or_default();
                // One key may have several windows.
                if times.last() != Some(&at_ms) {
                    times.push(at_ms);
                }
            }
        }
        decision
    }
}

impl Row {
    fn add(&mut self, case: &Case, action: &Action) {
        if action.state == ActionState::Rejected {
            self.people.rejected += 1;
        } else if action.state == ActionState::Expired {
            self.people.expired += 1;
        } else if action.decided_by.is_some() {
            self.people.approved += 1;
        }
        if action.intended_at_ms.is_some() {
            match action.verified {
                Some(Finding::Fixed) => self.ended.fixed += 1,
                Some(Finding::NotFixed) => self.ended.not_fixed += 1,
                Some(Finding::Unverified) | None => self.ended.unverified += 1,
            }
            return;
        }
        match case.end.as_ref().map(|end| end.how) {
            Some(Ending::Resolved) => self.people.resolved_without_us += 1,
            Some(Ending::Escalated) => self.people.escalated += 1,
            None => {}
        }
    }
}

fn for_people(incidents: usize, rows: &[Row]) -> String {
    let mut text = format!("{incidents} incidents");
    if rows.is_empty() {
        text.push_str(", and no change was judged in them");
        return text;
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let Row { rule, tool, judged, would, people, ended } = row;
            let numbers = [
                *judged,
                would.act,
                would.ask,
                would.refuse,
                people.approved,
                people.rejected,
                people.expired,
                people.resolved_without_us,
                people.escalated,
                ended.fixed,
                ended.not_fixed,
                ended.unverified,
            ];
            let numbers = numbers.iter().map(usize::to_string);
            [rule.clone(), tool.clone()].into_iter().chain(numbers).collect()
        })
        .collect();
    let titles = [
        "RULE",
        "TOOL",
        "JUDGED",
        "WOULD ACT",
        "ASK",
        "REFUSE",
        "APPROVED",
        "REJECTED",
        "EXPIRED",
        "RESOLVED WITHOUT",
        "ESCALATED",
        "FIXED",
        "NOT FIXED",
        "UNVERIFIED",
    ];
    text.push_str(&format!("\n\n{}", print::columns(&titles, &lines)));
    text
}
