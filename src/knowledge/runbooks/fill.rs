//! Fills in the `${…}` of a step.
//!
//! In: values of the incident, and the folders that may be cleaned on its host. Out: arguments
//! without placeholders. Never: a value that ends the quotes it stands in, as in a query.

use super::Step;
use crate::model::case::Case;
use crate::model::entity::Located;
use serde_json::{Map, Value};

/// Stands for the whole list of folders that the inventory lets be cleaned on `${host}`.
pub(super) const CLEAN_ROOTS: &str = "${clean_roots}";

/// The value of a `${name}` for this case: resolved targets, severity, labels of the first alert.
pub fn lookup(case: &Case, located: &Located, name: &str) -> Option<String> {
    match name {
        "host" => located.hosts.first().cloned(),
        "service" => located.services.first().cloned(),
        "severity" => Some(case.severity.as_str().to_owned()),
        other => case.lead()?.labels.get(other.strip_prefix("labels.")?).cloned(),
    }
}

impl Step {
    /// The arguments with every placeholder filled in. A list item `${clean_roots}` becomes one item
    /// for each of `clean_roots`.
    ///
    /// # Errors
    /// The first name without a value; `clean_roots` when the list is wanted and empty.
    pub fn arguments(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
        clean_roots: &[String],
    ) -> Result<Map<String, Value>, String> {
        object(&self.args, lookup, clean_roots)
    }
}

fn object(
    map: &Map<String, Value>,
    lookup: &dyn Fn(&str) -> Option<String>,
    clean_roots: &[String],
) -> Result<Map<String, Value>, String> {
    map.iter().map(|(key, item)| Ok((key.clone(), value(item, lookup, clean_roots)?))).collect()
}

fn value(
    template: &Value,
    lookup: &dyn Fn(&str) -> Option<String>,
    clean_roots: &[String],
) -> Result<Value, String> {
    Ok(match template {
        Value::String(template) => Value::String(text(template, lookup)?),
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for item in items {
                if item.as_str() != Some(CLEAN_ROOTS) {
                    filled.push(value(item, lookup, clean_roots)?);
                    continue;
                }
                if clean_roots.is_empty() {
                    return Err("clean_roots".to_owned());
                }
                filled.extend(clean_roots.iter().cloned().map(Value::String));
            }
            Value::Array(filled)
        }
        Value::Object(map) => Value::Object(object(map, lookup, clean_roots)?),
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

/// Fills in a text. Labels come from outside: between double quotes a value is escaped, so that
/// it stays one word of a query or a command.
///
/// # Errors
/// The first name without a value.
pub fn text(template: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let mut quoted = false;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        quoted ^= ends_quoted(before);
        let value = lookup(name).ok_or_else(|| name.to_owned())?;
        if quoted {
            let plain = value.replace('\\', "\\\\").replace('"', "\\\"");
            out.push_str(&plain.replace('\n', "\\n"));
        } else {
            out.push_str(&value);
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The names between `${` and `}`, in order.
pub(super) fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        found.push(name);
        rest = tail;
    }
    found
}

/// Whether a text that begins outside of double quotes ends inside of them.
pub(super) fn ends_quoted(text: &str) -> bool {
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
}
