//! PagerDuty by its Events API v2.
//!
//! In: a message. Out: a trigger, an acknowledge or a resolve under one `dedup_key`, by which
//! PagerDuty itself makes repeats harmless. Never: an acknowledge that no person gave, as it stops
//! escalation; an event for a message that should wake nobody. API:
//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>.

use super::answer::{self, ANSWER_BYTES_MAX};
use super::words::Language;
use super::{Attempt, Before, Channel, Failure, Sent, addressed, escape};
use crate::clients::http::{Answer, Http};
use crate::clock::format_ms;
use crate::model::alert::Severity;
use crate::model::message::{Event, Message, Urgency};
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const DEDUP_KEY_BYTES_MAX: usize = 255;
const SUMMARY_CHARS: usize = 1_024;
const FACTS_MAX: usize = 50;
const LABEL_CHARS: usize = 80;
const VALUE_CHARS: usize = 1_000;
/// With four bytes a character and every one escaped, far below the 512 KB that PagerDuty takes.
const DETAILS_CHARS: usize = 40_000;
const URL_BYTES_MAX: usize = 2_000;
const LINKS_MAX: usize = 10;

pub struct PagerDuty {
    http: Http,
    routing_key: SecretString,
    language: Language,
}

impl PagerDuty {
    /// `http` stands at `https://events.pagerduty.com/v2/enqueue`.
    pub fn new(http: Http, routing_key: SecretString, language: Language) -> Self {
        Self { http, routing_key, language }
    }

    async fn deliver(&self, message: &Message) -> Result<Sent, Failure> {
        let event = render(message, self.routing_key.expose_secret(), self.language);
        let request = self.http.post("").json(&event);
        match self.http.send(request, ANSWER_BYTES_MAX).await {
            Ok(answer) => self.judge(&self.without_key(answer)),
            Err(error) => Err(answer::unanswered(&error)),
        }
    }

    fn judge(&self, answer: &Answer) -> Result<Sent, Failure> {
        if answer.status == 202 {
            return Ok(Sent::default());
        }
        if let Some(failure) = answer::try_later(&self.http, "PagerDuty", answer) {
            return Err(failure);
        }
        let said = match errors(&answer.body) {
            Some(errors) => errors,
            None => self.http.excerpt(&answer.body),
        };
        let mend = "Check that routing_key is the integration key of an Events API v2 integration";
        let why =
            format!("PagerDuty refused the event ({}). {mend}. It said: {said}", answer.status);
        Err(Failure::Permanent { why: answer::one_why(&why) })
    }

    /// An answer may repeat the event, and the key with it.
    fn without_key(&self, answer: Answer) -> Answer {
        let body = match self.routing_key.expose_secret() {
            "" => return answer,
            key => String::from_utf8_lossy(&answer.body).replace(key, "[redacted]"),
        };
        Answer { body: body.into_bytes(), ..answer }
    }
}

impl Channel for PagerDuty {
    fn name(&self) -> &str {
        "pagerduty"
    }

    fn wants(&self, message: &Message, sent_before: Before) -> bool {
        let wanted = match message.event {
            Event::Resolved | Event::Acknowledged => sent_before == Before::Something,
            Event::Started | Event::NeedsYou | Event::Note | Event::Escalated | Event::Health => {
                message.urgency == Urgency::Page
            }
        };
        wanted && addressed(message, self.name())
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        _attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(self.deliver(message))
    }
}

