//! In what two versions of the rules differ, in words.
//!
//! In: both files as [`super::Rules::text`] gives them. Out: a line for each difference. It
//! compares whatever keys there are, so that a key that is added to the rules is told, too.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

const LINES_MAX: usize = 50;
const VALUE_CHARS_MAX: usize = 160;

/// What was added, removed and changed from `before` to `after`.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text);
    let (Ok(before), Ok(after)) = (read(before), read(after)) else {
        return vec!["the rules before cannot be read any more".to_owned()];
    };
    let mut lines = Vec::new();
    for (key, (old, new)) in paired(&before, &after) {
        match key {
            "rules" => rules(old, new, &mut lines),
            "levels" => items("level", old, new, &mut lines),
            "example_targets" if old != new => lines.push("example_targets changed".to_owned()),
            _ => changed(key, old, new, &mut lines),
        }
    }
    if lines.is_empty() {
        lines.push("only the order of the rules changed".to_owned());
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

type Pairs<'a> = BTreeMap<&'a str, (&'a Value, &'a Value)>;

/// The values of both under each key; null where one has none.
fn paired<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> Pairs<'a> {
    let mut pairs: Pairs<'a> = BTreeMap::new();
    for (key, old) in before {
        pairs.insert(key, (old, after.get(key).unwrap_or(&Value::Null)));
    }
    for (key, new) in after {
        pairs.entry(key).or_insert((&Value::Null, new));
    }
    pairs
}

fn changed(key: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old != new {
        lines.push(format!("{key} {}, was {}", shown(new), shown(old)));
    }
}

/// Rules are the same rule when they have the same name.
fn rules(before: &Value, after: &Value, lines: &mut Vec<String>) {
    let named = |rules: &Value| -> Map<String, Value> {
        let rules = rules.as_array().into_iter().flatten();
        let name = |rule: &Value| rule.get("name").and_then(Value::as_str).map(str::to_owned);
        rules.filter_map(|rule| Some((name(rule)?, rule.clone()))).collect()
    };
    let (before, after) = (named(before), named(after));
    for (name, (old, new)) in paired(&before, &after) {
        match (old, new) {
            (Value::Null, new) => lines.push(format!(
                "rule '{name}' added: {} {}",
                shown(&new["tool"]),
                shown(&new["tier"])
            )),
            (_, Value::Null) => lines.push(format!("rule '{name}' removed")),
            (Value::Object(old), Value::Object(new)) => {
                let mut said = Vec::new();
                for (key, (old, new)) in paired(old, new) {
                    match key {
                        "examples" if old != new => said.push("other examples".to_owned()),
                        _ => changed(key, old, new, &mut said),
                    }
                }
                if !said.is_empty() {
                    lines.push(format!("rule '{name}' changed: {}", said.join(", ")));
                }
            }
            (_, _) => {}
        }
    }
}

/// Items without a name: those that only one side has.
fn items(what: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (before, after) = (list(before), list(after));
    for gone in before.iter().filter(|item| !after.contains(item)) {
        lines.push(format!("{what} removed: {}", shown(gone)));
    }
    for new in after.iter().filter(|item| !before.contains(item)) {
        lines.push(format!("{what} added: {}", shown(new)));
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safety::rules::{Rules, RulesFile};

    fn text(yaml: &str) -> String {
        Rules::compile(&RulesFile::parse(yaml).unwrap(), &[]).unwrap().text().to_owned()
    }

    const BEFORE: &str = "version: 1
autonomy: advise
levels: [{ match: [alertname=A], autonomy: act }, { match: [alertname=B], autonomy: page }]
rules:
  - { name: one, tool: t, tier: safe, limit: [{ max: 3, per: [host], within: 1h }] }
  - { name: two, tool: t, tier: confirm }
";

    #[test]
    fn every_difference_is_told_in_words() {
        let after = "version: 1
autonomy: act
levels: [{ match: [alertname=A], autonomy: act }, { match: [alertname=C], autonomy: page }]
defaults: { write: forbidden }
rules:
  - { name: three, tool: u, tier: forbidden }
  - { name: one, tool: t, when: 'args.n > 1', tier: confirm }
";
        assert_eq!(
            difference(&text(BEFORE), &text(after)),
            [
                "autonomy act, was advise",
                r#"defaults {"read":"safe","unknown_tool":"forbidden","write":"forbidden"}, was {"read":"safe","unknown_tool":"forbidden","write":"confirm"}"#,
                r#"level removed: {"autonomy":"page","match":["alertname=B"]}"#,
                r#"level added: {"autonomy":"page","match":["alertname=C"]}"#,
                r#"rule 'one' changed: limit [], was [{"max":3,"per":["host"],"within":"1h"}], tier confirm, was safe, when args.n > 1, was nothing"#,
                "rule 'three' added: u forbidden",
                "rule 'two' removed",
            ]
        );
    }

    #[test]
    fn another_order_and_a_broken_text_are_said_to_be_that() {
        let (before, other) = (text(BEFORE), text(&BEFORE.replace("alertname=B", "alertname=D")));
        assert_eq!(difference(&before, &before), ["only the order of the rules changed"]);
        assert_eq!(difference(&before, &other).len(), 2);
        let broken = difference("{", &before);
        assert_eq!(broken, ["the rules before cannot be read any more"]);
    }
}
