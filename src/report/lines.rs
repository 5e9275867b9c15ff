//! One line for every kind of timeline entry.
//!
//! In: an entry, and the case for the names of calls, actions and alerts. Out: its facts without
//! words of ours, so that a report in any language can show them. Never: more than one line.

use crate::model::action::Answer;
use crate::model::alert::AlertKey;
use crate::model::call::{Call, canonical};
use crate::model::case::Case;
use crate::model::ids::ActionId;
use crate::model::time::format_span_ms;
use crate::model::timeline::{Entry, Finding, Outcome, Success, TurnCall};
use crate::model::verdict::{Decision, VerdictRecord};

/// Enough to recognise an output, short enough for a table; the timeline holds the whole.
const DETAIL_CHARS_MAX: usize = 240;

/// The facts of an entry on one line.
pub(super) fn detail(case: &Case, entry: &Entry) -> String {
    let text = match entry {
        Entry::Opened { title, severity, .. } => format!("{title} ({})", severity.as_str()),
        Entry::AlertFired { alert, severity } => {
            format!("{} ({}): {}", alert.name(), severity.as_str(), alert.summary())
        }
        Entry::AlertResolved { key, ends_at_ms: _ } => alert_name(case, key),
        Entry::AlertMissing { key, .. }
        | Entry::AlertSeen { key }
        | Entry::AlertSilenced { key, .. }
        | Entry::SilenceEnded { key } => of_pipeline(alert_name(case, key), entry),
        Entry::AlertHeardLate { alert, .. } => of_pipeline(alert.name().to_owned(), entry),
        Entry::Joined { key, labels, correlation_key: _ } => join(&alert_name(case, key), labels),
        Entry::Flapping { key, times, within_ms } => {
            flaps(&alert_name(case, key), *times, *within_ms)
        }
        Entry::Acknowledged { by } | Entry::Resolved { by } => by.clone(),
        Entry::Started { mind, why } => join(mind, why),
        Entry::TurnTaken { mind, said, calls, .. } => turn(mind, said, calls),
        Entry::Judged { call_id, verdict } => {
            format!("{}: {}", tool(case, call_id), judgement(verdict))
        }
        Entry::Answered { call_id, outcome, text, .. } => {
            join(&format!("{}: {}", tool(case, call_id), success(*outcome)), text)
        }
        Entry::Proposed { proposal } => {
            let number = number(case, proposal.action_id);
            join(&number.unwrap_or_default(), &shown(&proposal.call))
        }
        Entry::ActionJudged { action_id, verdict, basis: _ } => {
            format!("{}: {}", name(case, *action_id), judgement(verdict))
        }
        Entry::ApprovalOpened { action_id, expires_at_ms } => {
            format!("{} ≤ {}", name(case, *action_id), utc(*expires_at_ms))
        }
        Entry::Decided { action_id, answer, by, comment, decided_at_ms: _ } => {
            let said = match answer {
                Answer::Approve => "approve",
                Answer::Reject => "reject",
            };
            let head = format!("{}: {said}, {by}", name(case, *action_id));
            join(&head, comment.as_deref().unwrap_or_default())
        }
        Entry::Counted { action_id, by, have, need, comment } => join(
            &format!("{}: {by} approved, {have} of {need}", name(case, *action_id)),
            comment.as_deref().unwrap_or_default(),
        ),
        Entry::Expired { action_id } | Entry::IntentWritten { action_id, .. } => {
            name(case, *action_id)
        }
        Entry::HeldBack { action_id, why, until_ms } => {
            join(&name(case, *action_id), &format!("{why} ≤ {}", utc(*until_ms)))
        }
        Entry::Superseded { action_id, why } => join(&name(case, *action_id), why),
        Entry::OutcomeRecorded { action_id, outcome, text, .. } => {
            join(&format!("{}: {}", name(case, *action_id), ended(*outcome)), text)
        }
        Entry::VerificationStarted { action_id, by, until_ms } => {
            let until = format!("{by} ≤ {}", utc(*until_ms));
            action_id.map_or(until.clone(), |id| join(&name(case, id), &until))
        }
        Entry::Measured { finding, text } => join(measured(*finding), text),
        Entry::Concluded { conclusion } => conclusion.root_cause.clone(),
        Entry::Escalated { why } => why.clone(),
        Entry::MessageQueued { transition, title, .. } => join(transition, title),
        Entry::ReportWritten { hash } => hash.clone(),
        Entry::Unknown(value) => canonical(value),
    };
    one_line(&text, DETAIL_CHARS_MAX)
}

fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "UNKNOWN",
    }
}

fn flaps(alert: &str, times: i64, within_ms: i64) -> String {
    format!("{alert}: {times} in {}", format_span_ms(within_ms))
}

/// What reconciliation found out about an alert.
fn of_pipeline(name: String, entry: &Entry) -> String {
    if let Entry::AlertMissing { since_ms, .. } = entry {
        return format!("{name} ≥ {}", utc(*since_ms));
    }
    if let Entry::AlertSilenced { silence, .. } = entry {
        let by = format!("{name}: {} ≤ {}", silence.by, utc(silence.until_ms));
        return join(&by, &silence.comment);
    }
    if let Entry::AlertHeardLate { alert, severity } = entry {
        let ended = alert.ends_at_ms.map(utc).unwrap_or_default();
        let started = utc(alert.starts_at_ms);
        return format!("{name} ({}): {started} – {ended}", severity.as_str());
    }
    name
}

/// At most `chars_max` characters on one line, the last an ellipsis where something was cut.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    let kept: String = line.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A moment as the report shows it, in UTC; one beyond the calendar as it is counted.
pub(super) fn utc(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .map_or_else(|| format!("{at_ms} ms"), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// `tool(key=value, …)` with sorted keys; values are JSON.
pub(super) fn shown(call: &Call) -> String {
    let mut keys: Vec<&String> = call.args.keys().collect();
    keys.sort();
    let pairs: Vec<String> =
        keys.into_iter().map(|key| format!("{key}={}", canonical(&call.args[key]))).collect();
    format!("{}({})", call.tool, pairs.join(", "))
}

fn turn(mind: &str, said: &str, calls: &[TurnCall]) -> String {
    let asked: Vec<&str> = calls.iter().map(|call| call.call.tool.as_str()).collect();
    match (asked.is_empty(), said.trim().is_empty()) {
        (true, _) => join(mind, said),
        (false, true) => format!("{mind} → {}", asked.join(", ")),
        (false, false) => format!("{mind} → {}: {said}", asked.join(", ")),
    }
}

fn judgement(verdict: &VerdictRecord) -> String {
    let decision = match verdict.decision {
        Decision::Allow => "allow",
        Decision::Ask => "ask",
        Decision::Refuse => "refuse",
    };
    join(&format!("{decision} ({})", verdict.tier.as_str()), &verdict.reason())
}

fn success(outcome: Success) -> &'static str {
    match outcome {
        Success::Ok => "ok",
        Success::Failed => "failed",
        Success::Refused => "refused",
    }
}

fn measured(finding: Finding) -> &'static str {
    match finding {
        Finding::Fixed => "fixed",
        Finding::NotFixed => "not fixed",
        Finding::Unverified => "unverified",
    }
}

fn join(head: &str, text: &str) -> String {
    if text.trim().is_empty() { head.to_owned() } else { format!("{head}: {text}") }
}

fn alert_name(case: &Case, key: &AlertKey) -> String {
    let known = case.attached(key);
    known.map_or_else(|| key.fingerprint.clone(), |attached| attached.alert.name().to_owned())
}

fn tool(case: &Case, call_id: &str) -> String {
    let mut calls = case.turns.iter().flat_map(|turn| &turn.calls);
    let call = calls.find(|call| call.request.id == call_id);
    call.map_or_else(|| call_id.to_owned(), |call| call.request.call.tool.clone())
}

/// `A2 restart_service`: the number under which the report lists the action, and its tool.
fn name(case: &Case, id: ActionId) -> String {
    let tool = case.action(id).map(|action| action.proposal.call.tool.as_str());
    match (number(case, id), tool) {
        (Some(number), Some(tool)) => format!("{number} {tool}"),
        (Some(_) | None, _) => id.to_string(),
    }
}

fn number(case: &Case, id: ActionId) -> Option<String> {
    let position = case.actions.iter().position(|action| action.id() == id)?;
    Some(format!("A{}", position + 1))
}
