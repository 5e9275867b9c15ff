//! An incident is resolved by a notice or by a query that returns data; absence proves nothing.

use crate::support::drill::{NO_RUNBOOKS, Problem, conclude, last_answer, turn};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use crate::support::{FakeModel, ModelReply, QueryAnswer};
use serde_json::json;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Finding;

const UP: &str = "up{service=\"web\"}";

async fn down(ground: &Ground) -> (World, Server) {
    let world = World::new(ground).await;
    world.break_service("web");
    Problem::down().in_prometheus(&world);
    let server = world.server().await;
    (world, server)
}

#[tokio::test]
async fn a_resolved_notice_resolves_what_a_person_had() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        world.make_unrepairable("web");
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        assert_eq!(world.pagerduty.open_incidents().len(), 1);
        world.clock.advance(1_000);
        server.post(&Problem::down().resolved()).await;
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Resolved);
        assert_eq!(case.end.unwrap().why, "every alert got its resolved notice");
        assert!(world.pagerduty.open_incidents().is_empty());
        assert_eq!(world.pagerduty.opened(), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn one_notice_of_two_resolves_nothing() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        world.make_unrepairable("web");
        let other = Problem::down().with("zone", "b");
        server.post(&Problem::down().firing()).await;
        server.post(&other.firing()).await;
        server.settle(20).await;
        server.post(&Problem::down().resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        server.post(&other.resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_query_without_data_is_unverified_and_a_person_is_paged() {
    for answer in [
        QueryAnswer::empty(),
        QueryAnswer::Error { status: 503, kind: "timeout", message: "query timed out" },
        QueryAnswer::value(f64::NAN),
    ] {
        for_each_engine(|ground| {
            let answer = answer.clone();
            async move {
                let (world, server) = down(&ground).await;
                world.prometheus.set(UP, answer);
                server.post(&Problem::down().firing()).await;
                server.settle(20).await;
                let case = server.only_case().await;
                assert_eq!(world.restarts("web"), 1);
                assert_ne!(case.actions[0].verified, Some(Finding::Fixed));
                assert_eq!(case.state(), State::Escalated, "{case:#?}");
                assert_eq!(world.pagerduty.opened(), 1);
                server.stop().await;
            }
        })
        .await;
    }
}

/// As many rows as are read of an answer and one more, each of another machine.
fn more_rows_than_are_read(value: &str) -> QueryAnswer {
    let row = |n: usize| {
        let metric = json!({ "instance": format!("10.0.0.{n}:9100"), "service": "web" });
        json!({ "metric": metric, "value": [1.0, value] })
    };
    let rows: Vec<_> = (0..1_001).map(row).collect();
    QueryAnswer::Data(json!({ "resultType": "vector", "result": rows }))
}

#[tokio::test]
async fn an_answer_that_was_cut_proves_nothing() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        world.prometheus.set(UP, more_rows_than_are_read("1"));
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.actions[0].verified, Some(Finding::Unverified));
        assert_eq!(case.state(), State::Escalated);
        server.stop().await;
    })
    .await;
    // By the rule of the alert: what still holds may be among the rows that are not read.
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        world.prometheus.add_rule("ServiceDown", "up == 0", 60.0, &[("severity", "critical")]);
        world.prometheus.set("up == 0", more_rows_than_are_read("0"));
        let own = json!({
            "metric": { "instance": "10.2.3.4:9100", "service": "web" }, "value": [1.0, "0"],
        });
        let vector = json!({ "resultType": "vector", "result": [own] });
        world.prometheus.set("up", QueryAnswer::Data(vector));
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated, "{:?}", case.end);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn prometheus_down_after_the_change_is_unverified() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        Problem::corruption().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::corruption().firing()).await;
        server.settle(0).await;
        let id = server.only_case().await.open_action().unwrap().id();
        server.decide(id, Answer::Approve).await;
        world.prometheus.set_health(crate::support::fake_prometheus::Health::NotReady);
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(world.restarts("db"), 1);
        assert_eq!(case.actions[0].verified, Some(Finding::Unverified));
        assert_eq!(case.state(), State::Escalated);
        assert!(world.slack_said().contains("Prometheus is not healthy"));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_exporter_that_dies_closes_nothing() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        world.make_unrepairable("web");
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        // Its series and its alert are gone from Prometheus, and no notice comes.
        world.prometheus.set(UP, QueryAnswer::empty());
        world.prometheus.clear_alerts();
        for _ in 0..24 {
            world.clock.advance(3_600_000);
            server.settle(0).await;
        }
        assert_eq!(server.only_case().await.state(), State::Escalated);
        assert_eq!(world.pagerduty.open_incidents().len(), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_that_did_not_help_goes_back_to_the_mind_and_then_to_a_person() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.break_service("web");
        world.make_unrepairable("web");
        let model = FakeModel::respond(|request| match turn(request) {
            n @ 0..=1 => {
                assert!(n == 0 || last_answer(request).contains("measured: not fixed"));
                let reason = format!("attempt {n}");
                let args = json!({ "service": "web", "host": "box1", "reason": reason });
                ModelReply::call("restart_service", args)
            }
            _ => conclude(request, "it does not start"),
        })
        .await;
        world.models(&[&model]);
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(60).await;
        let case = server.only_case().await;
        assert_eq!(model.violations(), Vec::<String>::new());
        assert_eq!(case.state(), State::Escalated, "{case:#?}");
        let found: Vec<_> = case.actions.iter().map(|action| action.verified).collect();
        assert_eq!(found, [Some(Finding::NotFixed), Some(Finding::NotFixed)]);
        assert_eq!(world.restarts("web"), 2);
        assert_eq!(world.pagerduty.opened(), 1);
        assert!(world.slack_said().contains("the problem is still there"));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_model_that_claims_success_is_not_believed() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.break_service("web");
        let model = FakeModel::respond(|request| conclude(request, "solved, all is well")).await;
        world.models(&[&model]);
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated);
        assert!(case.conclusion.unwrap().is_hypothesis());
        assert_eq!(world.pagerduty.opened(), 1);
        assert!(world.slack_said().contains("Cause (hypothesis): solved"));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_good_only_for_a_moment_is_not_fixed() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        let restarts = world.folder.join("restarts");
        let looks = std::sync::atomic::AtomicUsize::new(0);
        world.prometheus.set_fn(UP, move |_| {
            let restarted = restarts.exists();
            let look = looks.fetch_add(usize::from(restarted), std::sync::atomic::Ordering::SeqCst);
            QueryAnswer::value(if restarted && look == 0 { 1.0 } else { 0.0 })
        });
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.actions[0].state, ActionState::Done);
        assert_eq!(case.actions[0].verified, Some(Finding::NotFixed));
        assert_eq!(case.state(), State::Escalated);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_of_unknown_outcome_is_repeated_only_with_a_person() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.break_service("web");
        let restart = world.folder.join("restart.sh");
        std::fs::write(&restart, "#!/bin/sh\necho \"$2\" >> \"$1/restarts\"\nkill -9 $$\n")
            .unwrap();
        let model = FakeModel::respond(|request| match turn(request) {
            n @ 0..=1 => {
                let reason = format!("attempt {n}");
                let args = json!({ "service": "web", "host": "box1", "reason": reason });
                ModelReply::call("restart_service", args)
            }
            _ => conclude(request, "its restart dies"),
        })
        .await;
        world.models(&[&model]);
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
        assert_eq!(case.actions[0].state, ActionState::Unknown);
        assert_eq!(world.restarts("web"), 1);
        assert!(world.slack_said().contains("unknown outcome"));
        assert!(case.actions[1].proposal.reason.contains("that outcome is unknown"));
        server.stop().await;
    })
    .await;
}

