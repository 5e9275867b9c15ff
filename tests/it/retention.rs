//! What ages out, what never does, and how an audit tells age from tampering.

mod beside;

use crate::store::given::{SCOPE, action, add_action, claimed, row_of, said, step};
use crate::support::binary::run;
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use crate::support::world::{Server, World};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::path::{Path, PathBuf};
use watchkeeper::app::retention::{JOB, Removed, Retention};
use watchkeeper::audit::compare::{Extent, Report, compare};
use watchkeeper::audit::line::Key;
use watchkeeper::config::RetentionSettings;
use watchkeeper::incident::advance::advance;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::incident::State;
use watchkeeper::model::system::SystemEntry;
use watchkeeper::model::timeline::{Entry, Success};
use watchkeeper::store::Store;
use watchkeeper::store::blobs::{Blob, Kind};
use watchkeeper::store::db::Location;
use watchkeeper::store::retention::tombstones::Cut;
use watchkeeper::store::timeline::Head;

const DAY_MS: i64 = 86_400_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A server whose only incident is resolved and in a checkpoint.
async fn resolved(ground: &Ground) -> (World, Server, IncidentId, PathBuf) {
    let mut world = World::new(ground).await;
    let file = world.folder.join("lines");
    world.settings.audit.checkpoint.key = Some(KEY.into());
    world.settings.audit.checkpoint.file = Some(file.clone());
    world.break_service("web");
    Problem::down().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::down().firing()).await;
    server.settle(10).await;
    server.app.checkpoints.clone().unwrap().once().await.unwrap();
    let case = server.only_case().await;
    assert_eq!(case.state(), State::Resolved);
    (world, server, case.id, file)
}

fn keeper(server: &Server) -> Retention {
    Retention {
        store: server.app.store.clone(),
        clock: server.app.clock.clone(),
        policy: RetentionSettings::default(),
    }
}

async fn count(ground: &Ground, from: &str) -> i64 {
    ground.sql(format!("select cast(count(*) as text) from {from}")).await[0][0].parse().unwrap()
}

/// What is broken in any stream, in words.
async fn broken(store: &Store) -> Vec<String> {
    let mut broken = Vec::new();
    for named in store.streams().await.unwrap() {
        let found = store.audit(&named).await.unwrap();
        broken.extend(found.map(|found| format!("{}: {}", named.stream_kind, found.why)));
    }
    broken
}

async fn compared(store: &Store, file: &Path) -> Report {
    let texts = [std::fs::read_to_string(file).unwrap()];
    let extent = Extent::UpTo(store.taken_checkpoints().await.unwrap());
    compare(store, &Key::new(&SecretString::from(KEY)), &texts, extent).await.unwrap()
}

fn configured(world: &World, ground: &Ground) -> String {
    let config = world.folder.join("config/verbs.yaml");
    let text = match ground.location() {
        Location::Folder(folder) => format!("data_dir: {}\n", folder.display()),
        Location::Postgres { url, .. } => {
            std::fs::write(world.folder.join("config/url"), url.expose_secret()).unwrap();
            "store: { database_url_file: url }\n".to_owned()
        }
    };
    std::fs::write(&config, text).unwrap();
    config.display().to_string()
}

