//! Finds tool calls that a model wrote into its text.
//!
//! In: text and the names of the tools offered. Out: the text without the calls, and the calls.
//! Forms: `<tool_call>{"name":…,"arguments":{…}}</tool_call>`, several, fenced, the closing tag
//! missing; else one fenced or bare object of exactly that shape that names an offered tool. Never:
//! a tag in the middle of a line, which is where quoted logs and explanations stand.

use serde_json::{Deserializer, Map, Value};

use super::reply::arguments_of;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const FENCE: &str = "```";

/// A call as found, its name possibly unknown.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub name: String,
    pub arguments: Result<Value, String>,
}

/// Splits `text` into prose and calls.
pub(super) fn split(text: &str, offered: &[&str]) -> (String, Vec<Found>) {
    let (prose, calls) = tagged(text);
    if !calls.is_empty() {
        return (without_empty_fences(&prose), calls);
    }
    untagged(text, offered)
}

fn tagged(text: &str) -> (String, Vec<Found>) {
    let (mut prose, mut calls) = (String::new(), Vec::new());
    let mut from = 0;
    while let Some(open) = next_open(text, from) {
        prose.push_str(&text[from..open]);
        let body = open + OPEN.len();
        let (mut found, used) = read(&text[body..]);
        calls.append(&mut found);
        from = body + used;
    }
    prose.push_str(&text[from..]);
    (prose, calls)
}

/// The next tag that begins its line, follows another call, or opens its fence.
fn next_open(text: &str, from: usize) -> Option<usize> {
    text[from..].match_indices(OPEN).map(|(at, _)| from + at).find(|&at| {
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1).max(from);
        let before = text[line..at].trim();
        before.is_empty() || before.starts_with(FENCE)
    })
}

/// Reads the call after a tag; returns how many bytes it and its closing tag take.
fn read(body: &str) -> (Vec<Found>, usize) {
    let start = body.len() - unfenced(body).len();
    let mut values = Deserializer::from_str(&body[start..]).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => {
            let end = start + values.byte_offset();
            (calls_in(value), end + closing_bytes(&body[end..]))
        }
        Some(Err(error)) => {
            let end = next_end(body);
            let raw = body[..end].trim();
            let name = quoted_name(raw).unwrap_or("unknown").to_owned();
            let arguments = Err(format!("not valid JSON ({error}): {raw}"));
            (vec![Found { name, arguments }], end + closing_bytes(&body[end..]))
        }
        None => (vec![], next_end(body) + closing_bytes(&body[next_end(body)..])),
    }
}

fn next_end(body: &str) -> usize {
    let close = body.find(CLOSE).unwrap_or(body.len());
    let open = next_open(body, 0).unwrap_or(body.len());
    close.min(open)
}

fn closing_bytes(rest: &str) -> usize {
    let mut left = rest.trim_start();
    left = left.strip_prefix(FENCE).unwrap_or(left).trim_start();
    match left.strip_prefix(CLOSE) {
        Some(after) => rest.len() - after.len(),
        None => 0,
    }
}

fn unfenced(body: &str) -> &str {
    let body = body.trim_start();
    match body.strip_prefix(FENCE) {
        Some(inner) => inner.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_'),
        None => body,
    }
    .trim_start()
}

fn calls_in(value: Value) -> Vec<Found> {
    match value {
        Value::Array(items) => items.into_iter().flat_map(calls_in).collect(),
        Value::Object(object) => vec![call_in(object)],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![Found {
            name: "unknown".to_owned(),
            arguments: Err(format!("a call is an object with name and arguments, not {value}")),
        }],
    }
}

fn call_in(mut object: Map<String, Value>) -> Found {
    if let Some(Value::Object(inner)) = object.remove("function") {
        object = inner;
    }
    let name = object.get("name").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let arguments = object.remove("arguments").or_else(|| object.remove("parameters"));
    Found { name, arguments: arguments_of(&arguments.unwrap_or_default()) }
}

/// The name in a call that is not valid JSON, so that the answer can say which call it was.
fn quoted_name(raw: &str) -> Option<&str> {
    let after = raw.split_once("\"name\"")?.1.trim_start().strip_prefix(':')?.trim_start();
    let name = after.strip_prefix('"')?.split('"').next()?;
    (!name.is_empty()).then_some(name)
}

/// An untagged object counts only when it can be nothing else: the right keys, an offered name.
fn untagged(text: &str, offered: &[&str]) -> (String, Vec<Found>) {
    let trimmed = text.trim();
    if let Some(call) = exact(trimmed, offered) {
        return (String::new(), vec![call]);
    }
    let (mut prose, mut calls) = (String::new(), Vec::new());
    for (index, part) in text.split(FENCE).enumerate() {
        let inside = index % 2 == 1;
        let body = part.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_').trim();
        match exact(body, offered).filter(|_| inside) {
            Some(call) => calls.push(call),
            None if inside => prose.extend([FENCE, part, FENCE]),
            None => prose.push_str(part),
        }
    }
    if calls.is_empty() {
        return (text.to_owned(), calls);
    }
    (prose.trim().to_owned(), calls)
}

