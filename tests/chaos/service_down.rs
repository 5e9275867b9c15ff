//! A service has stopped: read its log, restart it once, tell the team.

use super::{Mind, escalates_without_a_runbook, model, went_well};
use crate::support::drill::{Problem, conclude, last_answer, turn};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::World;
use crate::support::{ModelReply, ModelRequest};
use serde_json::json;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Finding;

async fn drill(ground: &Ground, mind: Mind) {
    let mut world = World::new(ground).await;
    world.add_logs(3, 30);
    world.break_service("web");
    let model = model(mind, &mut world).await;
    let problem = Problem::down();
    problem.in_prometheus(&world);

    let server = world.server().await;
    server.post(&problem.firing()).await;
    server.settle(30).await;

    let case = server.only_case().await;
    assert_eq!(case.state(), State::Resolved, "{case:#?}");
    assert_eq!(world.restarts("web"), 1);
    assert_eq!(world.all_restarts(), 1);
    assert!(world.is_up("web"));
    assert_eq!(world.log_files().len(), 3);
    assert_eq!(case.actions.len(), 1);
    assert_eq!(case.actions[0].state, ActionState::Done);
    assert_eq!(case.actions[0].verified, Some(Finding::Fixed));
    let logs = went_well(&case, "get_service_logs");
    let read = logs.first().unwrap().answer.as_ref().unwrap();
    assert!(read.text.contains("out of memory"), "{}", read.text);
    let restarted = went_well(&case, "restart_service")[0].answer.as_ref().unwrap();
    assert!(read.seq < restarted.seq, "restarted before it read the log");
    assert!(!case.conclusion.as_ref().unwrap().is_hypothesis());
    let said = world.slack_said();
    for words in ["Investigating", "was restarted", "Resolved"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(world.pagerduty.opened(), 0);
    assert!(case.report.is_some());
    world.assert_no_violations();
    if let Some(model) = model {
        assert_eq!(model.violations(), Vec::<String>::new());
        assert_eq!(case.mind.as_deref(), Some("model"));
    }
    server.stop().await;
}

#[tokio::test]
async fn with_the_runbook() {
    for_each_engine(|ground| async move { drill(&ground, Mind::Runbook).await }).await;
}

fn straight(request: &ModelRequest, _: &str) -> ModelReply {
    match turn(request) {
        0 => ModelReply::calls(&[
            ("get_service_logs", json!({ "service": "web", "level": "error", "lines": 50 })),
            ("check_dependencies", json!({ "service": "web" })),
        ]),
        1 => {
            assert!(request.messages().iter().any(|m| m.to_string().contains("out of memory")));
            ModelReply::call(
                "restart_service",
                json!({ "service": "web", "host": "box1", "reason": "it ran out of memory" }),
            )
        }
        2 => {
            assert!(last_answer(request).contains("measured: fixed"), "{request:?}");
            ModelReply::call(
                "send_notification",
                json!({ "channel": "slack", "severity": "info", "message": "web was restarted" }),
            )
        }
        _ => conclude(request, "web ran out of memory"),
    }
}

/// Other spellings, other order, and two changes in one answer, of which one has to wait.
fn roundabout(request: &ModelRequest, _: &str) -> ModelReply {
    let restart = |reason: &str| json!({ "service": "web-svc", "reason": reason });
    match turn(request) {
        0 => ModelReply::text_call("get_service_logs", &json!({ "service": "web.service" })),
        1 => ModelReply::calls(&[
            ("restart_service", restart("first")),
            ("restart_service", restart("and again")),
            (
                "send_notification",
                json!({ "channel": "all", "severity": "info", "message": "web was restarted" }),
            ),
        ]),
        2 => {
            let all = request.body.to_string();
            assert!(all.contains("one change at a time"), "{all}");
            conclude(request, "web was killed")
        }
        _ => ModelReply::text("that was all"),
    }
}

#[tokio::test]
async fn with_a_model() {
    for_each_engine(|ground| async move { drill(&ground, Mind::Model(straight)).await }).await;
}

#[tokio::test]
async fn with_a_model_that_asks_for_two_restarts_at_once() {
    for_each_engine(|ground| async move { drill(&ground, Mind::Model(roundabout)).await }).await;
}

#[tokio::test]
async fn without_its_runbook_it_escalates() {
    for_each_engine(|ground| async move {
        escalates_without_a_runbook(&ground, Problem::down()).await;
    })
    .await;
}
