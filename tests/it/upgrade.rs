//! A later schema that only adds is no reason to stop; one that takes away says who must.

use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine, on_postgres, on_sqlite};
use crate::support::world::{START_MS, World};
use std::path::Path;
use watchkeeper::model::incident::State;
use watchkeeper::store::Store;
use watchkeeper::store::effects::{Effect, effects, expands, floor};
use watchkeeper::store::plan::plan;
use watchkeeper::store::schema::newest;
use watchkeeper::tasks::Tasks;

/// What a later program would have done to the database: it adds, and so this one may go on.
async fn migrate_later(ground: &Ground) {
    let sum = if ground.engine() == "sqlite" { "x'00'" } else { "'\\x00'" };
    for sql in [
        "create table later (id text primary key, what text not null)".to_owned(),
        "alter table incident add column later text".to_owned(),
        "alter table action add column later bigint not null default 7".to_owned(),
        "create index later_incident on incident (later)".to_owned(),
        format!(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, {sum}, 0)"
        ),
    ] {
        ground.sql(sql).await;
    }
}

async fn refused(ground: &Ground) -> [String; 2] {
    let tasks = Tasks::default();
    let opened = Store::open(&ground.location(), &tasks).await.err().unwrap().to_string();
    let read = Store::open_read_only(&ground.location()).await.err().unwrap().to_string();
    [opened, read]
}

#[test]
fn every_migration_after_the_first_expands_or_says_whom_it_ends() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut read = 0;
    for name in &names {
        let number: i64 = name[..4].parse().unwrap();
        let does = effects(&std::fs::read_to_string(folder.join(name)).unwrap());
        let unread = does.iter().any(|effect| matches!(effect, Effect::Other { .. }));
        assert!(!does.is_empty(), "{name}");
        if number > 1 && (unread || !expands(&does)) {
            let floor = floor(&does);
            assert_eq!(
                floor,
                Some(number),
                "{name} does more than expand: end it with `update schema_floor set version = \
                 {number};` and have every program stopped before it: {does:#?}"
            );
        }
        read += 1;
    }
    assert!(read >= 5 && names[0].starts_with("0001"), "{names:?}");
}

#[tokio::test]
async fn a_program_works_beside_a_later_schema_that_only_adds() {
    for_each_engine(|ground| async move {
        ground.open().await.close().await;
        migrate_later(&ground).await;
        let planned = plan(&ground.location()).await.unwrap();
        assert_eq!((planned.unknown, planned.refusal), (vec![9_999], None));

        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(10).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), world.restarts("web")), (State::Resolved, 1));
        let beside = ground.store_beside().await;
        let row = beside.incident("default", case.id).await.unwrap().unwrap();
        assert_eq!(row.state, State::Resolved);
        server.stop().await;
        // What it wrote is whole for the later program.
        assert_eq!(
            ground.sql("select cast(later as text) from action").await,
            [["7"]],
            "the default of the later column"
        );
    })
    .await;
}

#[tokio::test]
async fn a_program_refuses_a_schema_that_takes_later_programs_only() {
    for_each_engine(|ground| async move {
        ground.open().await.close().await;
        migrate_later(&ground).await;
        ground.sql("update schema_floor set version = 9999").await;
        let newest = newest();
        for said in refused(&ground).await {
            let why = format!(
                "was migrated to 9999 by a newer Watchkeeper and takes programs of schema 9999 or \
                 later, this one is of {newest:04}; run the version that did, or a later one"
            );
            assert!(said.ends_with(&why), "{said}");
        }
        // Nor is one touched that another line of versions migrated.
        ground.sql("update schema_floor set version = 4").await;
        ground.sql(format!("delete from _sqlx_migrations where version = {newest}")).await;
        for said in refused(&ground).await {
            assert!(
                said.contains("by another Watchkeeper, which does not know migration"),
                "{said}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn replicas_that_start_at_once_migrate_once() {
    on_postgres(|ground| async move {
        let tasks = Tasks::default();
        let location = ground.location();
        let opened =
            futures::future::join_all((0..4).map(|_| Store::open(&location, &tasks))).await;
        for store in &opened {
            assert!(store.is_ok());
        }
        let rows =
            ground.sql("select count(*), count(distinct version) from _sqlx_migrations").await;
        assert_eq!(rows[0][0], rows[0][1]);
        drop(opened);
        assert_eq!(tasks.shut_down(std::time::Duration::from_secs(20)).await, 0);
    })
    .await;
}

/// Takes the last migration and what it made away again.
async fn before_the_floor(ground: &Ground) {
    for sql in [
        "drop table schema_floor",
        "alter table message drop column restored_at_ms",
        "delete from _sqlx_migrations where version = 7",
    ] {
        ground.sql(sql).await;
    }
}

#[tokio::test]
async fn a_plan_says_what_is_touched_and_who_waits_and_changes_nothing() {
    for_each_engine(|ground| async move {
        ground.open().await.close().await;
        before_the_floor(&ground).await;
        let planned = plan(&ground.location()).await.unwrap();
        assert_eq!(planned.pending, ["0007 upgrades"]);
        let [change] = &planned.changes[..] else { panic!("{planned:?}") };
        assert_eq!((change.expands, change.floor), (true, None));
        let told: Vec<(String, bool)> = change
            .statements
            .iter()
            .map(|one| {
                (serde_json::to_value(one).unwrap()["does"].to_string(), one.holds_up.is_some())
            })
            .collect();
        let waits = ground.engine() == "postgres";
        assert_eq!(
            told,
            [
                ("\"creates_table\"".to_owned(), false),
                ("\"fills\"".to_owned(), false),
                ("\"adds_column\"".to_owned(), waits),
            ]
        );
        assert_eq!(plan(&ground.location()).await.unwrap(), planned);
        let there = ground.open().await;
        assert_eq!(plan(&ground.location()).await.unwrap().pending, Vec::<String>::new());
        there.close().await;
    })
    .await;
}

/// An index is built from rows, which a plan counts.
#[tokio::test]
async fn a_plan_counts_the_rows_that_an_index_is_built_from() {
    on_sqlite(|ground| async move {
        ground.open().await.close().await;
        for sql in [
            "drop index alert_name".to_owned(),
            "drop table slot".to_owned(),
            "drop table bad_change".to_owned(),
            "drop table breaker".to_owned(),
            "alter table alert drop column name".to_owned(),
            "alter table alert drop column target".to_owned(),
            "delete from _sqlx_migrations where version = 2".to_owned(),
            format!(
                "insert into alert (scope, source, fingerprint, starts_at_ms, status, labels,
                     annotations, generator_url, first_seen_ms, last_seen_ms, deliveries)
                 values ('s', 'a', 'f', {START_MS}, 'firing', '{{}}', '{{}}', '', 1, 1, 1)"
            ),
        ] {
            ground.sql(sql).await;
        }
        let planned = plan(&ground.location()).await.unwrap();
        let counted: Vec<i64> = planned.changes[0]
            .statements
            .iter()
            .filter(|one| matches!(&one.effect, Effect::BuildsIndex { index, .. } if index == "alert_name"))
            .filter_map(|one| one.rows)
            .collect();
        assert_eq!(counted, [1]);
    })
    .await;
}
