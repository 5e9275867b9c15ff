//! The one history of an incident: what each entry says, and the chain that holds it together.
//!
//! In: facts from the worker and the inbox. Out: entries with a sequence number and a hash.
//! Resume, audit, console, report and replay are folds over these entries ([`crate::model::case`]).
//! Never: an entry without a version; a change of meaning of a stored kind.

use crate::model::action::{Answer, Proposal};
use crate::model::alert::{Alert, AlertKey, Severity, Silence};
use crate::model::call::{Call, sha256_hex};
use crate::model::conclusion::Conclusion;
use crate::model::ids::{ActionId, IncidentId, MessageId};
use crate::model::message::Urgency;
use crate::model::tool::Effect;
use crate::model::verdict::VerdictRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the entry format that this binary writes.
pub const VERSION: i64 = 1;

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    Opened {
        title: String,
        severity: Severity,
        correlation_key: String,
        /// Alertmanager's group key, a hint for PagerDuty's dedup key.
        group_key: Option<String>,
        /// The ended incident that this one continues.
        continues: Option<IncidentId>,
    },
    AlertFired {
        alert: Alert,
        severity: Severity,
    },
    AlertResolved {
        key: AlertKey,
        ends_at_ms: i64,
    },
    /// Its source was asked twice and holds it no longer: nobody knows whether it is over.
    AlertMissing {
        key: AlertKey,
        since_ms: i64,
    },
    /// Its source holds it again.
    AlertSeen {
        key: AlertKey,
    },
    /// A person keeps it quiet at its source.
    AlertSilenced {
        key: AlertKey,
        silence: Silence,
    },
    SilenceEnded {
        key: AlertKey,
    },
    /// It fired and no longer did before anybody told us of it.
    AlertHeardLate {
        alert: Alert,
        severity: Severity,
    },
    /// An alert of another key belongs here all the same.
    Joined {
        key: AlertKey,
        /// The labels that it shares with the alert that opened the incident; empty: an alert of its
        /// own key had joined before.
        labels: String,
        correlation_key: String,
    },
    /// The same alert begins to fire again and again.
    Flapping {
        key: AlertKey,
        /// How often it did within the time.
        times: i64,
        within_ms: i64,
    },
    Acknowledged {
        by: String,
    },
    Started {
        mind: String,
        why: String,
    },
    TurnTaken {
        turn: i64,
        mind: String,
        said: String,
        /// The assistant message as the model sent it, to be echoed back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raw: Option<Value>,
        calls: Vec<TurnCall>,
        usage: Usage,
        duration_ms: i64,
    },
    Judged {
        call_id: String,
        verdict: VerdictRecord,
    },
    /// A call got its answer: a tool's output, a refusal, or the fate of an action.
    Answered {
        call_id: String,
        outcome: Success,
        /// What the mind is shown: the output, cut to size.
        text: String,
        /// The same facts for conditions; null when there are none or too many.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<OutputRef>,
        duration_ms: i64,
    },
    Proposed {
        proposal: Proposal,
    },
    ActionJudged {
        action_id: ActionId,
        verdict: VerdictRecord,
        basis: Option<Value>,
    },
    ApprovalOpened {
        action_id: ActionId,
        expires_at_ms: i64,
    },
    Decided {
        action_id: ActionId,
        answer: Answer,
        by: String,
        comment: Option<String>,
        decided_at_ms: i64,
    },
    /// One of several people who have to approve did.
    Counted {
        action_id: ActionId,
        by: String,
        have: i64,
        need: i64,
        comment: Option<String>,
    },
    Expired {
        action_id: ActionId,
    },
    Superseded {
        action_id: ActionId,
        why: String,
    },
    /// Too many other changes are in flight; it is tried again until then.
    HeldBack {
        action_id: ActionId,
        why: String,
        until_ms: i64,
    },
    IntentWritten {
        action_id: ActionId,
        /// The target must not start the change after this.
        start_before_ms: i64,
    },
    OutcomeRecorded {
        action_id: ActionId,
        outcome: Outcome,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<OutputRef>,
        duration_ms: i64,
    },
    VerificationStarted {
        action_id: Option<ActionId>,
        /// What is measured, in words or PromQL.
        by: String,
        until_ms: i64,
    },
    Measured {
        finding: Finding,
        text: String,
    },
    Concluded {
        conclusion: Conclusion,
    },
    Resolved {
        by: String,
    },
    Escalated {
        why: String,
    },
    MessageQueued {
        message_id: MessageId,
        transition: String,
        title: String,
        urgency: Urgency,
    },
    ReportWritten {
        hash: String,
    },
    /// Written by a version that knows more than this one; kept, not understood.
    #[serde(untagged)]
    Unknown(Value),
}

