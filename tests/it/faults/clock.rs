//! A clock that leaps: changes ask a person for a while, and no incident changes hands.

use crate::support::drill::Problem;
use crate::support::engines::{for_each_engine, on_sqlite};
use crate::support::world::SCOPE;
use std::time::Instant;
use watchkeeper::model::incident::State;
use watchkeeper::store::incidents::Filter;

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn a_safe_change_asks_a_person_after_the_clock_leapt() {
    for_each_engine(|ground| async move {
        let world = super::broken_web(&ground).await;
        let server = world.server().await;
        world.clock.leaps(-HOUR_MS, Instant::now());
        server.post(&Problem::down().firing()).await;
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
        assert!(world.slack_said().contains("the clock leapt 1h back"), "{}", world.slack_said());
        assert_eq!(world.restarts("web"), 0);
        server.stop().await;
    })
    .await;
}

/// The worker goes on with what it has, and claims it no second time.
#[tokio::test]
async fn a_leap_takes_no_lease_from_its_holder() {
    for_each_engine(|ground| async move {
        let world = super::broken_web(&ground).await;
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        let (store, now_ms) = (&server.app.store, world.clock.now_ms());
        assert_eq!(store.claim("a", 1, now_ms, 60_000).await.unwrap().len(), 1);
        assert_eq!(store.claim("a", 1, now_ms + HOUR_MS, 60_000).await.unwrap(), []);
        let filter = Filter { state: None, at_most: 1 };
        assert_eq!(store.incidents(SCOPE, filter).await.unwrap().len(), 1);
        server.stop().await;
    })
    .await;
}

/// A process that starts after another one takes over what that one held, once the lease is over.
#[tokio::test]
async fn a_lease_of_another_process_ends() {
    on_sqlite(|ground| async move {
        let world = super::broken_web(&ground).await;
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        let (store, now_ms) = (&server.app.store, world.clock.now_ms());
        assert_eq!(store.claim("a", 1, now_ms, 60_000).await.unwrap().len(), 1);
        assert_eq!(store.claim("b", 1, now_ms + 1, 60_000).await.unwrap(), []);
        assert_eq!(store.claim("b", 1, now_ms + HOUR_MS, 60_000).await.unwrap().len(), 1);
        server.stop().await;
    })
    .await;
}