/// The key under which Alertmanager's own PagerDuty receiver files a group: the hex SHA-256 of its
/// `groupKey` (`hashKey` in Alertmanager's `notify/util.go`), so that both update one incident.
pub fn alertmanager_dedup_key(group_key: &str) -> String {
    Sha256::digest(group_key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The body of the POST.
pub fn render(message: &Message, routing_key: &str, language: Language) -> Value {
    let action = match message.event {
        Event::Resolved => "resolve",
        Event::Acknowledged => "acknowledge",
        Event::Started | Event::NeedsYou | Event::Note | Event::Escalated | Event::Health => {
            "trigger"
        }
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup_key(message),
    });
    if action != "trigger" {
        return event;
    }
    event["client"] = json!("Watchkeeper");
    let links = links(message, language);
    if let Some(first) = links.first() {
        event["client_url"] = first["href"].clone();
    }
    event["links"] = json!(links);
    event["payload"] = payload(message, language);
    event
}

/// The message's key where PagerDuty takes it; a longer one is hashed, which keeps it one key.
fn dedup_key(message: &Message) -> String {
    match message.dedup_key.as_str() {
        "" => match message.incident_id {
            Some(id) => format!("watchkeeper-{id}"),
            None => format!("watchkeeper-{}", message.id),
        },
        long if long.len() > DEDUP_KEY_BYTES_MAX => alertmanager_dedup_key(long),
        key => key.to_owned(),
    }
}

fn payload(message: &Message, language: Language) -> Value {
    let title = escape::inert_line(&message.title);
    let summary = format!("{}: {title}", language.event(message.event));
    let mut payload = json!({
        "summary": escape::cut(&summary, SUMMARY_CHARS),
        "source": fact(message, &["instance", "host"]).unwrap_or_else(|| "watchkeeper".to_owned()),
        "severity": severity(message.severity),
        "timestamp": format_ms(message.created_at_ms),
        "custom_details": details(message, language),
    });
    let named = [
        ("component", fact(message, &["service"])),
        ("class", fact(message, &["alert", "alertname"])),
        ("group", Some(line(&message.scope, LABEL_CHARS)).filter(|scope| !scope.is_empty())),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            payload[key] = json!(value);
        }
    }
    payload
}

/// Services with dynamic urgency wake people for `critical` and `error` only. Whatever reaches this
/// channel was meant to wake somebody, so a warning is sent as `error`; its own word stands in the
/// details.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning | Severity::Info => "error",
    }
}

fn details(message: &Message, language: Language) -> Value {
    let mut details = Map::new();
    let severity = language.severity(message.severity);
    details.insert(language.label("Severity").to_owned(), json!(severity));
    if let Some(id) = message.incident_id {
        details.insert(language.incident().to_owned(), json!(id.to_string()));
    }
    for (label, value) in message.facts.iter().take(FACTS_MAX) {
        let label = line(language.label(label), LABEL_CHARS);
        details.entry(label).or_insert_with(|| json!(line(value, VALUE_CHARS)));
    }
    let mut text = String::new();
    for paragraph in &message.paragraphs {
        // Bytes are at least as many as characters, so nothing that would be shown is left out.
        if text.len() > 4 * DETAILS_CHARS {
            break;
        }
        text = [text, escape::inert(paragraph)].join("\n\n");
    }
    let text = escape::cut(text.trim(), DETAILS_CHARS);
    if !text.is_empty() {
        details.insert(language.label("Text").to_owned(), json!(text));
    }
    Value::Object(details)
}

fn links(message: &Message, language: Language) -> Vec<Value> {
    let links = message.links.iter().filter_map(|link| {
        let href = escape::link(&link.url, URL_BYTES_MAX)?;
        Some(json!({"href": href, "text": line(language.label(&link.label), LABEL_CHARS)}))
    });
    links.take(LINKS_MAX).collect()
}

/// The value of the first fact with one of these English labels.
fn fact(message: &Message, labels: &[&str]) -> Option<String> {
    let found = labels.iter().find_map(|wanted| {
        message.facts.iter().find(|(label, _)| label.trim().eq_ignore_ascii_case(wanted))
    });
    found.map(|(_, value)| line(value, VALUE_CHARS)).filter(|value| !value.is_empty())
}

fn line(text: &str, chars_max: usize) -> String {
    escape::cut(&escape::inert_line(text), chars_max)
}

/// The `errors` that a 400 lists.
fn errors(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let errors: Vec<&str> = body["errors"].as_array()?.iter().filter_map(Value::as_str).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

#[cfg(test)]
mod tests;