/// Without a runbook the alert's own rule is measured: it must no longer hold, and what it speaks of
/// must still be there.
#[tokio::test]
async fn a_rule_whose_series_vanished_is_unverified() {
    for (left, expected, words) in [
        (QueryAnswer::empty(), State::Escalated, "unverified: up_web returns no data"),
        (QueryAnswer::value(1.0), State::Resolved, "up_web = 1, no longer == 0"),
    ] {
        for_each_engine(|ground| {
            let left = left.clone();
            async move {
                let mut world = World::new(&ground).await;
                let model = FakeModel::respond(|request| conclude(request, "it came back")).await;
                world.models(&[&model]);
                world.set_runbooks(NO_RUNBOOKS);
                world.prometheus.add_rule("ServiceDown", "up_web == 0", 0.0, &[]);
                world.prometheus.set("up_web == 0", QueryAnswer::empty());
                world.prometheus.set("up_web", left);
                let server = world.server().await;
                server.post(&Problem::down().firing()).await;
                server.settle(20).await;
                let case = server.only_case().await;
                assert_eq!(case.state(), expected, "{case:#?}");
                assert_eq!(case.end.unwrap().why, words);
                server.stop().await;
            }
        })
        .await;
    }
}

/// By it it is judged what continues the incident, and what still fires long after it.
#[tokio::test]
async fn a_notice_that_comes_after_the_end_does_not_move_it() {
    for_each_engine(|ground| async move {
        let (world, server) = down(&ground).await;
        server.post(&Problem::down().firing()).await;
        server.settle(20).await;
        let ended_at_ms = server.incidents().await[0].ended_at_ms;
        assert!(ended_at_ms.is_some());
        world.clock.advance(1_200_000);
        server.post(&Problem::down().resolved()).await;
        server.settle(0).await;
        assert!(server.only_case().await.alerts[0].resolved_at_ms.is_some());
        assert_eq!(server.incidents().await[0].ended_at_ms, ended_at_ms);
        server.stop().await;
    })
    .await;
}
