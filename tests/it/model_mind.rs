//! What the model mind makes of what models really send.

use crate::support::drill::{Problem, conclude, evidence, last_answer, turn};
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use crate::support::world::{Server, World};
use crate::support::{FakeModel, ModelReply};
use serde_json::{Value, json};
use std::fs;
use watchkeeper::config::Language;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::report;
use watchkeeper::store::timeline::Stream;

async fn investigate(ground: &Ground, model: &FakeModel, prepare: fn(&mut World)) -> Ended {
    let mut world = World::new(ground).await;
    world.break_service("web");
    world.models(&[model]);
    prepare(&mut world);
    Problem::down().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::down().firing()).await;
    server.settle(10).await;
    assert_eq!(model.violations(), Vec::<String>::new());
    let case = server.only_case().await;
    Ended { world, server, case }
}

struct Ended {
    world: World,
    server: Server,
    case: Case,
}

#[tokio::test]
async fn mistakes_are_answered_to_the_model() {
    for_each_engine(|ground| async move {
        let logs = json!({ "service": "web" });
        let model = FakeModel::respond(move |request| {
            let said = last_answer(request).to_owned();
            match turn(request) {
                0 => ModelReply::call_with_raw("get_service_logs", "{\"service\": \"web\""),
                1 => {
                    assert!(said.contains("refused"), "{said}");
                    ModelReply::call_with_raw("get_service_logs", "[1]")
                }
                2 => ModelReply::call("make_coffee", json!({ "sugar": 2 })),
                3 => {
                    assert!(said.contains("make_coffee"), "{said}");
                    ModelReply::call("get_service_logs", json!({ "service": "wbe", "x": 1 }))
                }
                4 => {
                    assert!(said.contains("wbe") || said.contains("'x'"), "{said}");
                    ModelReply::call("get_service_logs", json!({ "service": "wbe" }))
                }
                5 => {
                    assert!(said.contains("web"), "the valid names are listed: {said}");
                    ModelReply::call_without_id("get_service_logs", &logs)
                }
                6 => ModelReply::call_with_object("get_service_logs", logs.clone()),
                7 => ModelReply::text_call("get_service_logs", &logs),
                8 => {
                    assert!(said.contains("out of memory"), "{said}");
                    ModelReply::call("conclude", json!({ "root_cause": "" }))
                }
                _ => conclude(request, "it ran out of memory"),
            }
        })
        .await;
        let ended = investigate(&ground, &model, |_| {}).await;
        assert_eq!(model.count(), 10);
        let conclusion = ended.case.conclusion.clone().unwrap();
        assert_eq!(conclusion.root_cause, "it ran out of memory");
        assert_eq!(conclusion.evidence.len(), 3);
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn several_looks_of_one_answer_are_all_answered_in_order() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|request| match turn(request) {
            0 => ModelReply::calls(&[
                ("get_service_logs", json!({ "service": "web" })),
                ("get_metrics", json!({ "query": "up{service=\"web\"}" })),
                ("check_dependencies", json!({ "service": "web" })),
                ("get_service_logs", json!({ "service": "worker" })),
            ]),
            _ => {
                let tools = request.messages().iter().filter(|m| m["role"] == "tool");
                let texts: Vec<&Value> = tools.map(|m| &m["content"]).collect();
                assert_eq!(texts.len(), 4);
                assert!(texts[0].to_string().contains("web: out of memory"), "{texts:?}");
                assert!(texts[3].to_string().contains("worker: out of memory"), "{texts:?}");
                conclude(request, "memory")
            }
        })
        .await;
        let ended = investigate(&ground, &model, |_| {}).await;
        assert_eq!(ended.case.turns[0].calls.len(), 4);
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_while_one_waits_for_a_person_has_to_wait() {
    for_each_engine(|ground| async move {
        let restart = |service: &str| json!({ "service": service, "host": "box1", "reason": "r" });
        let model = FakeModel::respond(move |request| match turn(request) {
            0 => ModelReply::calls(&[
                ("restart_service", restart("db")),
                ("restart_service", restart("web")),
            ]),
            _ => conclude(request, "memory"),
        })
        .await;
        let ended = investigate(&ground, &model, |_| {}).await;
        assert_eq!(ended.case.state(), State::AwaitingApproval);
        assert_eq!(ended.case.actions.len(), 1);
        assert_eq!(ended.world.all_restarts(), 0);
        let second = ended.case.turns[0].calls[1].answer.clone().unwrap();
        assert!(second.text.contains("one change at a time"), "{}", second.text);
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_million_calls_in_one_answer_are_a_few() {
    on_sqlite(|ground| async move {
        let model = FakeModel::respond(|request| match turn(request) {
            0 => {
                let call = ("get_service_logs", json!({ "service": "web" }));
                ModelReply::calls(&vec![call; 2_000])
            }
            _ => conclude(request, "memory"),
        })
        .await;
        let ended = investigate(&ground, &model, |_| {}).await;
        assert_eq!(ended.case.turns[0].calls.len(), 16);
        assert!(ended.case.conclusion.is_some());
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_conclusion_without_evidence_is_a_hypothesis_in_the_report() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|_| {
            let args = json!({
                "root_cause": "the moon", "confidence": "high", "evidence": [1, 9999, "#77"],
            });
            ModelReply::call("conclude", args)
        })
        .await;
        let ended = investigate(&ground, &model, |_| {}).await;
        let conclusion = ended.case.conclusion.clone().unwrap();
        assert_eq!(conclusion.evidence, Vec::<i64>::new());
        let hash = ended.case.report.clone().unwrap().hash;
        let report = ended.server.app.store.blob(&hash).await.unwrap().unwrap();
        let stored: Value = serde_json::from_str(&report).unwrap();
        assert!(stored.to_string().contains("the moon"), "{stored}");
        let stream = Stream::incident(ended.case.id);
        let entries = ended.server.app.store.timeline(stream).await.unwrap();
        let report = report::build(&ended.case, &entries, None, ended.world.clock.now_ms());
        let markdown = report::markdown(&report, Language::En);
        assert!(markdown.to_lowercase().contains("hypothesis"), "{markdown}");
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn prompts_come_in_chinese_too() {
    on_sqlite(|ground| async move {
        let model = FakeModel::respond(|request| conclude(request, "内存不足")).await;
        let ended =
            investigate(&ground, &model, |world| world.settings.language = Language::Zh).await;
        let system = model.requests()[0].messages()[0]["content"].to_string();
        assert!(system.contains("值班工程师"), "{system}");
        assert_eq!(ended.case.conclusion.clone().unwrap().root_cause, "内存不足");
        ended.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_cut_output_can_be_read_on_and_searched() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|request| {
            let said = last_answer(request).to_owned();
            let reference = || {
                let at = said.find("read_output").expect("the cut names the way to go on");
                let hash: String = said[at..]
                    .split(|c: char| !c.is_ascii_hexdigit())
                    .find(|word| word.len() >= 12)
                    .unwrap()
                    .to_owned();
                hash
            };
            match turn(request) {
                0 => ModelReply::call(
                    "get_service_logs",
                    json!({ "service": "web", "level": "all", "lines": 1000 }),
                ),
                1 => {
                    assert!(!said.contains("needle"), "it was not cut");
                    let args = json!({ "ref": reference(), "grep": "needle" });
                    ModelReply::call("read_output", args)
                }
                2 => {
                    assert!(said.contains("needle in line 500"), "{said}");
                    ModelReply::call("read_output", json!({ "ref": "0000000000000000" }))
                }
                _ => {
                    assert!(said.contains("failed"), "{said}");
                    assert_eq!(evidence(request).len(), 2);
                    conclude(request, "a needle")
                }
            }
        })
        .await;
        let ended = investigate(&ground, &model, |world| {
            world.settings.model.output_bytes_in_prompt_max = 4_096;
            let lines: String = (0..1_000)
                .map(|n| match n {
                    500 => "2026-03-10T09:59:00Z INFO needle in line 500\n".to_owned(),
                    n => format!("2026-03-10T09:59:00Z INFO line {n} of much text\n"),
                })
                .collect();
            fs::write(world.folder.join("web.log"), lines).unwrap();
        })
        .await;
        assert_eq!(model.count(), 4);
        assert!(ended.case.conclusion.is_some());
        ended.server.stop().await;
    })
    .await;
}
