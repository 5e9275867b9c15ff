//! PagerDuty's Events API v2, with the incidents that the events open and close.
//!
//! <https://developer.pagerduty.com/docs/events-api-v2-overview>. An event that it would refuse is
//! a violation, answered 400 with its list of errors.

use std::collections::{BTreeMap, VecDeque};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::{Fault, Server, Shared, cut_off, json_answer};

/// The whole event.
const EVENT_BYTES_MAX: usize = 512 * 1024;
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
const KEYS: [&str; 9] = [
    "routing_key",
    "event_action",
    "dedup_key",
    "payload",
    "client",
    "client_url",
    "links",
    "images",
    "event_type",
];

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    Triggered,
    Acknowledged,
}

struct Inner {
    events: Vec<Value>,
    open: BTreeMap<String, Incident>,
    opened: usize,
    faults: VecDeque<Fault>,
    attempts: usize,
    violations: Vec<String>,
}

pub struct FakePagerDuty {
    server: Server,
    inner: Shared<Inner>,
}

impl FakePagerDuty {
    /// A key of the right shape.
    pub const ROUTING_KEY: &'static str = "0123456789abcdef0123456789abcdef";

    pub async fn start() -> Self {
        let inner = Shared::new(Inner {
            events: vec![],
            open: BTreeMap::new(),
            opened: 0,
            faults: VecDeque::new(),
            attempts: 0,
            violations: vec![],
        });
        let router = Router::new().route("/v2/enqueue", post(enqueue)).with_state(inner.clone());
        Self { server: Server::http(router).await, inner }
    }

    /// In place of `https://events.pagerduty.com`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    pub fn enqueue_url(&self) -> String {
        format!("{}/v2/enqueue", self.url())
    }

    /// The next attempts get these in place of an answer.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().faults.extend(faults);
    }

    /// Accepted events, in order.
    pub fn events(&self) -> Vec<Value> {
        self.inner.lock().events.clone()
    }

    /// Open incidents by dedup_key.
    pub fn open_incidents(&self) -> BTreeMap<String, Incident> {
        self.inner.lock().open.clone()
    }

    /// How many incidents were ever opened, and so how often somebody was paged.
    pub fn opened(&self) -> usize {
        self.inner.lock().opened
    }

    pub fn attempts(&self) -> usize {
        self.inner.lock().attempts
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

async fn enqueue(State(inner): State<Shared<Inner>>, body: String) -> Response<Body> {
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
    let event: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut broken = broken(&event);
    if body.len() > EVENT_BYTES_MAX {
        broken.push(format!("the event has {} bytes", body.len()));
    }
    if !broken.is_empty() {
        inner.violations.extend(broken.iter().cloned());
        return json_answer(
            400,
            &json!({
                "status": "invalid event",
                "message": "Event object is invalid",
                "errors": broken,
            }),
        );
    }
    let given = event["dedup_key"].as_str().map(str::to_owned);
    let key = given.unwrap_or_else(|| format!("{:032x}", inner.events.len()));
    match event["event_action"].as_str().unwrap_or_default() {
        "trigger" => {
            if !inner.open.contains_key(&key) {
                inner.open.insert(key.clone(), Incident::Triggered);
                inner.opened += 1;
            }
        }
        "acknowledge" => {
            if let Some(incident) = inner.open.get_mut(&key) {
                *incident = Incident::Acknowledged;
            }
        }
        _ => {
            inner.open.remove(&key);
        }
    }
    inner.events.push(event);
    if unanswered {
        return cut_off("{");
    }
    json_answer(
        202,
        &json!({ "status": "success", "message": "Event processed", "dedup_key": key }),
    )
}

fn broken(event: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let Some(fields) = event.as_object() else { return vec!["the body is no object".to_owned()] };
    for key in fields.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        broken.push(format!("unknown key {key}"));
    }
    let key = event["routing_key"].as_str().unwrap_or_default();
    if key.len() != 32 || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        broken.push("'routing_key' is not 32 letters and digits".to_owned());
    }
    let action = event["event_action"].as_str().unwrap_or_default();
    if !["trigger", "acknowledge", "resolve"].contains(&action) {
        broken.push(format!("'event_action' is {action:?}"));
    }
    let dedup = event["dedup_key"].as_str().map(|key| key.chars().count());
    if event.get("dedup_key").is_some() && dedup.is_none_or(|n| n == 0 || n > 255) {
        broken.push("'dedup_key' is not 1 to 255 characters".to_owned());
    }
    match action {
        "trigger" => payload_broken(&event["payload"], &mut broken),
        _ if dedup.is_none() => broken.push(format!("{action} needs a 'dedup_key'")),
        _ => {}
    }
    shaped("links", "href", event, &mut broken);
    shaped("images", "src", event, &mut broken);
    broken
}

fn payload_broken(payload: &Value, broken: &mut Vec<String>) {
    let chars = |key: &str| payload[key].as_str().map_or(0, |text| text.chars().count());
    if !(1..=1024).contains(&chars("summary")) {
        broken.push(format!("'payload.summary' has {} characters", chars("summary")));
    }
    if chars("source") == 0 {
        broken.push("'payload.source' is missing or blank".to_owned());
    }
    if !SEVERITIES.iter().any(|severity| payload["severity"] == *severity) {
        broken.push(format!("'payload.severity' is {}", payload["severity"]));
    }
    if let Some(at) = payload.get("timestamp")
        && at.as_str().is_none_or(|at| chrono::DateTime::parse_from_rfc3339(at).is_err())
    {
        broken.push(format!("'payload.timestamp' is {at}"));
    }
    if payload.get("custom_details").is_some_and(|details| !details.is_object()) {
        broken.push("'payload.custom_details' is no object".to_owned());
    }
    for key in ["component", "group", "class"] {
        if payload.get(key).is_some_and(|value| !value.is_string()) {
            broken.push(format!("'payload.{key}' is no text"));
        }
    }
}

fn shaped(key: &str, address: &str, event: &Value, broken: &mut Vec<String>) {
    let Some(items) = event.get(key) else { return };
    let right = items.as_array().is_some_and(|items| {
        items.iter().all(|item| {
            item[address].as_str().is_some_and(|url| url.starts_with("http"))
                && ["text", "alt", "href", "src"]
                    .iter()
                    .all(|field| item.get(*field).is_none_or(Value::is_string))
        })
    });
    if !right {
        broken.push(format!("'{key}' must be a list of objects with a web address in {address}"));
    }
}
