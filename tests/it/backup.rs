//! A backup is one moment of the database; what it brings back permits nothing.

mod old;

use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine, on_postgres, on_sqlite};
use crate::support::world::{SCOPE, Server, World};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use watchkeeper::audit::compare::{Extent, compare};
use watchkeeper::audit::line::Key;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::alert::Severity;
use watchkeeper::model::ids::MessageId;
use watchkeeper::model::incident::State;
use watchkeeper::model::message::{Event, Message, Urgency};
use watchkeeper::model::system::SystemEntry;
use watchkeeper::model::timeline::{Entry, Outcome};
use watchkeeper::store::Error;
use watchkeeper::store::actions::Decided;
use watchkeeper::store::backup::{Manifest, back_up, manifest_of};
use watchkeeper::store::restore::{Order, Replace, Restored, restore};
use watchkeeper::store::sessions::Session;
use watchkeeper::store::step::Announcement;
use watchkeeper::store::switches::Switch;

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Looks at a place that takes a moment to notice that its server has gone.
const LOOKS_MAX: usize = 400;

fn order(world: &World, file: &Path, replace: Replace) -> Order {
    Order {
        file: file.to_owned(),
        replace,
        scope: SCOPE.into(),
        by: "restore on box".into(),
        now_ms: world.clock.now_ms(),
    }
}

/// Restores once the server that was stopped has left the database.
async fn restored(ground: &Ground, order: &Order) -> Result<Restored, Error> {
    for _ in 0..LOOKS_MAX {
        match restore(&ground.location(), order).await {
            // A folder stays locked while a child that another test makes is about to be one.
            Err(Error::Conflict(why))
                if why.contains("stop every replica") || why.contains("another process uses") =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            done => return done,
        }
    }
    panic!("the server does not leave the database")
}

async fn taken(ground: &Ground, world: &World, name: &str) -> (PathBuf, Manifest) {
    let file = world.folder.join(name);
    let manifest = back_up(&ground.location(), &file, world.clock.now_ms()).await.unwrap();
    (file, manifest)
}

