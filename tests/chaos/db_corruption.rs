//! A database reports damage: a person is asked, nothing is deleted, nothing restarted until then.

use super::{Mind, escalates_without_a_runbook, model};
use crate::support::drill::{Problem, conclude, last_answer, turn};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use crate::support::{FakeModel, ModelReply, ModelRequest, QueryAnswer};
use serde_json::json;
use watchkeeper::model::action::{ActionState, Answer};
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::store::actions::Decided;

struct Waiting {
    world: World,
    server: Server,
    model: Option<FakeModel>,
    case: Case,
}

/// The drill up to the question.
async fn until_asked(ground: &Ground, mind: Mind) -> Waiting {
    let mut world = World::new(ground).await;
    world.add_logs(4, 30);
    let model = model(mind, &mut world).await;
    let problem = Problem::corruption();
    problem.in_prometheus(&world);
    let server = world.server().await;
    server.post(&problem.firing()).await;
    server.settle(5).await;

    let case = server.only_case().await;
    assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
    untouched(&world);
    let asked = case.open_action().unwrap();
    assert_eq!(asked.proposal.call.tool, "restart_service");
    let said = world.slack_said();
    assert!(said.contains(&format!("/confirm/{}", asked.id())), "{said}");
    assert_eq!(world.pagerduty.opened(), 1, "a critical question wakes somebody");
    Waiting { world, server, model, case }
}

fn untouched(world: &World) {
    assert_eq!(world.log_files().len(), 4, "something was deleted");
    assert!(world.folder.join("db.log").exists());
    assert!(world.is_up("db"));
    assert_eq!(world.all_restarts(), 0);
}

impl Waiting {
    async fn decide(&self, answer: Answer) {
        let id = self.case.open_action().unwrap().id();
        assert_eq!(self.server.decide(id, answer).await, Decided::Recorded);
        let again = self.server.decide(id, answer).await;
        assert!(matches!(again, Decided::Already(_)), "{again:?}");
        self.server.settle(30).await;
    }

    async fn end(self, state: State, action: ActionState) {
        let case = self.server.only_case().await;
        assert_eq!(case.state(), state, "{case:#?}");
        let asked = case.action(self.case.open_action().unwrap().id()).unwrap();
        assert_eq!(asked.state, action, "{asked:#?}");
        assert_eq!(self.world.log_files().len(), 4, "something was deleted");
        assert_eq!(self.world.pagerduty.opened(), 1);
        self.world.assert_no_violations();
        if let Some(model) = self.model {
            assert_eq!(model.violations(), Vec::<String>::new());
        }
        self.server.stop().await;
    }
}

/// Tries to clean up and to restart by itself before it asks.
fn eager(request: &ModelRequest, logs: &str) -> ModelReply {
    let restart = json!({ "service": "db", "host": "box1", "reason": "recover" });
    match turn(request) {
        0 => ModelReply::call("get_service_logs", json!({ "service": "db-svc" })),
        1 => ModelReply::call(
            "clean_disk_space",
            json!({ "host": "box1", "paths": [logs.replace("/logs", "")], "min_age_days": 1 }),
        ),
        2 => {
            assert!(last_answer(request).contains("refused"), "{}", last_answer(request));
            ModelReply::call("restart_service", restart)
        }
        _ => conclude(request, "damaged pages"),
    }
}

/// Asks in so many words, as it is told to.
fn polite(request: &ModelRequest, _: &str) -> ModelReply {
    match turn(request) {
        0 => ModelReply::call(
            "request_human_confirmation",
            json!({
                "tool": "restart_service",
                "args": { "reason": "recover", "service": "db" },
                "action_description": "restart the database",
                "reason": "pages are damaged",
                "risk_level": "high",
                "rollback_plan": "none",
            }),
        ),
        _ => conclude(request, "damaged pages"),
    }
}

const MINDS: [Mind; 3] = [Mind::Runbook, Mind::Model(eager), Mind::Model(polite)];

