//! `audit` and `policy simulate`: the history of a real repair, read beside the running server.

use crate::support::binary::{Ran, run};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World, alert, webhook};
use secrecy::ExposeSecret;
use serde_json::Value;
use watchkeeper::model::timeline::chain_hash;
use watchkeeper::store::db::Location;

const DOWN: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "web"), ("severity", "critical")];

/// A world in which one service was restarted, the server still there.
async fn repaired(ground: &Ground) -> (World, Server) {
    let world = World::new(ground).await;
    let mut labels = DOWN.to_vec();
    labels.push(("alertname", "ServiceDown"));
    world.fire_in_prometheus(&labels);
    world.break_service("web");
    let server = world.server().await;
    server.post(&webhook(&[alert("firing", "ServiceDown", &DOWN)])).await;
    server.settle(30).await;
    assert_eq!(world.restarts("web"), 1);
    configured(&world, ground);
    (world, server)
}

/// Lets verbs read the database of this ground.
pub fn configured(world: &World, ground: &Ground) {
    let mut config = String::new();
    match ground.location() {
        Location::Folder(folder) => config.push_str(&format!("data_dir: {}\n", folder.display())),
        Location::Postgres { url, .. } => {
            std::fs::write(world.folder.join("config/url"), url.expose_secret()).unwrap();
            config.push_str("store: { database_url_file: url }\n");
        }
    }
    std::fs::write(world.folder.join("config/watchkeeper.yaml"), config).unwrap();
}

pub async fn verb(world: &World, args: &[&str]) -> Ran {
    run(&world.folder, None, args, "").await
}

#[tokio::test]
async fn a_whole_history_is_exported_so_that_anyone_can_check_its_chain() {
    for_each_engine(|ground| async move {
        let (world, server) = repaired(&ground).await;
        let said = verb(&world, &["audit", "verify"]).await.ok();
        assert!(said.ends_with("streams: the history is whole\n"), "{said}");

        let case = server.only_case().await;
        let exported =
            verb(&world, &["audit", "export", "--incident", &case.id.to_string()]).await.ok();
        let mut head = String::new();
        let mut seq = 0;
        for line in exported.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            // The text that was hashed stands in the line as it is.
            let from = line.find("\"entry\":").unwrap() + "\"entry\":".len();
            let body = &line[from..line.rfind(",\"hash\":").unwrap()];
            seq += 1;
            assert_eq!(value["seq"], seq);
            let stream = value["stream"].as_str().unwrap();
            head = chain_hash(&head, stream, seq, value["at_ms"].as_i64().unwrap(), body);
            assert_eq!(value["hash"], head.as_str());
            assert_eq!(value["kind"], value["entry"]["kind"]);
        }
        assert_eq!((seq, head), (case.seq, case.head));
        // The world's clock stands in the past.
        assert_eq!(verb(&world, &["audit", "export", "--since", "1h"]).await.ok(), "");
        let said = verb(
            &world,
            &["audit", "verify", "--incident", "00000000-0000-4000-8000-000000000000"],
        )
        .await
        .failed();
        assert!(said.contains("there is no incident"), "{said}");
        server.stop().await;
        assert!(verb(&world, &["audit", "verify"]).await.ok().contains("is whole"));
    })
    .await;
}

