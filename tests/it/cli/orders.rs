//! Halts, holds, quarantine and the system's history from the command line.

use crate::support::binary::{Home, eventually};
use std::fs;

/// A folder with a configuration, an SRE's and a responder's token.
async fn set_up() -> (Home, String, String) {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let create = async |name: &str, role: &str| {
        let args = ["token", "create", name, "--kind", "api", "--role", role];
        home.run(&args).await.ok().trim_end().to_owned()
    };
    let (sre, responder) = (create("kim", "sre").await, create("lee", "responder").await);
    (home, sre, responder)
}

#[tokio::test]
async fn holds_are_added_listed_and_removed() {
    let (home, sre, responder) = set_up().await;
    let (kim, lee) = (home.with_token(&sre), home.with_token(&responder));
    let nobody = ["hold", "list", "--server", "http://127.0.0.1:1"];
    let said = kim.run(&nobody).await.failed();
    assert!(said.contains("Start it with `watchkeeper serve`"), "{said}");
    let server = home.serve("config/watchkeeper.yaml").await;
    let at = ["--server", &server.url()];
    let with = |args: &[&'static str]| [args, &at[..]].concat();
    assert_eq!(lee.run(&with(&["hold", "list"])).await.ok(), "no holds\n");
    let add =
        ["hold", "add", "host=~\"db.*\"", "class=database", "--for", "2h", "--reason", "restore"];
    let added = lee.run(&with(&add)).await.ok();
    assert!(added.contains(" holds host=~\"db.*\", class=database until 20"), "{added}");
    assert!(
        added.ends_with(
            "\nno target of the inventory matches; it holds by labels of alerts alone\n"
        )
    );
    let inventory = home.read("config/inventory.yaml");
    let name = inventory.lines().find_map(|line| line.trim().strip_prefix("- name: ")).unwrap();
    let spelled = format!("host={}", name.to_uppercase());
    let said = lee.run(&["hold", "add", &spelled, "--for", "1s", at[0], at[1]]).await.ok();
    assert!(said.contains(&format!("\nin the inventory: hosts {name}")), "{said}");
    let id = added.split(' ').next().unwrap();
    let list = lee.run(&with(&["hold", "list"])).await.ok();
    assert!(list.contains(id) && list.contains("in force") && list.contains("restore"), "{list}");
    let remove = ["hold", "remove", id, at[0], at[1]];
    let said = lee.run(&remove).await.failed();
    assert!(said.contains("this needs the role sre; yours is responder"), "{said}");
    let removed = kim.run(&remove).await.ok();
    assert_eq!(removed, "removed the hold on host=~\"db.*\", class=database\n");
    let said = kim.run(&remove).await.failed();
    assert!(said.contains("there is no such hold in force"), "{said}");
    let all = kim.run(&with(&["hold", "list", "--all"])).await.ok();
    assert!(all.contains("removed by kim"), "{all}");

    for (args, why) in [
        (&["hold", "add", "host", "--for", "2h"][..], "has no operator"),
        (&["hold", "add", "host=~\"(\"", "--for", "2h"], "not a regular expression"),
        (&["hold", "add", "host=a", "--for", "soon"], "is not a duration"),
        (&["hold", "add", "host=a"], "--for"),
        (&["hold", "add", "--for", "2h"], "MATCHER"),
        (&["hold", "remove", "that-one"], "that-one"),
    ] {
        let said = kim.run(&[args, &at[..]].concat()).await.misused();
        assert!(said.contains(why), "{said}");
    }
    let said = kim.run(&with(&["hold", "add", "host=a", "--for", "9y"])).await.failed();
    assert!(said.contains("for: must be between 1s and 366d"), "{said}");
}

#[tokio::test]
async fn a_rule_goes_into_quarantine_and_out_and_the_log_tells_both() {
    let (home, sre, responder) = set_up().await;
    let (kim, lee) = (home.with_token(&sre), home.with_token(&responder));
    let server = home.serve("config/watchkeeper.yaml").await;
    let at = ["--server", &server.url()];
    let with = |args: &[&'static str]| [args, &at[..]].concat();
    let state = lee.run(&with(&["policy", "state"])).await.ok();
    assert!(state.contains("restart one service") && state.contains("autonomy "), "{state}");
    let said = lee.run(&with(&["policy", "quarantine", "restart one servic"])).await.failed();
    assert!(said.contains("did you mean 'restart one service'?"), "{said}");
    let order = ["policy", "quarantine", "restart one service", "--reason", "twice wrong"];
    let state = lee.run(&with(&order)).await.ok();
    assert!(state.contains("by lee since 20") && state.contains(": twice wrong"), "{state}");
    let lift = ["policy", "unquarantine", "restart one service"];
    let said = lee.run(&with(&lift)).await.failed();
    assert!(said.contains("this needs the role sre"), "{said}");
    let state = kim.run(&with(&lift)).await.ok();
    assert!(!state.contains("twice wrong"), "{state}");
    let said = kim.run(&with(&lift)).await.failed();
    assert!(said.contains("in quarantine there is no rule"), "{said}");

    // The database is read beside the server.
    let log = eventually("people are known", async || {
        let log = home.run(&["audit", "log"]).await.ok();
        log.contains("access changed").then_some(log)
    })
    .await;
    for words in [
        "before: none; the first rules",
        "started, version ",
        "api token kim (sre) added; api token lee (responder) added",
        "lee put rule 'restart one service' in quarantine: twice wrong",
        "kim lifted the quarantine of 'restart one service'",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let last = home.run(&["audit", "log", "--limit", "1"]).await.ok();
    assert_eq!(last.lines().count(), 2, "{last}");
    home.run(&["audit", "log", "--limit", "0"]).await.misused();
    assert!(home.run(&["audit", "verify"]).await.ok().contains("is whole"));
}

#[tokio::test]
async fn a_halt_tells_its_reason_and_a_halt_file_is_not_resumed() {
    let (home, sre, _) = set_up().await;
    let kim = home.with_token(&sre);
    let server = home.serve("config/watchkeeper.yaml").await;
    let at = ["--server", &server.url()];
    let with = |args: &[&'static str]| [args, &at[..]].concat();
    let halted = kim.run(&with(&["halt", "--reason", "deploy night"])).await.ok();
    assert!(halted.starts_with("halted by kim since 20"), "{halted}");
    assert!(halted.contains("(deploy night); no change starts"), "{halted}");
    let state = kim.run(&with(&["halt", "--status"])).await.ok();
    assert_eq!(state, halted);
    kim.run(&with(&["halt", "--status", "--reason", "x"])).await.misused();
    fs::write(home.folder.join("data/HALT"), "disk swap\n").unwrap();
    let said = kim.run(&with(&["resume"])).await.failed();
    assert!(said.contains("data/HALT still halts every change"), "{said}");
    assert!(said.contains("only by removing the file"), "{said}");
    let state = kim.run(&with(&["halt", "--status"])).await.ok();
    assert!(state.contains("data/HALT (disk swap); no change starts on that server"), "{state}");
    fs::remove_file(home.folder.join("data/HALT")).unwrap();
    assert_eq!(kim.run(&with(&["resume"])).await.ok(), "not halted; changes go on\n");
}

#[tokio::test]
async fn a_bad_key_for_checkpoints_is_a_mistake_of_the_configuration() {
    let (home, ..) = set_up().await;
    home.write("config/short", "too short\n");
    for (section, why) in [
        ("key_file: short, file: lines", "holds a key of 9 characters; at least 32 are needed"),
        ("key_file: gone, file: lines", "cannot read"),
        ("file: lines", "without a key anybody can write lines"),
        ("key_file: short", "is of no use without"),
        ("syslog: 'tcp://log:514'", "must be udp://host:port or unix:///dev/log"),
        ("every_s: 1", "must be between 5 and 86400"),
    ] {
        home.write("config/bad.yaml", &format!("audit: {{ checkpoint: {{ {section} }} }}\n"));
        let ran = home.run(&["check-config", "--config", "config/bad.yaml"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.contains(why), "{section}: {ran:?}");
    }
}
