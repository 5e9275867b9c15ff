use super::super::testing::{Bench, Daemon, Scripted, bounds, ran};
use super::*;
use crate::model::call::Call;

fn bench(daemon: &Daemon) -> Bench {
    Bench::new(&format!(
        "hosts: [{{ name: box, reach: local, systemd: no }}]\n\
         services: [{{ name: shop, unit: shop.service, hosts: [box], class: web, \
         commands: {} }}]",
        daemon.commands()
    ))
}

fn args() -> Value {
    json!({ "service": "Shop.service", "reason": "it does not answer" })
}

#[test]
fn every_spelling_of_a_service_is_one_call() {
    let daemon = Daemon::new();
    let bench = bench(&daemon);
    let wanted = json!({ "service": "shop", "host": "box", "reason": "r" });
    for spelling in ["shop", "SHOP", "shop.service", "Shop.Service"] {
        let args = json!({ "service": spelling, "host": "BOX", "reason": "r" });
        let call = bench.complete("restart_service", args).unwrap();
        assert_eq!(call, Call::new("restart_service", wanted.clone()));
    }
}

#[test]
fn names_outside_the_inventory_are_refused_with_the_valid_ones() {
    let daemon = Daemon::new();
    let bench = bench(&daemon);
    for (service, host, said) in [
        ("shpo", "box", "there is no service \"shpo\" in the inventory; valid are [\"shop\"]"),
        ("shop", "web9", "there is no host \"web9\" in the inventory; valid are [\"box\"]"),
        (
            "shop; id",
            "box",
            "there is no service \"shop; id\" in the inventory; valid are [\"shop\"]",
        ),
    ] {
        let args = json!({ "service": service, "host": host, "reason": "r" });
        assert_eq!(bench.complete("restart_service", args), Err(said.to_owned()));
    }
}

#[tokio::test]
async fn a_dead_process_runs_again_and_is_seen_to_stay_up() {
    let daemon = Daemon::new();
    let bench = bench(&daemon);
    let before = bench.capture("restart_service", args()).await.unwrap();
    assert_eq!(before.state, json!({ "active": "inactive", "load": "configured" }));
    assert!(before.preview.unwrap().contains("shop on box is inactive"));

    let output = bench.output("restart_service", args()).await;
    assert_eq!(output.data["active"], "active");
    assert!(output.text.contains("afterwards it is active (exit code 0: running)"), "{output:?}");
    assert_eq!(daemon.restarts(), 1);

    let after = bench.capture("restart_service", args()).await.unwrap();
    assert_eq!(after.state["active"], "active");
    assert_eq!(after.basis, before.basis, "states and process ids are no drift");
}

#[tokio::test]
async fn a_process_that_dies_at_once_is_not_called_up() {
    let daemon = Daemon::new();
    daemon.folder.write("dies", "");
    let output = bench(&daemon).output("restart_service", args()).await;
    assert_eq!(output.data["active"], "inactive");
}

#[tokio::test]
async fn a_failed_restart_says_why() {
    let daemon = Daemon::new();
    daemon.folder.write("broken", "");
    assert_eq!(
        bench(&daemon).told("restart_service", args()).await,
        "restarting shop on box failed, exit code 1: config line 7: no such module; it is inactive \
         (exit code 3: not running) afterwards"
    );
}

#[tokio::test]
async fn a_restart_that_does_not_end_has_an_unknown_outcome() {
    let daemon = Daemon::new();
    daemon.folder.write("hang", "");
    let short = Bounds { timeout_ms: 300, ..bounds() };
    let done = bench(&daemon).run_within("restart_service", args(), None, short).await;
    let Err(Error::OutcomeUnknown(why)) = done else { panic!("{done:?}") };
    assert_eq!(
        why,
        "restarting shop on box may or may not have happened: not done at the time limit"
    );
    assert_eq!(daemon.restarts(), 1);
}

#[tokio::test]
async fn nothing_starts_after_the_permission_ended() {
    let daemon = Daemon::new();
    let bench = bench(&daemon);
    bench.clock.advance(10_001);
    assert_eq!(
        bench.not_started("restart_service", args()).await,
        "not started: the permission ended 1 ms ago; nothing was changed"
    );
    assert_eq!(daemon.restarts(), 0);
}

#[tokio::test]
async fn a_changed_command_is_drift() {
    let daemon = Daemon::new();
    let one = bench(&daemon).capture("restart_service", args()).await.unwrap().basis.unwrap();
    let other = Bench::new(
        "hosts: [{ name: box, reach: local, systemd: no }]\n\
         services: [{ name: shop, hosts: [box], class: web, \
         commands: { restart: [/bin/false], status: [/bin/true] } }]",
    );
    let two = other.capture("restart_service", args()).await.unwrap().basis.unwrap();
    let tool = other.tools.get("restart_service").unwrap();
    assert_eq!(tool.drift(&one, &one), Ok(()));
    assert_eq!(
        tool.drift(&one, &two),
        Err("changed since it was judged: commands_sha256".to_owned())
    );
}

