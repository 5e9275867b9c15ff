//! Writes a message as a mail: plain text and simple HTML that say the same.
//!
//! In: a message and its addresses. Out: the mail. Never: an active link but `Message::links`, a
//! line break in a header, remote content. A repeat carries the same Message-ID, so that mail
//! programs can recognise it; the mails of one incident refer to one id and form a thread.

use crate::clock::format_ms;
use crate::model::message::{Message, Urgency};
use crate::notify::words::{Language, sign};
use crate::notify::{Repeat, escape};
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

const SUBJECT_CHARS: usize = 150;
const TITLE_CHARS: usize = 200;
const LABEL_CHARS: usize = 80;
const VALUE_CHARS: usize = 2_000;
const FACTS_MAX: usize = 50;
const TEXT_CHARS: usize = 50_000;
const URL_BYTES_MAX: usize = 2_000;
const LINKS_MAX: usize = 10;

/// Everything that a mail shows, inert and cut, before it takes a form.
struct Parts {
    heading: String,
    repeat: Option<&'static str>,
    facts: Vec<(String, String)>,
    paragraphs: Vec<String>,
    shortened: Option<&'static str>,
    links: Vec<(String, String)>,
    footer: String,
}

/// The mail to one recipient.
///
/// # Errors
/// A mail that lettre cannot build from these addresses.
pub fn render(
    message: &Message,
    repeat: Repeat,
    language: Language,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<lettre::Message, lettre::error::Error> {
    let parts = parts(message, repeat, language);
    let domain = from.email.domain();
    let created = Duration::from_millis(u64::try_from(message.created_at_ms).unwrap_or(0));
    let mut mail = lettre::Message::builder()
        .from(from.clone())
        .to(to.clone())
        .subject(subject(message, repeat, language))
        .date(UNIX_EPOCH + created)
        .message_id(Some(format!("<{}@{domain}>", message.id)))
        // RFC 3834: no out-of-office answer to a machine.
        .header(AutoSubmitted);
    if let Some(incident) = message.incident_id {
        let thread = format!("<incident-{incident}@{domain}>");
        mail = mail.in_reply_to(thread.clone()).references(thread);
    }
    if message.urgency == Urgency::Page {
        mail = mail.header(HighPriority);
    }
    let body = MultiPart::alternative()
        // `=_` cannot stand in a base64 body, so no text can end a part early.
        .boundary(format!("=_watchkeeper_{}", message.id))
        .singlepart(part(ContentType::TEXT_PLAIN, text(&parts)))
        .singlepart(part(ContentType::TEXT_HTML, html(&parts)));
    mail.multipart(body)
}

fn subject(message: &Message, repeat: Repeat, language: Language) -> String {
    let mark = match repeat {
        Repeat::Fresh => String::new(),
        Repeat::AfterCrash => format!(" ({})", language.repeat()),
    };
    let event = language.event(message.event);
    let title = escape::inert_line(&message.title);
    escape::cut(&format!("[{event}]{mark} {title}"), SUBJECT_CHARS)
}

fn parts(message: &Message, repeat: Repeat, language: Language) -> Parts {
    let line = |text: &str, max| escape::cut(&escape::inert_line(text), max);
    let event = language.event(message.event);
    let sign = sign(message.event, message.severity);
    let facts =
        message.facts.iter().take(FACTS_MAX).map(|(label, value)| {
            (line(language.label(label), LABEL_CHARS), line(value, VALUE_CHARS))
        });
    let (mut left, mut shortened) = (TEXT_CHARS, message.facts.len() > FACTS_MAX);
    let mut paragraphs = Vec::new();
    for paragraph in &message.paragraphs {
        if left == 0 {
            shortened = true;
            break;
        }
        let whole = escape::inert(paragraph);
        let shown = escape::cut(&whole, left);
        left -= shown.chars().count();
        shortened |= shown != whole;
        paragraphs.extend(Some(shown).filter(|shown| !shown.is_empty()));
    }
    let links = message.links.iter().filter_map(|link| {
        let url = escape::link(&link.url, URL_BYTES_MAX)?;
        Some((line(language.label(&link.label), LABEL_CHARS), url))
    });
    let mut footer = vec![
        language.severity(message.severity).to_owned(),
        line(&message.scope, LABEL_CHARS),
        format_ms(message.created_at_ms),
    ];
    footer.extend(message.incident_id.map(|id| format!("{} {id}", language.incident())));
    footer.retain(|part| !part.is_empty());
    Parts {
        heading: format!("{sign} {event}: {}", line(&message.title, TITLE_CHARS)),
        repeat: match repeat {
            Repeat::Fresh => None,
            Repeat::AfterCrash => Some(language.repeat()),
        },
        facts: facts.collect(),
        paragraphs,
        shortened: shortened.then(|| language.shortened()),
        links: links.take(LINKS_MAX).collect(),
        footer: footer.join(" · "),
    }
}

fn text(parts: &Parts) -> String {
    let mut blocks = vec![parts.heading.clone()];
    blocks.extend(parts.repeat.map(str::to_owned));
    let lines = |pairs: &[(String, String)]| -> String {
        pairs
            .iter()
            .map(|(label, value)| format!("{label}: {value}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    blocks.push(lines(&parts.facts));
    blocks.extend(parts.paragraphs.iter().cloned());
    blocks.extend(parts.shortened.map(str::to_owned));
    blocks.push(lines(&parts.links));
    // RFC 3676: what follows this line is a signature, which mail programs set apart.
    blocks.push(format!("-- \n{}", parts.footer));
    blocks.retain(|block| !block.is_empty());
    format!("{}\n", blocks.join("\n\n"))
}

fn html(parts: &Parts) -> String {
    let mut out =
        String::from("<!doctype html>\n<html><head><meta charset=\"utf-8\"></head><body>\n");
    let mut add = |tag: &str, text: &str| {
        let lines = escape::html(text).replace('\n', "<br>\n");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<{tag}>{lines}</{tag}>");
    };
    add("h2", &parts.heading);
    if let Some(repeat) = parts.repeat {
        add("p", repeat);
    }
    for (label, value) in &parts.facts {
        add("div", &format!("{label}: {value}"));
    }
    for paragraph in &parts.paragraphs {
        add("p", paragraph);
    }
    if let Some(shortened) = parts.shortened {
        add("p", shortened);
    }
    for (label, url) in &parts.links {
        let (label, url) = (escape::html(label), escape::html(url));
        let _ = writeln!(out, "<p><a href=\"{url}\" rel=\"noreferrer\">{label}</a></p>");
    }
    let _ = writeln!(out, "<hr>\n<p><small>{}</small></p>", escape::html(&parts.footer));
    out.push_str("</body></html>\n");
    out
}

fn part(kind: ContentType, text: String) -> SinglePart {
    let encoding = ContentTransferEncoding::Base64;
    // Base64 can carry any bytes; what comes back is the text itself, for other encodings only.
    let body = Body::new_with_encoding(text, encoding).unwrap_or_else(Body::new);
    SinglePart::builder().header(kind).body(body)
}

macro_rules! constant_header {
    ($type:ident, $name:literal, $value:literal) => {
        #[derive(Clone)]
        struct $type;

        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }

            fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self)
            }

            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), $value.to_owned())
            }
        }
    };
}

constant_header!(AutoSubmitted, "Auto-Submitted", "auto-generated");
constant_header!(HighPriority, "X-Priority", "1 (Highest)");
