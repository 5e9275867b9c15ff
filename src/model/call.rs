//! A tool call: the name of a tool and its arguments, with one canonical form and one hash.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// What is judged, approved, hashed, shown and run: always the whole of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    pub tool: String,
    pub args: Map<String, Value>,
}

impl Call {
    /// Builds a call; arguments that are not an object become an empty one.
    pub fn new(tool: impl Into<String>, args: Value) -> Self {
        let args = match args {
            Value::Object(map) => map,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        Self { tool: tool.into(), args }
    }

    /// The arguments as JSON with sorted keys and no blanks: equal calls are equal text.
    pub fn canonical_args(&self) -> String {
        let mut out = String::with_capacity(64);
        write_object(&mut out, &self.args);
        out
    }

    /// SHA-256 of `tool`, a newline and the canonical arguments, in hex.
    pub fn hash(&self) -> String {
        sha256_hex(format!("{}\n{}", self.tool, self.canonical_args()).as_bytes())
    }

    /// A string argument, if it is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.args.get(name).and_then(Value::as_str)
    }
}

/// `tool(key=value, …)` on one line, for people.
impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}(", self.tool)?;
        for (i, (key, value)) in self.args.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        f.write_str(")")
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut out = String::with_capacity(64);
    for byte in digest {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Any JSON value in canonical form: sorted keys, no blanks.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => write_object(out, map),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn write_object(out: &mut String, map: &Map<String, Value>) {
    // The map's own order depends on a feature that any dependency may switch on.
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    out.push('{');
    for (i, key) in keys.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}:", Value::String(key.clone()));
        write_value(out, &map[key]);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_arguments_does_not_change_the_hash() {
        let a = Call::new("t", json!({"b": [1, {"y": 1, "x": "é\""}], "a": null}));
        let b = Call::new("t", json!({"a": null, "b": [1, {"x": "é\"", "y": 1}]}));
        assert_eq!(a.canonical_args(), r#"{"a":null,"b":[1,{"x":"é\"","y":1}]}"#);
        assert_eq!(a.hash(), b.hash());
        assert_ne!(a.hash(), Call::new("u", json!({"a": null})).hash());
    }
}
