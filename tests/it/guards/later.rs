//! Judged at one moment, started at a later one: what guards make of the time in between.

use super::{MINUTE_MS, down, facts, happen, last, problem, world, write_hosts};
use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::webhook;
use serde_json::json;
use std::fs;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::call::Call;
use watchkeeper::model::incident::State;
use watchkeeper::safety::permit::Consent;

/// Investigations may queue for longer than the window of the guard.
#[tokio::test]
async fn a_storm_that_burns_on_is_one_cause_however_late_it_is_judged() {
    for_each_engine(|ground| async move {
        let guards = "common_cause: { same_alert_on: 3, within: 10m, then: advise }";
        let world = world(&ground, guards).await;
        write_hosts(&world, &["eu"; 3]);
        let problems: Vec<Problem> = (0..3).map(down).collect();
        for problem in &problems {
            problem.in_prometheus(&world);
        }
        let server = world.server().await;
        let alerts: Vec<_> = problems.iter().map(|problem| problem.alert("firing")).collect();
        server.post(&webhook(&alerts)).await;
        while server.app.intake.take_batch().await.unwrap() > 0 {}
        world.clock.advance(11 * MINUTE_MS);
        server.settle(1).await;
        for row in server.incidents().await {
            let case = server.case(row.id).await;
            assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
        }
        assert!(!world.folder.join("restarts").exists());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_that_did_not_start_counts_for_no_breaker() {
    for_each_engine(|ground| async move {
        let guards = "breaker: { failed_or_unverified: 1, within: 1h, then: confirm, for: 2h }";
        let world = world(&ground, guards).await;
        let server = world.server().await;
        let script = world.folder.join("restart.sh");
        let (program, aside) = (fs::read(&script).unwrap(), world.folder.join("aside"));
        fs::rename(&script, &aside).unwrap();
        let case = happen(&world, &server, &problem(0)).await;
        let told = last(&case).outcome.clone().unwrap();
        assert!(told.contains("not restarted: "), "{told}");
        assert_eq!((last(&case).state, case.state()), (ActionState::Failed, State::Escalated));
        assert_eq!(server.app.store.breakers().await.unwrap(), []);

        // One that started and failed counts.
        fs::rename(&aside, &script).unwrap();
        fs::write(&script, "#!/bin/sh\nexit 1\n").unwrap();
        let case = happen(&world, &server, &problem(1)).await;
        assert_eq!(last(&case).state, ActionState::Failed);
        assert_eq!(server.app.store.breakers().await.unwrap().len(), 1);
        fs::write(&script, program).unwrap();
        server.stop().await;
    })
    .await;
}

/// What was allowed at the last second before a window does not start within it.
#[tokio::test]
async fn a_freeze_that_begins_after_the_intent_holds_the_change() {
    for_each_engine(|ground| async move {
        let guards = "freeze:\n\
            - { cron: '0 11 * * *', for: 1h, writes: confirm }\n\
            - { cron: '0 12 * * *', for: 1h, writes: forbidden, tools: [restart_service] }";
        let world = world(&ground, guards).await;
        let server = world.server().await;
        let desk = server.app.desk();
        let args = json!({"service": "web", "host": "box1", "reason": "r"});
        let call = Call::new("restart_service", args);
        let other = Call::new("clean_disk_space", json!({"host": "box1", "paths": ["/x"]}));
        let frozen =
            |call: &Call, consent| desk.gate.frozen(&facts(&desk, call), call, consent).is_some();
        let at = |call: &Call| (frozen(call, Consent::None), frozen(call, Consent::Approved));
        // The world begins at 10:00.
        world.clock.advance(60 * MINUTE_MS - 1);
        assert_eq!(at(&call), (false, false));
        world.clock.advance(1);
        assert_eq!(at(&call), (true, false));
        world.clock.advance(60 * MINUTE_MS);
        assert_eq!((at(&call), at(&other)), ((true, true), (false, false)));
        world.clock.advance(60 * MINUTE_MS);
        assert_eq!(at(&call), (false, false));
        server.stop().await;
    })
    .await;
}
