//! Slack by incoming webhook, as Block Kit.
//!
//! In: a message. Out: one POST. Never: `mrkdwn`; every text object is `plain_text`, in which Slack
//! reads no markup and no mention, and the text in it is inert as clients still look for bare
//! addresses. Only the buttons are active, and only `Message::links` become buttons.
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks>; answers:
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.

use super::answer::{self, ANSWER_BYTES_MAX};
use super::doubt::{Known, Memory};
use super::words::{Language, sign};
use super::{Attempt, Before, Channel, Failure, Repeat, Sent, addressed, escape};
use crate::clients::http::{Answer, Http};
use crate::clock::format_ms;
use crate::model::message::{Event, Message};
use futures::future::BoxFuture;
use serde_json::{Value, json};

const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3_000;
const FIELD_MAX: usize = 2_000;
const FIELDS_PER_SECTION: usize = 10;
const BUTTON_TEXT_MAX: usize = 75;
const BUTTON_URL_MAX: usize = 3_000;
/// Ours: more facts than this nobody reads at night.
const FACTS_MAX: usize = 20;
const LABEL_CHARS: usize = 80;
const FACT_CHARS: usize = 500;
const TITLE_CHARS: usize = 200;
const PARAGRAPHS_MAX: usize = 20;
const LINKS_MAX: usize = 5;
const CONTEXT_MAX: usize = 2_000;
/// Slack refuses messages whose blocks are too long together, seen above 13,200 characters and not
/// documented. With title, footer and buttons this stays below.
const BODY_MAX: usize = 10_000;

pub struct Slack {
    /// The address is the credential, so its path stays out of every error.
    http: Http,
    language: Language,
    memory: Memory,
}

impl Slack {
    /// `http` stands at the webhook's address.
    pub fn new(http: Http, language: Language) -> Self {
        Self { http: http.hiding_path(), language, memory: Memory::default() }
    }

    async fn deliver(&self, message: &Message, attempt: Attempt) -> Result<Sent, Failure> {
        let before = self.memory.of(message.id, "");
        let repeat = self.memory.repeat(message.id, "", attempt.maybe_sent);
        // Noted beforehand, as the caller may give up while the message is on its way.
        self.memory.note(message.id, "", Known::Doubt);
        let request = self.http.post("").json(&render(message, repeat, self.language));
        let outcome = match self.http.send(request, ANSWER_BYTES_MAX).await {
            Ok(answer) => self.judge(&answer),
            Err(error) => Err(answer::unanswered(&error)),
        };
        match &outcome {
            Err(Failure::Retry { maybe_sent: Repeat::AfterCrash, .. }) => {}
            Err(Failure::Retry { maybe_sent: Repeat::Fresh, .. }) => {
                self.memory.note(message.id, "", before);
            }
            Ok(_) | Err(Failure::Permanent { .. }) => self.memory.forget(message.id),
        }
        outcome
    }

    fn judge(&self, answer: &Answer) -> Result<Sent, Failure> {
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status == 200 && text.trim() == "ok" {
            return Ok(Sent::default());
        }
        if let Some(failure) = answer::try_later(&self.http, "Slack", answer) {
            return Err(failure);
        }
        let said = self.http.excerpt(&answer.body);
        let why = format!("Slack refused the message ({} {said}). {}", answer.status, mend(&text));
        Err(Failure::Permanent { why: answer::one_why(&why) })
    }
}

impl Channel for Slack {
    fn name(&self) -> &str {
        "slack"
    }

    fn wants(&self, message: &Message, _sent_before: Before) -> bool {
        addressed(message, self.name())
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(self.deliver(message, attempt))
    }
}

