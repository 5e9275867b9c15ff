//! An Alertmanager that holds the alerts a test gives it.
//!
//! Filters as `/api/v2/alerts` does: by receiver (an anchored regular expression), by matchers and
//! by the `active`, `silenced` and `inhibited` flags. Grouping and notifying are not played.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, Uri};
use axum::routing::get;
use regex::Regex;
use serde_json::{Value, json};

use super::{Fault, Server, Shared, answer, json_answer};

struct Inner {
    alerts: Vec<Value>,
    silences: Vec<Value>,
    up_since: String,
    pushed: Vec<Value>,
    faults: Vec<Fault>,
    violations: Vec<String>,
}

pub struct FakeAlertmanager {
    server: Server,
    inner: Shared<Inner>,
}

impl FakeAlertmanager {
    pub async fn start() -> Self {
        let inner = Shared::new(Inner {
            alerts: vec![],
            silences: vec![],
            up_since: "2023-11-14T22:13:20.5Z".to_owned(),
            pushed: vec![],
            faults: vec![],
            violations: vec![],
        });
        let router = Router::new()
            .route("/api/v2/alerts", get(list).post(push))
            .route("/api/v2/status", get(status))
            .route("/api/v2/silences", get(silences))
            .route("/-/ready", get(|| async { "OK" }))
            .fallback(unknown)
            .with_state(inner.clone());
        Self { server: Server::http(router).await, inner }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    /// Adds an alert that goes to `receiver`; `silences` and `inhibitors` suppress it.
    pub fn add(
        &self,
        fingerprint: &str,
        receiver: &str,
        labels: &[(&str, &str)],
        silences: &[&str],
        inhibitors: &[&str],
    ) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let suppressed = !silences.is_empty() || !inhibitors.is_empty();
        self.inner.lock().alerts.push(json!({
            "fingerprint": fingerprint,
            "labels": labels,
            "annotations": { "summary": "s" },
            "startsAt": "2023-11-14T22:13:20.5Z",
            "endsAt": "2023-11-14T22:17:20.500+00:00",
            "updatedAt": "2023-11-14T22:13:20.5Z",
            "generatorURL": "http://prometheus/graph",
            "receivers": [{ "name": receiver }],
            "status": {
                "state": if suppressed { "suppressed" } else { "active" },
                "silencedBy": silences,
                "inhibitedBy": inhibitors,
                "mutedBy": [],
            },
        }));
    }

    /// Holds what a webhook would deliver, for the receiver of the tests.
    pub fn hold(&self, delivered: &Value) {
        let mut alert = delivered.clone();
        alert["endsAt"] = json!("2099-01-01T00:00:00Z");
        alert["updatedAt"] = alert["startsAt"].clone();
        alert["receivers"] = json!([{ "name": "watchkeeper" }]);
        alert["status"] = json!({ "state": "active", "silencedBy": [], "inhibitedBy": [] });
        self.inner.lock().alerts.push(alert);
    }

    /// Somebody silences everything that it holds.
    pub fn silence(&self, id: &str, by: &str, comment: &str, ends_at: &str) {
        let mut inner = self.inner.lock();
        inner.silences.push(json!({
            "id": id,
            "matchers": [{ "name": "alertname", "value": ".+", "isRegex": true, "isEqual": true }],
            "startsAt": "2026-03-10T09:00:00Z",
            "endsAt": ends_at,
            "createdBy": by,
            "comment": comment,
            "status": { "state": "active" },
        }));
        for alert in &mut inner.alerts {
            alert["status"] =
                json!({ "state": "suppressed", "silencedBy": [id], "inhibitedBy": [] });
        }
    }

    /// Every silence is expired by hand.
    pub fn expire_silences(&self) {
        let mut inner = self.inner.lock();
        inner.silences.clear();
        for alert in &mut inner.alerts {
            alert["status"] = json!({ "state": "active", "silencedBy": [], "inhibitedBy": [] });
        }
    }

    /// When it says that it started.
    pub fn set_up_since(&self, at: &str) {
        at.clone_into(&mut self.inner.lock().up_since);
    }

    /// Forgets everything, as a restart does.
    pub fn forget(&self) {
        self.inner.lock().alerts.clear();
    }

    /// The next request gets this in place of an answer.
    pub fn fail_next(&self, fault: Fault) {
        self.inner.lock().faults.push(fault);
    }

