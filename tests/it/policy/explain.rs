//! `policy explain`: the checker's own answer under supposed facts; and `redact`.

use super::home;
use crate::support::binary::Home;
use serde_json::{Value, json};

const RESTART: [&str; 5] =
    ["policy", "explain", "restart_service", "--args", r#"{"service":"web","reason":"502s"}"#];

async fn answer(home: &Home, args: &[&str]) -> Value {
    home.run(&[args, &["-o", "json"]].concat()).await.json()
}

/// Decision and reason of a restart of nginx under these facts.
async fn restart(home: &Home, facts: &[&str]) -> (String, String) {
    let answer = answer(home, &[&RESTART, facts].concat()).await;
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("decision"), text("reason"))
}

#[tokio::test]
async fn a_call_is_answered_with_every_reason_and_as_it_would_run() {
    let home = home();
    let said = answer(&home, &RESTART).await;
    assert_eq!(said["decision"], "allow");
    assert_eq!(said["tier"], "safe");
    assert_eq!(said["autonomy"], "act");
    assert_eq!(
        said["call"],
        json!({
            "tool": "restart_service",
            "args": {"service": "nginx", "host": "web1", "reason": "502s"},
        })
    );
    let sources: Vec<&str> =
        said["matched"].as_array().unwrap().iter().map(|m| m["source"].as_str().unwrap()).collect();
    assert_eq!(sources[..3], ["rule: restart one service", "grant", "second source"]);
    assert_eq!(*sources.last().unwrap(), "level: supposed=\"act\"");

    let table = home.run(&RESTART).await.ok();
    assert!(table.starts_with("allow (safe)  restart_service("), "{table}");
    assert!(table.contains("rule: restart one service"), "{table}");
}

