//! The schemas for editors say what the program reads: the same keys, and the shipped files fit.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use watchkeeper::config::yaml;
use watchkeeper::knowledge::runbooks::{
    ConcludeFile, RunbookFile, RunbooksFile, StepFile, VerifyFile,
};
use watchkeeper::model::verdict::Approvals;
use watchkeeper::safety::guards::{
    BlastRadiusFile, BreakerFile, CommonCauseFile, FleetFile, FreezeFile, RecurrenceFile,
};
use watchkeeper::safety::rules::{
    ApprovalsFile, Defaults, ExampleFile, ExampleHost, ExampleService, ExampleTargets, LevelFile,
    LimitFile, RuleFile, RulesFile,
};

fn read(file: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(&format!("config/schema/{name}.json"))).unwrap()
}

/// The keys that a type reads, as it says them itself when it meets another.
fn keys_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(json!({"?": 0})) else { panic!("takes any key") };
    let said = error.to_string();
    let (_, listed) = said.split_once("expected ").expect("an unknown key is refused");
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys_in(schema: &Value, definition: &str) -> BTreeSet<String> {
    let of = if definition.is_empty() { schema } else { &schema["definitions"][definition] };
    assert_eq!(of["additionalProperties"], false, "{definition}");
    of["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schemas_name_exactly_the_keys_that_are_read() {
    let rules = schema("safety_rules");
    for (definition, keys) in [
        ("", keys_of::<RulesFile>()),
        ("level", keys_of::<LevelFile>()),
        ("defaults", keys_of::<Defaults>()),
        ("all_approvals", keys_of::<ApprovalsFile>()),
        ("rule", keys_of::<RuleFile>()),
        ("limit", keys_of::<LimitFile>()),
        ("freeze", keys_of::<FreezeFile>()),
        ("blast_radius", keys_of::<BlastRadiusFile>()),
        ("per_fleet", keys_of::<FleetFile>()),
        ("common_cause", keys_of::<CommonCauseFile>()),
        ("breaker", keys_of::<BreakerFile>()),
        ("recurrence", keys_of::<RecurrenceFile>()),
        ("approvals", keys_of::<Approvals>()),
        ("example", keys_of::<ExampleFile>()),
        ("example_targets", keys_of::<ExampleTargets>()),
        ("example_host", keys_of::<ExampleHost>()),
        ("example_service", keys_of::<ExampleService>()),
    ] {
        assert_eq!(keys_in(&rules, definition), keys, "safety_rules.json, {definition:?}");
    }
    let runbooks = schema("runbooks");
    for (definition, keys) in [
        ("", keys_of::<RunbooksFile>()),
        ("runbook", keys_of::<RunbookFile>()),
        ("step", keys_of::<StepFile>()),
        ("verify", keys_of::<VerifyFile>()),
        ("conclude", keys_of::<ConcludeFile>()),
    ] {
        assert_eq!(keys_in(&runbooks, definition), keys, "runbooks.json, {definition:?}");
    }
}

#[test]
fn the_shipped_files_fit_and_name_their_schema() {
    for name in ["safety_rules", "runbooks"] {
        let file = format!("config/{name}.yaml");
        let text = read(&file);
        let named = format!("# yaml-language-server: $schema=schema/{name}.json");
        assert_eq!(text.lines().next(), Some(named.as_str()));
        let value = yaml::load::<Value>(&file, &text).unwrap().value;
        let schema = schema(name);
        let mut wrong = Vec::new();
        check(&schema, &schema, &value, name, &mut wrong);
        assert_eq!(wrong, Vec::<String>::new());
    }
}

#[test]
fn what_the_program_refuses_the_schema_refuses_too() {
    let schema = schema("safety_rules");
    let good = json!({"version": 1, "autonomy": "act", "approvals": {"high_risk_quorum": 2}, "rules": [
        {"name": "n", "tool": "t", "tier": "safe", "independent_sources": 2, "limit": [{"max": 1, "per": ["host"], "within": "1h"}]},
    ],
        "freeze": [{"cron": "0 18 * * FRI", "for": "62h", "zone": "Europe/Berlin", "writes": "confirm"}],
        "blast_radius": {"writes_at_once": 2, "per_fleet": {"max": 10, "within": "1h"}},
        "common_cause": {"same_alert_on": 3, "within": "10m", "then": "advise"},
        "breaker": {"failed_or_unverified": 3, "within": "1h", "then": "confirm", "for": "2h"},
        "recurrence": {"same_action_same_target": 3, "within": "24h", "then": "confirm"},
    });
    let wrong = |value: &Value| {
        let mut wrong = Vec::new();
        check(&schema, &schema, value, "", &mut wrong);
        wrong
    };
    assert_eq!(wrong(&good), Vec::<String>::new());
    for (pointer, bad) in [
        ("/version", json!(2)),
        ("/autonomy", json!("full")),
        ("/rules", json!({})),
        ("/rules/0/tier", json!("maybe")),
        ("/rules/0/name", json!("")),
        ("/approvals/high_risk_quorum", json!(0)),
        ("/rules/0/independent_sources", json!(1)),
        ("/rules/0/limit/0/max", json!(0)),
        ("/rules/0/limit/0/per", json!(["region"])),
        ("/rules/0/limit/0/within", json!("1 h")),
        ("/freeze/0/writes", json!("safe")),
        ("/freeze/0/for", json!("long")),
        ("/blast_radius/writes_at_once", json!(0)),
        ("/blast_radius/per_fleet", json!({"max": 1})),
        ("/common_cause/then", json!("act")),
        ("/common_cause/same_alert_on", json!(1)),
        ("/breaker/for", json!("2")),
        ("/recurrence/then", json!("page")),
        ("/rules/0", json!({"name": "n", "tool": "t"})),
        ("/rules/0", json!({"name": "n", "tool": "t", "tier": "safe", "wen": "x"})),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = bad.clone();
        assert_ne!(wrong(&value), Vec::<String>::new(), "{pointer} = {bad}");
    }
}

/// The part of JSON Schema that the two files use; a word beyond it fails the test.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (word, wanted) in schema.as_object().unwrap() {
        let fits = match word.as_str() {
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, at, wrong);
                true
            }
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(key) {
                        check(root, schema, inner, &format!("{at}.{key}"), wrong);
                    }
                }
                true
            }
            "additionalProperties" => value
                .as_object()
                .into_iter()
                .flatten()
                .all(|(key, _)| schema["properties"].get(key).is_some()),
            "items" => {
                for (nth, inner) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, inner, &format!("{at}[{nth}]"), wrong);
                }
                true
            }
            "minItems" => {
                value.as_array().is_some_and(|a| a.len() as u64 >= wanted.as_u64().unwrap())
            }
            "minLength" => {
                value.as_str().is_some_and(|s| s.len() as u64 >= wanted.as_u64().unwrap())
            }
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "pattern" => {
                let pattern = regex::Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_some_and(|text| pattern.is_match(text))
            }
            "$schema" | "title" | "description" | "definitions" => true,
            other => panic!("the checker does not know '{other}'"),
        };
        if !fits {
            wrong.push(format!("{at}: {word} {wanted}"));
        }
    }
}
