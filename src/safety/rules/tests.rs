use super::*;
use crate::model::tool::{Arg, ArgKind, ToolSpec};
use serde_json::json;

const SHIPPED: &str = include_str!("../../../config/safety_rules.yaml");

fn restart() -> ToolSpec {
    ToolSpec {
        name: "restart_service".into(),
        about: String::new(),
        effect: Effect::Write,
        args: vec![
            Arg::required("service", ArgKind::Service, ""),
            Arg::required("host", ArgKind::Host, ""),
            Arg::required("reason", ArgKind::Prose { chars_max: 500 }, ""),
        ],
    }
}

fn clean() -> ToolSpec {
    ToolSpec {
        name: "clean_disk_space".into(),
        about: String::new(),
        effect: Effect::Write,
        args: vec![
            Arg::required("host", ArgKind::Host, ""),
            Arg::required("paths", ArgKind::Paths { items_max: 20 }, ""),
            Arg::with_default("min_age_days", ArgKind::Integer { min: 1, max: 3650 }, json!(7), ""),
        ],
    }
}

fn logs() -> ToolSpec {
    ToolSpec {
        name: "get_service_logs".into(),
        about: String::new(),
        effect: Effect::Read,
        args: vec![Arg::required("service", ArgKind::Service, "")],
    }
}

fn specs() -> [ToolSpec; 3] {
    [restart(), clean(), logs()]
}

/// The complaints about a file whose `rules:` are these lines.
fn complaints(text: &str) -> Vec<String> {
    let file = RulesFile::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    match Rules::compile(&file, &specs()) {
        Ok(_) => Vec::new(),
        Err(complaints) => complaints.iter().map(ToString::to_string).collect(),
    }
}

fn with_rule(rule: &str) -> String {
    format!("version: 1\nautonomy: act\nrules:\n  - {rule}\n")
}

#[test]
fn the_shipped_rules_are_right_with_and_without_the_tools() {
    let file = RulesFile::parse(SHIPPED).unwrap();
    for specs in [&specs()[..], &[]] {
        if let Err(complaints) = Rules::compile(&file, specs) {
            panic!("{}", complaints.iter().map(|c| format!("{c}\n")).collect::<String>());
        }
    }
    assert!(file.rules.iter().all(|rule| !rule.examples.is_empty()));
    let rules = Rules::compile(&file, &specs()).unwrap();
    assert!(rules.unknown_tools().contains(&"scale_service".to_owned()));
    assert!(!rules.unknown_tools().contains(&"restart_service".to_owned()));
}

#[test]
fn the_version_follows_the_meaning_and_not_the_layout() {
    let version = |text: &str| {
        Rules::compile(&RulesFile::parse(text).unwrap(), &[]).unwrap().version().to_owned()
    };
    let one = version("version: 1\nautonomy: act\nrules: []\n");
    assert_eq!(one.len(), 64);
    assert_eq!(version("# note\nrules: []\nautonomy: \"act\"\nversion: 1\n"), one);
    assert_ne!(version("version: 1\nautonomy: page\nrules: []\n"), one);
}

