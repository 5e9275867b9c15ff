//! The words of an incident for people. One function a transition; channels render them.

use super::intake::Arrival;
use super::{DedupKey, Desk};
use crate::clock::format_ms;
use crate::model::action::Action;
use crate::model::alert::{Severity, Silence};
use crate::model::call::sha256_hex;
use crate::model::case::{Case, Flapping};
use crate::model::entity::Located;
use crate::model::guard::{Breaker, Then};
use crate::model::ids::{IncidentId, MessageId};
use crate::model::message::{Event, Link, Message, Urgency};
use crate::model::time::format_span_ms;
use crate::model::verdict::{Autonomy, Source, Traced};
use crate::store::incidents::Opening;

/// The channel whose pages stay open until they are closed.
const PAGER: &str = "pagerduty";
/// Of the targets that the inventory lacks, so many are named.
const MISSING_SHOWN: usize = 5;
/// Of the targets of a storm, so many are named.
const TARGETS_SHOWN: usize = 20;

/// The transition that is announced when the intake pages for what it opens.
pub(super) const AT_ONCE: &str = "at_once";

/// What the words of a message need besides the case.
#[derive(Clone, Debug)]
pub struct Words {
    pub public_url: String,
    pub dedup: DedupKey,
}

/// The incident was opened for an alert that is for people alone: they are paged with the very commit
/// that opens it.
pub(super) fn at_once(
    words: &Words,
    opening: &Opening,
    arrival: Arrival<'_>,
    located: &Located,
) -> Message {
    let Opening { id, severity, .. } = opening;
    let mut facts = vec![
        ("Severity".into(), severity.as_str().to_owned()),
        ("Alert".into(), arrival.alert.name().to_owned()),
    ];
    facts.extend(targets(located));
    let url = format!("{}/incidents/{id}", words.public_url.trim_end_matches('/'));
    Message {
        id: MessageId::new(),
        scope: opening.scope.clone(),
        incident_id: Some(*id),
        event: Event::Started,
        urgency: Urgency::Page,
        severity: *severity,
        title: opening.title.clone(),
        facts,
        paragraphs: vec![
            arrival.alert.summary().to_owned(),
            "People decide here: nothing is changed for an alert of this level.".to_owned(),
        ],
        links: vec![Link { label: "Incident".into(), url }],
        dedup_key: key_of(words.dedup, arrival.group_key, *id),
        created_at_ms: opening.at_ms,
        channels: Vec::new(),
    }
}

/// An alert fires and resolves again and again.
pub(super) fn flapping(desk: &Desk, case: &Case, flapping: &Flapping) -> Message {
    let mut message = base(desk, case, Event::Escalated, loudness(case));
    let attached = case.alerts.iter().find(|attached| attached.alert.key() == flapping.key);
    let name = attached.map_or("An alert", |attached| attached.alert.name());
    message.title = format!("{}: flapping", case.title);
    message.paragraphs.push(format!(
        "{name} began to fire {} times in a short while. It is not investigated again before it is \
         calm, not earlier than {}, and nothing is changed for it without a person.",
        flapping.times,
        format_ms(flapping.until_ms)
    ));
    message.paragraphs.extend(attached.map(|attached| attached.alert.summary().to_owned()));
    message
}

/// The incident was opened.
pub(super) fn started(desk: &Desk, case: &Case, located: &Located, level: Autonomy) -> Message {
    // A page for the same round would be the second one.
    let page = level == Autonomy::Page && case.paged_at_ms.is_none();
    let urgency = if page { Urgency::Page } else { Urgency::Tell };
    let mut message = base(desk, case, Event::Started, urgency);
    message.facts = facts(case, located);
    if let Some(lead) = case.lead() {
        message.paragraphs.push(lead.summary().to_owned());
    }
    // A storm may name thousands.
    for missing in located.missing.iter().take(MISSING_SHOWN) {
        message.paragraphs.push(format!(
            "{}={} is not in the inventory, so it is looked at by metrics only and nothing is \
             changed. Add: {}",
            missing.label, missing.value, missing.line
        ));
    }
    message
}

