//! Above a rate, the messages of a channel that can wait are put together in one.
//!
//! In: the rate of a channel, the messages that are held. Out: one message that counts and names them
//! and links to the page that lists all. Never: a critical one, a question, or a word about Watchkeeper
//! itself in it; those go alone, at once.

use crate::model::alert::Severity;
use crate::model::ids::{IncidentId, MessageId};
use crate::model::message::{Event, Link, Message, Urgency};
use crate::model::time::format_span_ms;
use std::collections::{BTreeMap, BTreeSet};

/// Of each kind of message, so many are named; the page lists all.
const NAMED_MAX: usize = 25;
/// Besides the page of the digest, so many incidents have a link of their own: those for which a
/// person is called upon, then the more severe.
const LINKED_MAX: usize = 4;
/// The order in which a digest tells.
const ORDER: [Event; 7] = [
    Event::Escalated,
    Event::Started,
    Event::Note,
    Event::Acknowledged,
    Event::Resolved,
    Event::NeedsYou,
    Event::Health,
];

/// Writes the digest of these messages, of which there is at least one.
pub(super) fn compose(
    channel: &str,
    public_url: &str,
    members: &[Message],
    now_ms: i64,
) -> Message {
    let id = MessageId::new();
    let base = public_url.trim_end_matches('/');
    let incidents: BTreeSet<IncidentId> = members.iter().filter_map(|m| m.incident_id).collect();
    let mut by_event: BTreeMap<usize, Vec<&Message>> = BTreeMap::new();
    for member in members {
        let place = ORDER.iter().position(|event| *event == member.event).unwrap_or(ORDER.len());
        by_event.entry(place).or_default().push(member);
    }
    let since_ms = members.iter().map(|member| member.created_at_ms).min().unwrap_or(now_ms);
    let counts: Vec<String> = by_event
        .values()
        .filter_map(|of_kind| Some(format!("{} {}", of_kind.len(), word(of_kind.first()?.event))))
        .collect();
    let mut links = vec![Link { label: "All of them".into(), url: format!("{base}/digests/{id}") }];
    links.extend(linked(members, base));
    let urgency = members.iter().map(|member| member.urgency).max().unwrap_or(Urgency::Tell);
    let escalated = members.iter().any(|member| member.event == Event::Escalated);
    Message {
        id,
        scope: members.first().map(|member| member.scope.clone()).unwrap_or_default(),
        incident_id: None,
        event: if escalated { Event::Escalated } else { Event::Note },
        urgency,
        severity: members.iter().map(|m| m.severity).min().unwrap_or(Severity::Info),
        title: format!(
            "{} incidents in {}: {}",
            incidents.len(),
            format_span_ms((now_ms - since_ms).max(1_000)),
            counts.join(", ")
        ),
        facts: Vec::new(),
        paragraphs: by_event.values().map(|of_kind| named(of_kind)).collect(),
        links,
        dedup_key: format!("watchkeeper-digest-{channel}"),
        created_at_ms: now_ms,
        channels: vec![channel.to_owned()],
    }
}

/// The titles of messages of one kind, the more severe first.
fn named(of_kind: &[&Message]) -> String {
    let mut sorted: Vec<&&Message> = of_kind.iter().collect();
    sorted.sort_by_key(|message| (message.severity, message.id));
    let kind = of_kind.first().map_or("", |message| word(message.event));
    let mut lines = vec![format!("{} {kind}:", of_kind.len())];
    let shown = sorted.iter().take(NAMED_MAX);
    lines.extend(shown.map(|message| format!("- {}", message.title)));
    let left = of_kind.len().saturating_sub(NAMED_MAX);
    if left > 0 {
        lines.push(format!("- and {left} more"));
    }
    lines.join("\n")
}

fn linked(members: &[Message], base: &str) -> impl Iterator<Item = Link> {
    let mut sorted: Vec<&Message> = members.iter().collect();
    sorted.sort_by_key(|m| (m.event != Event::Escalated, m.severity, m.id));
    let mut seen = BTreeSet::new();
    sorted
        .into_iter()
        .filter_map(|message| Some((message.incident_id?, message.title.clone())))
        .filter(move |(id, _)| seen.insert(*id))
        .take(LINKED_MAX)
        .map(move |(id, label)| Link { label, url: format!("{base}/incidents/{id}") })
}

fn word(event: Event) -> &'static str {
    match event {
        Event::Escalated => "need a person",
        Event::Started => "started",
        Event::Note => "notes",
        Event::Acknowledged => "taken",
        Event::Resolved => "resolved",
        Event::NeedsYou => "questions",
        Event::Health => "about Watchkeeper",
    }
}