/// A call that a mind asked for, valid or not.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TurnCall {
    pub id: String,
    pub call: Call,
    pub effect: Effect,
}

/// Whether a call did what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Success {
    Ok,
    Failed,
    Refused,
}

/// Where the whole of a capped output lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputRef {
    /// SHA-256 of the stored text; also its name in the store and for `read_output`.
    pub hash: String,
    pub bytes: i64,
}

/// How a started change ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    Failed,
    Unknown,
}

/// What a measurement says of the problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Fixed,
    NotFixed,
    /// Nothing could be measured: no data, no source, a source that is down.
    Unverified,
}

/// What a turn cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Millionths of the configured currency.
    pub cost_micros: i64,
}

impl Usage {
    pub fn add(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_micros += other.cost_micros;
    }

    pub fn tokens(self) -> i64 {
        self.input_tokens + self.output_tokens
    }
}

impl Entry {
    /// The word in the `kind` column.
    pub fn kind(&self) -> &str {
        match self {
            Self::Opened { .. } => "opened",
            Self::AlertFired { .. } => "alert_fired",
            Self::AlertResolved { .. } => "alert_resolved",
            Self::AlertMissing { .. } => "alert_missing",
            Self::AlertSeen { .. } => "alert_seen",
            Self::AlertSilenced { .. } => "alert_silenced",
            Self::SilenceEnded { .. } => "silence_ended",
            Self::AlertHeardLate { .. } => "alert_heard_late",
            Self::Joined { .. } => "joined",
            Self::Flapping { .. } => "flapping",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Started { .. } => "started",
            Self::TurnTaken { .. } => "turn_taken",
            Self::Judged { .. } => "judged",
            Self::Answered { .. } => "answered",
            Self::Proposed { .. } => "proposed",
            Self::ActionJudged { .. } => "action_judged",
            Self::ApprovalOpened { .. } => "approval_opened",
            Self::Decided { .. } => "decided",
            Self::Counted { .. } => "counted",
            Self::Expired { .. } => "expired",
            Self::Superseded { .. } => "superseded",
            Self::HeldBack { .. } => "held_back",
            Self::IntentWritten { .. } => "intent_written",
            Self::OutcomeRecorded { .. } => "outcome_recorded",
            Self::VerificationStarted { .. } => "verification_started",
            Self::Measured { .. } => "measured",
            Self::Concluded { .. } => "concluded",
            Self::Resolved { .. } => "resolved",
            Self::Escalated { .. } => "escalated",
            Self::MessageQueued { .. } => "message_queued",
            Self::ReportWritten { .. } => "report_written",
            Self::Unknown(value) => value.get("kind").and_then(Value::as_str).unwrap_or("unknown"),
        }
    }
}

/// An entry in its place: numbered from 1, chained to the one before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub seq: i64,
    pub at_ms: i64,
    pub entry: Entry,
    pub hash: String,
}

/// The hash of an entry: over the one before, its place, its time and its exact text.
///
/// `stream` is `kind/id`, e.g. `incident/0192…`; the first entry chains to the empty string.
pub fn chain_hash(previous: &str, stream: &str, seq: i64, at_ms: i64, body: &str) -> String {
    sha256_hex(format!("{previous}\n{stream}\n{seq}\n{at_ms}\n{body}").as_bytes())
}
