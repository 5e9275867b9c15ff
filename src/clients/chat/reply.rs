//! Reads a completion as servers really send it.
//!
//! In: any JSON that has a choice with a message. Out: a [`Reply`]. Missing ids are made up, usage
//! that was not counted is estimated, arguments that cannot be read become an error for the model.
//! Never: a call dropped, or a message to echo that a strict server would refuse.

use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::{Map, Value, json};

use super::{Reasoning, text_calls};

/// Enough for the model to recognise its own mistake.
const RAW_CHARS_MAX: usize = 2_000;
/// OpenAI's limit on a function name.
const NAME_CHARS_MAX: usize = 64;

/// What the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its prose, without reasoning and without calls written as text.
    pub text: String,
    pub reasoning: Option<String>,
    pub calls: Vec<ToolCall>,
    pub usage: Usage,
    /// The server's word: `stop`, `tool_calls`, `length`…; `unknown` when it said none.
    pub finish: String,
    /// The assistant message to append to the conversation: valid for strict servers, its calls
    /// under the same ids as in `calls`.
    pub raw_message: Value,
    /// The model that answered, as the server names it.
    pub model: String,
}

/// One tool the model wants to call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Unique within the reply.
    pub id: String,
    pub name: String,
    /// An object, or why it is none, with the raw text, in words for the model.
    pub arguments: Result<Value, String>,
    pub origin: Origin,
}

/// How a call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Structured,
    /// Written into the text, which may quote what others wrote.
    Text,
}

/// What the completion cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub counted: Counted,
}

/// Where the token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    ByServer,
    /// The server sent none; a budget must still be spent.
    Estimated,
}

/// What the request held, as far as the reply is read by it.
pub(super) struct Asked<'a> {
    pub messages: &'a [Value],
    pub tools: &'a [Value],
    pub reasoning: Reasoning,
}

/// Reads the first choice.
///
/// # Errors
/// In words, when there is no message in it.
pub(super) fn read(body: &Value, asked: &Asked<'_>) -> Result<Reply, String> {
    let choice = body["choices"].get(0).ok_or("it holds no choice")?;
    let message = choice["message"].as_object().ok_or("its first choice holds no message")?;
    let (thought, text) = split_thinking(&content(message));
    let reasoning = ["reasoning_content", "reasoning", "thinking"]
        .into_iter()
        .find_map(|key| message.get(key).and_then(Value::as_str))
        .map(str::to_owned)
        .or(thought)
        .filter(|text| !text.trim().is_empty());
    let (calls, raw_calls) = structured(message);
    let (text, calls, raw_calls) = if calls.is_empty() && !asked.tools.is_empty() {
        written(&text, asked.tools)
    } else {
        (text, calls, raw_calls)
    };
    let echoed = match asked.reasoning {
        Reasoning::Echoed => reasoning.as_deref(),
        Reasoning::Dropped => None,
    };
    let raw_message = echo(&text, raw_calls, echoed);
    let usage = usage(&body["usage"]).unwrap_or_else(|| estimate(asked, &raw_message));
    let finish = choice["finish_reason"].as_str().filter(|word| !word.is_empty());
    Ok(Reply {
        text,
        reasoning,
        calls,
        usage,
        finish: finish.unwrap_or("unknown").to_owned(),
        raw_message,
        model: body["model"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Reads arguments that may be an object, text that holds one, or nothing at all.
///
/// # Errors
/// What is wrong, and the raw text, in words for the model.
pub(super) fn arguments_of(value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(_) => Ok(value.clone()),
        Value::Null => Ok(json!({})),
        Value::String(text) => arguments_in(text),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
            Err(format!("not a JSON object: {}", capped(&value.to_string())))
        }
    }
}

fn arguments_in(text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str(trimmed) {
        // Some servers encode twice.
        Ok(Value::String(inner)) => match serde_json::from_str(&inner) {
            Ok(object @ Value::Object(_)) => Ok(object),
            Ok(_) | Err(_) => Err(format!("not a JSON object: {}", capped(trimmed))),
        },
        Ok(other) => arguments_of(&other),
        Err(error) => Err(format!("not valid JSON ({error}): {}", capped(trimmed))),
    }
}

fn content(message: &Map<String, Value>) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("")
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            message.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    }
}

/// Separates a leading `<think>` block, whose opening tag some chat templates keep to themselves.
fn split_thinking(content: &str) -> (Option<String>, String) {
    let trimmed = content.trim_start();
    match (trimmed.split_once("</think>"), trimmed.strip_prefix("<think>")) {
        (Some((thought, rest)), _) => {
            let thought = thought.strip_prefix("<think>").unwrap_or(thought);
            (Some(thought.trim().to_owned()), rest.trim().to_owned())
        }
        // Cut off by the token limit before it said anything.
        (None, Some(thought)) => (Some(thought.trim().to_owned()), String::new()),
        (None, None) => (None, content.trim().to_owned()),
    }
}

