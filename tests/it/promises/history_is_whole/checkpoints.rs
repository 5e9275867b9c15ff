//! What no chain can show, because whoever forged it computed every hash anew, the checkpoints that
//! left the machine do.

use crate::support::binary::{Ran, run};
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use crate::support::world::{Server, World};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use watchkeeper::audit::compare::{Extent, Finding, Report, compare};
use watchkeeper::audit::line::Key;
use watchkeeper::model::system::SystemEntry;
use watchkeeper::model::timeline::chain_hash;
use watchkeeper::store::Store;

pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A server that repaired a service and made three checkpoints into a file.
async fn recorded(ground: &Ground) -> (World, Server, PathBuf) {
    let mut world = World::new(ground).await;
    let file = world.folder.join("lines");
    world.settings.audit.checkpoint.key = Some(KEY.into());
    world.settings.audit.checkpoint.file = Some(file.clone());
    world.break_service("web");
    Problem::down().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::down().firing()).await;
    server.settle(10).await;
    let writer = server.app.checkpoints.clone().unwrap();
    assert_eq!(writer.once().await.unwrap(), 1);
    for n in 2..=3 {
        let entry = SystemEntry::Resumed { by: format!("person {n}") };
        server.app.store.record_system(n, entry).await.unwrap();
        assert_eq!(writer.once().await.unwrap(), 1);
    }
    assert_eq!(writer.once().await.unwrap(), 0, "nothing happened");
    (world, server, file)
}

pub(super) async fn compared(store: &Store, texts: &[String]) -> Report {
    let taken = store.taken_checkpoints().await.unwrap();
    compared_as(store, texts, Extent::UpTo(taken)).await
}

async fn compared_as(store: &Store, texts: &[String], extent: Extent) -> Report {
    compare(store, &Key::new(&SecretString::from(KEY)), texts, extent).await.unwrap()
}

pub(super) fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// Computes the chain of a stream anew from its stored texts, head included.
async fn rechain(ground: &Ground, kind: &str) {
    let rows = ground
        .sql(format!(
            "select stream_id, cast(seq as text), cast(at_ms as text), body from timeline
             where stream_kind = '{kind}' order by timeline.seq"
        ))
        .await;
    let (mut head, mut end) = (String::new(), "0".to_owned());
    for row in &rows {
        let (seq, at_ms) = (row[1].parse().unwrap(), row[2].parse().unwrap());
        head = chain_hash(&head, &format!("{kind}/{}", row[0]), seq, at_ms, &row[3]);
        end.clone_from(&row[1]);
        ground
            .sql(format!(
                "update timeline set hash = '{head}' where stream_kind = '{kind}' and seq = {seq}"
            ))
            .await;
    }
    let table =
        if kind == "system" { "stream_head where stream_kind = 'system'" } else { "incident" };
    let (table, condition) = table.split_once(" where ").unwrap_or((table, "1 = 1"));
    ground.sql(format!("update {table} set seq = {end}, head = '{head}' where {condition}")).await;
}

