//! The report of an incident: what happened, why, what was done about it, and what shows it.
//!
//! In: a case and the timeline that it was folded from. Out: [`Report`], which is the JSON form,
//! and from it [`markdown()`] in each language.
//! Never: a clock, I/O, a claim that the timeline does not hold, untrusted text that becomes
//! active. To tell one more thing, add a field here, fill it in `build.rs`, show it in
//! `markdown.rs`.

mod build;
mod escape;
mod lines;
mod markdown;
mod words;

use crate::model::action::{ActionState, Answer, Risk};
use crate::model::alert::{Labels, Severity};
use crate::model::call::Call;
use crate::model::case::Ending;
use crate::model::conclusion::Confidence;
use crate::model::entity::Located;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::timeline::{Finding, Usage};
use crate::model::verdict::VerdictRecord;
use serde::Serialize;

pub use build::build;
pub use markdown::markdown;

/// Everything that the report tells. Texts in it are untrusted and unescaped.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    pub incident_id: IncidentId,
    pub scope: String,
    pub title: String,
    pub severity: Severity,
    pub opened_at_ms: i64,
    pub written_at_ms: i64,
    /// 1 for an incident that never came back.
    pub rounds: i64,
    /// The targets of the inventory that the alerts name, when they were looked up.
    pub targets: Option<Located>,
    /// None while the incident is open.
    pub ending: Option<EndingStory>,
    /// None when the investigation reached no conclusion.
    pub finding: Option<RootCause>,
    pub actions: Vec<ActionStory>,
    pub alerts: Vec<AlertStory>,
    pub times: Times,
    pub cost: Cost,
    pub timeline: Vec<Line>,
    pub chain: Chain,
}

/// How the incident ended and what shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EndingStory {
    pub how: Ending,
    pub why: String,
    pub at_ms: i64,
    /// Measurements and resolved notices since the incident was last opened, in order.
    pub evidence: Vec<Reference>,
}

/// What the investigation concluded.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RootCause {
    pub text: String,
    pub confidence: Confidence,
    pub standing: Standing,
    pub evidence: Vec<Reference>,
    pub done: String,
    pub remaining: String,
}

/// Whether anything on the timeline supports a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Supported,
    Hypothesis,
}

/// A timeline entry in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reference {
    pub seq: i64,
    pub kind: String,
    pub excerpt: String,
}

/// A proposed change from the verdict to the measurement.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ActionStory {
    pub id: ActionId,
    pub call: Call,
    /// Hash of the exact call, as approvals bind it.
    pub call_hash: String,
    pub reason: String,
    pub description: String,
    pub risk: Risk,
    pub rollback: Option<String>,
    pub proposed_at_ms: i64,
    pub verdict: Option<VerdictRecord>,
    /// Set when a person was asked.
    pub expires_at_ms: Option<i64>,
    pub decisions: Vec<Decided>,
    pub state: ActionState,
    /// What the tool said, or why the action ended without it.
    pub outcome: Option<String>,
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub verification: Option<Verified>,
}

/// What a person said about an action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decided {
    pub answer: Answer,
    pub by: String,
    pub comment: Option<String>,
    pub at_ms: i64,
}

/// What was measured after a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verified {
    pub finding: Finding,
    pub text: String,
    pub seq: i64,
    pub at_ms: i64,
}

/// One alert of the incident.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AlertStory {
    pub name: String,
    pub summary: String,
    pub source: String,
    pub fingerprint: String,
    pub labels: Labels,
    pub starts_at_ms: i64,
    /// None while it fires, as far as its source told.
    pub resolved_at_ms: Option<i64>,
    /// Since when its source holds it no longer, without a notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_since_ms: Option<i64>,
}

/// How long things took, counted from the opening of the incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Times {
    /// Until the first word of a person: an acknowledgement or a decision.
    pub acknowledge: Option<FirstWord>,
    /// Until the conclusion.
    pub diagnose: Option<Span>,
    /// Until the end, whichever it was.
    pub resolve: Option<Span>,
}

/// Who was first to say something, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FirstWord {
    pub by: String,
    pub span: Span,
}

/// A length of time for machines and for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Span {
    pub ms: i64,
    pub human: String,
}

/// What the investigation used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cost {
    pub turns: usize,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Millionths of the configured currency; None when no money was counted.
    pub cost_micros: Option<i64>,
    /// In the order in which they came to work.
    pub minds: Vec<MindStory>,
}

/// What one mind did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MindStory {
    pub name: String,
    pub turns: usize,
    pub usage: Usage,
}

/// One row of the timeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    pub seq: i64,
    pub at_ms: i64,
    pub kind: String,
    /// The facts of the entry, in no language of ours.
    pub detail: String,
}

/// What the report can be checked against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Chain {
    pub entries: usize,
    /// Hash of the last entry; empty without entries.
    pub head: String,
}

#[cfg(test)]
mod tests;
