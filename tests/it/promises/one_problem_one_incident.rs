//! Repeats, resends, regroupings and storms attach to the open incident.

mod interleavings;

use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{World, webhook};
use serde_json::json;
use watchkeeper::model::incident::State;

#[tokio::test]
async fn resends_and_regroupings_join_the_open_incident() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        Problem::corruption().in_prometheus(&world);
        let server = world.server().await;
        for n in 0..20 {
            let mut body = Problem::corruption().firing();
            body["groupKey"] = json!(format!("{{}}/route-{n}"));
            body["receiver"] = json!(format!("peer-{}", n % 2));
            server.post(&body).await;
            if n % 5 == 0 {
                server.settle(0).await;
            }
        }
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!((case.alerts.len(), case.turns.len()), (1, 2));
        let started = world.slack_said().matches("Investigating").count();
        assert_eq!(started, 2, "one message, which says it in header and text");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_problem_that_comes_back_soon_opens_its_incident_again() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(10).await;
        server.post(&Problem::down().resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);

        // The ten seconds in which it settled belong to the quarter of an hour.
        world.clock.advance(889_000);
        world.break_service("web");
        let again = Problem::down().since("2026-03-10T10:15:00Z");
        server.post(&again.firing()).await;
        server.settle(10).await;
        let case = server.only_case().await;
        assert_eq!((case.round, case.state()), (2, State::Resolved), "{case:#?}");
        assert_eq!(world.restarts("web"), 2);
        assert_eq!(case.actions.len(), 2);

        server.post(&again.resolved()).await;
        server.settle(0).await;
        world.clock.advance(901_000);
        world.break_service("web");
        server.post(&Problem::down().since("2026-03-10T10:40:00Z").firing()).await;
        server.settle(10).await;
        assert_eq!(server.incidents().await.len(), 2, "too late to be the same problem");
        assert_eq!(world.restarts("web"), 3);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_late_firing_copy_after_the_notice_is_ignored() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        world.make_unrepairable("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        server.post(&Problem::down().resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        // From the other peer of a pair, which did not know yet.
        world.clock.advance(60_000);
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!((case.round, case.state()), (1, State::Resolved));
        assert_eq!(world.restarts("web"), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_late_alert_of_a_problem_that_is_not_gone_opens_the_work_again() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        world.break_service("web");
        server.post(&Problem::down().with("pod", "b").firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!((case.round, case.state()), (2, State::Resolved), "{case:#?}");
        assert_eq!(world.restarts("web"), 2);
        assert_eq!(world.pagerduty.opened(), 0, "nobody was kept waiting");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_later_start_of_the_same_alert_takes_the_place_of_the_earlier_one() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        world.make_unrepairable("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        // Prometheus was restarted and counts from new; the old start never gets its notice.
        let later = Problem::down().since("2026-03-10T10:05:00Z");
        server.post(&later.firing()).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        server.post(&later.resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_storm_on_one_service_is_one_incident_with_every_alert() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        let pods: Vec<&'static str> =
            (0..500).map(|n| &*Box::leak(format!("pod-{n}").into_boxed_str())).collect();
        let alerts: Vec<_> =
            pods.iter().map(|pod| Problem::down().with("pod", pod).alert("firing")).collect();
        Problem::down().with("pod", pods[0]).in_prometheus(&world);
        let server = world.server().await;
        for chunk in alerts.chunks(7) {
            server.post(&webhook(chunk)).await;
        }
        server.settle(10).await;
        let case = server.only_case().await;
        assert_eq!(case.alerts.len(), 500);
        assert_eq!(world.restarts("web"), 1);
        assert!(world.slack.messages().len() <= 4, "{}", world.slack_said());
        server.stop().await;
    })
    .await;
}
