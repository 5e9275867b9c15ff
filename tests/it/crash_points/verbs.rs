//! Verbs that write die at each of their points; what they were about is there whole or not at all,
//! and the next one does its work.

use super::{Process, RUNBOOKS, World, alert, webhook};
use crate::support::engines::{Ground, for_each_engine};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Output, Stdio};
use tokio::process::Command;
use watchkeeper::crash::{Point, VARIABLE};

pub const POINTS: [Point; 6] = [
    Point::BeforeBackup,
    Point::AfterBackup,
    Point::BeforeRestore,
    Point::AfterRestore,
    Point::BeforeAccess,
    Point::AfterAccess,
];
/// What `abort` ends a process with.
const SIGABRT: i32 = 6;
const HELD: &str = "select count(*) from delivery";

/// Runs a verb with the configuration of the world's server; it may die at a point.
async fn verb(world: &World, at: Option<Point>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(at.map(|at| (VARIABLE, at.as_str())));
    command.arg("--config").arg(world.folder.join("config/watchkeeper.yaml")).args(args);
    command.current_dir(&world.folder).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(240), command.output()).await;
    ended.unwrap_or_else(|_| panic!("{args:?} hangs")).unwrap()
}

async fn dies(world: &World, at: Point, args: &[&str]) {
    let ended = verb(world, Some(at), args).await;
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{} is never reached: {ended:?}", at.as_str());
}

async fn goes_well(world: &World, args: &[&str]) {
    let ended = verb(world, None, args).await;
    assert!(ended.status.success(), "{args:?}: {ended:?}");
}

/// A database with one delivery, a backup of that, and another delivery since.
async fn world_with_backup(ground: &Ground) -> World {
    let world = World::new(ground).await;
    world.set_runbooks(RUNBOOKS);
    for (nth, name) in ["Before", "Since"].into_iter().enumerate() {
        let mut process = Process::start(&world, ground, &[]);
        let labels = [("instance", "10.2.3.4:9100"), ("severity", "warning")];
        assert_eq!(process.post(&webhook(&[alert("firing", name, &labels)])).await, Some(200));
        process.kill().await;
        if nth == 0 {
            goes_well(&world, &["backup", "first"]).await;
        }
    }
    assert_eq!(ground.sql(HELD).await, [["2"]]);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_dies_leaves_a_whole_one_or_none() {
    for_each_engine(|ground| async move {
        let world = world_with_backup(&ground).await;
        dies(&world, Point::BeforeBackup, &["backup", "cut"]).await;
        assert!(!world.folder.join("cut").exists(), "half a backup has the name of a whole one");
        goes_well(&world, &["backup", "again"]).await;
        dies(&world, Point::AfterBackup, &["backup", "whole"]).await;
        goes_well(&world, &["restore", "whole", "--replace"]).await;
        assert_eq!(ground.sql(HELD).await, [["2"]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_leaves_what_was_there_or_the_backup() {
    for_each_engine(|ground| async move {
        let world = world_with_backup(&ground).await;
        let restore = ["restore", "first", "--replace"];
        dies(&world, Point::BeforeRestore, &restore).await;
        if ground.engine() == "sqlite" {
            assert_eq!(ground.sql(HELD).await, [["2"]], "the old one is still in force");
        } else {
            let refused = verb(&world, None, &["migrate", "--plan"]).await;
            let said = String::from_utf8(refused.stdout).unwrap()
                + &String::from_utf8(refused.stderr).unwrap();
            assert!(said.contains("broke off"), "half a restore is served: {said}");
        }
        goes_well(&world, &restore).await;
        assert_eq!(ground.sql(HELD).await, [["1"]]);
        dies(&world, Point::AfterRestore, &restore).await;
        assert_eq!(ground.sql(HELD).await, [["1"]]);
        let rows = ground.sql("select value from switch where name = 'halt'").await;
        assert_eq!(rows, [["on"]], "what was restored permits nothing");
        if ground.engine() == "sqlite" {
            goes_well(&world, &restore).await;
            let left = std::fs::read_dir(ground.folder()).unwrap().flatten();
            let left: Vec<_> = left.filter(|entry| entry.file_type().unwrap().is_dir()).collect();
            assert!(left.is_empty(), "a copy of the history lies about: {left:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_made_while_the_process_dies_is_whole_or_not_there() {
    crate::support::engines::on_sqlite(|ground| async move {
        let world = World::new(&ground).await;
        drop(Process::start(&world, &ground, &[]));
        let file = world.folder.join("config/access.yaml");
        let names = || std::fs::read_to_string(&file).unwrap_or_default();
        let token = |name| ["token", "create", name, "--kind", "webhook"];
        goes_well(&world, &token("first")).await;
        dies(&world, Point::BeforeAccess, &token("second")).await;
        assert!(names().contains("first") && !names().contains("second"), "{}", names());
        dies(&world, Point::AfterAccess, &token("third")).await;
        assert!(names().contains("first") && names().contains("third"), "{}", names());
        goes_well(&world, &token("fourth")).await;
    })
    .await;
}
