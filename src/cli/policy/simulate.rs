//! `watchkeeper policy simulate`: what another rules file would have decided.
//!
//! In: the recorded timelines, read only, also beside a running server; a rules file. Out: every
//! recorded decision that would have been another one. What a verdict depended on is taken from its
//! record: labels, untraced arguments, the second source, a halt; how often a limit was used up is
//! counted again over the recorded intents. Never: a write.

use super::super::{Global, block_on, print, settings};
use super::judge::{Facts, Judge, Origin, decision};
use crate::app::location;
use crate::clock::Clock;
use crate::model::action::{Proposal, Wanted};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::time::parse_duration_ms;
use crate::model::timeline::{Entry, Stored};
use crate::model::verdict::{Decision, Limit, Tier, VerdictRecord};
use crate::safety::checker::Firing;
use crate::store::Store;
use crate::store::timeline::Stream;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reasons that are found again from the file and the facts; others, such as a halt, stay.
const FOUND_AGAIN: [&str; 15] = [
    "rule: ",
    "default: ",
    "floor: ",
    "call",
    "target",
    "grant",
    "provenance: ",
    "second source",
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

/// Something recorded that matters here.
enum Event {
    Judged(Box<Recorded>),
    /// A change was started.
    Started(ActionId),
}

/// A verdict with what it was about.
struct Recorded {
    incident: IncidentId,
    action: Option<ActionId>,
    call: Call,
    wanted: Wanted,
    labels: Vec<Labels>,
    verdict: VerdictRecord,
}

pub fn run(global: &Global, simulate: &Simulate) -> Result<ExitCode> {
    let settings = settings(global)?;
    let judge = Judge::new(&settings, simulate.rules.as_deref(), None)?;
    let events = block_on(async {
        let store = Store::open_read_only(&location(&settings)).await?;
        recorded(&store).await
    })?;
    let from_ms = Clock::system().now_ms().saturating_sub(simulate.since);
    let (judged, differ) = replay(&judge, events, from_ms);
    let value = json!({
        "judged": judged, "differ": differ.len(), "rules_version": judge.rules_version(),
        "decisions": differ,
    });
    print::show(global.output, &value, |_| for_people(judged, &differ))?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that was judged or started, in the order in which it happened.
async fn recorded(store: &Store) -> Result<Vec<(i64, Event)>> {
    let mut events = Vec::new();
    for named in store.streams().await?.iter().filter(|named| named.stream_kind == "incident") {
        let Ok(id) = named.stream_id.parse::<IncidentId>() else { continue };
        of_incident(id, &store.timeline(Stream::incident(id)).await?, &mut events);
    }
    events.sort_by_key(|(at_ms, _)| *at_ms);
    Ok(events)
}

fn of_incident(id: IncidentId, entries: &[Stored], events: &mut Vec<(i64, Event)>) {
    let mut case = Case::new(id, "");
    let mut calls: BTreeMap<String, Call> = BTreeMap::new();
    let mut proposals: BTreeMap<ActionId, Proposal> = BTreeMap::new();
    for stored in entries {
        case.apply(stored);
        let mut judged = |action, call: &Call, wanted, verdict: &VerdictRecord| {
            let recorded = Recorded {
                incident: id,
                action,
                call: call.clone(),
                wanted,
                labels: case.alerts.iter().map(|a| a.alert.labels.clone()).collect(),
                verdict: verdict.clone(),
            };
            events.push((stored.at_ms, Event::Judged(Box::new(recorded))));
        };
        if let Entry::TurnTaken { calls: asked, .. } = &stored.entry {
            calls.extend(asked.iter().map(|one| (one.id.clone(), one.call.clone())));
        } else if let Entry::Proposed { proposal } = &stored.entry {
            proposals.insert(proposal.action_id, proposal.clone());
        } else if let Entry::Judged { call_id, verdict } = &stored.entry {
            if let Some(call) = calls.get(call_id) {
                judged(None, call, Wanted::Rules, verdict);
            }
        } else if let Entry::ActionJudged { action_id, verdict, basis: _ } = &stored.entry {
            if let Some(proposal) = proposals.get(action_id) {
                judged(Some(*action_id), &proposal.call, proposal.wants_person, verdict);
            }
        } else if let Entry::IntentWritten { action_id, start_before_ms: _ } = &stored.entry {
            events.push((stored.at_ms, Event::Started(*action_id)));
        }
    }
}

/// Judges everything since `from_ms` again; returns how much that was, and what differs.
fn replay(judge: &Judge, events: Vec<(i64, Event)>, from_ms: i64) -> (usize, Vec<Value>) {
    let mut started: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut limits: BTreeMap<ActionId, BTreeSet<String>> = BTreeMap::new();
    let (mut judged, mut differ) = (0, Vec::new());
    for (at_ms, event) in events {
        let recorded = match event {
            Event::Started(action) => {
                for key in limits.get(&action).into_iter().flatten() {
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
        let (decided, reason, found) = again(judge, &recorded, at_ms, &count);
        if let Some(action) = recorded.action {
            limits.insert(action, found.into_iter().map(|limit| limit.key).collect());
        }
        if at_ms < from_ms {
            continue;
        }
        judged += 1;
        if decided != recorded.verdict.decision {
            differ.push(json!({
                "at_ms": at_ms, "incident": recorded.incident, "action": recorded.action,
                "call": recorded.call, "recorded": decision(recorded.verdict.decision),
                "recorded_reason": recorded.verdict.reason(), "decision": decision(decided),
                "reason": reason,
            }));
        }
    }
    (judged, differ)
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
