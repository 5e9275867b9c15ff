//! What the recorded past says of the rules: what acting would mean, and which rules people's own
//! answers speak for.

use super::history::{configured, verb};
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use serde_json::{Value, json};
use watchkeeper::model::action::Answer;
use watchkeeper::model::incident::State;
use watchkeeper::model::verdict::Decision;

/// The shipped rules, with `when` of the restart as given and `independent_sources` if any.
fn restart_when(world: &World, when: &str, more: &str) {
    let file = world.folder.join("config/safety_rules.yaml");
    let rules = std::fs::read_to_string(&file).unwrap();
    let shipped = "    when: service.class != \"database\" && service.protected == false\n";
    assert_eq!(rules.matches(shipped).count(), 1);
    world.set_rules(&rules.replace(shipped, &format!("    when: {when}\n{more}")));
}

fn row<'v>(readiness: &'v Value, rule: &str) -> &'v Value {
    let rows = readiness["rules"].as_array().unwrap();
    rows.iter().find(|row| row["rule"] == rule).unwrap_or_else(|| panic!("{readiness:#}"))
}

const READINESS: [&str; 6] = ["policy", "readiness", "--since", "20y", "-o", "json"];

#[tokio::test]
async fn two_weeks_of_observing_show_what_acting_would_mean() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_autonomy("observe");
        world.break_service("web");
        Problem::down().in_prometheus(&world);
        let server = world.server().await;
        configured(&world, &ground);
        server.post(&Problem::down().firing()).await;
        server.settle(30).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated, "{case:#?}");
        let verdict = case.actions[0].verdict.clone().unwrap();
        assert_eq!((verdict.decision, verdict.would), (Decision::Refuse, Some(Decision::Allow)));
        let said = verb(&world, &READINESS).await.json();
        let restart = row(&said, "rule: restart one service");
        assert_eq!(restart["would"], json!({"act": 1, "ask": 0, "refuse": 0}));
        assert_eq!(restart["people"]["escalated"], 1);
        // Somebody mends it.
        server.post(&Problem::down().resolved()).await;
        server.settle(5).await;
        let said = verb(&world, &READINESS).await.json();
        let restart = row(&said, "rule: restart one service");
        assert_eq!(restart["people"]["resolved_without_us"], 1);
        assert_eq!(restart["ended"], json!({"fixed": 0, "not_fixed": 0, "unverified": 0}));
        assert_eq!(world.all_restarts(), 0);
        let table = verb(&world, &READINESS[..4]).await.ok();
        assert!(
            table.starts_with("1 incidents\n\nRULE ") && table.contains("WOULD ACT"),
            "{table}"
        );
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn without_the_second_source_acting_would_have_asked() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_autonomy("page");
        world.break_service("web");
        let server = world.server().await;
        configured(&world, &ground);
        server.post(&Problem::down().firing()).await;
        server.settle(30).await;
        let verdict = server.only_case().await.actions[0].verdict.clone().unwrap();
        assert_eq!((verdict.decision, verdict.would), (Decision::Refuse, Some(Decision::Ask)));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_without_enough_independent_sources_asks() {
    for looks in [true, false] {
        for_each_engine(|ground| async move {
            let world = World::new(&ground).await;
            let when = "service.class == \"web\" && service.protected == false";
            restart_when(&world, when, "    independent_sources: 2\n");
            if !looks {
                let file = world.folder.join("config/runbooks.yaml");
                let runbooks = std::fs::read_to_string(&file).unwrap();
                let look = "      - { id: logs, tool: get_service_logs, args: { service: \
                            \"${service}\", level: error } }\n";
                assert_eq!(runbooks.matches(look).count(), 1);
                world.set_runbooks(&runbooks.replace(look, ""));
            }
            world.break_service("web");
            Problem::down().in_prometheus(&world);
            let server = world.server().await;
            server.post(&Problem::down().firing()).await;
            server.settle(10).await;
            let case = server.only_case().await;
            let (state, note) = if looks {
                (State::Resolved, "2 of 2 independent sources: logs, prometheus")
            } else {
                (State::AwaitingApproval, "1 of 2 independent sources: prometheus")
            };
            assert_eq!(case.state(), state, "{case:#?}");
            let verdict = case.actions[0].verdict.clone().unwrap();
            let told = verdict.matched.iter().find(|m| m.source.starts_with("evidence: ")).unwrap();
            assert_eq!(told.note, note);
            server.stop().await;
        })
        .await;
    }
}

/// Times at which the worker stops, hours apart.
const TIMES: [&str; 6] = [
    "2026-03-10T10:00:00Z",
    "2026-03-10T13:00:00Z",
    "2026-03-10T16:00:00Z",
    "2026-03-10T19:00:00Z",
    "2026-03-10T22:00:00Z",
    "2026-03-11T01:00:00Z",
];