#[tokio::test]
async fn what_was_forged_with_every_hash_computed_anew_is_found_by_checkpoints() {
    let cases: [(&[&str], &str, &str); 9] = [
        (
            &[
                "update timeline set seq = 99 where stream_kind = 'incident' and seq = 3",
                "update timeline set seq = 3 where stream_kind = 'incident' and seq = 4",
                "update timeline set seq = 4 where stream_kind = 'incident' and seq = 99",
            ],
            "incident",
            "rewritten: the entry is not the one that line 1 recorded",
        ),
        (
            &[
                "update timeline set seq = seq + 1000 where stream_kind = 'incident' and seq >= 3",
                "update timeline set seq = seq - 999 where stream_kind = 'incident' and seq >= 1000",
                "insert into timeline
                     (stream_kind, stream_id, seq, at_ms, kind, version, body, hash)
                 select stream_kind, stream_id, 3, at_ms, kind, version, body, hash
                 from timeline where stream_kind = 'incident' and seq = 2",
            ],
            "incident",
            "rewritten: the entry is not the one that line 1 recorded",
        ),
        (
            &[
                "update timeline set body = replace(body, 'ServiceDown', 'ServiceFine') where stream_kind = 'incident' and seq = 2",
            ],
            "incident",
            "rewritten: ",
        ),
        (
            &["delete from timeline where stream_kind = 'incident' and seq > 5"],
            "incident",
            "truncated: the stream ends at 5, line 1 recorded this entry",
        ),
        (
            &[
                "delete from timeline where stream_kind = 'incident' and seq = 4",
                "update timeline set seq = seq - 1 where stream_kind = 'incident' and seq = 5",
                "update timeline set seq = seq - 1 where stream_kind = 'incident' and seq = 6",
                "delete from timeline where stream_kind = 'incident' and seq > 6",
            ],
            "incident",
            "truncated: ",
        ),
        (
            &["delete from timeline where stream_kind = 'incident'", "delete from incident"],
            "",
            "the whole stream is missing; line 1 recorded it up to entry ",
        ),
        (
            &["delete from timeline where stream_kind = 'system' and seq = 2"],
            "system",
            "truncated: the stream ends at 1, line 3 recorded this entry",
        ),
        (
            &[
                "update timeline set body = replace(body, 'person 2', 'person 9') where stream_kind = 'system'",
            ],
            "system",
            "rewritten: the entry is not the one that line 2 recorded; up to entry 0 the stream is as recorded",
        ),
        (
            &[
                "update timeline set body = replace(body, 'person 3', 'person 9') where stream_kind = 'system'",
            ],
            "system",
            "rewritten: the entry is not the one that line 3 recorded; up to entry 1 the stream is as recorded",
        ),
    ];
    for (forgery, kind, why) in cases {
        for_each_engine(|ground| async move {
            let (_world, server, file) = recorded(&ground).await;
            let store = &server.app.store;
            let whole = compared(store, &[text(&file)]).await;
            assert_eq!((whole.lines, whole.streams, whole.findings), (3, 2, Vec::new()));
            for sql in forgery {
                ground.sql(*sql).await;
            }
            if !kind.is_empty() {
                rechain(&ground, kind).await;
            }
            for named in store.streams().await.unwrap() {
                assert_eq!(store.audit(&named).await.unwrap(), None, "the chains are whole");
            }
            let report = compared(store, &[text(&file)]).await;
            let found = |finding: &Finding| finding.why.starts_with(why);
            assert!(report.findings.iter().any(found), "{forgery:?}: {report:#?}");
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn every_change_to_the_lines_themselves_is_told() {
    on_sqlite(|ground| async move {
        let (_world, server, file) = recorded(&ground).await;
        let store = &server.app.store;
        let good = text(&file);
        let lines: Vec<&str> = good.lines().collect();
        let whys = async |text: String| -> Vec<String> {
            let report = compared(store, &[text]).await;
            report.findings.into_iter().map(|f| format!("{}: {}", f.seq, f.why)).collect()
        };
        let without = |n: usize| -> String {
            lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != n)
                .map(|(_, l)| format!("{l}\n"))
                .collect()
        };
        let missing = |told: &[String], which: &str| {
            told.iter().any(|why| why.starts_with(&format!("{which} missing: removed, or lost")))
        };
        let told = whys(without(1)).await;
        assert!(told.len() == 1 && missing(&told, "2: lines 2 to 2 are"), "{told:?}");
        let changed = good.replace("\"number\":2", "\"number\":7");
        let told = whys(changed).await;
        assert!(told.contains(&"7: the line was changed, or made with another key".to_owned()));
        assert!(missing(&told, "2: lines 2 to 2 are"), "{told:?}");
        // Twice the same, torn, in another order, in two files, behind what syslog writes.
        let swapped = format!("{}\n{}\n{}\n", lines[2], &lines[1][..90], lines[0]);
        let logged =
            format!("Mar 10 10:00:00 box watchkeeper: {}\nother program: hello\n", lines[1]);
        let report = compared(store, &[swapped, logged, good.clone()]).await;
        assert_eq!((report.lines, report.findings), (3, Vec::new()));
        assert_eq!(report.notes, ["2 lines are no whole checkpoints and were left out"]);
        // Only those who say that they give a part need not give the first and the last.
        let told = whys(lines[..2].join("\n")).await;
        assert!(told.len() == 1 && missing(&told, "3: lines 3 to 3 are"), "{told:?}");
        let told = whys(lines[2].to_owned()).await;
        assert!(told.len() == 1 && missing(&told, "1: lines 1 to 2 are"), "{told:?}");
        let part = compared_as(store, &[lines[1].to_owned()], Extent::Part).await;
        assert_eq!(part.findings, []);
        let notes = [
            "the database has made lines up to 3; those after 2 are not in these files",
            "the checkpoints begin with line 2; earlier ones are not in these files",
        ];
        assert_eq!(part.notes, notes);

        // The database is set back: it makes another line 3 and knows no later one.
        ground.sql("update checkpoint set number = 2, mac = ''").await;
        let told = whys(good.clone()).await;
        let back = "3: the database knows of 2 lines only: it was set back to an earlier state";
        assert_eq!(told, [back]);
        let entry = SystemEntry::Resumed { by: "later".into() };
        store.record_system(9, entry).await.unwrap();
        ground.sql("update checkpoint_target set sent = 2").await;
        server.app.checkpoints.as_ref().unwrap().once().await.unwrap();
        let told = whys(text(&file)).await;
        let twice = "3: two different lines have this number: the database was set back";
        assert!(told.contains(&twice.to_owned()), "{told:?}");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_planted_tombstone_hides_nothing() {
    for stream in ["incident", "system"] {
        for_each_engine(|ground| async move {
            let (_world, server, file) = recorded(&ground).await;
            let store = &server.app.store;
            ground
                .sql(
                    "insert into stream_head (stream_kind, stream_id, seq, head)
                     select 'incident', id, seq + 1, head from incident",
                )
                .await;
            let (on, condition) = ("aged_out_at_ms", format!("stream_kind = '{stream}'"));
            ground.sql(format!("update stream_head set {on} = 9 where {condition}")).await;
            ground.sql(format!("delete from timeline where {condition}")).await;
            if stream == "incident" {
                ground.sql("delete from incident").await;
            } else {
                ground.sql("delete from stream_head where stream_kind = 'incident'").await;
            }
            let report = compared(store, &[text(&file)]).await;
            let whys: Vec<&str> = report.findings.iter().map(|found| found.why.as_str()).collect();
            assert_eq!(whys.len(), 1, "{report:#?}");
            assert!(whys[0].starts_with("the whole stream is missing; line "), "{report:#?}");
            let mut broken = Vec::new();
            for named in store.streams().await.unwrap() {
                let found = store.audit(&named).await.unwrap();
                broken.extend(found.map(|found| (named.stream_kind, found.why)));
            }
            let why = match stream {
                "incident" => "which no entry of the system's own timeline does",
                _ => "which those of the system never do",
            };
            let why = format!("a row says that its entries aged out, {why}");
            assert_eq!(broken, [(stream.to_owned(), why)]);
            server.stop().await;
        })
        .await;
    }
}

async fn verify(world: &World, args: &[&str]) -> Ran {
    run(&world.folder, None, &[&["audit", "verify"], args].concat(), "").await
}

#[tokio::test]
async fn the_verb_verifies_with_checkpoints_and_says_what_it_lacks() {
    for_each_engine(|ground| async move {
        let (world, server, file) = recorded(&ground).await;
        let at = configured(&world, &ground);
        std::fs::write(world.folder.join("key"), format!("{KEY}\n")).unwrap();
        std::fs::write(world.folder.join("other"), "x".repeat(32)).unwrap();
        std::fs::write(world.folder.join("empty"), "\n").unwrap();
        let lines = file.display().to_string();
        let with = |key: &'static str| {
            let args = ["--checkpoints", &lines, "--key-file", key].map(str::to_owned);
            let (world, at) = (&world, at.clone());
            async move {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                verify(world, &[&args[..], &["--config", &at]].concat()).await
            }
        };
        let said = with("key").await.ok();
        assert!(said.contains("3 lines of checkpoints, 2 streams recorded\n"), "{said}");
        assert!(said.ends_with("2 streams: the history is whole\n"), "{said}");
        for (key, why) in [
            ("other", "no line was made with this key"),
            ("empty", "the key file empty is empty"),
            ("gone", "cannot read the key file gone"),
        ] {
            let said = with(key).await.failed();
            assert!(said.contains(why), "{said}");
        }
        let said = verify(&world, &["--checkpoints", "gone", "--key-file", "key", "--config", &at])
            .await
            .failed();
        assert!(said.contains("cannot read the checkpoints gone"), "{said}");
        let said = verify(&world, &["--checkpoints", "key", "--key-file", "key", "--config", &at])
            .await
            .failed();
        assert!(said.contains("these files hold no checkpoints"), "{said}");
        let said = verify(&world, &["--checkpoints", &lines, "--config", &at]).await.failed();
        assert!(said.contains("no key is configured"), "{said}");
        verify(&world, &["--key-file", "key"]).await.misused();
        verify(&world, &["--partial"]).await.misused();

        let cut: String = text(&file).lines().take(2).map(|line| format!("{line}\n")).collect();
        std::fs::write(world.folder.join("cut"), cut).unwrap();
        let args = ["--checkpoints", "cut", "--key-file", "key", "--config", &at];
        let ran = verify(&world, &args).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.contains("DIFFERS checkpoints at entry 3: lines 3 to 3 are missing"));
        let said = verify(&world, &[&args[..], &["--partial"]].concat()).await.ok();
        assert!(said.contains("note: ") && said.ends_with("the history is whole\n"), "{said}");

        ground.sql("delete from timeline where stream_kind = 'system' and seq = 2").await;
        rechain(&ground, "system").await;
        let ran = with("key").await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let wanted = "DIFFERS system/system at entry 2: truncated: the stream ends at 1";
        assert!(ran.stdout.contains(wanted) && ran.stdout.contains("NOT whole"), "{ran:?}");
        let log = run(&world.folder, None, &["audit", "log", "--config", &at], "").await.ok();
        assert!(
            log.starts_with("ENTRY  AT") && log.contains("person 2 let changes go on"),
            "{log}"
        );
        let export = run(&world.folder, None, &["audit", "export", "--config", &at], "").await.ok();
        assert!(export.contains("{\"stream\":\"system/system\",\"seq\":1,"), "{export}");
        server.stop().await;
    })
    .await;
}

/// A configuration for verbs that read the world's database.
fn configured(world: &World, ground: &Ground) -> String {
    use secrecy::ExposeSecret as _;
    use watchkeeper::store::db::Location;
    let config = world.folder.join("config/audit.yaml");
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
