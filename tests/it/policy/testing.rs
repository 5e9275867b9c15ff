//! `policy test`: examples and cases.

use super::home;
use serde_json::Value;

const CASES: &str = "cases:
  - { tool: restart_service, args: { service: nginx, reason: r }, expect: allow }
  - name: a database asks
    tool: restart_service
    args: { service: postgresql, reason: r }
    expect: confirm
  - { tool: restart_service, args: { service: nginx, reason: r }, labels: { alertname: PrimaryFailover }, expect: refuse }
  - { tool: restart_service, args: { service: nginx, reason: r }, trusted: false, expect: ask }
  - { command: journalctl --vacuum-size=1, expect: refuse }
";

#[tokio::test]
async fn the_shipped_examples_and_good_cases_pass() {
    let home = home();
    home.write("cases.yaml", CASES);
    let said = home.run(&["policy", "test", "cases.yaml", "-o", "json"]).await.json();
    assert_eq!(said["failed"], 0, "{said}");
    let examples = home.run(&["policy", "test"]).await.ok();
    let count = said["passed"].as_u64().unwrap() - 5;
    assert_eq!(examples, format!("{count} passed, 0 failed\n"));
}

#[tokio::test]
async fn whatever_is_not_as_expected_is_named_with_its_place_and_fails() {
    let home = home();
    home.write("cases.yaml", &CASES.replace("expect: confirm", "expect: forbidden"));
    let rules = home.read("config/safety_rules.yaml");
    let wrong = rules.replacen(
        "reason: \"502s\" }, expect: safe",
        "reason: \"502s\" }, expect: confirm",
        1,
    );
    assert_ne!(wrong, rules);
    home.write("mine.yaml", &wrong);
    let ran = home.run(&["policy", "test", "cases.yaml", "--rules", "mine.yaml"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let failed: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert_eq!(failed.len(), 2, "{}", ran.stdout);
    assert!(
        failed[0].contains("rule \"restart one service\", example 1: expected confirm"),
        "{failed:?}"
    );
    assert!(
        failed[1].contains("cases.yaml:3  a database asks: expected forbidden, got confirm"),
        "{failed:?}"
    );

    let ran = home.run(&["policy", "test", "cases.yaml", "-o", "json"]).await;
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &value["failed"]), (Some(1), &serde_json::json!(1)));
}

#[tokio::test]
async fn cases_that_cannot_be_read_are_no_success() {
    let home = home();
    for (cases, why) in [
        (
            "cases:\n  - { tool: x, expect: maybe }\n",
            "bad.yaml:2:24: cases[0].expect: must be one of allow, ask",
        ),
        ("cases:\n  - { tool: x }\n", "has no 'expect'"),
        ("cases:\n  - { tol: x, expect: ask }\n", "tol"),
        ("- 1\n", "bad.yaml"),
    ] {
        home.write("bad.yaml", cases);
        let said = home.run(&["policy", "test", "bad.yaml"]).await.failed();
        assert!(said.contains(why), "{said}");
    }
    let said = home.run(&["policy", "test", "absent.yaml"]).await.failed();
    assert!(said.contains("absent.yaml: cannot be read"), "{said}");
}