/// An approval waits.
pub(super) fn needs_you(
    desk: &Desk,
    case: &Case,
    action: &Action,
    preview: Option<&str>,
) -> Message {
    let urgency = match case.severity {
        Severity::Critical => Urgency::Page,
        Severity::Warning | Severity::Info => Urgency::Tell,
    };
    let mut message = base(desk, case, Event::NeedsYou, urgency);
    let proposal = &action.proposal;
    message.title = format!("{}: {}", case.title, proposal.call.tool);
    message.facts = vec![
        ("Call".into(), proposal.call.to_string()),
        ("Risk".into(), action.risk().as_str().into()),
        ("Expires".into(), action.expires_at_ms.map(format_ms).unwrap_or_default()),
    ];
    message.paragraphs.push(proposal.description.clone());
    message.paragraphs.push(proposal.reason.clone());
    if let Some(verdict) = &action.verdict {
        message.paragraphs.push(verdict.reason());
        message.paragraphs.push(whence(&verdict.origins));
    }
    message.paragraphs.extend(proposal.rollback.clone());
    message.paragraphs.extend(preview.map(str::to_owned));
    message.paragraphs.retain(|paragraph| !paragraph.trim().is_empty());
    message.links.insert(0, link(desk, "Approve or reject", &format!("/confirm/{}", action.id())));
    message
}

/// Where each argument comes from, those first that nothing trusted holds.
fn whence(origins: &[Traced]) -> String {
    let decides = origins.iter().filter(|traced| traced.source != Source::Prose);
    let (trusted, untrusted): (Vec<&Traced>, Vec<&Traced>) =
        decides.partition(|traced| traced.source.is_trusted());
    let line = |mark: &str, traced: &Traced| {
        format!("{mark}{} {}: {}", traced.argument, traced.value, traced.place)
    };
    let lines = untrusted.into_iter().map(|traced| line("NOT TRUSTED: ", traced));
    lines.chain(trusted.into_iter().map(|traced| line("", traced))).collect::<Vec<_>>().join("\n")
}

/// Somebody approved, and the rules want one more person. Whoever has acknowledged the page of the
/// incident would not be woken by it again, so that this one has a key of its own.
pub(super) fn one_more(desk: &Desk, case: &Case, action: &Action) -> Message {
    let mut message = needs_you(desk, case, action, None);
    message.urgency = Urgency::Page;
    message.dedup_key = second_key(action);
    let approved = action.approved_by.join(", ");
    message.paragraphs.insert(0, format!("Approved by {approved}; another person has to agree."));
    message
}

/// Nobody has to agree any more: the page for it ends.
pub(super) fn no_more(desk: &Desk, case: &Case, action: &Action) -> Message {
    let mut message = base(desk, case, Event::Resolved, Urgency::Tell);
    message.dedup_key = second_key(action);
    message.title =
        format!("{}: {} is {}", case.title, action.proposal.call.tool, action.state.as_str());
    // People have read it in the incident; only a pager has something to close.
    message.channels = vec![PAGER.to_owned()];
    message
}

fn second_key(action: &Action) -> String {
    format!("watchkeeper-approval-{}", action.id())
}

/// Verified: the problem is gone.
pub(super) fn resolved(desk: &Desk, case: &Case, by: &str) -> Message {
    let mut message = base(desk, case, Event::Resolved, Urgency::Tell);
    message.paragraphs.push(by.to_owned());
    message.paragraphs.extend(cause(case));
    message.paragraphs.extend(changes(case));
    message
}

/// A person has to take over.
pub(super) fn escalated(desk: &Desk, case: &Case, why: &str) -> Message {
    let mut message = base(desk, case, Event::Escalated, loudness(case));
    message.paragraphs.push(why.to_owned());
    message.paragraphs.extend(cause(case));
    if let Some(conclusion) = &case.conclusion {
        message.paragraphs.push(conclusion.remaining.clone());
    }
    message.paragraphs.extend(changes(case));
    message.paragraphs.retain(|paragraph| !paragraph.trim().is_empty());
    message
}

/// It has taken too long without anybody hearing of it.
pub(super) fn overdue(desk: &Desk, case: &Case) -> Message {
    let mut message = base(desk, case, Event::Escalated, Urgency::Page);
    message.paragraphs.push(format!(
        "Opened {} and not resolved; the investigation goes on.",
        format_ms(case.opened_at_ms)
    ));
    message
}