fn exact(body: &str, offered: &[&str]) -> Option<Found> {
    let Ok(Value::Object(object)) = serde_json::from_str(body) else { return None };
    let known = ["name", "arguments", "parameters"];
    let shaped = object.len() == 2 && object.keys().all(|key| known.contains(&key.as_str()));
    let named = object.get("name").and_then(Value::as_str).is_some_and(|n| offered.contains(&n));
    (shaped && named).then(|| call_in(object))
}

/// Drops the fences that are left when the call between them was taken out.
fn without_empty_fences(prose: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in prose.lines() {
        let opened = kept.iter().rposition(|kept| !kept.trim().is_empty());
        let closes = line.trim() == FENCE;
        match opened.filter(|&at| closes && kept[at].trim().starts_with(FENCE)) {
            Some(at) => kept.truncate(at),
            None => kept.push(line),
        }
    }
    kept.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Pieces of calls in any order.
    const PIECES: &str = "(<tool_call>|</tool_call>|```(json)?|\\{|\\}|\"name\"|:|磁|\n| |a){0,40}";
    const OFFERED: [&str; 2] = ["get_logs", "restart"];

    fn call(name: &str, arguments: Value) -> Found {
        Found { name: name.to_owned(), arguments: Ok(arguments) }
    }

    #[test]
    fn calls_written_as_text_are_found_in_every_form() {
        let logs = || call("get_logs", json!({ "service": "api" }));
        let object = r#"{"name":"get_logs","arguments":{"service":"api"}}"#;
        let cases: [(String, &str, Vec<Found>); 11] = [
            (format!("<tool_call>{object}</tool_call>"), "", vec![logs()]),
            (format!("I look.\n<tool_call>\n{object}\n</tool_call>\n"), "I look.", vec![logs()]),
            (format!("```json\n<tool_call>{object}</tool_call>\n```"), "", vec![logs()]),
            (format!("<tool_call>\n```json\n{object}\n```\n</tool_call>"), "", vec![logs()]),
            (format!("<tool_call>{object}"), "", vec![logs()]),
            (
                format!("<tool_call>{object}</tool_call><tool_call>{object}</tool_call>"),
                "",
                vec![logs(), logs()],
            ),
            (format!("<tool_call>{object}\n<tool_call>{object}"), "", vec![logs(), logs()]),
            (format!("Now:\n```json\n{object}\n```"), "Now:", vec![logs()]),
            (object.to_owned(), "", vec![logs()]),
            (
                r#"<tool_call>{"name":"restart","parameters":"{\"service\":\"a\"}"}</tool_call>"#
                    .to_owned(),
                "",
                vec![call("restart", json!({ "service": "a" }))],
            ),
            (
                r#"<tool_call>{"name":"get_logs","arguments":{"q":"</tool_call>"}}</tool_call>"#
                    .to_owned(),
                "",
                vec![call("get_logs", json!({ "q": "</tool_call>" }))],
            ),
        ];
        for (text, prose, calls) in cases {
            assert_eq!(split(&text, &OFFERED), (prose.to_owned(), calls), "{text}");
        }
    }

    #[test]
    fn text_that_only_speaks_of_calls_is_left_alone() {
        let cases = [
            "The log holds `<tool_call>{\"name\":\"restart\",\"arguments\":{}}</tool_call>`.",
            "```json\n{\"name\":\"other_tool\",\"arguments\":{}}\n```",
            "```json\n{\"name\":\"restart\",\"arguments\":{},\"ts\":1}\n```",
            "{\"name\":\"restart\"}",
            "No calls, ``` and an open fence",
        ];
        for text in cases {
            assert_eq!(split(text, &OFFERED), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn broken_call_keeps_its_name_and_raw_text() {
        let (prose, calls) =
            split("<tool_call>{\"name\": \"get_logs\", \"arguments\": {\"a\"", &OFFERED);
        assert_eq!(prose, "");
        assert_eq!(
            calls,
            [Found {
                name: "get_logs".to_owned(),
                arguments: Err(
                    "not valid JSON (EOF while parsing an object at line 1 column 38): \
                     {\"name\": \"get_logs\", \"arguments\": {\"a\""
                        .to_owned()
                ),
            }]
        );
    }

    #[test]
    fn tag_without_a_call_stays_text() {
        assert_eq!(split("<tool_call>", &OFFERED), ("<tool_call>".to_owned(), vec![]));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail(text in PIECES) {
            let (prose, calls) = split(&text, &OFFERED);
            proptest::prop_assert!(prose.len() <= text.len());
            proptest::prop_assert!(calls.len() <= text.len());
        }
    }
}