/// The body of the POST.
pub fn render(message: &Message, repeat: Repeat, language: Language) -> Value {
    let title = escape::cut(&escape::inert_line(&message.title), TITLE_CHARS);
    let event = language.event(message.event);
    let heading = format!("{} {event}: {title}", sign(message.event, message.severity));
    let header = escape::slack(&heading, HEADER_MAX);
    let mut blocks = Vec::new();
    if repeat == Repeat::AfterCrash {
        blocks.push(context(language.repeat()));
    }
    blocks.push(json!({"type": "header", "text": text_object(&header)}));
    if header != escape::slack(&heading, usize::MAX) {
        blocks.push(section(&escape::slack(&title, SECTION_MAX)));
    }
    blocks.extend(body_blocks(message, language));
    blocks.push(context(&escape::slack(&footer(message, language), CONTEXT_MAX)));
    blocks.extend(buttons(message, language));
    let mark = match repeat {
        Repeat::Fresh => String::new(),
        Repeat::AfterCrash => format!(" ({})", language.repeat()),
    };
    json!({
        // What push notifications and screen readers show.
        "text": escape::slack(&format!("{heading}{mark}"), SECTION_MAX),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// Facts and paragraphs until the budget ends; what is left out is said.
fn body_blocks(message: &Message, language: Language) -> Vec<Value> {
    let mut left = BODY_MAX;
    let mut shortened =
        message.facts.len() > FACTS_MAX || message.paragraphs.len() > PARAGRAPHS_MAX;
    let mut take = |text: &str, max: usize| {
        let whole = escape::slack(text, usize::MAX);
        let shown = escape::slack(text, max.min(left));
        left -= units(&shown);
        shortened |= shown != whole;
        Some(shown).filter(|shown| !shown.is_empty())
    };
    let fields: Vec<Value> = message
        .facts
        .iter()
        .take(FACTS_MAX)
        .filter_map(|(label, value)| take(&fact(label, value, language), FIELD_MAX))
        .map(|text| text_object(&text))
        .collect();
    let mut blocks: Vec<Value> = fields
        .chunks(FIELDS_PER_SECTION)
        .map(|fields| json!({"type": "section", "fields": fields}))
        .collect();
    let paragraphs = message.paragraphs.iter().take(PARAGRAPHS_MAX);
    let sections = paragraphs.filter_map(|text| take(&escape::inert(text), SECTION_MAX));
    blocks.extend(sections.map(|text| section(&text)));
    if shortened {
        blocks.push(context(language.shortened()));
    }
    blocks
}

fn fact(label: &str, value: &str, language: Language) -> String {
    let label = escape::cut(&escape::inert_line(language.label(label)), LABEL_CHARS);
    format!("{label}\n{}", escape::cut(&escape::inert_line(value), FACT_CHARS))
}

fn footer(message: &Message, language: Language) -> String {
    let mut parts = vec![
        language.severity(message.severity).to_owned(),
        escape::cut(&escape::inert_line(&message.scope), LABEL_CHARS),
        format_ms(message.created_at_ms),
    ];
    if let Some(id) = message.incident_id {
        parts.push(format!("{} {id}", language.incident()));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

fn buttons(message: &Message, language: Language) -> Option<Value> {
    let links = message.links.iter().filter_map(|link| {
        let url = escape::link(&link.url, BUTTON_URL_MAX)?;
        let label =
            escape::slack(&escape::inert_line(language.label(&link.label)), BUTTON_TEXT_MAX);
        (!label.is_empty()).then_some((label, url))
    });
    let mut buttons: Vec<Value> = links
        .take(LINKS_MAX)
        .enumerate()
        .map(|(at, (label, url))| {
            let text = text_object(&label);
            json!({"type": "button", "action_id": format!("link_{at}"), "text": text, "url": url})
        })
        .collect();
    if let (Event::NeedsYou, Some(first)) = (message.event, buttons.first_mut()) {
        first["style"] = json!("primary");
    }
    (!buttons.is_empty()).then(|| json!({"type": "actions", "elements": buttons}))
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": text_object(text)})
}

fn context(text: &str) -> Value {
    json!({"type": "context", "elements": [text_object(text)]})
}

fn text_object(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// What to do about Slack's error words.
fn mend(said: &str) -> &'static str {
    let word = said.trim();
    if word.contains("invalid_blocks") || word.contains("invalid_payload") {
        "This text breaks a rule of Slack's that Watchkeeper does not know; please report it"
    } else if word.contains("archived") || word.contains("channel_not_found") {
        "Unarchive the channel, or create a webhook for another one"
    } else if word.contains("action_prohibited") || word.contains("posting_to") {
        "Ask an administrator of the workspace to allow this webhook to post there"
    } else {
        "Create a new incoming webhook in the Slack app and put its address into the configuration"
    }
}

#[cfg(test)]
mod tests;
