//! The mind that asks a model: any OpenAI-compatible endpoint, and the next one when it fails.
//!
//! In: the case as chat messages. Out: calls or a conclusion. Nothing that comes back is trusted:
//! calls are judged elsewhere, ids are ours, text is text.

use super::breaker::{Breaker, Gone};
use super::prompt::{self, Caps, cut};
use super::{Asked, Error, Mind, Thought, View};
use crate::clients::chat::{self, Chat, Reply};
use crate::config::Language;
use crate::model::case::Case;
use crate::model::conclusion::{Conclusion, Confidence};
use crate::model::timeline::Usage;
use crate::model::tool::ToolSpec;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The name on the timeline.
pub const NAME: &str = "model";

/// Calls of one answer that are looked at; a model that asks for a million gets these.
const CALLS_MAX: usize = 16;
/// Prose of one answer that is kept.
const SAID_BYTES_MAX: usize = 16 * 1024;

/// One endpoint and what its tokens cost.
#[derive(Clone)]
pub struct Endpoint {
    pub chat: Chat,
    /// Currency for a million tokens; 0 when unknown.
    pub price_input: f64,
    pub price_output: f64,
    pub breaker: Arc<Breaker>,
}

/// Asks the endpoints in order.
pub struct Model {
    endpoints: Vec<Endpoint>,
    language: Language,
    caps: Caps,
    /// The tools as they were last told, with what they were made from: they hardly ever change.
    tools: Mutex<(Vec<ToolSpec>, Arc<Vec<Value>>)>,
}

impl Model {
    pub fn new(endpoints: Vec<Endpoint>, language: Language, caps: Caps) -> Self {
        Self { endpoints, language, caps, tools: Mutex::default() }
    }

    fn tools(&self, specs: &[ToolSpec]) -> Arc<Vec<Value>> {
        let mut told = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if told.1.is_empty() || told.0 != specs {
            *told = (specs.to_vec(), Arc::new(prompt::tools(specs)));
        }
        Arc::clone(&told.1)
    }

    async fn ask(&self, view: View<'_>) -> Result<Thought, Error> {
        let tools = self.tools(view.tools);
        let mut complaints = Vec::new();
        for endpoint in &self.endpoints {
            let name = endpoint.chat.name();
            let try_it = match endpoint.breaker.enter(Instant::now()) {
                Ok(try_it) => try_it,
                Err(Gone { failures, again_in_s, why }) => {
                    count(name, "skipped");
                    complaints.push(format!(
                        "{name} is not asked for another {again_in_s} s, after {failures} failures \
                         in a row: {why}"
                    ));
                    continue;
                }
            };
            match self.ask_one(view, endpoint, &tools).await {
                Ok(reply) => {
                    try_it.answered();
                    count(name, "answered");
                    return Ok(thought(view.case, endpoint, reply));
                }
                Err(error @ chat::Error::ContextTooLong { .. }) => {
                    // The conversation is to blame, not the server, which lives.
                    try_it.answered();
                    count(name, "failed");
                    complaints.push(error.to_string());
                }
                Err(error) => {
                    try_it.failed(&error.to_string(), Instant::now());
                    count(name, "failed");
                    complaints.push(error.to_string());
                }
            }
            let opened = endpoint.breaker.is_open();
            metrics::gauge!("watchkeeper_model_endpoint_skipped", "endpoint" => name.to_owned())
                .set(if opened { 1.0 } else { 0.0 });
            tracing::warn!(
                incident.id = %view.case.id,
                endpoint = name,
                error = complaints.last().map_or("", String::as_str),
                "a model endpoint gave no answer"
            );
        }
        Err(Error::Down(complaints.join("; ")))
    }

    /// A conversation that is too long is asked once more with its outputs cut short.
    async fn ask_one(
        &self,
        view: View<'_>,
        endpoint: &Endpoint,
        tools: &[Value],
    ) -> Result<Reply, chat::Error> {
        let messages = prompt::messages(view, self.language, self.caps);
        match endpoint.chat.complete(&messages, tools, None).await {
            Err(chat::Error::ContextTooLong { .. }) => {}
            answered => return answered,
        }
        let output_bytes_max = self.caps.output_bytes_max / 8;
        let messages =
            prompt::messages(view, self.language, Caps { output_bytes_max, ..self.caps });
        endpoint.chat.complete(&messages, tools, None).await
    }
}

fn count(endpoint: &str, outcome: &'static str) {
    let endpoint = endpoint.to_owned();
    metrics::counter!(
        "watchkeeper_model_calls_total", "endpoint" => endpoint, "outcome" => outcome
    )
    .increment(1);
}

