use super::super::testing::{Bench, Folder};
use serde_json::json;

fn bench(logs: &str) -> Bench {
    Bench::new(&format!(
        "hosts: [{{ name: box, reach: local }}]\n\
         services: [{{ name: shop, hosts: [box], class: web, logs: {logs} }}]"
    ))
}

const LOG: &str = "\
2026-11-16 03:00:00 INFO started
2026-11-16 03:00:01 WARN slow
2026-11-16 03:00:02 ERROR no database
  at db.rs:7
2026-11-16 03:00:03 DEBUG tick
2026-11-16 03:00:04 ERROR still none
";

#[tokio::test]
async fn only_lines_of_the_asked_level_are_shown_newest_last() {
    let folder = Folder::new();
    let path = folder.write("shop.log", LOG);
    let bench = bench(&format!("{{ file: {path} }}"));
    for (level, wanted) in [
        ("error", vec!["ERROR no database", "  at db.rs:7", "ERROR still none"]),
        ("warn", vec!["WARN slow", "ERROR no database", "  at db.rs:7", "ERROR still none"]),
        ("info", vec!["INFO started", "WARN", "ERROR no", "  at", "ERROR still none"]),
        ("all", vec!["INFO", "WARN", "ERROR no", "  at", "DEBUG", "ERROR still none"]),
    ] {
        let args = json!({ "service": "shop", "level": level });
        let output = bench.output("get_service_logs", args).await;
        let shown: Vec<&str> = output.text.lines().skip(2).collect();
        assert_eq!(shown.len(), wanted.len(), "{level}: {shown:?}");
        for (line, part) in shown.iter().zip(&wanted) {
            assert!(line.contains(part), "{level}: {line}");
        }
    }
    let args = json!({ "service": "shop", "lines": 1 });
    let output = bench.output("get_service_logs", args).await;
    assert!(output.text.ends_with("follow.\n") || output.text.ends_with("ERROR still none\n"));
    assert_eq!(
        output.data,
        json!({
            "service": "shop", "host": "box", "source": path,
            "scanned": 6, "matched": 3, "shown": 1,
            "by_level": { "error": 3, "warn": 1, "info": 1, "debug": 1, "unknown": 0 },
        })
    );
}

#[tokio::test]
async fn a_log_without_lines_of_the_level_says_so() {
    let folder = Folder::new();
    let path = folder.write("shop.log", "one\ntwo\n");
    let bench = bench(&format!("{{ file: {path} }}"));
    let output = bench.output("get_service_logs", json!({ "service": "shop" })).await;
    assert!(output.text.contains("of 2 lines 0 are errors or worse"), "{}", output.text);
    assert!(output.text.contains("level=all shows the lines that were left out"));
}

#[tokio::test]
async fn missing_sources_are_errors_that_say_what_to_mend() {
    let folder = Folder::new();
    let missing = folder.at("none.log");
    assert_eq!(
        bench(&format!("{{ file: {missing} }}"))
            .told("get_service_logs", json!({ "service": "shop" }))
            .await,
        format!("cannot read {missing}: No such file or directory (os error 2)")
    );
    let path = folder.path().to_str().unwrap();
    assert_eq!(
        bench(&format!("{{ file: {path} }}"))
            .told("get_service_logs", json!({ "service": "shop" }))
            .await,
        format!("{path} is not a regular file")
    );
    let none = Bench::new(
        "hosts: [{ name: box, reach: local, systemd: no }]\n\
         services: [{ name: shop, hosts: [box], class: web }]",
    );
    assert_eq!(
        none.told("get_service_logs", json!({ "service": "shop" })).await,
        "nobody said where shop logs: the inventory says `systemd: no` for box, and the inventory \
         gives no services.0.logs"
    );
    let failing = bench("{ command: [/bin/sh, -c, 'echo no such container >&2; exit 1'] }");
    assert_eq!(
        failing.told("get_service_logs", json!({ "service": "shop" })).await,
        "cannot read the log command of shop on box: exit code 1: no such container"
    );
}

#[tokio::test]
async fn a_pipe_in_place_of_a_log_does_not_hang() {
    let folder = Folder::new();
    let pipe = folder.at("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(
        bench(&format!("{{ file: {pipe} }}"))
            .told("get_service_logs", json!({ "service": "shop" }))
            .await,
        format!("{pipe} is not a regular file")
    );
}

#[tokio::test]
async fn a_command_is_given_the_number_of_lines() {
    let bench = bench("{ command: [/bin/sh, -c, 'echo asked {lines}; echo ERROR x >&2'] }");
    let args = json!({ "service": "shop", "lines": 7, "level": "all" });
    let output = bench.output("get_service_logs", args).await;
    let lines: Vec<&str> = output.text.lines().skip(1).collect();
    assert_eq!(lines, ["asked 7", "ERROR x"]);
}

#[tokio::test]
async fn a_machine_without_a_journal_is_not_an_empty_log() {
    let has_journal = std::process::Command::new("journalctl")
        .args(["--quiet", "--no-pager", "--lines=1"])
        .output()
        .is_ok_and(|ran| !ran.stdout.is_empty());
    let bench = bench("{ journal: watchkeeper-no-such-unit.service }");
    let args = json!({ "service": "shop", "level": "all" });
    if has_journal {
        let output = bench.output("get_service_logs", args).await;
        assert!(output.text.contains("of 0 lines 0 are"), "{}", output.text);
    } else {
        let why = bench.told("get_service_logs", args).await;
        assert!(
            why.contains("box has no journal") || why.contains("journalctl is not installed"),
            "{why}"
        );
    }
}
