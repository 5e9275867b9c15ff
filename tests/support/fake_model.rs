//! An OpenAI-compatible model server that says what a test tells it to.
//!
//! A request that breaks a rule is kept as a violation and answered 400, as a strict server would.

use std::collections::VecDeque;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::{Server, Shared, answer, cut_off, json_answer, model_rules};

/// One request, parsed.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// Counted from 0, refused ones included.
    pub number: usize,
    pub body: Value,
    pub authorization: Option<String>,
}

impl ModelRequest {
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn last(&self) -> &Value {
        self.messages().last().unwrap_or(&Value::Null)
    }

    /// The names of the tools offered.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().into_iter().flatten();
        tools.filter_map(|tool| tool["function"]["name"].as_str()).collect()
    }
}

/// What the model answers.
#[derive(Debug, Clone)]
pub enum ModelReply {
    /// An assistant message, wrapped into a completion.
    Message(Value),
    /// A whole body, sent as it is.
    Body {
        status: u16,
        content_type: &'static str,
        body: String,
        retry_after: Option<String>,
    },
    Hang,
    /// The connection closes after these bytes.
    CutOff(String),
}

impl ModelReply {
    pub fn text(text: &str) -> Self {
        Self::Message(json!({ "role": "assistant", "content": text }))
    }

    /// Structured calls with ids `call_<n>_<name>`.
    pub fn calls(calls: &[(&str, Value)]) -> Self {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(n, (name, arguments))| {
                json!({
                    "id": format!("call_{n}_{name}"),
                    "type": "function",
                    "function": { "name": name, "arguments": arguments.to_string() },
                })
            })
            .collect();
        Self::Message(json!({ "role": "assistant", "content": null, "tool_calls": calls }))
    }

    pub fn call(name: &str, arguments: Value) -> Self {
        Self::calls(&[(name, arguments)])
    }

    /// The call as local models write it.
    pub fn text_call(name: &str, arguments: &Value) -> Self {
        let call = json!({ "name": name, "arguments": arguments });
        Self::text(&format!("<tool_call>\n{call}\n</tool_call>"))
    }

    pub fn call_without_id(name: &str, arguments: &Value) -> Self {
        let function = json!({ "name": name, "arguments": arguments.to_string() });
        Self::Message(json!({ "role": "assistant", "tool_calls": [{ "function": function }] }))
    }

    pub fn call_with_object(name: &str, arguments: Value) -> Self {
        let function = json!({ "name": name, "arguments": arguments });
        let call = json!({ "id": "call_o", "type": "function", "function": function });
        Self::Message(json!({ "role": "assistant", "content": "", "tool_calls": [call] }))
    }

    /// A call whose arguments are this very text.
    pub fn call_with_raw(name: &str, arguments: &str) -> Self {
        let function = json!({ "name": name, "arguments": arguments });
        let call = json!({ "id": "call_r", "type": "function", "function": function });
        Self::Message(json!({ "role": "assistant", "content": null, "tool_calls": [call] }))
    }

    /// An error shaped as OpenAI's.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({ "error": { "message": message, "type": code, "code": code } }))
    }

    pub fn rate_limited(retry_after: &str) -> Self {
        let body = json!({ "error": { "message": "slow down", "code": "rate_limit_exceeded" } });
        Self::Body {
            status: 429,
            content_type: "application/json",
            body: body.to_string(),
            retry_after: Some(retry_after.to_owned()),
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    pub fn html(status: u16) -> Self {
        Self::body(status, "text/html", "<html><h1>Bad gateway</h1></html>".to_owned())
    }

    pub fn invalid_json() -> Self {
        Self::body(200, "application/json", "{\"choices\":[{\"message\":".to_owned())
    }

    /// A valid completion of at least this many bytes.
    pub fn large(bytes: usize) -> Self {
        Self::text(&"x".repeat(bytes))
    }

    fn body(status: u16, content_type: &'static str, body: String) -> Self {
        Self::Body { status, content_type, body, retry_after: None }
    }
}

type Respond = Box<dyn FnMut(&ModelRequest) -> ModelReply + Send>;

struct Inner {
    respond: Respond,
    latency: Duration,
    requests: Vec<ModelRequest>,
    violations: Vec<String>,
}

pub struct FakeModel {
    server: Server,
    inner: Shared<Inner>,
}

impl FakeModel {
    /// Answers with these replies in turn; a request beyond them is a violation.
    pub async fn script(replies: Vec<ModelReply>) -> Self {
        let mut left = VecDeque::from(replies);
        Self::respond(move |_| {
            left.pop_front().unwrap_or_else(|| ModelReply::error(500, "script", "script is over"))
        })
        .await
    }

    /// Answers each request with what the closure makes of it.
    pub async fn respond(
        respond: impl FnMut(&ModelRequest) -> ModelReply + Send + 'static,
    ) -> Self {
        let inner = Shared::new(Inner {
            respond: Box::new(respond),
            latency: Duration::ZERO,
            requests: vec![],
            violations: vec![],
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(|| async { list() }))
            .fallback(unknown)
            .with_state(inner.clone());
        Self { server: Server::http(router).await, inner }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.server.addr)
    }

    pub fn set_latency(&self, latency: Duration) {
        self.inner.lock().latency = latency;
    }

    pub fn requests(&self) -> Vec<ModelRequest> {
        self.inner.lock().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.inner.lock().requests.len()
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

async fn complete(
    State(inner): State<Shared<Inner>>,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    let parsed: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut broken = model_rules::broken(&parsed);
    if headers.get("content-type").is_none_or(|kind| kind != "application/json") {
        broken.push("content-type is not application/json".to_owned());
    }
    let authorization = headers.get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    let (reply, latency) = {
        let mut inner = inner.lock();
        let number = inner.requests.len();
        let request = ModelRequest { number, body: parsed, authorization };
        let reply = if broken.is_empty() {
            (inner.respond)(&request)
        } else {
            ModelReply::error(400, "invalid_request_error", &broken.join("; "))
        };
        inner.requests.push(request);
        inner.violations.extend(broken.into_iter().map(|rule| format!("request {number}: {rule}")));
        if let ModelReply::Body { body, .. } = &reply
            && body.contains("script is over")
        {
            inner.violations.push(format!("request {number}: beyond the script"));
        }
        (reply, inner.latency)
    };
    if !latency.is_zero() {
        sleep(latency).await;
    }
    send(reply).await
}

async fn send(reply: ModelReply) -> Response<Body> {
    match reply {
        ModelReply::Message(message) => json_answer(200, &completion(&message)),
        ModelReply::Body { status, content_type, body, retry_after } => {
            let mut response = answer(status, content_type, body);
            if let Some(wait) = retry_after {
                response.headers_mut().insert("retry-after", wait.parse().unwrap());
            }
            response
        }
        ModelReply::Hang => std::future::pending().await,
        ModelReply::CutOff(start) => cut_off(&start),
    }
}

fn completion(message: &Value) -> Value {
    let finish = if message["tool_calls"].is_array() { "tool_calls" } else { "stop" };
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake-1",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 },
    })
}

fn list() -> Response<Body> {
    json_answer(200, &json!({ "object": "list", "data": [{ "id": "fake-1", "object": "model" }] }))
}

async fn unknown(State(inner): State<Shared<Inner>>, method: Method, uri: Uri) -> Response<Body> {
    inner.lock().violations.push(format!("{method} {uri} is no address of the API"));
    json_answer(404, &json!({ "detail": "Not Found" }))
}