#[tokio::test]
async fn every_supposed_fact_changes_the_answer() {
    let home = home();
    for (facts, decision, reason) in [
        (&["--label", "alertname=ServiceDown"][..], "allow", "rule: restart one service"),
        (&["--label", "alertname=Odd"], "ask", "none matches alert \"Odd\""),
        (&["--label", "alertname=PrimaryFailover"], "refuse", "page: read only"),
        (&["--autonomy", "observe"], "refuse", "observe: would have been safe"),
        (&["--autonomy", "act", "--label", "alertname=PrimaryFailover"], "allow", "rule: "),
        (&["--untrusted"], "ask", "provenance: service"),
        (&["--not-firing"], "ask", "second source"),
        (&["--person"], "ask", "the mind asked for a person"),
        (&["--service-facts", r#"{"class":"database"}"#], "ask", "nginx is a database"),
        (&["--host-facts", r#"{"protected":true}"#], "ask", "host web1 is protected"),
        (
            &["--service-facts", r#"{"allow":[]}"#, "--host-facts", r#"{"allow":[]}"#],
            "refuse",
            "is read-only for restart_service",
        ),
        (&["--service-facts", r#"{"colour":"red"}"#], "refuse", "a service has no 'colour'"),
    ] {
        let (decided, why) = restart(&home, facts).await;
        assert_eq!(decided, decision, "{facts:?}: {why}");
        assert!(why.contains(reason), "{facts:?}: {why}");
    }
    // The labels of the incident vouch for what they name, and for where it runs.
    let named = ["--untrusted", "--label", "alertname=ServiceDown", "--label", "service=nginx"];
    let (decided, why) =
        restart(&home, &[&named[..], &["--label", "instance=10.0.0.1:9100"]].concat()).await;
    assert_eq!(decided, "allow", "{why}");

    home.write(
        "mine.yaml",
        &home
            .read("config/safety_rules.yaml")
            .replace("autonomy: act\n\n#", "autonomy: advise\n\n#"),
    );
    let (decided, why) = restart(&home, &["--rules", "mine.yaml"]).await;
    assert_eq!((decided.as_str(), why.contains("autonomy: advise")), ("ask", true), "{why}");
}

#[tokio::test]
async fn a_command_line_is_judged_word_by_word() {
    let home = home();
    let said = answer(&home, &["policy", "explain", "ss -K dst 10.0.0.9"]).await;
    assert_eq!(said["decision"], "refuse");
    let words: Vec<(&str, &str)> = said["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| (word["word"].as_str().unwrap(), word["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(
        words,
        [("ss", "allowed"), ("-K", "refused"), ("dst", "not reached"), ("10.0.0.9", "not reached")]
    );
    let table = home.run(&["policy", "explain", "ss -K dst 10.0.0.9"]).await.ok();
    assert!(table.contains("4       -K"), "{table}");

    for args in [&["policy", "explain", "df -h"][..], &["policy", "explain", "--", "df", "-h"]] {
        let said = home.run(&[&["-o", "json"], args].concat()).await.json();
        assert_eq!(said["decision"], "allow", "{said}");
        // The first local host, not the first.
        assert_eq!(said["call"]["args"]["host"], "web1");
    }
    let said = answer(&home, &["policy", "explain", "df -h", "--host", "web9"]).await;
    assert!(said["reason"].as_str().unwrap().contains("there is no host \"web9\""), "{said}");
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_refused_with_what_the_floor_says() {
    let home = home();
    let args = ["policy", "explain", "failover_database", "--args", r#"{"service":"postgresql"}"#];
    let said = answer(&home, &args).await;
    assert_eq!(said["decision"], "refuse");
    let matched = said["matched"].to_string();
    assert!(matched.contains("rule: never fail over a database"), "{matched}");
    assert!(matched.contains("floor: failing over a database"), "{matched}");

    let said = home.run(&["policy", "explain", "x", "--args", "[1]"]).await.failed();
    assert!(said.contains("--args must be a JSON object"), "{said}");
    home.run(&["policy", "explain"]).await.misused();
}

#[tokio::test]
async fn every_line_gets_one_line_whatever_it_is() {
    let home = home();
    let restart = r#"{"tool":"restart_service","args":{"service":"nginx","reason":"r"}"#;
    let ask = r#""args":{"tool":"restart_service","args":{"service":"nginx","reason":"r"},"action_description":"d","reason":"r","risk_level":"low"}"#;
    let lines = [
        (format!("{restart}}}"), "allow", ""),
        (format!(r#"{restart},"id":[7],"trusted":false}}"#), "ask", "provenance"),
        (format!(r#"{restart},"firing":false}}"#), "ask", "second source"),
        (format!(r#"{restart},"labels":{{"alertname":"PrimaryFailover"}}}}"#), "refuse", "page"),
        (format!(r#"{restart},"label":{{"alertname":"x"}}}}"#), "refuse", "unknown field `label`"),
        (r#"{"command":"df -h"}"#.into(), "allow", ""),
        (r#"{"command":"df -h; reboot"}"#.into(), "refuse", "is not allowed"),
        (r#"{"command":"uptime","tool":"get_metrics"}"#.into(), "refuse", "either"),
        (r#"{"tool":"restart_service","args":{"service":"sshd","reason":"r"}}"#.into(), "refuse", "there is no service"),
        (r#"{"tool":"restart_service","args":{"service":"nginx","reason":"r","force":true}}"#.into(), "refuse", "unknown argument 'force'"),
        (r#"{"tool":"clean_disk_space","args":{"host":"web1","paths":["/var/log/nginx"],"min_age_days":0}}"#.into(), "refuse", "min_age_days"),
        (r#"{"tool":"clean_disk_space","args":{"host":"web1","paths":["/var/log/../../etc"]}}"#.into(), "refuse", "/etc"),
        (format!(r#"{{"tool":"request_human_confirmation",{ask}}}"#), "ask", "the mind asked"),
        (format!(r#"{{"tool":"request_human_confirmation",{}}}"#, ask.replace(r#""tool":"restart_service""#, r#""tool":"delete_data""#)), "refuse", "no tool 'delete_data'"),
        (String::new(), "refuse", "the line is empty"),
        ("[1]".into(), "refuse", "is no question"),
        ("{\"tool\":\"\u{0}".into(), "refuse", "is no question"),
        ("x".repeat(2_000_000), "refuse", "2000000 bytes"),
        (format!("{restart}}}"), "allow", ""),
    ];
    let input: Vec<&str> = lines.iter().map(|(line, _, _)| line.as_str()).collect();
    let out = home.run_with(&["policy", "explain", "--stdin"], &input.join("\n")).await.ok();
    let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len());
    for ((line, decision, reason), answer) in lines.iter().zip(&answers) {
        let line = line.chars().take(200).collect::<String>();
        assert_eq!(answer["decision"], *decision, "{line}: {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{line}: {answer}");
        assert!(!answer["matched"].as_array().unwrap().is_empty(), "{line}: {answer}");
    }
    assert_eq!(answers[1]["id"], json!([7]));
    assert_eq!(home.run_with(&["policy", "explain", "--stdin"], "").await.ok(), "");
}

#[tokio::test]
async fn a_freeze_is_judged_at_the_time_that_is_supposed() {
    let home = home();
    let weekend =
        "freeze: [{ cron: \"0 18 * * FRI\", for: 62h, zone: Europe/Berlin, writes: confirm }]";
    let rules = home.read("config/safety_rules.yaml");
    home.write(
        "mine.yaml",
        &rules.replace("\nversion: 1\n", &format!("\nversion: 1\n{weekend}\n")),
    );
    for (at, decision, reason) in [
        ("2026-03-27T17:59:59+01:00", "allow", "rule: "),
        ("2026-03-27T18:00:00+01:00", "ask", "until Mon 2026-03-30 08:00 CEST: 62h from Fri"),
        ("2026-03-30T07:59:59+02:00", "ask", "freeze: 0 18 * * FRI Europe/Berlin"),
        ("2026-03-30T08:00:00+02:00", "allow", "rule: "),
    ] {
        let (decided, why) = restart(&home, &["--rules", "mine.yaml", "--at", at]).await;
        assert_eq!((decided.as_str(), why.contains(reason)), (decision, true), "{at}: {why}");
    }
    let said = home.run(&[&RESTART[..], &["--at", "Friday"]].concat()).await;
    assert!(said.stderr.contains("'Friday' is not a time"), "{said:?}");

    // A test says the same on every day, unless it names one.
    let case = "tool: restart_service, args: { service: nginx, reason: r }";
    let cases = format!(
        "cases:\n  - {{ {case}, expect: allow }}\n  \
         - {{ {case}, at: \"2026-03-28T12:00:00Z\", expect: ask }}\n"
    );
    home.write("cases.yaml", &cases);
    let always = weekend.replace("0 18 * * FRI", "0 0 * * *").replace("62h", "23h");
    home.write(
        "often.yaml",
        &rules.replace("\nversion: 1\n", &format!("\nversion: 1\n{always}\n")),
    );
    for file in ["mine.yaml", "often.yaml"] {
        let args = ["policy", "test", "cases.yaml", "--rules", file];
        assert!(home.run(&args).await.ok().ends_with(" 0 failed\n"), "{file}");
    }
}

#[tokio::test]
async fn broken_rules_explain_nothing() {
    let home = home();
    home.write("config/safety_rules.yaml", "version: 1\nautonomy: act\nrules: [{name: x}]\n");
    let said = home.run(&RESTART).await.failed();
    assert!(said.contains("config/safety_rules.yaml:3:"), "{said}");
}

#[tokio::test]
async fn redact_shows_what_is_left_of_a_text() {
    let home = home();
    home.write("config/key", "our-very-own-routing-key");
    let args = ["redact", "--set", "notify.pagerduty.routing_key_file=key"];
    let text = "磁盘 ok\npsql postgres://kim:hunter2hunter2@db1/x\nkey our-very-own-routing-key.\n";
    let left = home.run_with(&args, text).await.ok();
    assert!(left.starts_with("磁盘 ok\npsql postgres://kim:[redacted:"), "{left}");
    assert!(!left.contains("hunter2") && !left.contains("our-very-own"), "{left}");
    assert!(left.ends_with("].\n"), "{left}");
}
