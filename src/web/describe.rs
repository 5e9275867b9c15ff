//! A timeline entry in words, for people.

use super::visible;
use crate::clock::format_ms;
use crate::model::time::format_span_ms;
use crate::model::timeline::{Entry, Stored};
use crate::model::verdict::VerdictRecord;

/// One line of the history.
pub struct Line {
    pub seq: i64,
    pub at: String,
    pub kind: String,
    pub text: String,
    /// Longer text, folded away.
    pub detail: Option<String>,
}

/// Describes an entry; texts of others are made visible.
pub fn describe(stored: &Stored) -> Line {
    let (text, detail) = words(&stored.entry);
    Line {
        seq: stored.seq,
        at: format_ms(stored.at_ms),
        kind: visible(&stored.entry.kind().replace('_', " ")),
        text: visible(&text),
        detail: detail.filter(|detail| !detail.is_empty()).map(|detail| visible(&detail)),
    }
}

fn words(entry: &Entry) -> (String, Option<String>) {
    let plain = |text: String| (text, None);
    match entry {
        Entry::Opened { title, severity, .. } => plain(format!("{title} ({})", severity.as_str())),
        Entry::AlertFired { alert, .. } => plain(format!("{}: {}", alert.name(), alert.summary())),
        Entry::AlertResolved { key, ends_at_ms } => {
            plain(format!("alert {} ended at {}", key.fingerprint, format_ms(*ends_at_ms)))
        }
        Entry::AlertMissing { .. }
        | Entry::AlertSeen { .. }
        | Entry::AlertSilenced { .. }
        | Entry::SilenceEnded { .. }
        | Entry::AlertHeardLate { .. } => of_pipeline(entry),
        Entry::Joined { key, labels, .. } => plain(joined(&key.fingerprint, labels)),
        Entry::Flapping { key, times, within_ms } => plain(format!(
            "alert {} flaps: it began to fire {times} times within {}",
            key.fingerprint,
            format_span_ms(*within_ms)
        )),
        Entry::Acknowledged { by } => plain(format!("{by} took the incident")),
        Entry::Started { mind, why } => plain(format!("{mind}: {why}")),
        Entry::TurnTaken { turn, mind, said, calls, usage, .. } => {
            let calls: Vec<String> = calls.iter().map(|call| call.call.to_string()).collect();
            let tokens = usage.tokens();
            let text = format!("turn {turn} by {mind}, {} calls, {tokens} tokens", calls.len());
            (text, Some(format!("{said}\n{}", calls.join("\n")).trim().to_owned()))
        }
        Entry::Judged { call_id, verdict } => plain(format!("{call_id}: {}", judged(verdict))),
        Entry::Answered { call_id, outcome, text, duration_ms, .. } => {
            let outcome = format!("{outcome:?}").to_lowercase();
            (format!("{call_id}: {outcome} after {duration_ms} ms"), Some(text.clone()))
        }
        Entry::Proposed { proposal } => plain(format!("{}; {}", proposal.call, proposal.reason)),
        Entry::ActionJudged { verdict, .. } => plain(judged(verdict)),
        Entry::ApprovalOpened { expires_at_ms, .. } => {
            plain(format!("a person is asked until {}", format_ms(*expires_at_ms)))
        }
        Entry::Decided { answer, by, comment, .. } => {
            let answer = format!("{answer:?}").to_lowercase();
            (format!("{by} decided: {answer}"), comment.clone())
        }
        Entry::Counted { by, have, need, comment, .. } => {
            (format!("{by} approved, {have} of {need}"), comment.clone())
        }
        Entry::Expired { .. } => plain("nobody answered in time".to_owned()),
        Entry::Superseded { why, .. } => plain(why.clone()),
        Entry::HeldBack { why, until_ms, .. } => {
            plain(format!("waits for other changes, until {}: {why}", format_ms(*until_ms)))
        }
        Entry::IntentWritten { start_before_ms, .. } => {
            plain(format!("starts before {} or not at all", format_ms(*start_before_ms)))
        }
        Entry::OutcomeRecorded { outcome, text, duration_ms, .. } => {
            let outcome = format!("{outcome:?}").to_lowercase();
            (format!("{outcome} after {duration_ms} ms"), Some(text.clone()))
        }
        Entry::VerificationStarted { by, until_ms, .. } => {
            plain(format!("{by}, until {}", format_ms(*until_ms)))
        }
        Entry::Measured { finding, text } => plain(format!("{finding:?}: {text}")),
        Entry::Concluded { conclusion } => plain(conclusion.root_cause.clone()),
        Entry::Resolved { by } => plain(by.clone()),
        Entry::Escalated { why } => plain(why.clone()),
        Entry::MessageQueued { title, urgency, .. } => plain(format!("{urgency:?}: {title}")),
        Entry::ReportWritten { hash } => plain(format!("report {hash}")),
        Entry::Unknown(value) => {
            ("an entry of a later version".to_owned(), Some(value.to_string()))
        }
    }
}

fn joined(alert: &str, shared: &str) -> String {
    if shared.is_empty() {
        return format!("alert {alert} joined, as others of its kind did");
    }
    format!("alert {alert} joined: it shares {shared}")
}

/// What reconciliation with the alerts' source found out.
fn of_pipeline(entry: &Entry) -> (String, Option<String>) {
    if let Entry::AlertSilenced { key, silence } = entry {
        let until = format_ms(silence.until_ms);
        let text = format!("{} silenced alert {} until {until}", silence.by, key.fingerprint);
        return (text, Some(silence.comment.clone()));
    }
    let mut text = entry.kind().replace('_', " ");
    if let Entry::AlertMissing { key, since_ms } = entry {
        let since = format_ms(*since_ms);
        text = format!(
            "alert {} is not resolved, and its source holds it no longer since {since}: unverified",
            key.fingerprint
        );
    }
    if let Entry::AlertSeen { key } = entry {
        text = format!("the source holds alert {} again", key.fingerprint);
    }
    if let Entry::SilenceEnded { key } = entry {
        text = format!("alert {} is silenced no longer", key.fingerprint);
    }
    if let Entry::AlertHeardLate { alert, .. } = entry {
        text = format!(
            "{} fired from {} to {} and was heard of only afterwards",
            alert.name(),
            format_ms(alert.starts_at_ms),
            alert.ends_at_ms.map(format_ms).unwrap_or_default()
        );
    }
    (text, None)
}

fn judged(verdict: &VerdictRecord) -> String {
    format!("{}; {}", verdict.tier.as_str(), verdict.reason())
}
