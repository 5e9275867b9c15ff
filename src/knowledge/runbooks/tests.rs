use super::*;
use serde_json::json;
use std::collections::BTreeSet;

const SHIPPED: &str = include_str!("../../../config/runbooks.yaml");

fn tools() -> Vec<ToolSpec> {
    serde_json::from_str(include_str!("../../../tests/data/tools.json")).unwrap()
}

fn shipped() -> Runbooks {
    match load("config/runbooks.yaml", SHIPPED, &tools()) {
        Ok(runbooks) => runbooks,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// Path and message of every complaint about a file in JSON, which is YAML, too.
fn complaints(file: Value) -> Vec<(String, String)> {
    let file: RunbooksFile = serde_json::from_value(file).unwrap();
    let complaints = Runbooks::compile(file, &tools()).unwrap_err();
    complaints.into_iter().map(|said| (said.path, said.message)).collect()
}

/// The complaints about one runbook, which is right but for these keys.
fn about(wrong: Value) -> Vec<(String, String)> {
    let mut runbook = json!({
        "name": "a",
        "match": ["alertname=x"],
        "steps": [{ "id": "one", "tool": "check_dependencies", "args": { "service": "s" } }],
    });
    for (key, value) in wrong.as_object().unwrap() {
        runbook[key] = value.clone();
    }
    complaints(json!({ "version": 1, "runbooks": [runbook] }))
}

/// The complaints about the second of two steps.
fn about_step(step: Value) -> Vec<(String, String)> {
    let first = json!({ "id": "one", "tool": "check_dependencies", "args": { "service": "s" } });
    let paths = about(json!({ "steps": [first, step] })).into_iter();
    paths.map(|(path, said)| (path.replace("runbooks.0.steps.1.", ""), said)).collect()
}

fn told(path: &str, message: &str) -> Vec<(String, String)> {
    vec![(path.into(), message.into())]
}

#[test]
fn a_file_that_is_wrong_in_itself_is_told_so() {
    assert_eq!(complaints(json!({ "version": 2 })), told("version", "expected 1, got 2"));
    let steps = json!([{ "id": "a", "tool": "check_dependencies", "args": { "service": "s" } }]);
    let runbook = json!({ "name": "a", "match": ["a=b"], "steps": steps });
    let twice = json!({ "version": 1, "runbooks": [runbook, runbook] });
    assert_eq!(complaints(twice), told("runbooks.1.name", "there are two runbooks named 'a'"));
}

#[test]
fn every_mistake_of_a_runbook_has_its_complaint() {
    let at = |path: &str, message: &str| told(&format!("runbooks.0.{path}"), message);
    for (wrong, expected) in [
        (json!({ "name": " " }), at("name", "a runbook needs a name, since reports quote it")),
        (json!({ "match": [] }), at("match", "a runbook without a matcher would match everything")),
        (json!({ "steps": [] }), at("steps", "a runbook needs at least one step")),
        (
            json!({ "match": ["a=b", "alertname"] }),
            at("match.1", "'alertname' has no operator; write e.g. alertname=\"Disk\""),
        ),
        (
            json!({ "verify": { "query": " ", "expect": "value > 1.0" } }),
            at("verify.query", "is empty"),
        ),
        (
            json!({ "verify": { "query": "up{a=${labels.a}}", "expect": "value > 1.0" } }),
            at(
                "verify.query",
                "a value is filled in outside of quotes; put it between double quotes, as in \
                 instance=\"${labels.instance}\"",
            ),
        ),
        (
            json!({ "verify": { "query": "up", "expect": "1 > 0" } }),
            at("verify.expect", "never reads `value`, e.g. value > 0.1"),
        ),
        (
            json!({ "verify": { "query": "up", "expect": "x > 0" } }),
            at("verify.expect", "unknown name 'x'; a condition may read [\"value\"]"),
        ),
        (
            json!({ "verify": { "query": "up", "expect": "value > 1.0", "within": "5" } }),
            at("verify.within", "'5' is not a duration; write e.g. 90s, 5m, 1h30m or 7d"),
        ),
        (
            json!({ "verify": { "query": "up", "expect": "value > 1.0", "within": "0s" } }),
            at("verify.within", "must be 1s or longer"),
        ),
        (
            json!({ "conclude": { "root_cause": "${who}", "remaining": "${host}" } }),
            at(
                "conclude.root_cause",
                "'${who}' cannot be filled in; use ${host}, ${service}, ${severity} or \
                 ${labels.NAME}",
            ),
        ),
        (
            json!({ "conclude": { "remaining": "mend ${host" } }),
            at("conclude.remaining", "the } of a ${ is missing"),
        ),
    ] {
        assert_eq!(about(wrong.clone()), expected, "{wrong}");
    }
}

#[test]
fn every_mistake_of_a_step_has_its_complaint() {
    let args = json!({ "service": "${service}" });
    let step = |id: &str, when: &str| json!({ "id": id, "tool": "check_dependencies", "args": args, "when": when });
    let call = |tool: &str, args: Value| json!({ "id": "two", "tool": tool, "args": args });
    for (wrong, path, message) in [
        (step("1st", "true"), "id", "use letters, digits and _, since conditions name it"),
        (step("", "true"), "id", "use letters, digits and _, since conditions name it"),
        (step("one", "true"), "id", "there are two steps 'one'"),
        (step("two", "steps.two.ok"), "when", "'two' is no earlier step of this runbook"),
        (
            step("two", "steps.one.okay"),
            "when",
            "a step has no 'okay'; it has [\"ok\", \"outcome\", \"data\"]",
        ),
        (
            step("two", "args.x == 1"),
            "when",
            "unknown name 'args'; a condition may read [\"steps\", \"labels\", \"severity\", \
             \"host\", \"service\"]",
        ),
        (call("check_dependencies", json!({})), "args", "'service' is missing: the service"),
        (
            call("check_dependencies", json!({ "service": "s", "deep": 1 })),
            "args.deep",
            "unknown argument 'deep'; check_dependencies takes [\"service\"]",
        ),
        (
            call("get_service_logs", json!({ "service": "s", "lines": "100" })),
            "args.lines",
            "'lines' must be a whole number from 1 to 5000, got \"100\"",
        ),
        (
            call("get_service_logs", json!({ "service": "s", "level": "fatal" })),
            "args.level",
            "'level' must be one of [\"error\", \"warn\", \"info\", \"all\"], got \"fatal\"",
        ),
        (
            call("check_dependencies", json!({ "service": "${name}" })),
            "args.service",
            "'${name}' cannot be filled in; use ${host}, ${service}, ${severity} or ${labels.NAME}",
        ),
        (
            call("check_dependencies", json!({ "service": "${clean_roots}" })),
            "args.service",
            "'${clean_roots}' is a list; write it as an item of its own: ['${clean_roots}']",
        ),
        (
            call(
                "request_human_confirmation",
                json!({
                    "tool": "restart_service",
                    "args": { "service": "s", "reason": 7 },
                    "action_description": "d", "reason": "r", "risk_level": "high",
                }),
            ),
            "args.args.reason",
            "'reason' must be text of 1 to 500 characters, got 7",
        ),
        (
            call(
                "request_human_confirmation",
                json!({
                    "tool": "restart_service", "args": { "service": "${who}", "reason": "r" },
                    "action_description": "d", "reason": "r", "risk_level": "high",
                }),
            ),
            "args.args.service",
            "'${who}' cannot be filled in; use ${host}, ${service}, ${severity} or ${labels.NAME}",
        ),
    ] {
        assert_eq!(about_step(wrong.clone()), told(path, message), "{wrong}");
    }
    let said = about_step(call("drop_table", json!({})));
    assert_eq!(said[0].0, "tool");
    assert!(said[0].1.starts_with("there is no tool 'drop_table'; the tools are [\"get_service"));
    let inner = json!({
        "tool": "rm", "args": {}, "action_description": "d", "reason": "r", "risk_level": "low",
    });
    let said = about_step(call("request_human_confirmation", inner));
    assert_eq!((said.len(), said[0].0.as_str()), (1, "args.tool"));
}

#[test]
fn what_only_an_incident_fills_in_is_no_mistake() {
    let file = json!({ "version": 1, "runbooks": [{
        "name": "a",
        "match": ["alertname=x"],
        "steps": [
            { "id": "one", "tool": "send_notification", "args":
                { "channel": "all", "severity": "${severity}", "message": "on ${labels.pod}" } },
            { "id": "two", "tool": "clean_disk_space", "when": "steps.one.outcome == 'ok'", "args":
                { "host": "${host}", "paths": ["${clean_roots}", "/srv/${service}/log"] } },
        ],
    }] });
    let file: RunbooksFile = serde_json::from_value(file).unwrap();
    assert!(Runbooks::compile(file, &tools()).is_ok());
}

#[test]
fn arguments_are_filled_in_and_cannot_end_their_quotes() {
    let step = Step {
        id: "a".into(),
        tool: "t".into(),
        args: json!({
            "host": "${host}",
            "paths": ["${clean_roots}", "/srv/${host}"],
            "query": r#"up{a="${labels.a}", b="${labels.a}"} # ${labels.a}"#,
            "inner": { "n": 7, "text": "${host}" },
        })
        .as_object()
        .cloned()
        .unwrap(),
        when: None,
        on_failure: OnFailure::Stop,
    };
    let lookup = |name: &str| match name {
        "host" => Some("web1".to_owned()),
        "labels.a" => Some("x\"} or \\vector(1)\n".to_owned()),
        _ => None,
    };
    let roots = ["/var/log/a".to_owned(), "/var/log/b".to_owned()];
    let escaped = r#"x\"} or \\vector(1)\n"#;
    assert_eq!(
        step.arguments(&lookup, &roots).map(Value::Object),
        Ok(json!({
            "host": "web1",
            "paths": ["/var/log/a", "/var/log/b", "/srv/web1"],
            "query": format!("up{{a=\"{escaped}\", b=\"{escaped}\"}} # x\"}} or \\vector(1)\n"),
            "inner": { "n": 7, "text": "web1" },
        }))
    );
    assert_eq!(step.arguments(&lookup, &[]), Err("clean_roots".to_owned()));
    assert_eq!(step.arguments(&|_| None, &roots), Err("host".to_owned()));
}

#[test]
fn the_shipped_runbooks_are_found_by_the_usual_alerts() {
    let runbooks = shipped();
    let mut followed = BTreeSet::new();
    for (alerts, expected) in [
        (
            "DiskSpaceLow DiskFull LowDiskSpace NodeFilesystemAlmostOutOfSpace HostOutOfDiskSpace \
             NodeFilesystemSpaceFillingUp NodeFilesystemAlmostOutOfFiles HostOutOfInodes \
             NodeFilesystemFilesFillingUp HostDiskWillFillIn24Hours",
            "disk space low, file system not told",
        ),
        (
            "ServiceDown NodeSystemdServiceFailed HostSystemdServiceCrashed SystemdUnitFailed",
            "service down",
        ),
        (
            "DBCorruption DatabaseCorruption PostgresqlChecksumFailures MySQLCorruption",
            "database corruption",
        ),
        (
            "HighLatency HighErrorRate HighRequestLatency KubeAPIErrorBudgetBurn ServiceLatencyHigh",
            "high latency or error rate",
        ),
        (
            "MemoryGrowth HostOutOfMemory NodeMemoryHighUtilization HostMemoryUnderMemoryPressure",
            "memory growth",
        ),
        ("PoolExhausted PostgresqlTooManyConnections", "connection pool exhausted"),
        ("QueueBacklog RabbitmqTooManyMessagesInQueue KafkaConsumersGroup", "queue backlog"),
        (
            "CertificateExpiry SSLCertificateExpiringSoon BlackboxSslCertificateWillExpireSoon \
             CertManagerCertExpirySoon KubeClientCertificateExpiration CertificateAboutToExpire",
            "certificate expires",
        ),
        (
            "HostDown InstanceDown NodeDown TargetDown KubeNodeNotReady KubeNodeUnreachable",
            "host unreachable",
        ),
    ] {
        for alert in alerts.split_whitespace() {
            let found = runbooks.find([&labels(&[("alertname", alert)])]);
            assert_eq!(found.map(|runbook| runbook.name.as_str()), Some(expected), "{alert}");
        }
        followed.insert(expected);
    }
    let placed = [("alertname", "DiskSpaceLow"), ("instance", "web1:9100"), ("mountpoint", "/")];
    let found = runbooks.find([&labels(&placed)]).unwrap();
    assert_eq!(found.name, "disk space low");
    followed.insert(&found.name);
    assert_eq!(runbooks.names().collect::<BTreeSet<_>>(), followed);
    for other in ["Watchdog", "HighCPU", "PrimaryFailover", "IntrusionDetected", ""] {
        assert!(runbooks.find([&labels(&[("alertname", other)])]).is_none(), "{other}");
    }
}

#[test]
fn the_shipped_runbooks_change_no_more_than_they_say() {
    let mut changes = Vec::new();
    for runbook in &shipped().0 {
        for step in &runbook.steps {
            let named = step.args.get("tool").and_then(Value::as_str).unwrap_or("");
            let effect = tools().into_iter().find(|spec| spec.name == step.tool).unwrap().effect;
            if effect != crate::model::tool::Effect::Read {
                changes.push(format!("{}: {} {named}", runbook.name, step.tool));
            }
        }
    }
    assert_eq!(
        changes,
        [
            "disk space low: clean_disk_space ",
            "disk space low, file system not told: clean_disk_space ",
            "service down: restart_service ",
            "database corruption: request_human_confirmation restart_service",
            "memory growth: request_human_confirmation restart_service",
        ]
    );
}

#[test]
fn problems_of_reading_and_of_meaning_come_together_in_file_order() {
    let text = "\
version: one
runbooks:
  - name: a
    match: [alertname]
    steps:
      - { id: one, tool: check_dependency, args: { service: s } }
      - { id: two, tool: get_metrics, args: { query: up }, when: steps.zero.ok, on_failure: go }
";
    let problems = load("r.yaml", text, &tools()).unwrap_err();
    let places: Vec<String> = problems
        .iter()
        .map(|problem| format!("{:?}:{:?} {}", problem.line, problem.column, problem.path))
        .collect();
    assert_eq!(
        places,
        [
            "Some(1):Some(10) version",
            "Some(4):Some(13) runbooks[0].match[0]",
            "Some(6):Some(26) runbooks[0].steps[0].tool",
            "Some(7):Some(66) runbooks[0].steps[1].when",
            "Some(7):Some(93) runbooks[0].steps[1].on_failure",
        ]
    );
}
