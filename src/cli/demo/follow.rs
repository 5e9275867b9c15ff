//! Reads the timelines of the server's store and says in plain words what is new in them.
//!
//! In: the store. Out: lines, and the cases for what the demo checks. Never: a word about something
//! that is not on a timeline.

use super::say::{Said, Who, one_line, seconds};
use crate::model::action::Answer;
use crate::model::case::Case;
use crate::model::ids::IncidentId;
use crate::model::timeline::{Entry, Finding, Outcome, Stored, Success};
use crate::model::tool::Effect;
use crate::model::verdict::{Decision, VerdictRecord};
use crate::store::Store;
use crate::store::incidents::Filter;
use crate::store::timeline::Stream;
use anyhow::Result;

/// More than the demo ever opens.
const INCIDENTS_MAX: i64 = 100;

/// One incident, as far as it was read.
pub struct Followed {
    pub id: IncidentId,
    pub entries: Vec<Stored>,
    scope: String,
}

impl Followed {
    pub fn case(&self) -> Case {
        Case::fold(self.id, &self.scope, &self.entries)
    }

    /// Whether it has ended and its report is written.
    pub fn is_over(&self) -> bool {
        let case = self.case();
        let ended_ms = case.end.as_ref().map(|end| end.at_ms);
        ended_ms.is_some_and(|ended_ms| case.report.is_some_and(|report| report.at_ms >= ended_ms))
    }
}

pub struct Follower {
    store: Store,
    scope: String,
    /// In the order in which they were opened.
    pub incidents: Vec<Followed>,
}

impl Follower {
    pub fn new(store: Store, scope: &str) -> Self {
        Self { store, scope: scope.to_owned(), incidents: Vec::new() }
    }

    /// Reads what is new and says it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn news(&mut self) -> Result<Vec<Said>> {
        let filter = Filter { state: None, at_most: INCIDENTS_MAX };
        let mut rows = self.store.incidents(&self.scope, filter).await?;
        rows.sort_by_key(|row| row.opened_at_ms);
        let mut said = Vec::new();
        for row in rows {
            let known = self.incidents.iter().position(|followed| followed.id == row.id);
            let index = known.unwrap_or_else(|| {
                let scope = self.scope.clone();
                self.incidents.push(Followed { id: row.id, entries: Vec::new(), scope });
                self.incidents.len() - 1
            });
            let entries = self.store.timeline(Stream::incident(row.id)).await?;
            let seen = self.incidents[index].entries.len();
            for stored in entries.iter().skip(seen) {
                if is_about_a_change(&stored.entry, &entries) {
                    continue;
                }
                let words = words(&stored.entry);
                said.extend(words.into_iter().map(|text| Said {
                    at_ms: stored.at_ms,
                    who: Who::Server,
                    text: format!("[{}] {text}", index + 1),
                }));
            }
            self.incidents[index].entries = entries;
        }
        Ok(said)
    }

    /// Whether every timeline still hashes to its head.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn histories_are_whole(&self) -> Result<bool> {
        for followed in &self.incidents {
            if self.store.verify_chain(Stream::incident(followed.id)).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether it is the answer to a proposed change, whose fate the lines before have told.
fn is_about_a_change(entry: &Entry, entries: &[Stored]) -> bool {
    let Entry::Answered { call_id, .. } = entry else { return false };
    entries.iter().any(|stored| {
        matches!(&stored.entry, Entry::Proposed { proposal } if proposal.call_id == *call_id)
    })
}

/// An entry in plain words; entries that only repeat what another line says have none.
fn words(entry: &Entry) -> Vec<String> {
    let one = |text: String| vec![text];
    match entry {
        Entry::Opened { title, severity, .. } => {
            one(format!("opens an incident: {title} ({})", severity.as_str()))
        }
        Entry::AlertFired { .. }
        | Entry::Judged { .. }
        | Entry::ReportWritten { .. }
        | Entry::MessageQueued { .. }
        | Entry::Joined { .. }
        | Entry::Flapping { .. }
        | Entry::Counted { .. }
        | Entry::Unknown(_) => Vec::new(),
        Entry::AlertResolved { .. } => one("notes that the monitor calls it resolved".into()),
        Entry::AlertMissing { .. } => one("notes that the monitor holds it no longer".into()),
        Entry::AlertSilenced { silence, .. } => one(format!("{} silenced it", silence.by)),
        Entry::AlertHeardLate { .. } => one("notes an alert that was over before".into()),
        Entry::AlertSeen { .. } | Entry::SilenceEnded { .. } => Vec::new(),
        Entry::Acknowledged { by } => one(format!("acknowledged by {by}")),
        Entry::Started { mind, why } => one(format!("investigates: {mind} ({why})")),
        Entry::TurnTaken { calls, .. } => calls
            .iter()
            .filter_map(|asked| match asked.effect {
                Effect::Read => Some(format!("looks: {}", asked.call)),
                Effect::Talk => Some(format!("says or asks: {}", asked.call)),
                Effect::Write => None,
            })
            .collect(),
        Entry::Answered { outcome, text, .. } => {
            let text = one_line(text);
            match outcome {
                Success::Ok => one(format!("learns: {text}")),
                Success::Failed => one(format!("it failed: {text}")),
                Success::Refused => one(format!("it was refused: {text}")),
            }
        }
        Entry::Proposed { proposal } => one(format!("proposes: {}", proposal.description)),
        Entry::ActionJudged { verdict, .. } => one(judged(verdict)),
        Entry::ApprovalOpened { .. } => one("waits for a person; nothing runs meanwhile".into()),
        Entry::Decided { answer, by, .. } => one(match answer {
            Answer::Approve => format!("{by} approved exactly this call"),
            Answer::Reject => format!("{by} rejected it"),
        }),
        Entry::Expired { .. } => one("nobody answered in time; it is not done".into()),
        Entry::Superseded { why, .. } => one(format!("not done after all: {why}")),
        Entry::HeldBack { why, .. } => one(format!("waits for other changes to end: {why}")),
        Entry::IntentWritten { .. } => one("writes down that it starts, then starts".into()),
        Entry::OutcomeRecorded { outcome, text, duration_ms, .. } => {
            let (text, took) = (one_line(text), seconds(*duration_ms));
            one(match outcome {
                Outcome::Done => format!("done in {took}: {text}"),
                Outcome::Failed => format!("failed after {took}: {text}"),
                Outcome::Unknown => format!("nobody knows whether it happened: {text}"),
            })
        }
        Entry::VerificationStarted { by, .. } => one(format!("measures: {by}")),
        Entry::Measured { finding, text } => one(match finding {
            Finding::Fixed => format!("measured, fixed: {text}"),
            Finding::NotFixed => format!("measured, not fixed: {text}"),
            Finding::Unverified => format!("could not be measured: {text}"),
        }),
        Entry::Concluded { conclusion } => one(format!("concludes: {}", conclusion.root_cause)),
        Entry::Resolved { by } => one(format!("RESOLVED: {by}")),
        Entry::Escalated { why } => one(format!("HANDED TO A PERSON: {why}")),
    }
}

fn judged(verdict: &VerdictRecord) -> String {
    let follows = match verdict.decision {
        Decision::Allow => "it may run by itself",
        Decision::Ask => "a person is asked",
        Decision::Refuse => "it never runs",
    };
    format!("the rules say {}, so {follows} ({})", verdict.tier.as_str(), verdict.reason())
}
