//! The rules of the chat completions API that strict servers and chat templates enforce.
//!
//! In: a request body. Out: what breaks a rule, in words.
//! <https://platform.openai.com/docs/api-reference/chat/create>; order rules as in the templates of
//! Mistral and Qwen, which refuse a late system message.

use std::collections::BTreeSet;

use serde_json::Value;

const REQUEST_KEYS: [&str; 12] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "seed",
    "stop",
];
const MESSAGE_KEYS: [&str; 6] =
    ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
const SCHEMA_TYPES: [&str; 7] =
    ["object", "array", "string", "number", "integer", "boolean", "null"];

pub fn broken(body: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let Some(request) = body.as_object() else { return vec!["the body is no object".to_owned()] };
    for key in request.keys().filter(|key| !REQUEST_KEYS.contains(&key.as_str())) {
        broken.push(format!("unknown key {key}"));
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        broken.push("model is not set".to_owned());
    }
    if body["stream"] == true {
        broken.push("stream is on".to_owned());
    }
    let range = |key: &str, least: f64, most: f64| {
        let value = request.get(key)?;
        let within = value.as_f64().is_some_and(|n| (least..=most).contains(&n));
        (!within).then(|| format!("{key} is {value}"))
    };
    broken.extend(range("temperature", 0.0, 2.0));
    broken.extend(range("max_tokens", 1.0, 1e7));
    broken.extend(range("max_completion_tokens", 1.0, 1e7));
    if request.contains_key("max_tokens") && request.contains_key("max_completion_tokens") {
        broken.push("max_tokens and max_completion_tokens are both set".to_owned());
    }
    match body["messages"].as_array() {
        Some(messages) if !messages.is_empty() => messages_broken(messages, &mut broken),
        Some(_) | None => broken.push("messages is empty or no list".to_owned()),
    }
    match request.get("tools") {
        Some(Value::Array(tools)) if !tools.is_empty() => tools_broken(tools, &mut broken),
        Some(_) => broken.push("tools is empty or no list".to_owned()),
        None if request.contains_key("tool_choice") => {
            broken.push("tool_choice without tools".to_owned());
        }
        None => {}
    }
    broken
}

fn messages_broken(messages: &[Value], broken: &mut Vec<String>) {
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut begun = false;
    for (n, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role != "tool" && !open.is_empty() {
            broken.push(format!("messages[{n}]: calls {open:?} are not answered"));
            open.clear();
        }
        match role {
            "system" | "developer" => {
                if begun {
                    broken.push(format!("messages[{n}]: {role} after the conversation began"));
                }
                nonempty(n, message, broken);
            }
            "user" => nonempty(n, message, broken),
            "assistant" => {
                if !begun {
                    broken.push(format!("messages[{n}]: the assistant speaks first"));
                }
                assistant_broken(n, message, &mut open, broken);
            }
            "tool" => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                if !open.remove(id) {
                    broken.push(format!("messages[{n}]: answers {id:?}, which is not open"));
                }
                if !message["content"].is_string() {
                    broken.push(format!("messages[{n}]: tool content is no text"));
                }
            }
            other => broken.push(format!("messages[{n}]: unknown role {other:?}")),
        }
        begun |= !matches!(role, "system" | "developer");
        for key in message.as_object().into_iter().flat_map(|fields| fields.keys()) {
            if !MESSAGE_KEYS.contains(&key.as_str()) {
                broken.push(format!("messages[{n}]: unknown key {key}"));
            }
        }
    }
    if !open.is_empty() {
        broken.push(format!("calls {open:?} are not answered"));
    }
    let last = messages.last().map(|message| &message["role"]);
    if last.is_none_or(|role| role != "user" && role != "tool") {
        broken.push("the last message is neither the user's nor a tool's".to_owned());
    }
}

fn nonempty(n: usize, message: &Value, broken: &mut Vec<String>) {
    let filled = match &message["content"] {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    if !filled {
        broken.push(format!("messages[{n}]: content is empty"));
    }
}

fn assistant_broken(
    n: usize,
    message: &Value,
    open: &mut BTreeSet<String>,
    broken: &mut Vec<String>,
) {
    let Some(calls) = message.get("tool_calls") else {
        return nonempty(n, message, broken);
    };
    let calls = calls.as_array().filter(|calls| !calls.is_empty());
    let Some(calls) = calls else {
        return broken.push(format!("messages[{n}]: tool_calls is empty or no list"));
    };
    for call in calls {
        let function = &call["function"];
        let id = call["id"].as_str().unwrap_or_default();
        if id.is_empty() || !open.insert(id.to_owned()) {
            broken.push(format!("messages[{n}]: call id {id:?} is empty or repeated"));
        }
        if call["type"] != "function" {
            broken.push(format!("messages[{n}]: call type is {}", call["type"]));
        }
        if !is_function_name(&function["name"]) {
            broken.push(format!("messages[{n}]: function name {}", function["name"]));
        }
        let arguments = function["arguments"].as_str().map(serde_json::from_str::<Value>);
        if !matches!(arguments, Some(Ok(Value::Object(_)))) {
            broken.push(format!("messages[{n}]: arguments {}", function["arguments"]));
        }
    }
}

fn tools_broken(tools: &[Value], broken: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    if tools.len() > 128 {
        broken.push("more than 128 tools".to_owned());
    }
    for (n, tool) in tools.iter().enumerate() {
        let function = &tool["function"];
        if tool["type"] != "function" {
            broken.push(format!("tools[{n}]: type is {}", tool["type"]));
        }
        if !is_function_name(&function["name"]) || !names.insert(function["name"].to_string()) {
            broken.push(format!("tools[{n}]: name {} is wrong or repeated", function["name"]));
        }
        let described = function["description"]
            .as_str()
            .is_some_and(|text| !text.trim().is_empty() && text.chars().count() <= 1024);
        if !described {
            broken.push(format!("tools[{n}]: the description is missing or beyond 1024"));
        }
        if function["parameters"]["type"] != "object" {
            broken.push(format!("tools[{n}]: parameters are no object schema"));
        }
        schema_broken(&format!("tools[{n}].parameters"), &function["parameters"], broken);
    }
}

fn schema_broken(at: &str, schema: &Value, broken: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else {
        return broken.push(format!("{at} is no schema"));
    };
    let known_type = |value: &Value| value.as_str().is_some_and(|t| SCHEMA_TYPES.contains(&t));
    let typed = match fields.get("type") {
        Some(Value::Array(types)) => !types.is_empty() && types.iter().all(known_type),
        Some(one) => known_type(one),
        None => ["enum", "anyOf", "oneOf", "const"].iter().any(|key| fields.contains_key(*key)),
    };
    if !typed {
        broken.push(format!("{at}: type is {}", schema["type"]));
    }
    if fields.contains_key("$schema") || fields.contains_key("$ref") {
        broken.push(format!("{at}: $schema and $ref are refused by several servers"));
    }
    if let Some(values) = fields.get("enum")
        && values.as_array().is_none_or(Vec::is_empty)
    {
        broken.push(format!("{at}: enum is empty"));
    }
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        schema_broken(&format!("{at}.{name}"), property, broken);
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap_or_default();
        if !properties.is_some_and(|properties| properties.contains_key(name)) {
            broken.push(format!("{at}: {required} is required but no property"));
        }
    }
    if schema["type"] == "array" {
        schema_broken(&format!("{at}[]"), &schema["items"], broken);
    }
}

fn is_function_name(name: &Value) -> bool {
    name.as_str().is_some_and(|name| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}
