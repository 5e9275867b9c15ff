//! The connection to Postgres is cut in every state of a transaction, and hangs: what was acknowledged
//! is there, a change starts once, everybody hears, and the server goes on by itself.

use super::{
    NOISE, broken_web, eventually, heard_once, noise, post, post_until_accepted, settled, status,
    stored_noise,
};
use crate::support::drill::Problem;
use crate::support::engines::{Ground, on_postgres};
use crate::support::process::{Process, client};
use crate::support::proxy::{Cut, Proxy};
use crate::support::world::{SCOPE, World};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::case::Case;
use watchkeeper::store::incidents::Filter;
use watchkeeper::store::timeline::Stream;

/// Transactions that are cut in each state, one in three of all.
const CUTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn cut_before_begin_reaches_postgres() {
    survives(Cut::BeforeBegin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_after_begin() {
    survives(Cut::AfterBegin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_between_two_statements() {
    survives(Cut::AfterStatement).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_before_commit_reaches_postgres() {
    survives(Cut::BeforeCommit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_after_commit_before_its_answer() {
    survives(Cut::CommitUnanswered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_after_the_answer_to_commit() {
    survives(Cut::AfterCommit).await;
}

async fn survives(cut: Cut) {
    on_postgres(|ground| async move {
        let seed: u64 = rand::random();
        eprintln!("{cut:?}, seed {seed}");
        let world = broken_web(&ground).await;
        let proxy = Proxy::start(&ground, seed).await;
        let mut process = through(&proxy, &world, &ground);
        let base = process.url().await.unwrap();
        proxy.cut(cut, 3, CUTS);
        post_until_accepted(&base, &Problem::down().firing()).await;
        let mut acknowledged = BTreeSet::new();
        let (client, mut n) = (client(), 0);
        eventually("all cuts are made", async || {
            if post(&client, &base, &noise(n)).await == Some(200) {
                acknowledged.insert(n);
            }
            n += 1;
            proxy.cuts() == CUTS
        })
        .await;
        settled(&mut process, &ground).await;
        process.kill().await;

        let stored = stored_noise(&ground).await;
        assert_eq!(acknowledged.difference(&stored).collect::<Vec<_>>(), Vec::<&usize>::new());
        if cut == Cut::AfterCommit {
            assert_eq!(stored, acknowledged, "what was committed was answered");
        }
        check(&world, &ground).await;
    })
    .await;
}

fn through(proxy: &Proxy, world: &World, ground: &Ground) -> Process {
    let variables = [("WATCHKEEPER__STORE__DATABASE_URL", proxy.url()), NOISE];
    Process::start(world, ground, &variables)
}

/// One incident, one change at most, and nobody heard anything twice without a mark.
async fn check(world: &World, ground: &Arc<Ground>) {
    let opened = ground.open().await;
    let filter = Filter { state: None, at_most: 10 };
    let incidents = opened.store.incidents(SCOPE, filter).await.unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let stream = Stream::incident(incidents[0].id);
    assert_eq!(opened.store.verify_chain(stream.clone()).await.unwrap(), None);
    let case = Case::fold(incidents[0].id, SCOPE, &opened.store.timeline(stream).await.unwrap());
    let restarts = world.restarts("web");
    let unknown = case.actions.iter().any(|action| action.state == ActionState::Unknown);
    assert!(restarts <= 1, "{restarts} restarts");
    let intents = ground.sql("select count(*) from intent").await[0][0].clone();
    assert_eq!(intents, "1", "{case:#?}");
    if unknown {
        assert!(world.slack_said().contains("unknown outcome"), "{}", world.slack_said());
    } else {
        assert_eq!(restarts, 1, "{case:#?}");
    }
    assert!(world.pagerduty.opened() <= 1);
    heard_once(world);
    world.assert_no_violations();
    opened.close().await;
}

/// Neither an answer nor an end of the connection comes: requests are refused in time, and all goes
/// on once the line works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_hangs_is_given_up_and_taken_up_again() {
    on_postgres(|ground| async move {
        let world = broken_web(&ground).await;
        let proxy = Proxy::start(&ground, 1).await;
        let mut process = through(&proxy, &world, &ground);
        let base = process.url().await.unwrap();
        assert_eq!(post(&client(), &base, &noise(0)).await, Some(200));
        proxy.hang();
        assert_eq!(status(&base, "/readyz").await, Some(503));
        assert_eq!(post(&client(), &base, &noise(1)).await, Some(503));
        proxy.open();
        post_until_accepted(&base, &noise(2)).await;
        post_until_accepted(&base, &Problem::down().firing()).await;
        settled(&mut process, &ground).await;
        assert_eq!(status(&base, "/readyz").await, Some(200));
        process.kill().await;
        assert!(stored_noise(&ground).await.is_superset(&BTreeSet::from([0, 2])));
        check(&world, &ground).await;
    })
    .await;
}

/// A server that starts before its database listens, refuses what it cannot store, and is ready as
/// soon as the database is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_a_postgres_that_is_away_at_start() {
    on_postgres(|ground| async move {
        let world = broken_web(&ground).await;
        let proxy = Proxy::start(&ground, 1).await;
        proxy.close();
        let listen = format!("127.0.0.1:{}", crate::support::real::free_port());
        let variables = [
            ("WATCHKEEPER__STORE__DATABASE_URL", proxy.url()),
            ("WATCHKEEPER__LISTEN", listen.as_str()),
            NOISE,
        ];
        let mut process = Process::start(&world, &ground, &variables);
        let base = format!("http://{listen}");
        process.says("cannot open the database yet").await;
        assert_eq!(status(&base, "/healthz").await, Some(200));
        assert_eq!(status(&base, "/readyz").await, Some(503));
        assert_eq!(post(&client(), &base, &noise(0)).await, Some(503));
        proxy.open();
        post_until_accepted(&base, &Problem::down().firing()).await;
        settled(&mut process, &ground).await;
        process.kill().await;
        check(&world, &ground).await;
    })
    .await;
}

/// The database goes away in the middle of an incident and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_incident_goes_on_after_its_database_was_away() {
    on_postgres(|ground| async move {
        let world = broken_web(&ground).await;
        let proxy = Proxy::start(&ground, 1).await;
        let mut process = through(&proxy, &world, &ground);
        let base = process.url().await.unwrap();
        post_until_accepted(&base, &Problem::down().firing()).await;
        for _ in 0..3 {
            proxy.close();
            process.says("cannot").await;
            assert_ne!(post(&client(), &base, &noise(0)).await, Some(200));
            proxy.open();
            sleep(Duration::from_millis(500)).await;
        }
        settled(&mut process, &ground).await;
        process.kill().await;
        check(&world, &ground).await;
    })
    .await;
}