#[test]
fn unknown_keys_and_wrong_words_are_refused_by_the_parser() {
    for (text, part) in [
        ("version: 1\nautonomy: act\nrules: []\nthaw: []\n", "thaw"),
        ("version: 1\nautonomy: act\nrules: []\nblast_radios: {}\n", "blast_radios"),
        ("version: 1\nrules: []\n", "autonomy"),
        ("version: 1\nautonomy: free\nrules: []\n", "free"),
        (&with_rule("{ name: a, tool: b, tier: ok }"), "ok"),
        (&with_rule("{ name: a, tool: b, tier: safe, whn: 'true' }"), "whn"),
        (&with_rule("{ name: a, tier: safe }"), "tool"),
        (&with_rule("{ name: a, tool: b, tier: safe, tier: confirm }"), "tier"),
    ] {
        let error = RulesFile::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn every_mistake_of_a_rule_is_told_with_its_place() {
    let cases: &[(&str, &str)] = &[
        ("{ name: a, tool: t, tier: safe, when: 'args.x ==' }", "rules.0.when: "),
        (
            "{ name: a, tool: t, tier: safe, when: 'labels.x == \"y\"' }",
            "rules.0.when: unknown name 'labels'",
        ),
        (
            "{ name: a, tool: restart_service, tier: safe, when: 'args.hots == \"x\"' }",
            "rules.0.when: restart_service has no argument 'hots'; \
             it takes [\"service\", \"host\", \"reason\"]",
        ),
        (
            "{ name: a, tool: restart_service, tier: safe, when: 'args.reason == \"x\"' }",
            "rules.0.when: 'reason' is prose for people; no rule may decide by it",
        ),
        (
            "{ name: a, tool: t, tier: safe, when: 'args[\"reason\"] == \"x\"' }",
            "rules.0.when: name the argument that is read, e.g. args.host",
        ),
        (
            "{ name: a, tool: t, tier: safe, when: 'args.exists(a, a == \"x\")' }",
            "rules.0.when: name the argument that is read, e.g. args.host",
        ),
        (
            "{ name: a, tool: t, tier: safe, when: 'service.clas == \"web\"' }",
            "rules.0.when: service has no 'clas'; it has [\"name\", ",
        ),
        (
            "{ name: a, tool: t, tier: safe, when: 'host[\"class\"] == \"web\"' }",
            "rules.0.when: name what is read of host, e.g. host.class",
        ),
        (
            "{ name: a, tool: clean_disk_space, tier: safe, when: 'service.protected' }",
            "rules.0.when: clean_disk_space takes no service, so service.protected is never known",
        ),
        (
            "{ name: a, tool: get_service_logs, tier: safe, when: 'state.active' }",
            "rules.0.when: state is known for writes only; get_service_logs changes nothing",
        ),
        (
            "{ name: a, tool: t, tier: safe, limit: [{ max: 0, per: [host], within: 1h }] }",
            "rules.0.limit.0.max: 0 is less than 1",
        ),
        (
            "{ name: a, tool: t, tier: safe, limit: [{ max: 1, per: [rack], within: 1h }] }",
            "rules.0.limit.0.per.0: 'rack' cannot be counted by; write host or service",
        ),
        (
            "{ name: a, tool: t, tier: safe, limit: [{ max: 1, per: [host, host], within: 1h }] }",
            "rules.0.limit.0.per.1: 'host' is there twice",
        ),
        (
            "{ name: a, tool: clean_disk_space, tier: safe, \
             limit: [{ max: 1, per: [service], within: 1h }] }",
            "rules.0.limit.0.per.0: clean_disk_space takes no service",
        ),
        (
            "{ name: a, tool: t, tier: safe, limit: [{ max: 1, per: [host], within: soon }] }",
            "rules.0.limit.0.within: 'soon' is not a duration; write e.g. 90s, 5m, 1h30m or 7d",
        ),
        (
            "{ name: a, tool: t, tier: confirm, limit: [{ max: 1, per: [], within: 1h }] }",
            "rules.0.limit: only a safe rule can be limited",
        ),
        (
            "{ name: a, tool: t, tier: confirm, approvals: { quorum: 0 } }",
            "rules.0.approvals.quorum: at least one person has to agree",
        ),
        (
            "{ name: a, tool: t, tier: confirm, approvals: { roles: [''] } }",
            "rules.0.approvals.roles.0: is empty",
        ),
        (
            "{ name: a, tool: t, tier: safe, approvals: { quorum: 2 } }",
            "rules.0.approvals: only a confirm rule asks for approvals",
        ),
        ("{ name: '', tool: t, tier: safe }", "rules.0.name: is empty"),
        ("{ name: a, tool: ' ', tier: safe }", "rules.0.tool: is empty"),
        (
            "{ name: a, tool: drop_table, tier: safe }",
            "rules.0.tier: the floor refuses deleting data, this rule has no effect",
        ),
    ];
    for (rule, expected) in cases {
        let found = complaints(&with_rule(rule));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{rule}\n{found:#?}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let found = complaints(include_str!("../../../tests/data/rules/all_wrong.yaml"));
    assert_eq!(
        found,
        [
            "version: version 2 is not known; write 1",
            "levels.0.match: matches nothing: list at least one matcher, e.g. alertname=\"Disk\"",
            "levels.1.match.1: 'severity' has no operator; write e.g. alertname=\"Disk\"",
            "defaults.write: a change that no rule names never runs by itself: \
             write confirm or forbidden",
            "defaults.unknown_tool: a change that no rule names never runs by itself: \
             write confirm or forbidden",
            "rules.0.when: 'reason' is prose for people; no rule may decide by it",
            "rules.1.name: another rule has this name already",
            "rules.1.tier: the floor refuses failing over a database, this rule has no effect",
        ]
    );
}

#[test]
fn examples_that_come_out_otherwise_are_told_with_the_reason() {
    assert_eq!(
        complaints(include_str!("../../../tests/data/rules/wrong_examples.yaml")),
        [
            "example_targets.services.2.name: is there twice",
            "rules.0.examples.0.expect: expected safe, but the rules say confirm: \
             default: write (no rule matches); floor: database (orders is a database: \
             a person agrees first)",
            "rules.0.examples.1.args: service 'nginy' is not in example_targets: \
             add `- { name: nginy }` to services",
            "rules.0.examples.2.args: 'reason' is missing: ",
            "rules.1.examples.1.expect: expected safe, but the rules say confirm: \
             rule: grow (the condition cannot be told: Undeclared reference to 'state'); \
             default: write (no rule matches)",
        ]
    );
}
