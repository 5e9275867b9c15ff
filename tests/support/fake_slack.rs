//! A Slack incoming webhook.
//!
//! Checks Block Kit (<https://docs.slack.dev/reference/block-kit/blocks>) and answers in Slack's
//! words; a message that Slack would refuse is a violation and is not recorded as delivered.

use std::collections::{BTreeSet, VecDeque};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use serde_json::Value;

use super::{Fault, Server, Shared, answer, cut_off};

/// Slack cuts a longer fallback text.
const TEXT_CHARS_MAX: usize = 40_000;
/// Not documented; above about this much text in blocks Slack answers `msg_blocks_too_long`.
const BLOCKS_CHARS_MAX: usize = 13_200;
const KEYS: [&str; 9] = [
    "text",
    "blocks",
    "attachments",
    "thread_ts",
    "mrkdwn",
    "response_type",
    "replace_original",
    "unfurl_links",
    "unfurl_media",
];

struct Inner {
    messages: Vec<Value>,
    faults: VecDeque<Fault>,
    attempts: usize,
    violations: Vec<String>,
}

pub struct FakeSlack {
    server: Server,
    inner: Shared<Inner>,
}

impl FakeSlack {
    pub async fn start() -> Self {
        let inner = Shared::new(Inner {
            messages: vec![],
            faults: VecDeque::new(),
            attempts: 0,
            violations: vec![],
        });
        let router = Router::new()
            .route("/services/{team}/{hook}/{token}", post(receive))
            .with_state(inner.clone());
        Self { server: Server::http(router).await, inner }
    }

    /// An address whose path is the secret, as Slack's are.
    pub fn webhook_url(&self) -> String {
        format!("http://{}/services/T000/B000/XXXXsecretXXXX", self.server.addr)
    }

    /// The next attempts get these in place of an answer.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().faults.extend(faults);
    }

    /// Messages that Slack would have posted, in order.
    pub fn messages(&self) -> Vec<Value> {
        self.inner.lock().messages.clone()
    }

    pub fn attempts(&self) -> usize {
        self.inner.lock().attempts
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

async fn receive(
    State(inner): State<Shared<Inner>>,
    Path((_, _, token)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    if token != "XXXXsecretXXXX" {
        return answer(403, "text/plain", "invalid_token");
    }
    let fault = {
        let mut inner = inner.lock();
        inner.attempts += 1;
        inner.faults.pop_front()
    };
    let unanswered = matches!(fault, Some(Fault::TakenUnanswered));
    if let Some(fault) = fault.filter(|_| !unanswered) {
        return fault.response().await;
    }
    let mut inner = inner.lock();
    let json = headers
        .get("content-type")
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/json")));
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        inner.violations.push("the body is no JSON".to_owned());
        return answer(400, "text/plain", "invalid_payload");
    };
    let mut broken = broken(&message);
    if !json {
        broken.push("content-type is not application/json".to_owned());
    }
    if !broken.is_empty() {
        let answered = if message["text"].is_string() { "invalid_blocks" } else { "no_text" };
        inner.violations.append(&mut broken);
        return answer(400, "text/plain", answered);
    }
    inner.messages.push(message);
    if unanswered { cut_off("o") } else { answer(200, "text/html", "ok") }
}

fn broken(message: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for key in message.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !KEYS.contains(&key.as_str()) {
            broken.push(format!("unknown key {key}"));
        }
    }
    text_within("text", &message["text"], TEXT_CHARS_MAX, &mut broken);
    let Some(blocks) = message.get("blocks") else { return broken };
    let Some(blocks) = blocks.as_array() else {
        broken.push("blocks is no list".to_owned());
        return broken;
    };
    if blocks.is_empty() || blocks.len() > 50 {
        broken.push(format!("{} blocks", blocks.len()));
    }
    let mut ids = BTreeSet::new();
    for (n, block) in blocks.iter().enumerate() {
        let at = format!("blocks[{n}]");
        if let Some(id) = block["block_id"].as_str()
            && (id.chars().count() > 255 || !ids.insert(id))
        {
            broken.push(format!("{at}: block_id {id:?} is too long or repeated"));
        }
        block_broken(&at, block, &mut broken);
    }
    let total: usize = blocks.iter().map(text_chars).sum();
    if total > BLOCKS_CHARS_MAX {
        broken.push(format!("the blocks hold {total} characters"));
    }
    broken
}

