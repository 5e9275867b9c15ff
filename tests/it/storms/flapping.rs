//! An alert that fires and resolves again and again.

use super::take_in;
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use watchkeeper::clock::format_ms;
use watchkeeper::incident::advance::advance;
use watchkeeper::model::incident::State;

const WINDOW_MS: i64 = 3_600_000;

async fn world(ground: &Ground) -> World {
    let mut world = World::new(ground).await;
    world.settings.ingest.flapping.times = 3;
    Problem::down().in_prometheus(&world);
    world
}

/// The web service stops and its alert fires from this moment on.
fn down_again(world: &World) -> Problem {
    world.break_service("web");
    let since = format_ms(world.clock.now_ms());
    Problem::down().since(Box::leak(since.into_boxed_str()))
}

/// It fires and is over a minute later.
async fn flap(world: &World, server: &Server) {
    let problem = down_again(world);
    server.post(&problem.firing()).await;
    server.settle(10).await;
    world.clock.advance(60_000);
    server.post(&problem.resolved()).await;
    server.settle(10).await;
    world.clock.advance(60_000);
}

#[tokio::test]
async fn a_flapping_alert_is_told_once_and_not_investigated_until_it_is_calm() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        flap(&world, &server).await;
        flap(&world, &server).await;
        let case = server.only_case().await;
        assert_eq!((case.round, case.flapping.is_none(), world.restarts("web")), (2, true, 2));
        let turns = case.turns.len();

        for _ in 0..4 {
            flap(&world, &server).await;
        }
        let case = server.only_case().await;
        assert_eq!((case.round, case.turns.len(), world.restarts("web")), (6, turns, 2));
        assert_eq!(case.state(), State::Resolved);
        assert_eq!(case.flapping.as_ref().map(|flapping| flapping.times), Some(6));
        let said = world.slack_said();
        assert_eq!(said.matches("flapping").count(), 2, "once, in header and text: {said}");
        assert_eq!(said.matches("Resolved").count(), 4, "of the first two rounds: {said}");
        assert_eq!(world.pagerduty.open_incidents().len(), 1, "open until it is calm");

        world.clock.advance(WINDOW_MS);
        server.settle(0).await;
        let said = world.slack_said();
        assert_eq!(said.matches("Resolved").count(), 6, "calm again: {said}");
        flap(&world, &server).await;
        assert_eq!(world.restarts("web"), 3, "it is investigated as any other");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_flapping_alert_that_fires_on_is_paged_for_in_time_and_investigated_when_it_is_calm() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        for _ in 0..3 {
            flap(&world, &server).await;
        }
        let before = server.only_case().await;
        let paged = world.pagerduty.events().len();
        server.post(&down_again(&world).firing()).await;
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.turns.len()), (State::Open, before.turns.len()));
        assert_eq!(case.paged_at_ms, None, "people know that it flaps");
        world.clock.advance(300_000);
        server.settle(0).await;
        assert!(server.only_case().await.paged_at_ms.is_some(), "and that it stays this time");
        assert_eq!(world.pagerduty.events().len(), paged + 1);

        world.clock.advance(WINDOW_MS);
        server.settle(20).await;
        assert_eq!(server.only_case().await.turns.len(), before.turns.len() * 3 / 2);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_changed_for_a_flapping_alert_without_a_person() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        server.post(&down_again(&world).firing()).await;
        take_in(&server).await;
        let lease = server.app.store.claim("test", 1, world.clock.now_ms(), 600_000).await.unwrap();
        let state = async || server.only_case().await.state();
        while !matches!(state().await, State::Proposed | State::Executing) {
            Box::pin(advance(&server.app.desk(), &lease[0], None)).await.unwrap();
        }
        // Meanwhile another alert of the same problem comes and goes.
        for minute in 0..3 {
            world.clock.advance(60_000 * minute);
            let since = format_ms(world.clock.now_ms());
            let pod = Problem::down().with("pod", "b").since(Box::leak(since.into_boxed_str()));
            server.post(&pod.firing()).await;
            server.post(&pod.resolved()).await;
        }
        take_in(&server).await;
        while state().await != State::AwaitingApproval {
            Box::pin(advance(&server.app.desk(), &lease[0], None)).await.unwrap();
        }
        let case = server.only_case().await;
        let verdict = case.open_action().unwrap().verdict.clone().unwrap();
        assert!(verdict.reason().contains("fires again and again"), "{}", verdict.reason());
        assert_eq!(world.restarts("web"), 0);
        server.app.store.release(lease[0].clone()).await.unwrap();
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_flapping_alert_finds_its_incident_also_when_that_ended_longer_ago() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        flap(&world, &server).await;
        world.clock.advance(1_000_000);
        flap(&world, &server).await;
        assert_eq!(server.incidents().await.len(), 2, "too late to be the same problem");
        world.clock.advance(1_000_000);
        flap(&world, &server).await;
        let incidents = server.incidents().await;
        assert_eq!(incidents.len(), 2, "the third time within the hour");
        let rounds = [server.case(incidents[0].id).await, server.case(incidents[1].id).await];
        assert_eq!(
            rounds.map(|case| (case.round, case.flapping.is_some())),
            [(2, true), (1, false)]
        );
        assert_eq!(world.restarts("web"), 2);
        server.stop().await;
    })
    .await;
}