fn note(world: &World, title: &str) -> Announcement {
    let message = Message {
        id: MessageId::new(),
        scope: SCOPE.into(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Tell,
        severity: Severity::Info,
        title: title.into(),
        facts: Vec::new(),
        paragraphs: Vec::new(),
        links: Vec::new(),
        dedup_key: title.into(),
        created_at_ms: world.clock.now_ms(),
        channels: Vec::new(),
    };
    Announcement { transition: title.into(), message }
}

/// A server whose only incident waits for a person.
async fn waiting(world: &World) -> Server {
    world.break_service("db");
    Problem::corruption().in_prometheus(world);
    let server = world.server().await;
    server.post(&Problem::corruption().firing()).await;
    server.settle(10).await;
    assert_eq!(server.only_case().await.state(), State::AwaitingApproval);
    server
}

#[tokio::test]
async fn a_question_of_the_backup_cannot_be_answered_after_a_restore() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = waiting(&world).await;
        let id = server.only_case().await.open_action().unwrap().id();
        let now_ms = world.clock.now_ms();
        let session = Session {
            token_hash: "abc".into(),
            user: "kim".into(),
            csrf: "c".into(),
            created_at_ms: now_ms,
            expires_at_ms: now_ms + 3_600_000,
        };
        server.app.store.add_session(session).await.unwrap();
        server.app.store.announce(note(&world, "not yet sent")).await.unwrap();
        let (file, manifest) = taken(&ground, &world, "copy").await;
        assert_eq!(manifest.heads.streams, 1, "the incident");

        // What the backup does not know: somebody approved, and it was done.
        server.decide(id, Answer::Approve).await;
        server.settle(10).await;
        assert_eq!(world.restarts("db"), 1);
        let said_before = world.slack.messages().len();
        server.stop().await;
        world.clock.advance(60_000);

        let done = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();
        assert_eq!(done.manifest, manifest);
        let ended = &done.prepared;
        assert_eq!((ended.superseded, ended.unknown, ended.sessions, ended.open), (1, 0, 1, 1));
        assert!(ended.marked >= 1, "{ended:?}");

        let server = world.server().await;
        let store = &server.app.store;
        let halt = store.halt().await.unwrap().unwrap();
        assert_eq!(halt.reason, format!("restored from backup of {}", manifest.taken_at));
        let answer = server.decide_as("ada", id, Answer::Approve).await;
        assert_eq!(answer, Decided::Already(ActionState::Superseded));
        assert_eq!(store.session("abc", now_ms).await.unwrap(), None);
        server.settle(10).await;
        assert_eq!(world.restarts("db"), 1, "nothing is changed while it is halted");
        let case = server.only_case().await;
        let action = case.action(id).unwrap();
        assert_eq!(
            (action.state, action.outcome.as_deref()),
            (ActionState::Superseded, Some(halt.reason.as_str()))
        );
        let said: Vec<String> = world.slack.messages()[said_before..]
            .iter()
            .map(ToString::to_string)
            .filter(|text| text.contains("not yet sent"))
            .collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("May be a repeat"), "{}", said[0]);
        assert!(world.slack_said().contains("every change is halted"));
        let log = store.system_timeline(0, 100).await.unwrap();
        let kinds: Vec<&SystemEntry> = log.iter().map(|one| &one.entry).collect();
        assert!(
            matches!(kinds[..], [SystemEntry::Restored { .. }, SystemEntry::Halted { .. }, ..]),
            "{kinds:?}"
        );

        store.set_halt(Switch::Off, "kim", world.clock.now_ms()).await.unwrap();
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_under_way_at_the_backup_is_not_run_again() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let (began, go) = (world.folder.join("began"), world.folder.join("go"));
        let script = world.folder.join("restart.sh");
        let usual = std::fs::read_to_string(&script).unwrap();
        let slow = format!(
            "#!/bin/sh\n: > {}\nwhile [ ! -e {} ]; do sleep 0.05; done\n{}",
            began.display(),
            go.display(),
            usual.trim_start_matches("#!/bin/sh\n")
        );
        std::fs::write(&script, slow).unwrap();
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        let copied = async {
            while !began.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let copy = taken(&ground, &world, "copy").await;
            std::fs::write(&go, "").unwrap();
            copy
        };
        let (_, (file, _)) = tokio::join!(server.settle(10), copied);
        assert_eq!(world.restarts("web"), 1);
        server.stop().await;

        let done = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();
        assert_eq!((done.prepared.superseded, done.prepared.unknown), (0, 1));
        let server = world.server().await;
        server.settle(10).await;
        assert_eq!(world.restarts("web"), 1);
        let case = server.only_case().await;
        assert_eq!(case.actions[0].state, ActionState::Unknown);
        let stream = watchkeeper::store::timeline::Stream::incident(case.id);
        let entries = server.app.store.timeline(stream).await.unwrap();
        let outcomes: Vec<Outcome> = entries
            .iter()
            .filter_map(|stored| {
                let Entry::OutcomeRecorded { outcome, .. } = &stored.entry else { return None };
                Some(*outcome)
            })
            .collect();
        assert_eq!(outcomes, [Outcome::Unknown]);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_backup_beside_a_busy_server_is_one_moment_and_for_its_owner_alone() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let store = server.app.store.clone();
        let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
        let tasks = watchkeeper::tasks::Tasks::default();
        let busy = tasks.spawn(async move {
            let mut n = 0_i64;
            while end.try_recv().is_err() {
                n += 1;
                let entry = SystemEntry::Resumed { by: format!("person {n}") };
                store.record_system(n, entry).await.unwrap();
            }
            n
        });
        while server.app.store.system_end().await.unwrap() < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let (file, manifest) = taken(&ground, &world, "copy").await;
        ended.send(()).unwrap();
        let written = busy.await.unwrap();
        assert!((20..=written).contains(&manifest.heads.system_seq), "{manifest:?}");
        for path in [&file, &manifest_of(&file)] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let again = back_up(&ground.location(), &file, 0).await.unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");

        let refused = restore(&ground.location(), &order(&world, &file, Replace::Aside)).await;
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains("another process uses") || why.contains("stop every replica"),
            "{why}"
        );
        server.stop().await;
        let refused = restored(&ground, &order(&world, &file, Replace::No)).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("`--replace` moves"), "{why}");
        let done = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();
        let aside = done.aside.unwrap();
        let beside = match ground.engine() {
            "sqlite" => Path::new(&aside).exists(),
            _ => {
                ground
                    .sql("select nspname from pg_namespace where nspname like 'watchkeeper_b%'")
                    .await[0][0]
                    == aside.rsplit(' ').next().unwrap()
            }
        };
        assert!(beside, "{aside}");
        let server = world.server().await;
        let end = server.app.store.system_end().await.unwrap();
        assert_eq!(end, manifest.heads.system_seq + 2, "restored, halted");
        for named in server.app.store.streams().await.unwrap() {
            assert_eq!(server.app.store.audit(&named).await.unwrap(), None);
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_whole_backup_of_this_kind_is_refused_and_the_place_stays_as_it_was() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let entry = SystemEntry::Resumed { by: "kim".into() };
        server.app.store.record_system(1, entry).await.unwrap();
        let (file, manifest) = taken(&ground, &world, "copy").await;
        server.app.store.record_system(2, SystemEntry::Resumed { by: "lee".into() }).await.unwrap();
        server.stop().await;

        let other = if ground.engine() == "sqlite" { "postgres" } else { "sqlite" };
        let changed = |change: &dyn Fn(&mut Manifest)| {
            let mut other = manifest.clone();
            change(&mut other);
            serde_json::to_string(&other).unwrap()
        };
        let whole = std::fs::read(&file).unwrap();
        let mut torn = whole.clone();
        let middle = torn.len() / 2;
        torn[middle] ^= 1;
        let cases: [(&[u8], String, &str); 6] = [
            (&torn, changed(&|_| {}), "is not the file of its manifest"),
            (&whole, changed(&|m| m.engine = other.into()), "this is a backup of"),
            (&whole, changed(&|m| m.schema.push(9_999)), "has migration 9999"),
            (&whole, changed(&|m| m.format = 2), "has format 2"),
            (&whole, "{".into(), "is no manifest"),
            (&whole, changed(&|m| m.heads.entries += 1), "end elsewhere than its manifest says"),
        ];
        for (bytes, text, why) in cases {
            std::fs::write(&file, bytes).unwrap();
            std::fs::write(manifest_of(&file), text).unwrap();
            let said = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap_err();
            assert!(said.to_string().contains(why), "{said}");
            let store = ground.store_beside().await;
            assert_eq!(store.system_end().await.unwrap(), 2, "{why}");
            drop(store);
        }
        std::fs::remove_file(manifest_of(&file)).unwrap();
        let said = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap_err();
        assert!(said.to_string().contains("manifest.json"), "{said}");
        let server = world.server().await;
        assert_eq!(server.app.store.halt().await.unwrap(), None);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_forged_history_is_not_restored() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        for by in ["kim", "lee"] {
            let entry = SystemEntry::Resumed { by: by.into() };
            server.app.store.record_system(1, entry).await.unwrap();
        }
        ground
            .sql("update timeline set body = replace(body, 'kim', 'pat') where stream_kind = 'system'")
            .await;
        let (file, _) = taken(&ground, &world, "copy").await;
        server.stop().await;
        let said = restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap_err();
        assert!(said.to_string().contains("system/system at entry 1"), "{said}");
        let there = ground.store_beside().await;
        assert_eq!(there.system_end().await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_audit_tells_what_a_restore_took_away_from_what_somebody_cut_off() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let lines = world.folder.join("lines");
        world.settings.audit.checkpoint.key = Some(KEY.into());
        world.settings.audit.checkpoint.file = Some(lines.clone());
        let server = world.server().await;
        let writer = server.app.checkpoints.clone().unwrap();
        let says = async |server: &Server, n: i64| {
            world.clock.advance(60_000);
            let entry = SystemEntry::Resumed { by: format!("person {n}") };
            server.app.store.record_system(world.clock.now_ms(), entry).await.unwrap();
        };
        for n in 1..=3 {
            says(&server, n).await;
            assert_eq!(writer.once().await.unwrap(), 1);
        }
        world.clock.advance(60_000);
        let (file, manifest) = taken(&ground, &world, "copy").await;
        for n in 4..=9 {
            says(&server, n).await;
            assert_eq!(writer.once().await.unwrap(), 1);
        }
        drop(writer);
        server.stop().await;
        world.clock.advance(60_000);
        restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();

        let found = async || {
            let store = ground.store_beside().await;
            let texts = [std::fs::read_to_string(&lines).unwrap()];
            let key = Key::new(&secrecy::SecretString::from(KEY));
            let report = compare(&store, &key, &texts, Extent::UpTo(9)).await.unwrap();
            report
                .findings
                .into_iter()
                .map(|one| (one.stream, one.seq, one.why))
                .collect::<Vec<_>>()
        };
        let since = format!("restored from backup of {}: ", manifest.taken_at);
        assert_eq!(
            found().await,
            [
                (
                    "checkpoints".to_owned(),
                    4,
                    format!(
                        "{since}the database knows of 3 lines only: it was set back to an earlier \
                         state"
                    )
                ),
                (
                    "system/system".to_owned(),
                    4,
                    format!("{since}entries 4 to 9 known to checkpoints are missing")
                ),
            ]
        );
        // What the backup held is nobody's loss by a restore.
        ground.sql("update timeline set hash = 'f' where stream_kind = 'system' and seq = 2").await;
        let found = found().await;
        let rewritten = found.iter().find(|(_, seq, _)| *seq == 2).unwrap();
        assert!(rewritten.2.starts_with("rewritten: "), "{found:?}");
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_broke_off_half_way_is_not_served() {
    on_postgres(|ground| async move {
        let world = World::new(&ground).await;
        world.server().await.stop().await;
        ground.sql("create table watchkeeper_restoring (since_ms bigint)").await;
        let said = watchkeeper::store::plan::plan(&ground.location()).await.unwrap().refusal;
        assert!(said.unwrap().contains("a restore into"));
        let opened = watchkeeper::store::Store::open(&ground.location(), &Default::default()).await;
        let said = opened.err().unwrap().to_string();
        assert!(said.contains("run `watchkeeper restore --replace` again"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn the_database_and_its_folder_are_for_their_owner_alone() {
    on_sqlite(|ground| async move {
        let opened = ground.open().await;
        let entry = SystemEntry::Resumed { by: "kim".into() };
        opened.store.record_system(1, entry).await.unwrap();
        let mode = |name: &str| {
            let path = ground.folder().join(name);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        let log = mode("watchkeeper.db-wal");
        assert_eq!((mode(""), mode("watchkeeper.db"), log), (0o700, 0o600, 0o600));
        opened.close().await;
    })
    .await;
}
