//! Redacts parsed JSON: by the key beside a value, by the object around it, by the text itself.
//!
//! In: a value. Out: the same shape with markers in place of secrets. Never: recursion deeper than
//! the value, which the parser has bounded.

use serde_json::{Map, Value};

use super::Redactor;
use super::keyed;

pub(super) fn redact(redactor: &Redactor, value: &mut Value) {
    inside(redactor, None, value);
}

/// `key` is the name whose value this is, also through arrays.
fn inside(redactor: &Redactor, key: Option<&str>, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(clean) = string(redactor, key, text) {
                *text = clean;
            }
        }
        Value::Number(number) => {
            if let Some(marker) = key.and_then(|key| scalar(key, &number.to_string())) {
                *value = Value::String(marker);
            }
        }
        Value::Array(items) => {
            for item in items {
                inside(redactor, key, item);
            }
        }
        Value::Object(map) => object(redactor, map),
        Value::Null | Value::Bool(_) => {}
    }
}

fn object(redactor: &Redactor, map: &mut Map<String, Value>) {
    let secret = map.get("kind").and_then(Value::as_str) == Some("Secret");
    let pair = PAIR_NAMES
        .iter()
        .find_map(|name| map.get(*name).and_then(Value::as_str))
        .map(str::to_owned);
    let mut renamed = Vec::new();
    for (key, value) in map.iter_mut() {
        if is_secret_data(key) && (secret || key == "stringData") {
            hide_all(value);
            continue;
        }
        let name = if is_pair_value(key) { pair.as_deref().or(Some(key)) } else { Some(&**key) };
        inside(redactor, name, value);
        if let std::borrow::Cow::Owned(clean) = redactor.text(key) {
            renamed.push((key.clone(), clean));
        }
    }
    for (key, clean) in renamed {
        if let Some(value) = map.remove(&key) {
            let mut free = clean.clone();
            let mut copy = 2;
            while map.contains_key(&free) {
                free = format!("{clean}#{copy}");
                copy += 1;
            }
            map.insert(free, value);
        }
    }
}

/// Fields that name the setting whose value is in `value`.
pub(super) const PAIR_NAMES: &[&str] = &["name", "Name", "key", "Key"];

pub(super) fn is_pair_value(key: &str) -> bool {
    matches!(key, "value" | "Value")
}

pub(super) fn is_secret_data(key: &str) -> bool {
    matches!(key, "data" | "stringData")
}

pub(super) const SECRET_DATA_MARKER: &str = "[redacted:kubernetes_secret]";

fn hide_all(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide_all),
        Value::Array(items) => items.iter_mut().for_each(hide_all),
        Value::String(text) if text.is_empty() => {}
        Value::Null | Value::Bool(_) => {}
        Value::Number(_) | Value::String(_) => *value = Value::from(SECRET_DATA_MARKER),
    }
}

/// The clean form of one string, or nothing when it may stay.
pub(super) fn string(redactor: &Redactor, key: Option<&str>, text: &str) -> Option<String> {
    if let Some(finding) = key.and_then(|key| keyed::finding(key, text)) {
        let kept = text.get(..finding.start).unwrap_or_default();
        return Some(format!("{kept}[redacted:{}]", finding.kind));
    }
    match redactor.text(text) {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(clean) => Some(clean),
    }
}

/// The marker for a number under a secret-like key.
pub(super) fn scalar(key: &str, number: &str) -> Option<String> {
    let finding = keyed::finding(key, number)?;
    Some(format!("[redacted:{}]", finding.kind))
}