#[tokio::test]
async fn a_resolved_incident_ages_out_whole_and_the_audit_finds_nothing() {
    for_each_engine(|ground| async move {
        let (world, server, id, file) = resolved(&ground).await;
        let (store, retention) = (&server.app.store, keeper(&server));
        let last =
            store.timeline(watchkeeper::store::timeline::Stream::incident(id)).await.unwrap();
        let last = last.last().unwrap().clone();
        // Not yet.
        world.clock.advance(399 * DAY_MS);
        let first = retention.round().await.unwrap();
        assert_eq!((first.incidents, first.deliveries), (0, 1), "{first:?}");
        assert_eq!(retention.plan().await.unwrap()[2].old.rows, 0);
        // It is time.
        world.clock.advance(2 * DAY_MS);
        let planned = retention.plan().await.unwrap();
        assert_eq!((planned[2].what, planned[2].old.rows), ("incidents", 1));
        assert_eq!(retention.round().await.unwrap().incidents, 1);
        assert_eq!(retention.round().await.unwrap(), Removed::default());
        for table in [
            "incident",
            "timeline where stream_kind = 'incident'",
            "action",
            "intent",
            "alert",
            "message where stream_id <> 'system'",
            "message_delivery where stream_id <> 'system'",
            "incident_join",
            "incident_alias",
            "alert_doubt",
            "limit_hit",
            "blob where kind <> 'rules'",
            "stream_head where emptied_at_ms is null and stream_kind = 'incident'",
        ] {
            assert_eq!(count(&ground, table).await, 0, "{table}");
        }
        // What is left says where the history ended, and the system's timeline vouches for it.
        let stone = store.tombstone(id).await.unwrap().unwrap();
        assert_eq!((stone.seq, &stone.head), (last.seq, &last.hash));
        assert_eq!(broken(store).await, [""; 0]);
        server.app.checkpoints.clone().unwrap().once().await.unwrap();
        let report = compared(store, &file).await;
        assert_eq!((report.findings, report.aged_out), (vec![], 1));
        let at = configured(&world, &ground);
        let said = run(&world.folder, None, &["audit", "verify", "--config", &at], "").await.ok();
        assert!(said.contains("aged out by policy: 1 incidents, 0 outputs"), "{said}");
        let said = run(&world.folder, None, &["retention", "--plan", "--config", &at], "").await;
        assert!(said.ok().contains("1 incidents have aged out so far"));
        // The same problem is a new incident.
        world.break_service("web");
        let again = Problem::down().since("2027-05-01T10:00:00Z");
        server.post(&again.firing()).await;
        server.settle(5).await;
        assert_ne!(server.only_case().await.id, id);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_not_over_never_ages_out() {
    for_each_engine(|ground| async move {
        let (world, server, id, _) = resolved(&ground).await;
        let store = &server.app.store;
        world.clock.advance(500 * DAY_MS);
        let now_ms = world.clock.now_ms();
        let cut =
            Cut { before_ms: now_ms - 400 * DAY_MS, days: 400, process: "t".into(), at_ms: now_ms };
        let inbox = format!(
            "insert into inbox (id, stream_kind, stream_id, at_ms, body)
             values ('i', 'incident', '{id}', 1, '{{}}')"
        );
        let cases = [
            ("update incident set state = 'escalated'", "update incident set state = 'resolved'"),
            (
                "update incident set open_key = correlation_key",
                "update incident set open_key = null",
            ),
            ("update incident set due_at_ms = 1", "update incident set due_at_ms = null"),
            ("update incident set lease_owner = 'w'", "update incident set lease_owner = null"),
            (inbox.as_str(), "delete from inbox"),
            (
                "update message set expanded_at_ms = null",
                "update message set expanded_at_ms = created_at_ms",
            ),
            (
                "update message_delivery set state = 'waiting'",
                "update message_delivery set state = 'sent'",
            ),
            (
                "update message_delivery set state = 'held'",
                "update message_delivery set state = 'sent'",
            ),
            (
                "update alert set last_seen_ms = last_seen_ms + 40000000000",
                "update alert set last_seen_ms = last_seen_ms - 40000000000",
            ),
            (
                "update timeline set kind = 'report' where kind = 'report_written'",
                "update timeline set kind = 'report_written' where kind = 'report'",
            ),
            ("update action set state = 'intended'", "update action set state = 'done'"),
        ];
        for (change, back) in cases {
            ground.sql(change).await;
            assert_eq!(store.age_out_incidents(cut.clone()).await.unwrap(), 0, "{change}");
            ground.sql(back).await;
        }
        assert_eq!(store.age_out_incidents(cut.clone()).await.unwrap(), 1);
        assert_eq!(store.age_out_incidents(cut).await.unwrap(), 0);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_counts_only_as_the_systems_timeline_says() {
    for forged in [
        "update stream_head set seq = seq - 1 where stream_kind = 'incident'",
        "update stream_head set head = 'f00' where stream_kind = 'incident'",
        "update stream_head set vouched_seq = vouched_seq + 1 where stream_kind = 'incident'",
        "update stream_head set vouched_seq = null where stream_kind = 'incident'",
        "update stream_head set stream_id = '0192f0aa-0000-7000-8000-000000000000'
         where stream_kind = 'incident'",
    ] {
        for_each_engine(|ground| async move {
            let (world, server, _, file) = resolved(&ground).await;
            world.clock.advance(500 * DAY_MS);
            assert_eq!(keeper(&server).round().await.unwrap().incidents, 1);
            assert_eq!(broken(&server.app.store).await, [""; 0]);
            ground.sql(forged).await;
            let told = broken(&server.app.store).await;
            assert_eq!(told.len(), 1, "{forged}: {told:?}");
            let report = compared(&server.app.store, &file).await;
            let why = report.findings.iter().map(|found| &found.why).collect::<Vec<_>>();
            assert_eq!(why.len(), 1, "{forged}: {why:?}");
            assert!(why[0].starts_with("the whole stream is missing; line "), "{why:?}");
            server.stop().await;
        })
        .await;
    }
}

/// Whoever forges the system's entry as well, with every hash computed anew, is found out by lines
/// that recorded the incident when it was not yet over.
#[tokio::test]
async fn an_incident_that_was_deleted_before_its_time_is_found_by_checkpoints() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let file = world.folder.join("lines");
        world.settings.audit.checkpoint.key = Some(KEY.into());
        world.settings.audit.checkpoint.file = Some(file.clone());
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        let writer = server.app.checkpoints.clone().unwrap();
        server.app.intake.take_batch().await.unwrap();
        let now_ms = server.app.clock.now_ms();
        let mut leases = server.app.store.claim("test", 1, now_ms, 60_000).await.unwrap();
        let lease = leases.remove(0);
        Box::pin(advance(&server.app.desk(), &lease, None)).await.unwrap();
        server.app.store.release(lease).await.unwrap();
        // A line that records it before it was over.
        writer.once().await.unwrap();
        server.settle(10).await;
        writer.once().await.unwrap();
        assert!(compared(&server.app.store, &file).await.findings.is_empty());
        world.clock.advance(3 * DAY_MS);
        let now_ms = world.clock.now_ms();
        let cut = Cut { before_ms: now_ms, days: 400, process: "t".into(), at_ms: now_ms };
        assert_eq!(server.app.store.age_out_incidents(cut).await.unwrap(), 1);
        assert_eq!(broken(&server.app.store).await, [""; 0]);
        let told = compared(&server.app.store, &file).await.findings;
        assert!(!told.is_empty());
        assert!(told.iter().all(|found| found.why.starts_with("deleted too early: ")), "{told:?}");
        server.stop().await;
    })
    .await;
}

/// An incident with an output of this text, kept at 2,000 ms, as of the epoch.
async fn with_output(store: &Store, key: &str, text: &str, ended_at_ms: Option<i64>) -> String {
    let lease = claimed(store, key).await;
    let blob = Blob::new(Kind::Output, text.to_owned(), 2_000);
    let output = Some(blob.reference());
    let mut step = step(&lease, &Head::default());
    step.entries = vec![
        (1_500, said("ann")),
        (
            2_000,
            Entry::Answered {
                call_id: "c1".into(),
                outcome: Success::Ok,
                text: "cut".into(),
                data: Value::Null,
                output,
                duration_ms: 1,
            },
        ),
    ];
    row_of(&mut step).ended_at_ms = ended_at_ms;
    step.blobs = vec![blob.clone()];
    store.commit(step).await.unwrap();
    store.release(lease).await.unwrap();
    blob.hash
}

#[tokio::test]
async fn outputs_age_out_but_for_open_incidents_and_what_else_is_gone_is_found() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let store = &server.app.store;
        let open = with_output(store, "open", "of an open one", None).await;
        let ended = with_output(store, "ended", "of an ended one", Some(3_000)).await;
        assert_eq!(store.gone_texts().await.unwrap(), (0, vec![]));
        let removed = keeper(&server).round().await.unwrap();
        assert_eq!((removed.outputs, removed.incidents), (1, 0));
        assert!(store.blob(&open).await.unwrap().is_some());
        assert!(store.blob(&ended).await.unwrap().is_none());
        assert_eq!(store.gone_texts().await.unwrap(), (1, vec![]));
        let entries = store.system_timeline(0, 100).await.unwrap();
        let told =
            entries.iter().filter(|one| matches!(one.entry, SystemEntry::OutputsAgedOut { .. }));
        assert_eq!(told.count(), 1);
        // One that is too young for the policy was removed by somebody else.
        let young = world.clock.now_ms();
        ground.sql(format!("update timeline set at_ms = {young} where kind = 'answered'")).await;
        assert_eq!(store.gone_texts().await.unwrap(), (0, vec![ended]));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_text_is_kept_as_what_is_kept_longest() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for (kinds, kept) in [
            ([Kind::Output, Kind::Rules], "rules"),
            ([Kind::Report, Kind::Output], "report"),
            ([Kind::Output, Kind::Output], "output"),
        ] {
            for kind in kinds {
                let blob = Blob::new(kind, format!("text {kept}"), 1);
                store
                    .write(move |conn| {
                        Box::pin(async move { watchkeeper::store::blobs::keep(conn, &blob).await })
                    })
                    .await
                    .unwrap();
            }
            let found =
                ground.sql(format!("select kind from blob where body = 'text {kept}'")).await;
            assert_eq!(found, [[kept]]);
        }
    })
    .await;
}