/// Something more fires under an incident that a person was handed.
pub(super) fn joined(desk: &Desk, case: &Case, urgency: Urgency) -> Message {
    let mut message = base(desk, case, Event::Escalated, urgency);
    let firing = case.firing().count();
    message.paragraphs.push(format!(
        "More alerts fire under this incident, which waits for a person; {firing} fire by now. \
         Nothing is investigated any more."
    ));
    let last = case.firing().last().map(|alert| alert.summary().to_owned());
    message.paragraphs.extend(last);
    message
}

/// A change may or may not have happened.
pub(super) fn unknown_outcome(desk: &Desk, case: &Case, action: &Action) -> Message {
    let mut message = base(desk, case, Event::Escalated, loudness(case));
    message.title = format!("{}: unknown outcome of {}", case.title, action.proposal.call.tool);
    message.facts = vec![("Call".into(), action.proposal.call.to_string())];
    message.paragraphs.push(
        "The change was started or was about to be, and its outcome was not seen. It is not \
         repeated; please look at the target."
            .into(),
    );
    message.paragraphs.extend(action.outcome.clone());
    message
}

/// Its source holds some of its alerts no longer, and gave no notice that they are resolved.
pub(super) fn unverified(desk: &Desk, case: &Case) -> Message {
    let mut message = base(desk, case, Event::Note, Urgency::Tell);
    let (missing, firing) = (case.missing(), case.firing().count());
    message.paragraphs.push(format!(
        "Unverified: Alertmanager no longer holds {missing} of the {firing} alerts that fire here, and \
         sent no notice that they are resolved. That closes nothing; a query that returns data, or a \
         person, decides."
    ));
    message
}

/// A person keeps an alert quiet.
pub(super) fn silenced(desk: &Desk, case: &Case, silence: &Silence) -> Message {
    let mut message = base(desk, case, Event::Note, Urgency::Tell);
    let until = format_ms(silence.until_ms);
    message.paragraphs.push(format!(
        "{} silenced every alert of it until {until}. Nothing is done until then, and nobody is paged.",
        silence.by
    ));
    message.paragraphs.extend(Some(silence.comment.clone()).filter(|text| !text.is_empty()));
    message
}

/// It was over before anybody could tell us.
pub(super) fn heard_late(desk: &Desk, case: &Case) -> Message {
    let mut message = base(desk, case, Event::Note, Urgency::Tell);
    let from_ms = case.alerts.iter().map(|a| a.alert.starts_at_ms).min().unwrap_or_default();
    let until_ms = case.alerts.iter().filter_map(|a| a.resolved_at_ms).max().unwrap_or_default();
    message.paragraphs.push(format!(
        "Over before it was heard of: fired from {} to {} while no delivery came through.",
        format_ms(from_ms),
        format_ms(until_ms)
    ));
    message
}

/// A named person took the incident.
pub(super) fn acknowledged(desk: &Desk, case: &Case, by: &str) -> Message {
    let mut message = base(desk, case, Event::Acknowledged, Urgency::Tell);
    message.paragraphs.push(format!("Taken by {by}."));
    message
}

/// The mind or a runbook has something to say.
pub(super) fn note(desk: &Desk, case: &Case, note: &crate::tools::Note) -> Message {
    let mut message = base(desk, case, Event::Note, note.urgency);
    message.paragraphs.push(note.message.clone());
    message.paragraphs.extend(note.details.clone());
    if note.channel != "all" {
        message.channels = vec![note.channel.clone()];
    }
    message
}