#[tokio::test]
async fn a_host_without_systemd_or_commands_says_which_line_is_missing() {
    let bench = Bench::new(
        "hosts: [{ name: box, reach: local, systemd: no }, { name: far }]\n\
         services: [{ name: shop, hosts: [box], class: web }, \
         { name: mail, hosts: [far], class: mail }]",
    );
    assert_eq!(
        bench.not_started("restart_service", args()).await,
        "not restarted: there is no way to do this for shop: the inventory says `systemd: no` for \
         box, and the inventory gives no services.0.commands.restart"
    );
    let far = json!({ "service": "mail", "reason": "r" });
    assert_eq!(
        bench.not_started("restart_service", far).await,
        "not restarted: far is in the inventory but there is no way to enter it; if it is this \
         machine, give it `reach: local`"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_means_that_nothing_happened() {
    let bench = Bench::new(
        "hosts: [{ name: box, reach: local, systemd: no }]\n\
         services: [{ name: shop, hosts: [box], class: web, \
         commands: { restart: [/no/such/program] } }]",
    );
    let why = bench.not_started("restart_service", args()).await;
    assert!(why.contains("/no/such/program"), "{why}");
}

const SYSTEMD: &str = "hosts: [{ name: box, reach: local }]\n\
    services: [{ name: shop, unit: shop@1, hosts: [box], class: web }]";

fn show(active: &str) -> targets::Ran {
    ran(0, &format!("LoadState=loaded\nActiveState={active}\nSubState=x\nResult=y\n"))
}

#[tokio::test]
async fn systemd_gets_exact_words() {
    let (bench, host) = Scripted::bench(SYSTEMD, |argv| match argv[3].as_str() {
        "show" => show("active"),
        "cat" => ran(0, "[Service]\nExecStart=/bin/shop\n"),
        "restart" => ran(0, ""),
        other => panic!("unexpected {other}"),
    });
    let captured = bench.capture("restart_service", args()).await.unwrap();
    assert_eq!(captured.state, json!({ "active": "active", "load": "loaded" }));
    let basis = captured.basis.unwrap();
    assert_eq!(basis["unit"], "shop@1.service");
    assert_eq!(basis["load_state"], "loaded");
    assert_eq!(bench.output("restart_service", args()).await.data["active"], "active");
    let properties = "--property=LoadState,ActiveState,SubState,Result,StateChangeTimestamp";
    let look =
        format!("systemctl --no-pager --no-ask-password show {properties} -- shop@1.service");
    let seen = host.seen();
    assert_eq!(
        seen[..4],
        [
            look.clone(),
            "systemctl --no-pager --no-ask-password cat -- shop@1.service".to_owned(),
            look.clone(),
            "systemctl --no-pager --no-ask-password restart -- shop@1.service".to_owned(),
        ]
    );
    assert!(seen[4..].iter().all(|line| *line == look), "{seen:?}");
}

#[tokio::test]
async fn a_changed_unit_file_is_drift_and_a_changed_state_is_not() {
    let capture = |file: &'static str, active: &'static str| async move {
        let (bench, _) = Scripted::bench(SYSTEMD, move |argv| match argv[3].as_str() {
            "show" => show(active),
            _ => ran(0, file),
        });
        let basis = bench.capture("restart_service", args()).await.unwrap().basis.unwrap();
        (bench, basis)
    };
    let (bench, judged) = capture("ExecStart=/bin/a", "failed").await;
    let tool = bench.tools.get("restart_service").unwrap();
    assert_eq!(tool.drift(&judged, &capture("ExecStart=/bin/a", "active").await.1), Ok(()));
    assert_eq!(
        tool.drift(&judged, &capture("ExecStart=/bin/b", "failed").await.1),
        Err("changed since it was judged: unit_file_sha256".to_owned())
    );
}

#[tokio::test]
async fn a_unit_that_does_not_exist_is_not_restarted() {
    let (bench, host) = Scripted::bench(SYSTEMD, |_| ran(0, "LoadState=not-found\n"));
    let why = bench.capture("restart_service", args()).await.unwrap_err().to_string();
    assert_eq!(why, "box has no unit shop@1.service");
    assert_eq!(host.seen().len(), 1);
    let (bench, _) = Scripted::bench(SYSTEMD, |_| ran(1, "Failed to connect to bus: Host is down"));
    let why = bench.capture("restart_service", args()).await.unwrap_err().to_string();
    assert_eq!(why, "cannot ask systemd: exit code 1: Failed to connect to bus: Host is down");
}

#[tokio::test]
async fn a_service_that_fails_right_after_its_start_is_reported_so() {
    let (bench, _) = Scripted::bench(SYSTEMD, |argv| match argv[3].as_str() {
        "show" => show("failed"),
        _ => ran(0, ""),
    });
    let output = bench.output("restart_service", args()).await;
    assert_eq!(output.data["active"], "failed");
    assert!(output.text.contains("afterwards it is failed (failed (x), result y"), "{output:?}");
}
