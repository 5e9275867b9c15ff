use super::super::testing::{Bench, Scripted, ran};
use serde_json::{Value, json};

fn bench() -> Bench {
    Bench::new("hosts: [{ name: box, addresses: [10.0.0.1], reach: local }, { name: far }]")
}

fn stdout(program: &str, args: &[&str]) -> String {
    let ran = std::process::Command::new(program).args(args).env("LC_ALL", "C").output().unwrap();
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test]
async fn disks_agree_with_df() {
    let args = json!({ "host": "10.0.0.1", "check_types": ["disk"] });
    let output = bench().output("check_system_resources", args).await;
    let disks = output.data["disk"].as_array().unwrap();
    let root = disks.iter().find(|disk| disk["mount"] == "/").unwrap();
    let df = stdout("df", &["-P", "-B1", "/"]);
    let df: Vec<&str> = df.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(root["total_bytes"].as_u64().unwrap().to_string(), df[1]);
    let percent: f64 = df[4].trim_end_matches('%').parse().unwrap();
    let ours = root["used_percent"].as_f64().unwrap();
    assert!((percent - ours).abs() <= 1.5, "df {percent}, ours {ours}");
    let inodes = stdout("df", &["-P", "-i", "/"]);
    let inodes: Vec<&str> = inodes.lines().nth(1).unwrap().split_whitespace().collect();
    if let Ok(percent) = inodes[4].trim_end_matches('%').parse::<f64>() {
        let ours = root["inodes_used_percent"].as_f64().unwrap();
        assert!((percent - ours).abs() <= 1.5, "df {percent}, ours {ours}");
    }
    assert!(output.text.contains("disk /: "), "{}", output.text);
    assert_eq!(output.data.as_object().unwrap().len(), 2, "only what was asked: {}", output.data);
}

#[tokio::test]
async fn memory_agrees_with_meminfo() {
    let args = json!({ "host": "box", "check_types": ["memory"] });
    let output = bench().output("check_system_resources", args).await;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 =
        text.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(output.data["memory"]["total_bytes"], json!(total * 1024));
    let used = output.data["memory"]["used_percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&used));
}

#[tokio::test]
async fn a_busy_process_is_found_by_its_processor_time() {
    let mut busy =
        std::process::Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let args = json!({ "host": "box", "check_types": ["processes", "cpu"] });
    let output = bench().output("check_system_resources", args).await;
    let pid = json!(busy.id());
    busy.kill().unwrap();
    busy.wait().unwrap();
    let by_cpu = output.data["processes"]["by_cpu"].as_array().unwrap();
    let found = by_cpu.iter().find(|process| process["pid"] == pid);
    assert!(found.is_some_and(|process| process["cpu_percent"].as_f64() > Some(5.0)), "{by_cpu:?}");
    assert!(output.data["cpu"]["used_percent"].as_f64() > Some(0.0));
    assert!(output.data["cpu"]["cores"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_zombie_is_counted() {
    // The shell becomes a program that never collects its child.
    let mut parent = std::process::Command::new("/bin/sh")
        .args(["-c", "/bin/true & exec sleep 60"])
        .spawn()
        .unwrap();
    let child_is_dead = || {
        let stat = stdout("ps", &["-o", "stat=", "--ppid", &parent.id().to_string()]);
        stat.trim_start().starts_with('Z')
    };
    assert!((0..1000).any(|_| child_is_dead()), "the child never ended");
    let args = json!({ "host": "box", "check_types": ["processes"] });
    let output = bench().output("check_system_resources", args).await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(output.data["processes"]["zombies"].as_u64() >= Some(1), "{}", output.text);
}

#[tokio::test]
async fn the_network_names_its_interfaces_and_sockets() {
    let _listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let args = json!({ "host": "box", "check_types": ["network"] });
    let output = bench().output("check_system_resources", args).await;
    let names = |value: &Value| value["name"].as_str().map(str::to_owned);
    let interfaces = output.data["network"]["interfaces"].as_array().unwrap();
    assert!(interfaces.iter().filter_map(names).any(|name| name == "lo"), "{interfaces:?}");
    assert!(output.data["network"]["tcp"]["listen"].as_u64() >= Some(1));
}

#[test]
fn the_order_of_checks_does_not_make_another_call() {
    let bench = bench();
    let complete = |checks: Value| {
        let args = json!({ "host": "box", "check_types": checks });
        bench.complete("check_system_resources", args).unwrap()
    };
    assert_eq!(complete(json!(["memory", "cpu"])), complete(json!(["cpu", "memory"])));
    assert!(
        bench
            .complete("check_system_resources", json!({ "host": "box", "check_types": ["gpu"] }))
            .is_err()
    );
}

#[tokio::test]
async fn a_host_that_is_not_entered_says_so() {
    let why = bench().told("check_system_resources", json!({ "host": "far" })).await;
    assert!(why.starts_with("far is in the inventory but there is no way to enter it"), "{why}");
}

#[tokio::test]
async fn a_host_of_which_nothing_can_be_read_is_an_error() {
    let (bench, _) = Scripted::bench("hosts: [{ name: box }]", |_| ran(0, ""));
    let args = json!({ "host": "box", "check_types": ["disk"] });
    assert_eq!(
        bench.told("check_system_resources", args).await,
        "cannot look at box: disk: /proc is not mounted"
    );
}