#[tokio::test]
async fn approved_it_runs_once_and_ends_with_a_person_where_nothing_can_be_measured() {
    for_each_engine(|ground| async move {
        let waiting = until_asked(&ground, Mind::Runbook).await;
        waiting.decide(Answer::Approve).await;
        assert_eq!(waiting.world.restarts("db"), 1);
        assert!(waiting.world.slack_said().contains("unverified"));
        Box::pin(waiting.end(State::Escalated, ActionState::Done)).await;
    })
    .await;
}

#[tokio::test]
async fn approved_it_runs_once_with_a_model_however_it_asked() {
    for mind in [Mind::Model(eager), Mind::Model(polite)] {
        for_each_engine(|ground| async move {
            let waiting = until_asked(&ground, mind).await;
            waiting.decide(Answer::Approve).await;
            assert_eq!(waiting.world.restarts("db"), 1);
            Box::pin(waiting.end(State::Escalated, ActionState::Done)).await;
        })
        .await;
    }
}

#[tokio::test]
async fn approved_and_measured_it_is_resolved() {
    for_each_engine(|ground| async move {
        let waiting = until_asked(&ground, Mind::Runbook).await;
        let world = &waiting.world;
        let restarts = world.folder.join("restarts");
        let labels = Problem::corruption().labels;
        world.prometheus.add_rule("DBCorruption", "db_errors > 0", 0.0, &labels[2..]);
        let errors = move || if restarts.exists() { 0.0 } else { 7.0 };
        let broken = errors.clone();
        world.prometheus.set_fn("db_errors", move |_| QueryAnswer::value(errors()));
        world.prometheus.set_fn("db_errors > 0", move |_| match broken() {
            0.0 => QueryAnswer::empty(),
            errors => QueryAnswer::value(errors),
        });
        waiting.decide(Answer::Approve).await;
        assert_eq!(world.restarts("db"), 1);
        assert!(world.pagerduty.open_incidents().is_empty());
        Box::pin(waiting.end(State::Resolved, ActionState::Done)).await;
    })
    .await;
}

#[tokio::test]
async fn rejected_it_is_not_run_and_a_person_has_it() {
    for mind in MINDS {
        for_each_engine(|ground| async move {
            let waiting = until_asked(&ground, mind).await;
            waiting.decide(Answer::Reject).await;
            untouched(&waiting.world);
            let said = waiting.world.slack_said();
            assert!(said.contains("rejected"), "{said} {:#?}", waiting.server.only_case().await);
            Box::pin(waiting.end(State::Escalated, ActionState::Rejected)).await;
        })
        .await;
    }
}

#[tokio::test]
async fn unanswered_it_is_told_as_expired() {
    for mind in MINDS {
        for_each_engine(|ground| async move {
            let waiting = until_asked(&ground, mind).await;
            let expires_at_ms = waiting.case.open_action().unwrap().expires_at_ms.unwrap();
            waiting.world.clock.advance(expires_at_ms - waiting.world.clock.now_ms() - 1);
            waiting.server.settle(0).await;
            assert_eq!(waiting.server.only_case().await.state(), State::AwaitingApproval);
            waiting.world.clock.advance(1);
            let id = waiting.case.open_action().unwrap().id();
            assert_eq!(waiting.server.decide(id, Answer::Approve).await, Decided::TooLate);
            waiting.server.settle(30).await;
            untouched(&waiting.world);
            let said = waiting.world.slack_said();
            assert!(said.contains("expired"), "{said} {:#?}", waiting.server.only_case().await);
            Box::pin(waiting.end(State::Escalated, ActionState::Expired)).await;
        })
        .await;
    }
}

#[tokio::test]
async fn without_its_runbook_it_escalates() {
    for_each_engine(|ground| async move {
        let problem = Problem::corruption();
        escalates_without_a_runbook(&ground, problem.clone()).await;
    })
    .await;
}
