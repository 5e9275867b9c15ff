//! What people are told. One message per transition; each channel renders it in its own form.

use crate::model::alert::Severity;
use crate::model::ids::{IncidentId, MessageId};
use serde::{Deserialize, Serialize};

/// Why the message is sent; decides routing and wording.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An incident was opened and is looked at.
    Started,
    /// An approval waits for a person.
    NeedsYou,
    /// The mind or a runbook has something to say.
    Note,
    /// Verified: the problem is gone.
    Resolved,
    /// A person has to take over.
    Escalated,
    /// A person took the incident; stops further paging.
    Acknowledged,
    /// Watchkeeper itself has a problem: a dead channel, a dead model, a full disk.
    Health,
}

/// How urgently a person must hear it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// For the channel; nobody is woken.
    Tell,
    /// Wakes the person on call.
    Page,
}

/// A message before any channel renders it. Every text in it is untrusted: channels escape all of
/// it, and only `links` become active.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub scope: String,
    /// None for messages about Watchkeeper itself.
    pub incident_id: Option<IncidentId>,
    pub event: Event,
    pub urgency: Urgency,
    pub severity: Severity,
    /// One line, without the incident's number or emoji; at most 200 characters are shown.
    pub title: String,
    /// Short label and value pairs.
    pub facts: Vec<(String, String)>,
    /// Paragraphs, most important first; channels cut from the end.
    pub paragraphs: Vec<String>,
    pub links: Vec<Link>,
    /// Groups PagerDuty events of one incident.
    pub dedup_key: String,
    pub created_at_ms: i64,
    /// Only these channels, e.g. `slack`; empty means all that the route gives.
    pub channels: Vec<String>,
}

/// Whether a message may be put together with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// It goes alone, at once.
    None,
    /// For minutes.
    Long,
    /// A person is called upon: for a moment.
    Short,
}

impl Message {
    /// Critical ones, questions, what is paged at once and what is about Watchkeeper itself go alone.
    pub fn patience(&self) -> Patience {
        if self.incident_id.is_none() || self.severity == Severity::Critical {
            return Patience::None;
        }
        match (self.event, self.urgency) {
            (Event::NeedsYou | Event::Health, _) => Patience::None,
            (Event::Escalated, Urgency::Page) => Patience::Short,
            (
                Event::Started | Event::Note | Event::Resolved | Event::Acknowledged,
                Urgency::Page,
            ) => Patience::None,
            (
                Event::Started
                | Event::Note
                | Event::Resolved
                | Event::Acknowledged
                | Event::Escalated,
                Urgency::Tell,
            ) => Patience::Long,
        }
    }
}

/// An address of ours that a message may make active.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    pub label: String,
    pub url: String,
}