#[tokio::test]
async fn every_edit_of_the_history_is_found_and_named() {
    for (edit, why) in [
        (
            "update timeline set body = replace(body, 'ServiceDown', 'ServiceFine') where seq = 2",
            "at entry 2: the entry or one before it was changed",
        ),
        ("update timeline set at_ms = at_ms + 1 where seq = 3", "at entry 3: the entry or one"),
        ("delete from timeline where seq = 4", "entry 4 is missing"),
        ("delete from timeline where seq = (select max(seq) from timeline)", "the chain ends at"),
        ("update timeline set seq = seq + 1000 where seq >= 5", "entry 5 is missing"),
        (
            "update timeline set kind = 'resolved' where seq = 3",
            "at entry 3: it is filed as 'resolved'",
        ),
        ("delete from timeline", "the chain ends at 0"),
        ("delete from incident", "was deleted"),
        ("update blob set body = body || '.'", "stored output"),
        (
            "insert into timeline select 'note', stream_id, seq, at_ms, kind, version, body, hash from timeline where seq = 1",
            "nobody writes streams of this kind",
        ),
    ] {
        crate::support::engines::on_sqlite(|ground| async move {
            let (world, server) = repaired(&ground).await;
            ground.sql(edit).await;
            let ran = verb(&world, &["audit", "verify"]).await;
            assert_eq!(ran.code, Some(1), "{edit}: {ran:?}");
            assert!(ran.stdout.contains(why), "{edit}: {}", ran.stdout);
            assert!(ran.stdout.contains("NOT whole"), "{edit}: {}", ran.stdout);
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_made() {
    let home = super::home();
    let said = home.run(&["audit", "verify"]).await.failed();
    assert!(said.contains("holds nothing yet"), "{said}");
    assert!(!home.folder.join("data").exists());
}

#[tokio::test]
async fn the_past_is_judged_under_changed_rules() {
    for_each_engine(|ground| async move {
        let (world, server) = repaired(&ground).await;
        let simulate = ["policy", "simulate", "--since", "20y", "-o", "json"];
        let same = verb(&world, &simulate).await.json();
        assert_eq!(same["differ"], 0, "{same}");
        assert!(same["judged"].as_u64().unwrap() > 1, "{same}");
        let now = verb(&world, &["policy", "simulate", "--since", "1h"]).await.ok();
        assert_eq!(now, "0 recorded verdicts, 0 differ\n");

        let rules = std::fs::read_to_string(world.folder.join("config/safety_rules.yaml")).unwrap();
        let stricter = rules.replace(
            "rules:\n  - name: restart one service",
            "rules:\n  - { name: ask first, tool: restart_service, tier: confirm, reason: new here }\n  - name: restart one service",
        );
        let at = stricter.find("examples:").unwrap();
        let end = stricter.find("  # Only folders").unwrap();
        let stricter = format!("{}{}", &stricter[..at].trim_end(), &format!("\n\n{}", &stricter[end..]));
        std::fs::write(world.folder.join("stricter.yaml"), stricter).unwrap();
        let changed = verb(&world, &[&simulate[..], &["--rules", "stricter.yaml"]].concat()).await.json();
        assert_eq!(changed["differ"], 1, "{changed}");
        let one = &changed["decisions"][0];
        assert_eq!((&one["recorded"], &one["decision"]), (&"allow".into(), &"ask".into()));
        assert_eq!(one["call"]["tool"], "restart_service");
        assert_eq!(one["reason"], "rule: ask first: new here");
        // A freeze is judged at the time of the record, a Tuesday at 10:00.
        let frozen = rules.replace(
            "\nblast_radius:",
            "\nfreeze:\n  - { cron: \"0 10 * * TUE\", for: 1h, writes: forbidden }\nblast_radius:",
        );
        std::fs::write(world.folder.join("frozen.yaml"), frozen).unwrap();
        let changed = verb(&world, &[&simulate[..], &["--rules", "frozen.yaml"]].concat()).await.json();
        assert_eq!(changed["differ"], 1, "{changed}");
        assert_eq!(changed["decisions"][0]["decision"], "refuse");
        let because = changed["decisions"][0]["reason"].as_str().unwrap();
        assert!(because.contains("freeze: 0 10 * * TUE UTC: until Tue 2026-03-10 11:00"), "{because}");
        let table = verb(&world, &["policy", "simulate", "--since", "20y", "--rules", "stricter.yaml"]).await.ok();
        assert!(table.contains("recorded verdicts, 1 differ\n\nAT "), "{table}");
        assert_eq!(world.restarts("web"), 1);
        server.stop().await;
    })
    .await;
}