/// The calls of `tool_calls` (or the older `function_call`), and the same fit to be echoed.
fn structured(message: &Map<String, Value>) -> (Vec<ToolCall>, Vec<Value>) {
    let mut listed: Vec<Value> = match message.get("tool_calls") {
        Some(Value::Array(items)) => {
            items.iter().filter(|item| item.is_object()).cloned().collect()
        }
        Some(_) | None => vec![],
    };
    if let (true, Some(call @ Value::Object(_))) = (listed.is_empty(), message.get("function_call"))
    {
        listed.push(json!({ "function": call }));
    }
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut raw = Vec::new();
    for item in listed {
        let function = if item["function"].is_object() { &item["function"] } else { &item };
        let name = function["name"].as_str().unwrap_or("unknown").trim().to_owned();
        let arguments = arguments_of(&function["arguments"]);
        let id = item["id"]
            .as_str()
            .filter(|id| !id.is_empty() && !calls.iter().any(|call| call.id == *id));
        let id = id.map_or_else(new_id, str::to_owned);
        let call = ToolCall { id, name, arguments, origin: Origin::Structured };
        raw.push(echoed_call(item, &call));
        calls.push(call);
    }
    (calls, raw)
}

fn written(text: &str, tools: &[Value]) -> (String, Vec<ToolCall>, Vec<Value>) {
    let offered: Vec<&str> =
        tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
    let (prose, found) = text_calls::split(text, &offered);
    let calls: Vec<ToolCall> = found
        .into_iter()
        .map(|call| ToolCall {
            id: new_id(),
            name: call.name,
            arguments: call.arguments.map_err(|reason| capped(&reason)),
            origin: Origin::Text,
        })
        .collect();
    let raw = calls.iter().map(|call| echoed_call(json!({}), call)).collect();
    (prose, calls, raw)
}

/// Nine characters: Mistral's templates refuse any other length.
fn new_id() -> String {
    rand::rng().sample_iter(Alphanumeric).take(9).map(char::from).collect()
}

/// Keeps what the server put beside the call (Gemini wants its thought signatures back) and mends
/// the rest: templates parse `arguments` and fail on what is not JSON.
fn echoed_call(mut item: Value, call: &ToolCall) -> Value {
    let arguments = match &call.arguments {
        Ok(object) => object.to_string(),
        Err(reason) => json!({ "unreadable": reason }).to_string(),
    };
    if let Value::Object(fields) = &mut item {
        fields.retain(|key, _| !matches!(key.as_str(), "index" | "name" | "arguments"));
        fields.insert("id".to_owned(), json!(call.id));
        fields.insert("type".to_owned(), json!("function"));
        let function = json!({ "name": echoed_name(&call.name), "arguments": arguments });
        fields.insert("function".to_owned(), function);
    }
    item
}

fn echoed_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String =
        name.chars().take(NAME_CHARS_MAX).map(|c| if allowed(c) { c } else { '_' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

fn echo(text: &str, raw_calls: Vec<Value>, reasoning: Option<&str>) -> Value {
    let content = match (text.is_empty(), raw_calls.is_empty()) {
        (false, _) => json!(text),
        (true, false) => Value::Null,
        // A message with neither text nor calls is refused by strict servers.
        (true, true) => json!("(no text)"),
    };
    let mut message = json!({ "role": "assistant", "content": content });
    if !raw_calls.is_empty() {
        message["tool_calls"] = Value::Array(raw_calls);
    }
    if let Some(reasoning) = reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    message
}

fn usage(value: &Value) -> Option<Usage> {
    let count = |names: [&str; 2]| {
        names.into_iter().find_map(|name| {
            let value = &value[name];
            value.as_u64().or_else(|| value.as_f64().map(|count| count.max(0.0) as u64))
        })
    };
    let input_tokens = count(["prompt_tokens", "input_tokens"])?;
    let output_tokens = count(["completion_tokens", "output_tokens"])?;
    // Servers that do not count send zeroes.
    (input_tokens > 0).then_some(Usage { input_tokens, output_tokens, counted: Counted::ByServer })
}

/// Four ASCII characters or one other character to a token, which errs on the costly side.
fn estimate(asked: &Asked<'_>, raw_message: &Value) -> Usage {
    let tokens = |value: &Value| {
        let text = value.to_string();
        let ascii = text.bytes().filter(u8::is_ascii).count();
        let other = text.chars().count() - ascii;
        (ascii / 4 + other) as u64
    };
    Usage {
        input_tokens: asked.messages.iter().chain(asked.tools).map(tokens).sum(),
        output_tokens: tokens(raw_message),
        counted: Counted::Estimated,
    }
}

fn capped(text: &str) -> String {
    match text.char_indices().nth(RAW_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