fn block_broken(at: &str, block: &Value, broken: &mut Vec<String>) {
    match block["type"].as_str().unwrap_or_default() {
        "header" => text_object(at, &block["text"], &["plain_text"], 150, broken),
        "divider" => {}
        "section" => section_broken(at, block, broken),
        "context" => {
            for element in list(at, "elements", block, 10, broken) {
                match element["type"].as_str() {
                    Some("image") => image_broken(at, element, broken),
                    _ => text_object(at, element, &["plain_text", "mrkdwn"], 2000, broken),
                }
            }
        }
        "actions" => {
            for element in list(at, "elements", block, 25, broken) {
                element_broken(at, element, broken);
            }
        }
        "image" => image_broken(at, block, broken),
        "markdown" => text_within(at, &block["text"], 12_000, broken),
        "rich_text" => {
            list(at, "elements", block, 1000, broken);
        }
        other => broken.push(format!("{at}: unknown block {other:?}")),
    }
}

fn section_broken(at: &str, block: &Value, broken: &mut Vec<String>) {
    let kinds = ["plain_text", "mrkdwn"];
    if block.get("text").is_none() && block.get("fields").is_none() {
        broken.push(format!("{at}: a section needs text or fields"));
    }
    if let Some(text) = block.get("text") {
        text_object(at, text, &kinds, 3000, broken);
    }
    if block.get("fields").is_some() {
        for field in list(at, "fields", block, 10, broken) {
            text_object(at, field, &kinds, 2000, broken);
        }
    }
    if let Some(accessory) = block.get("accessory") {
        element_broken(at, accessory, broken);
    }
}

fn element_broken(at: &str, element: &Value, broken: &mut Vec<String>) {
    match element["type"].as_str().unwrap_or_default() {
        "button" => {
            text_object(at, &element["text"], &["plain_text"], 75, broken);
            for (key, most) in [("url", 3000), ("value", 2000), ("action_id", 255)] {
                if let Some(value) = element.get(key) {
                    text_within(&format!("{at}.{key}"), value, most, broken);
                }
            }
            let web = element["url"].as_str().is_none_or(|url| url.starts_with("http"));
            let style = element.get("style").is_none_or(|s| s == "primary" || s == "danger");
            if !web || !style {
                broken.push(format!("{at}: a button's url or style is wrong"));
            }
        }
        "image" => image_broken(at, element, broken),
        other => broken.push(format!("{at}: unknown element {other:?}")),
    }
}

fn image_broken(at: &str, image: &Value, broken: &mut Vec<String>) {
    text_within(&format!("{at}.image_url"), &image["image_url"], 3000, broken);
    text_within(&format!("{at}.alt_text"), &image["alt_text"], 2000, broken);
}

fn list<'a>(
    at: &str,
    key: &str,
    block: &'a Value,
    most: usize,
    broken: &mut Vec<String>,
) -> &'a [Value] {
    let items = block[key].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() || items.len() > most {
        broken.push(format!("{at}: {} {key}", items.len()));
    }
    items
}

fn text_object(at: &str, text: &Value, kinds: &[&str], most: usize, broken: &mut Vec<String>) {
    if !kinds.iter().any(|kind| text["type"] == *kind) {
        broken.push(format!("{at}: text of type {}", text["type"]));
    }
    if text["type"] == "mrkdwn" && text.get("emoji").is_some() {
        broken.push(format!("{at}: emoji is for plain_text only"));
    }
    text_within(at, &text["text"], most, broken);
}

fn text_within(at: &str, text: &Value, most: usize, broken: &mut Vec<String>) {
    let chars = text.as_str().map_or(0, |text| text.trim().chars().count());
    if chars == 0 || chars > most {
        broken.push(format!("{at}: {chars} characters of text, 1 to {most} allowed"));
    }
}

/// The characters of every `text` below a value.
fn text_chars(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(text) if key == "text" => text.chars().count(),
                Some(_) => 0,
                None => text_chars(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(text_chars).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