    /// What was posted, alert by alert.
    pub fn pushed(&self) -> Vec<Value> {
        self.inner.lock().pushed.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

async fn list(State(inner): State<Shared<Inner>>, RawQuery(query): RawQuery) -> Response<Body> {
    let fault = inner.lock().faults.pop();
    if let Some(fault) = fault {
        return fault.response().await;
    }
    let mut url = reqwest::Url::parse("http://query/").unwrap();
    url.set_query(query.as_deref());
    let mut shown = inner.lock().alerts.clone();
    for (name, value) in url.query_pairs() {
        let wanted = value != "false";
        let keep: Box<dyn Fn(&Value) -> bool> = match name.as_ref() {
            "active" => Box::new(move |a| wanted || a["status"]["state"] != "active"),
            "silenced" => Box::new(move |a| wanted || a["status"]["silencedBy"] == json!([])),
            "inhibited" => Box::new(move |a| wanted || a["status"]["inhibitedBy"] == json!([])),
            "unprocessed" => Box::new(|_| true),
            "receiver" => match Regex::new(&format!("^(?:{value})$")) {
                Ok(name) => Box::new(move |a| {
                    name.is_match(a["receivers"][0]["name"].as_str().unwrap_or_default())
                }),
                Err(error) => return bad_request(&error.to_string()),
            },
            "filter" => match matcher(&value) {
                Some(matches) => Box::new(move |a| matches(&a["labels"])),
                None => return bad_request(&format!("bad matcher format: {value}")),
            },
            other => {
                inner.lock().violations.push(format!("unknown parameter {other}"));
                Box::new(|_| true)
            }
        };
        shown.retain(|alert| keep(alert));
    }
    json_answer(200, &Value::Array(shown))
}

/// `name="value"`, `!=`, `=~` and `!~`, the value quoted or not.
fn matcher(text: &str) -> Option<impl Fn(&Value) -> bool + use<>> {
    let parts = Regex::new(r#"^([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"?([^"]*)"?$"#).unwrap();
    let found = parts.captures(text)?;
    let (name, operator) = (found[1].to_owned(), found[2].to_owned());
    let pattern =
        if operator.contains('~') { found[3].to_owned() } else { regex::escape(&found[3]) };
    let pattern = Regex::new(&format!("^(?:{pattern})$")).ok()?;
    Some(move |labels: &Value| {
        let matched = pattern.is_match(labels[&name].as_str().unwrap_or_default());
        matched != operator.starts_with('!')
    })
}

async fn push(State(inner): State<Shared<Inner>>, body: String) -> Response<Body> {
    let mut inner = inner.lock();
    let Ok(Value::Array(alerts)) = serde_json::from_str(&body) else {
        inner.violations.push("the body is no list of alerts".to_owned());
        return bad_request("parsing alerts body failed");
    };
    for alert in alerts {
        let labels = alert["labels"].as_object();
        if labels.is_none_or(|labels| {
            !labels.values().any(|v| v.as_str().is_some_and(|v| !v.is_empty()))
        }) {
            inner.violations.push("an alert without labels".to_owned());
        }
        for time in ["startsAt", "endsAt"] {
            let text = alert[time].as_str().unwrap_or_default();
            if chrono::DateTime::parse_from_rfc3339(text).is_err() {
                inner.violations.push(format!("{time} {text:?} is no date"));
            }
        }
        inner.pushed.push(alert);
    }
    answer(200, "application/json", "")
}

async fn silences(State(inner): State<Shared<Inner>>) -> Response<Body> {
    json_answer(200, &Value::Array(inner.lock().silences.clone()))
}

async fn status(State(inner): State<Shared<Inner>>) -> Response<Body> {
    let up_since = inner.lock().up_since.clone();
    json_answer(
        200,
        &json!({
            "cluster": { "name": "01H", "peers": [], "status": "ready" },
            "config": { "original": "route:\n  receiver: watchkeeper\n" },
            "uptime": up_since,
            "versionInfo": {
                "branch": "HEAD",
                "buildDate": "",
                "buildUser": "",
                "goVersion": "go1.22",
                "revision": "",
                "version": "0.27.0",
            },
        }),
    )
}

async fn unknown(State(inner): State<Shared<Inner>>, uri: Uri) -> Response<Body> {
    inner.lock().violations.push(format!("{uri} is no address of the API"));
    answer(404, "text/plain", "404 page not found")
}

/// Alertmanager answers a bad parameter with a bare JSON string.
fn bad_request(message: &str) -> Response<Body> {
    json_answer(400, &json!(message))
}