/// No model answers; the runbooks have taken over.
pub(super) fn model_down(desk: &Desk, scope: &str, why: &str) -> Message {
    Message {
        id: MessageId::new(),
        scope: scope.to_owned(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Tell,
        severity: Severity::Warning,
        title: "No model answers; incidents follow the runbooks".into(),
        facts: Vec::new(),
        paragraphs: vec![why.to_owned()],
        links: Vec::new(),
        dedup_key: "watchkeeper-model".into(),
        created_at_ms: desk.clock.now_ms(),
        channels: Vec::new(),
    }
}

/// Too many changes of a kind ended badly; the next ones are held back.
pub(super) fn breaker_open(desk: &Desk, scope: &str, breaker: &Breaker, now_ms: i64) -> Message {
    let then = match breaker.then {
        Then::Confirm => "Until then each of them asks a person",
        Then::Forbidden => "Until then none of them runs",
    };
    let until = format_ms(now_ms.saturating_add(breaker.for_ms));
    let within = format_span_ms(breaker.within_ms);
    Message {
        id: MessageId::new(),
        scope: scope.to_owned(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Tell,
        severity: Severity::Warning,
        title: format!("Changes are held back: {} is open", breaker.name),
        facts: vec![("Until".into(), until)],
        paragraphs: vec![format!(
            "{} changes failed, or were not measured to help, within {within}. {then}; look at what \
             they have in common.",
            breaker.max
        )],
        links: vec![link(desk, "Incidents", "/incidents")],
        dedup_key: format!("watchkeeper-{}", breaker.name),
        created_at_ms: now_ms,
        channels: Vec::new(),
    }
}

/// The steps of an incident fail again and again.
pub(super) fn stuck(desk: &Desk, scope: &str, id: IncidentId, why: &str) -> Message {
    Message {
        id: MessageId::new(),
        scope: scope.to_owned(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Page,
        severity: Severity::Critical,
        title: "An incident does not go on; a person has to take over".into(),
        facts: vec![("Incident".into(), id.to_string())],
        paragraphs: vec![why.to_owned()],
        links: vec![link(desk, "Incident", &format!("/incidents/{id}"))],
        dedup_key: format!("watchkeeper-stuck-{id}"),
        created_at_ms: desk.clock.now_ms(),
        channels: Vec::new(),
    }
}

/// Mere information wakes nobody.
pub(super) fn loudness(case: &Case) -> Urgency {
    match case.severity {
        Severity::Critical | Severity::Warning => Urgency::Page,
        Severity::Info => Urgency::Tell,
    }
}

fn base(desk: &Desk, case: &Case, event: Event, urgency: Urgency) -> Message {
    Message {
        id: MessageId::new(),
        scope: case.scope.clone(),
        incident_id: Some(case.id),
        event,
        urgency,
        severity: case.severity,
        title: case.title.clone(),
        facts: Vec::new(),
        paragraphs: Vec::new(),
        links: vec![link(desk, "Incident", &format!("/incidents/{}", case.id))],
        dedup_key: dedup_key(desk, case),
        created_at_ms: desk.clock.now_ms(),
        channels: Vec::new(),
    }
}

fn facts(case: &Case, located: &Located) -> Vec<(String, String)> {
    let alert = case.lead().map_or("", |lead| lead.name()).to_owned();
    let mut facts =
        vec![("Severity".into(), case.severity.as_str().to_owned()), ("Alert".into(), alert)];
    facts.extend(targets(located));
    facts.push(("Alerts".into(), case.alerts.len().to_string()));
    facts.push(("Mind".into(), case.mind.clone().unwrap_or_default()));
    facts
}

/// A storm may name thousands.
fn targets(located: &Located) -> impl Iterator<Item = (String, String)> {
    let named = [("Host", &located.hosts), ("Service", &located.services)];
    named.into_iter().filter(|(_, names)| !names.is_empty()).map(|(label, names)| {
        let shown = names.iter().take(TARGETS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let left = names.len().saturating_sub(TARGETS_SHOWN);
        let more = if left == 0 { String::new() } else { format!(" and {left} more") };
        (label.to_owned(), format!("{shown}{more}"))
    })
}

fn cause(case: &Case) -> Option<String> {
    let conclusion = case.conclusion.as_ref()?;
    let hypothesis = if conclusion.is_hypothesis() { " (hypothesis)" } else { "" };
    Some(format!("Cause{hypothesis}: {}", conclusion.root_cause))
}

fn changes(case: &Case) -> Vec<String> {
    case.actions
        .iter()
        .map(|action| format!("{}: {}", action.proposal.call, action.state.as_str()))
        .collect()
}

fn link(desk: &Desk, label: &str, path: &str) -> Link {
    let url = format!("{}{path}", desk.policy.public_url.trim_end_matches('/'));
    Link { label: label.to_owned(), url }
}

/// Alertmanager's key is the hex SHA-256 of its group key (its `notify/util.go`).
fn dedup_key(desk: &Desk, case: &Case) -> String {
    key_of(desk.policy.dedup, case.group_key.as_deref(), case.id)
}

fn key_of(dedup: DedupKey, group_key: Option<&str>, id: IncidentId) -> String {
    match (dedup, group_key) {
        (DedupKey::Alertmanager, Some(group_key)) => sha256_hex(group_key.as_bytes()),
        (DedupKey::Alertmanager, None) | (DedupKey::Own, _) => format!("watchkeeper-{id}"),
    }
}