impl Mind for Model {
    fn name(&self) -> &'static str {
        NAME
    }

    fn next<'a>(&'a self, view: View<'a>) -> BoxFuture<'a, Result<Thought, Error>> {
        Box::pin(self.ask(view))
    }
}

fn thought(case: &Case, endpoint: &Endpoint, reply: Reply) -> Thought {
    let turn = case.turns.len() + 1;
    let mut conclusion = None;
    let mut calls = Vec::new();
    for (position, call) in reply.calls.into_iter().take(CALLS_MAX).enumerate() {
        // Our own ids: some servers number the calls of every answer from zero.
        let id = format!("t{turn}_{position}");
        let args = match call.arguments {
            Ok(Value::Object(map)) => Ok(map),
            Ok(other) => Err(format!("the arguments must be a JSON object, got {other}")),
            Err(complaint) => Err(complaint),
        };
        if call.name == prompt::CONCLUDE {
            match args.clone().and_then(|map| read_conclusion(case, Value::Object(map))) {
                Ok(read) => conclusion = Some(read),
                Err(complaint) => calls.push(Asked { id, tool: call.name, args: Err(complaint) }),
            }
        } else {
            calls.push(Asked { id, tool: call.name, args });
        }
    }
    if calls.is_empty() && conclusion.is_none() {
        conclusion = Some(from_prose(case, &reply.text));
    }
    Thought {
        said: kept(&reply.text),
        raw: None,
        // A conclusion beside calls is premature: their answers are not known yet.
        conclusion: conclusion.filter(|_| calls.is_empty()),
        calls,
        usage: usage(endpoint, reply.usage),
        by: format!("{}/{}", endpoint.chat.name(), reply.model),
    }
}

fn usage(endpoint: &Endpoint, used: chat::Usage) -> Usage {
    let input_tokens = i64::try_from(used.input_tokens).unwrap_or(i64::MAX);
    let output_tokens = i64::try_from(used.output_tokens).unwrap_or(i64::MAX);
    // A price for a million tokens is also the price of one token in millionths.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "token counts are far below 2^52"
    )]
    let cost_micros = (input_tokens as f64 * endpoint.price_input
        + output_tokens as f64 * endpoint.price_output)
        .round() as i64;
    Usage { input_tokens, output_tokens, cost_micros }
}

#[derive(Deserialize)]
struct WireConclusion {
    root_cause: String,
    #[serde(default)]
    confidence: Option<Confidence>,
    #[serde(default)]
    evidence: Vec<Value>,
    #[serde(default)]
    done: Option<String>,
    #[serde(default)]
    remaining: Option<String>,
}

fn read_conclusion(case: &Case, value: Value) -> Result<Conclusion, String> {
    let wire: WireConclusion = serde_json::from_value(value).map_err(|e| e.to_string())?;
    if wire.root_cause.trim().is_empty() {
        return Err("'root_cause' is empty".into());
    }
    let known = |seq: &i64| {
        case.turns
            .iter()
            .flat_map(|turn| &turn.calls)
            .any(|call| call.answer.as_ref().is_some_and(|answer| answer.seq == *seq))
    };
    Ok(Conclusion {
        root_cause: kept(&wire.root_cause),
        confidence: wire.confidence.unwrap_or(Confidence::Low),
        // A number that no result carries supports nothing.
        evidence: wire.evidence.iter().filter_map(reference).filter(known).collect(),
        done: kept(&wire.done.unwrap_or_default()),
        remaining: kept(&wire.remaining.unwrap_or_default()),
    })
}

/// `12`, `"12"` or `"#12"`.
fn reference(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim_start_matches('#').parse().ok())
}

/// A model that stops with plain text instead of `conclude` has still said something.
fn from_prose(case: &Case, text: &str) -> Conclusion {
    let json = text.find('{').and_then(|start| {
        let end = text.rfind('}')?;
        serde_json::from_str(text.get(start..=end)?).ok()
    });
    if let Some(Ok(read)) = json.map(|value| read_conclusion(case, value)) {
        return read;
    }
    let said = text.trim();
    Conclusion {
        root_cause: if said.is_empty() { "the model gave no answer".into() } else { kept(said) },
        confidence: Confidence::Low,
        evidence: Vec::new(),
        done: String::new(),
        remaining: String::new(),
    }
}

fn kept(text: &str) -> String {
    cut(text, SAID_BYTES_MAX).into_owned()
}
