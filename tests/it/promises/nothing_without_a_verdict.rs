//! No tool runs without a recorded verdict, and limits hold over incidents, spellings and time.

use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{Server, World, webhook};
use serde_json::json;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::model::verdict::Decision;
use watchkeeper::store::switches::Switch;

const SPELLINGS: [&str; 3] = ["web", "web-svc", "web.service"];
const HOUR_MS: i64 = 3_600_000;

/// The n-th incident about the same service: its shard makes it another problem.
fn problem(n: usize) -> Problem {
    let shard: &'static str = Box::leak(n.to_string().into_boxed_str());
    Problem::down().with("service", SPELLINGS[n % 3]).with("shard", shard)
}

async fn world(ground: &crate::support::engines::Ground) -> World {
    let mut world = World::new(ground).await;
    world.settings.ingest.correlate_by.push("shard".into());
    world
}

async fn states(server: &Server) -> Vec<(State, Vec<ActionState>)> {
    let mut states = Vec::new();
    for row in server.incidents().await {
        let case = server.case(row.id).await;
        states.push((case.state(), case.actions.iter().map(|a| a.state).collect()));
    }
    states
}

fn count(states: &[(State, Vec<ActionState>)], state: State) -> usize {
    states.iter().filter(|(one, _)| *one == state).count()
}

#[tokio::test]
async fn ten_incidents_one_after_the_other_restart_a_service_three_times_an_hour() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        for n in 0..10 {
            world.break_service("web");
            problem(n).in_prometheus(&world);
            server.post(&problem(n).firing()).await;
            server.settle(1).await;
        }
        assert_eq!(world.restarts("web"), 3);
        let after = states(&server).await;
        assert_eq!(count(&after, State::Resolved), 3, "{after:?}");
        assert_eq!(count(&after, State::AwaitingApproval), 7, "{after:?}");
        assert!(world.slack_said().contains("3 of 3 in 1h"), "{}", world.slack_said());

        // An hour later three more, which are the six of a day.
        for (round, expected) in [(1, 6), (2, 6)] {
            world.clock.advance(HOUR_MS);
            server.settle(1).await;
            for n in 0..5 {
                world.break_service("web");
                problem(10 * round + n).in_prometheus(&world);
                server.post(&problem(10 * round + n).firing()).await;
                server.settle(1).await;
            }
            let after = states(&server).await;
            assert_eq!(world.restarts("web"), expected, "after {round} hours: {after:?}");
        }
        world.clock.advance(24 * HOUR_MS);
        server.settle(1).await;
        world.break_service("web");
        problem(99).in_prometheus(&world);
        server.post(&problem(99).firing()).await;
        server.settle(1).await;
        assert_eq!(world.restarts("web"), 7, "a day later");
        server.stop().await;
    })
    .await;
}

/// All ten are judged before the first has restarted anything: the intents count, not the verdicts.
#[tokio::test(flavor = "multi_thread")]
async fn ten_incidents_at_once_restart_a_service_three_times() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        world.break_service("web");
        let mut alerts = Vec::new();
        for n in 0..10 {
            problem(n).in_prometheus(&world);
            alerts.push(problem(n).alert("firing"));
        }
        let server = world.server().await;
        server.run();
        server.post(&crate::support::world::webhook(&alerts)).await;
        let rests = |case: &Case| {
            let state = case.state();
            state == State::Resolved || state == State::AwaitingApproval
        };
        let cases = server
            .wait_as_time_passes("ten incidents at rest", |cases| {
                cases.len() == 10 && cases.iter().all(rests)
            })
            .await;
        assert_eq!(world.restarts("web"), 3);
        let waiting = cases.iter().filter(|case| case.state() == State::AwaitingApproval);
        assert_eq!(waiting.count(), 7);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn every_call_that_ran_has_its_own_verdict_before_it() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        let calls: Vec<_> = case.turns.iter().flat_map(|turn| &turn.calls).collect();
        assert_eq!(calls.len(), 3);
        for call in calls {
            let action = call.action_id.and_then(|id| case.action(id));
            let verdict = action.map_or(&call.verdict, |action| &action.verdict).clone().unwrap();
            assert_eq!(verdict.decision, Decision::Allow);
            assert_eq!(verdict.call_hash, call.request.call.hash());
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_halt_refuses_every_change_and_no_look() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        server.app.store.set_halt(Switch::On, "ada", world.clock.now_ms()).await.unwrap();
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated);
        assert_eq!(case.actions[0].state, ActionState::Refused);
        assert_eq!(world.all_restarts(), 0);
        assert!(case.turns[0].calls[0].answer.as_ref().unwrap().text.contains("out of memory"));
        // People hear of it all the same.
        assert_eq!(world.pagerduty.opened(), 1);
        assert!(world.slack_said().contains("halted by"), "{}", world.slack_said());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_alert_that_prometheus_does_not_fire_changes_nothing_by_itself() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.break_service("web");
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval);
        assert_eq!(world.all_restarts(), 0);
        let verdict = case.actions[0].verdict.as_ref().unwrap();
        assert!(verdict.reason().contains("Prometheus does not have the alert firing"));
        server.stop().await;
    })
    .await;
}

const RESTART_WORKER: &str = "version: 1
runbooks:
  - name: service down
    match: ['alertname=\"ServiceDown\"']
    steps:
      - id: restart
        tool: restart_service
        args: { service: worker, host: box1, reason: it is down }
    conclude: { root_cause: it had stopped }
";

/// One incident, two services: that the one is down in Prometheus says nothing of the other.
#[tokio::test]
async fn an_alert_confirms_a_change_of_its_own_target_alone() {
    for_each_engine(|ground| async move {
        for (fires, restarts) in [("web", 0), ("worker", 1)] {
            let mut world = World::new(&ground).await;
            world.settings.ingest.correlate_by = vec!["alertname".into(), "shard".into()];
            world.set_runbooks(RESTART_WORKER);
            world.break_service("worker");
            let alerts = ["web", "worker"]
                .map(|service| Problem::down().with("service", service).with("shard", fires));
            for alert in alerts.iter().filter(|alert| alert.labels.contains(&("service", fires))) {
                alert.in_prometheus(&world);
            }
            let server = world.server().await;
            server.post(&webhook(&alerts.each_ref().map(|alert| alert.alert("firing")))).await;
            server.settle(6).await;
            let newest = server.incidents().await.into_iter().map(|row| row.id).max().unwrap();
            let case = server.case(newest).await;
            let verdict = case.actions[0].verdict.as_ref().unwrap();
            assert_eq!(world.restarts("worker"), restarts, "{fires}: {}", verdict.reason());
            let unsure = verdict.reason().contains("Prometheus does not have the alert firing");
            assert_eq!(unsure, restarts == 0, "{fires}: {}", verdict.reason());
            server.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_outside_the_inventory_is_told_and_never_changed() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let stranger = Problem::down().with("service", "shop").with("instance", "10.9.9.9:9100");
        stranger.in_prometheus(&world);
        let server = world.server().await;
        server.post(&stranger.firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated);
        assert_eq!(case.actions, []);
        let said = world.slack_said();
        assert!(said.contains("not in the inventory") && said.contains("Add:"), "{said}");
        assert_eq!(json!(world.all_restarts()), json!(0));
        server.stop().await;
    })
    .await;
}
