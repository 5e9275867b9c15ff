use super::super::testing::{Bench, Folder, Scripted, ran};
use crate::targets::{Exit, Ran};
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
        // The private journal also hears the kernel, which says a lot on a busy machine.
        let args = json!({ "service": "shop", "level": level, "lines": 2_000 });
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

const SYSTEMD: &str = "hosts: [{ name: box, reach: local }]\n\
    services: [{ name: shop, hosts: [box], class: web }]";

#[tokio::test]
async fn the_journal_is_asked_for_the_unit_and_more_lines_than_are_shown() {
    let entry = |text: &str| {
        json!({ "__REALTIME_TIMESTAMP": "1763262000000000", "PRIORITY": "6", "MESSAGE": text,
                "SYSLOG_IDENTIFIER": "shop" })
        .to_string()
    };
    let journal = format!("{}\n{}\n", entry("hello"), entry("ERROR no db"));
    let (bench, host) = Scripted::bench(SYSTEMD, move |_| ran(0, &journal));
    let output = bench.output("get_service_logs", json!({ "service": "shop" })).await;
    assert_eq!(
        output.text,
        "shop on box, the journal of shop.service: of 2 lines 1 are errors or worse; the newest 1 \
         follow.\n2025-11-16T03:00:00Z shop: ERROR no db\n"
    );
    assert_eq!(
        host.seen(),
        ["journalctl --no-pager --quiet --reverse --output=json \
          --output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID --lines=2000 --unit=shop.service"]
    );
}

#[tokio::test]
async fn a_unit_without_lines_is_told_apart_from_a_host_without_a_journal() {
    let quiet_unit = |argv: &[String]| {
        let of_unit = argv.iter().any(|word| word.starts_with("--unit"));
        ran(0, if of_unit { "" } else { "{}\n" })
    };
    let (bench, _) = Scripted::bench(SYSTEMD, quiet_unit);
    let output = bench.output("get_service_logs", json!({ "service": "shop" })).await;
    assert!(output.text.contains("of 0 lines 0 are errors"), "{}", output.text);
    let (bench, _) = Scripted::bench(SYSTEMD, |_| ran(0, ""));
    let why = bench.told("get_service_logs", json!({ "service": "shop" })).await;
    assert_eq!(
        why,
        "box has no journal, or Watchkeeper may not read it (group systemd-journal); say where \
         shop logs in services.0.logs of the inventory"
    );
}

#[tokio::test]
async fn a_journal_that_is_too_long_loses_its_oldest_lines() {
    let entry = |text: &str| {
        json!({ "__REALTIME_TIMESTAMP": "1763262000000000", "PRIORITY": "3", "MESSAGE": text })
            .to_string()
    };
    let cut = format!("{}\n{}\n{{\"MESSAGE\":\"cut", entry("newest"), entry("older"));
    let (bench, _) = Scripted::bench(SYSTEMD, move |_| Ran {
        exit: Exit::Signal(15),
        truncated: true,
        ..ran(0, &cut)
    });
    let output = bench.output("get_service_logs", json!({ "service": "shop" })).await;
    let lines: Vec<&str> = output.text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "(older lines were not read)",
            "2025-11-16T03:00:00Z -: older",
            "2025-11-16T03:00:00Z -: newest",
        ]
    );
}

#[tokio::test]
async fn a_command_that_prints_without_end_is_ended() {
    let bench = bench("{ command: [/bin/sh, -c, 'while :; do echo 0123456789abcdef; done'] }");
    let why = bench.told("get_service_logs", json!({ "service": "shop" })).await;
    assert!(why.contains("is longer than 8388608 bytes"), "{why}");
    assert!(why.contains("in services.0.logs should print only its last {lines} lines"), "{why}");
}

/// Starts a journal of its own, out of sight of the machine, writes to it, and runs the words.
const PRIVATE_JOURNAL: &str = r#"
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal || exit 90
/lib/systemd/systemd-journald > /dev/null 2>&1 &
tries=0
until [ -S /run/systemd/journal/stdout ] || [ $tries -gt 100 ]; do
  tries=$((tries + 1)); sleep 0.05
done
printf 'hello\nERROR no database\n<4>slow\n<3>b\303\251 \033[31mred\n' | systemd-cat -t shop
until [ "$(journalctl -q -t shop | wc -l)" -ge 4 ] || [ $tries -gt 200 ]; do
  tries=$((tries + 1)); sleep 0.05
done
exec "$@"
"#;

#[tokio::test]
async fn a_real_journal_is_read() {
    let in_private = |argv: &[String]| {
        std::process::Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["sh", "-c", PRIVATE_JOURNAL, "sh"])
            // As the host would run it.
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(argv)
            .output()
    };
    let probe = in_private(&["true".to_owned()]);
    let has_journald = std::path::Path::new("/lib/systemd/systemd-journald").exists();
    if !has_journald || !probe.is_ok_and(|ran| ran.status.success()) {
        println!("skipped: needs journald, and root with namespaces of its own");
        return;
    }
    let (bench, _) = Scripted::bench(SYSTEMD, move |argv| {
        // Only under systemd do entries carry a unit.
        let words = argv.iter().filter(|word| !word.starts_with("--unit")).cloned();
        let done = in_private(&words.collect::<Vec<_>>()).unwrap();
        ran(done.status.code().unwrap(), &String::from_utf8(done.stdout).unwrap())
    });
    for (level, wanted) in [
        ("error", vec!["ERROR no database", "bé \\x1b[31mred"]),
        ("warn", vec!["ERROR no database", "slow", "bé \\x1b[31mred"]),
        ("info", vec!["hello", "ERROR no database", "slow", "bé \\x1b[31mred"]),
    ] {
        // The private journal also hears the kernel, which says a lot on a busy machine.
        let args = json!({ "service": "shop", "level": level, "lines": 2_000 });
        let output = bench.output("get_service_logs", args).await;
        let by_shop = output.text.lines().filter_map(|line| {
            let (head, message) = line.split_once("]: ")?;
            head.contains(" shop[").then_some(message)
        });
        assert_eq!(by_shop.collect::<Vec<_>>(), wanted, "{level}: {}", output.text);
    }
}