#[tokio::test]
async fn rows_go_in_small_batches_and_what_waits_stays() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let numbers = match ground.engine() {
            "sqlite" => {
                "(with recursive k(n) as (select 1 union all select n + 1 from k
                          where n < 120) select n from k) k"
            }
            _ => "generate_series(1, 120) k(n)",
        };
        ground
            .sql(format!(
                "insert into delivery (id, scope, source, received_at_ms, state, body)
                 select 'd' || (n + 1000), 's', 'am', 5,
                     case when n <= 10 then 'waiting' else 'taken' end, 'b' from {numbers}"
            ))
            .await;
        ground
            .sql(format!(
                "insert into limit_hit (name, action_id, at_ms)
                 select 'n', 'a' || n, case when n <= 20 then 50 else 5 end from {numbers}"
            ))
            .await;
        let mut batches = Vec::new();
        loop {
            match store.age_out_deliveries(10).await.unwrap() {
                0 => break,
                some => batches.push(some),
            }
        }
        assert_eq!(batches, [50, 50, 10]);
        assert_eq!(count(&ground, "delivery").await, 10);
        assert_eq!(store.age_out_counts(10).await.unwrap(), 100);
        assert_eq!(count(&ground, "limit_hit").await, 20);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_takes_no_more_than_days_of_history() {
    for_each_engine(|ground| async move {
        let (world, server, _, _) = resolved(&ground).await;
        let retention = keeper(&server);
        let now_ms = world.clock.now_ms();
        ground
            .sql(format!(
                "insert into schedule (job, due_at_ms, turn, succeeded_at_ms)
                 values ('{JOB}', 0, 1, {now_ms})"
            ))
            .await;
        world.clock.advance(3_650 * DAY_MS);
        assert_eq!(retention.round().await.unwrap(), Removed::default());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn zero_days_keep_for_ever() {
    on_sqlite(|ground| async move {
        let (world, server, ..) = resolved(&ground).await;
        world.clock.advance(5_000 * DAY_MS);
        let policy = RetentionSettings {
            deliveries_days: 0,
            outputs_days: 0,
            incidents_days: 0,
            messages_days: 0,
            ..RetentionSettings::default()
        };
        let removed = Retention { policy, ..keeper(&server) }.round().await.unwrap();
        // What limits counted is no history.
        assert_eq!(Removed { counts: 0, ..removed }, Removed::default());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn space_is_given_back_to_the_file_system() {
    on_sqlite(|ground| async move {
        let store = ground.store().await;
        let text = "x".repeat(200_000);
        for n in 0..30 {
            let (id, text) = (format!("d{n}"), text.clone());
            ground
                .sql(format!(
                    "insert into delivery (id, scope, source, received_at_ms, state, body)
                     values ('{id}', 's', 'am', 5, 'taken', '{text}')"
                ))
                .await;
        }
        assert_eq!(store.age_out_deliveries(10).await.unwrap(), 30);
        let free = ground.sql("pragma freelist_count").await[0][0].parse::<i64>().unwrap();
        assert!(free > 1_000, "{free}");
        let mut left = i64::MAX;
        while left > 0 {
            let before = left;
            left = store.give_space_back().await.unwrap();
            assert!(left < before, "no page was given back: {left}");
        }
        assert_eq!(ground.sql("pragma freelist_count").await[0][0], "0");
        let pages = ground.sql("pragma page_count").await[0][0].parse::<i64>().unwrap();
        assert!(pages < 500, "{pages}");
    })
    .await;
}

#[tokio::test]
async fn an_unfinished_change_of_the_store_keeps_its_incident() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "busy").await;
        let mut ended = step(&lease, &Head::default());
        ended.entries = vec![
            (1_500, Entry::Resolved { by: "measured".into() }),
            (1_600, Entry::ReportWritten { hash: "h".into() }),
        ];
        let row = row_of(&mut ended);
        (row.state, row.ended_at_ms) = (State::Resolved, Some(2_000));
        store.commit(ended).await.unwrap();
        let row = action(lease.incident_id, ActionState::Awaiting);
        add_action(&store, &row).await;
        store.release(lease.clone()).await.unwrap();
        let cut = Cut { before_ms: 9_000, days: 400, process: "t".into(), at_ms: 9_000 };
        assert_eq!(store.age_out_incidents(cut.clone()).await.unwrap(), 0);
        assert_eq!(store.ended_incidents(9_000).await.unwrap().rows, 1);
        ground.sql("update action set state = 'expired'").await;
        assert_eq!(store.age_out_incidents(cut).await.unwrap(), 1);
        assert!(store.incident(SCOPE, lease.incident_id).await.unwrap().is_none());
    })
    .await;
}
