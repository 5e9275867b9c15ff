//! A disk runs full: look, delete old logs where that is allowed, restart nothing.

use super::{Mind, escalates_without_a_runbook, model, went_well};
use crate::support::drill::{Problem, conclude, last_answer, turn};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::World;
use crate::support::{ModelReply, ModelRequest};
use serde_json::json;
use std::fs;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::{Finding, Success};

async fn drill(ground: &Ground, mind: Mind) {
    let mut world = World::new(ground).await;
    world.add_logs(5, 30);
    world.add_logs(2, 1);
    let foreign = world.folder.join("elsewhere");
    fs::create_dir_all(&foreign).unwrap();
    let precious = foreign.join("precious.log");
    fs::write(&precious, "old").unwrap();
    let old = fs::metadata(world.folder.join("logs/app-30d-0.log")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&precious).unwrap().set_modified(old).unwrap();
    let model = model(mind, &mut world).await;
    let problem = Problem::disk();
    problem.in_prometheus(&world);

    let server = world.server().await;
    server.post(&problem.firing()).await;
    server.settle(30).await;

    let case = server.only_case().await;
    assert_eq!(case.state(), State::Resolved, "{case:#?}");
    assert_eq!(world.log_files(), ["app-1d-0.log", "app-1d-1.log"]);
    assert!(precious.exists(), "a file outside clean_roots went");
    assert_eq!(world.all_restarts(), 0);
    let changes: Vec<_> = case.actions.iter().filter(|a| a.intended_at_ms.is_some()).collect();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert_eq!(changes[0].state, ActionState::Done);
    assert_eq!(changes[0].verified, Some(Finding::Fixed));
    let looks = went_well(&case, "check_system_resources");
    let look = looks.first().unwrap().answer.as_ref().unwrap();
    let clean = went_well(&case, "clean_disk_space")[0].answer.as_ref().unwrap();
    assert!(look.seq < clean.seq, "cleaned before it looked");
    assert!(!case.conclusion.as_ref().unwrap().is_hypothesis());
    let said = world.slack_said();
    assert!(said.contains("Investigating") && said.contains("Resolved"), "{said}");
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

/// Looks at two things at once, then cleans with every argument written out.
fn straight(request: &ModelRequest, logs: &str) -> ModelReply {
    match turn(request) {
        0 => ModelReply::calls(&[
            ("check_system_resources", json!({ "host": "box1", "check_types": ["disk"] })),
            ("get_metrics", json!({ "query": "old_log_files" })),
        ]),
        1 => ModelReply::call(
            "clean_disk_space",
            json!({ "host": "box1", "paths": [logs], "min_age_days": 7 }),
        ),
        _ => {
            assert!(last_answer(request).contains("measured: fixed"), "{request:?}");
            conclude(request, "old logs filled the disk")
        }
    }
}

/// Tries a folder outside the roots first, spells the host by its address, leaves defaults out.
fn roundabout(request: &ModelRequest, logs: &str) -> ModelReply {
    let foreign = logs.replace("/logs", "/elsewhere");
    match turn(request) {
        0 => ModelReply::call("check_system_resources", json!({ "host": "10.2.3.4" })),
        1 => ModelReply::call("clean_disk_space", json!({ "paths": [foreign], "host": "box1" })),
        2 => {
            assert!(last_answer(request).contains("refused"), "{}", last_answer(request));
            ModelReply::call("clean_disk_space", json!({ "paths": [logs], "host": "10.2.3.4" }))
        }
        _ => conclude(request, "logs that nobody rotates"),
    }
}

#[tokio::test]
async fn with_a_model() {
    for_each_engine(|ground| async move { drill(&ground, Mind::Model(straight)).await }).await;
}

#[tokio::test]
async fn with_a_model_that_tries_foreign_folders_first() {
    for_each_engine(|ground| async move { drill(&ground, Mind::Model(roundabout)).await }).await;
}

#[tokio::test]
async fn without_its_runbook_it_escalates() {
    for_each_engine(|ground| async move {
        escalates_without_a_runbook(&ground, Problem::disk()).await;
    })
    .await;
}

/// A file that is written between the judgement and the deletion is none of those that were judged.
#[tokio::test]
async fn a_file_that_changes_after_the_judgement_stays() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.add_logs(5, 30);
        world.set_autonomy("advise");
        let problem = Problem::disk();
        problem.in_prometheus(&world);
        let server = world.server().await;
        server.post(&problem.firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");

        fs::write(world.folder.join("logs/app-30d-0.log"), "fresh").unwrap();
        // As old as before, and yet not what was looked at.
        let other = world.folder.join("logs/app-30d-1.log");
        let old = fs::metadata(&other).unwrap().modified().unwrap();
        fs::write(&other, "other").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(old).unwrap();
        world.add_logs(1, 40);
        let id = case.actions[0].id();
        server.decide(id, watchkeeper::model::action::Answer::Approve).await;
        server.settle(30).await;

        let kept = ["app-30d-0.log", "app-30d-1.log", "app-40d-0.log"];
        assert_eq!(world.log_files(), kept, "{:#?}", server.only_case().await.actions);
        let answers = server.only_case().await;
        let cleaned = went_well(&answers, "clean_disk_space");
        assert_eq!(cleaned[0].answer.as_ref().unwrap().outcome, Success::Ok);
        server.stop().await;
    })
    .await;
}