/// A world in which people were asked to restart the worker and answered like this.
async fn answered(ground: &Ground, answers: &[Answer]) -> (World, Server) {
    let world = World::new(ground).await;
    restart_when(&world, "service.class == \"web\" && service.protected == false", "");
    let server = world.server().await;
    configured(&world, ground);
    for (answer, starts_at) in answers.iter().zip(TIMES) {
        world.break_service("worker");
        let problem = Problem::down().with("service", "worker").since(starts_at);
        server.post(&problem.firing()).await;
        server.settle(0).await;
        let (id, _) = waiting(&server).await;
        server.decide_as("ada", id, *answer).await;
        server.settle(20).await;
        server.post(&problem.resolved()).await;
        server.settle(20).await;
        world.clock.advance(3 * 3_600_000);
    }
    (world, server)
}

async fn waiting(server: &Server) -> (watchkeeper::model::ids::ActionId, State) {
    for incident in server.incidents().await {
        let case = server.case(incident.id).await;
        if let Some(action) = case.open_action() {
            return (action.id(), case.state());
        }
    }
    panic!("nobody is asked: {:#?}", server.incidents().await);
}

const SUGGEST: [&str; 6] = ["policy", "suggest", "--since", "20y", "-o", "json"];

#[tokio::test]
async fn what_people_approve_again_and_again_becomes_a_suggestion_that_fits() {
    for_each_engine(|ground| async move {
        let (world, server) = answered(&ground, &[Answer::Approve; 5]).await;
        assert_eq!(world.restarts("worker"), 5);
        let before =
            std::fs::read_to_string(world.folder.join("config/safety_rules.yaml")).unwrap();
        let said = verb(&world, &SUGGEST).await.json();
        let suggested = said["suggestions"].as_array().unwrap();
        assert_eq!(suggested.len(), 1, "{said:#}");
        let (rule, evidence) = (&suggested[0]["rule"], &suggested[0]["evidence"]);
        assert_eq!(rule["when"], "service.class == \"job\" && service.protected == false");
        assert_eq!((&rule["tool"], &rule["tier"]), (&json!("restart_service"), &json!("safe")));
        assert_eq!(rule["limit"][0]["per"], json!(["host", "service"]));
        assert_eq!((&evidence["approved"], &evidence["fixed"]), (&json!(5), &json!(5)));
        assert_eq!(evidence["approved_by"], json!(["ada"]));
        assert_eq!(rule["examples"][0]["args"]["service"], "worker");
        let after = std::fs::read_to_string(world.folder.join("config/safety_rules.yaml")).unwrap();
        assert_eq!(before, after, "nothing applies itself");

        // Merged by hand, the file is right, and the past differs in those calls alone.
        let yaml = verb(&world, &SUGGEST[..4]).await.ok();
        assert!(
            yaml.contains("asked 5 times, approved 5 times by ada, rejected 0 times"),
            "{yaml}"
        );
        let lines: Vec<&str> = yaml.lines().filter(|line| !line.starts_with('#')).collect();
        let value: Value = serde_saphyr::from_str(&lines.join("\n")).unwrap();
        let mut file: Value = serde_saphyr::from_str(&before).unwrap();
        for list in ["/rules", "/example_targets/hosts", "/example_targets/services"] {
            let more = value.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
            file.pointer_mut(list).unwrap().as_array_mut().unwrap().extend(more);
        }
        // JSON is YAML.
        std::fs::write(world.folder.join("merged.yaml"), file.to_string()).unwrap();
        verb(&world, &["policy", "test", "--rules", "merged.yaml"]).await.ok();
        let simulate =
            ["policy", "simulate", "--since", "20y", "--rules", "merged.yaml", "-o", "json"];
        let differ = verb(&world, &simulate).await.json();
        assert!(differ["differ"].as_u64().unwrap() > 0, "{differ:#}");
        for one in differ["decisions"].as_array().unwrap() {
            assert_eq!((&one["recorded"], &one["decision"]), (&json!("ask"), &json!("allow")));
            assert_eq!(one["call"]["args"]["service"], "worker");
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn too_few_answers_or_one_no_speak_for_no_rule() {
    for_each_engine(|ground| async move {
        let mut answers = [Answer::Approve; 6];
        answers[5] = Answer::Reject;
        let (world, server) = answered(&ground, &answers[..4]).await;
        let said = verb(&world, &SUGGEST).await.json();
        assert_eq!(said["suggestions"], json!([]));
        let why = said["left_out"][0]["why"].as_str().unwrap();
        assert_eq!(why, "4 approved runs, 5 are wanted (--approvals)");
        let fewer = [&SUGGEST[..], &["--approvals", "4"]].concat();
        let said = verb(&world, &fewer).await.json();
        assert_eq!(said["suggestions"].as_array().unwrap().len(), 1, "{said:#}");
        server.stop().await;
    })
    .await;
    for_each_engine(|ground| async move {
        let mut answers = [Answer::Approve; 6];
        answers[5] = Answer::Reject;
        let (world, server) = answered(&ground, &answers).await;
        let said = verb(&world, &SUGGEST).await.json();
        assert_eq!(said["suggestions"], json!([]), "{said:#}");
        assert_eq!(said["left_out"][0]["why"], "people rejected it 1 times");
        let yaml = verb(&world, &SUGGEST[..4]).await.ok();
        assert!(yaml.starts_with("# No rule is suggested.\n"), "{yaml}");
        server.stop().await;
    })
    .await;
}
