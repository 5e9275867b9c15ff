//! Every incident ends resolved by evidence or with a person told, whatever the model does.

use crate::support::drill::{NO_RUNBOOKS, Problem, conclude, turn};
use crate::support::engines::{Ground, for_each_engine, on_sqlite};
use crate::support::world::{Server, World};
use crate::support::{FakeModel, Fault, ModelReply, ModelRequest};
use futures::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use watchkeeper::app::Instead;
use watchkeeper::incident::pager;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::{Entry, Usage};
use watchkeeper::store::db::Conn;
use watchkeeper::store::tap::{Access, Tap};
use watchkeeper::store::timeline::Stream;
use watchkeeper::store::{Error, Store};

/// A stopped service and these models; the restart of the runbook would help.
async fn with_models(ground: &Ground, models: &[&FakeModel]) -> World {
    let mut world = World::new(ground).await;
    world.break_service("web");
    Problem::down().in_prometheus(&world);
    world.models(models);
    world
}

async fn run(world: &World) -> (Server, Case) {
    let server = world.server().await;
    server.post(&Problem::down().firing()).await;
    server.settle(20).await;
    let case = server.only_case().await;
    (server, case)
}

/// Why each mind was chosen, in order.
async fn minds(server: &Server, case: &Case) -> Vec<(String, String)> {
    let entries = server.app.store.timeline(Stream::incident(case.id)).await.unwrap();
    let started = |entry: Entry| {
        if let Entry::Started { mind, why } = entry { Some((mind, why)) } else { None }
    };
    entries.into_iter().filter_map(|stored| started(stored.entry)).collect()
}

/// The runbook took over, did its work, and the incident says so.
async fn assert_taken_over(world: &World, server: &Server, case: &Case, why: &str) {
    let minds = minds(server, case).await;
    let (mind, said) = minds.last().unwrap();
    assert_eq!(mind, "runbook", "{minds:?}");
    assert!(said.contains(why), "{said}");
    assert_eq!(case.state(), State::Resolved, "{case:#?}");
    assert_eq!(world.restarts("web"), 1);
    let report = server.app.store.blob(&case.report.clone().unwrap().hash).await.unwrap();
    assert!(report.unwrap().contains("runbook"));
}

#[tokio::test]
async fn the_second_model_answers_where_the_first_does_not() {
    for_each_engine(|ground| async move {
        let dead = FakeModel::respond(|_| ModelReply::error(500, "server_error", "broken")).await;
        let good = FakeModel::respond(|request| match turn(request) {
            0 => ModelReply::call("get_service_logs", json!({ "service": "web" })),
            1 => ModelReply::call("restart_service", json!({ "service": "web", "reason": "r" })),
            _ => conclude(request, "it had stopped"),
        })
        .await;
        let world = with_models(&ground, &[&dead, &good]).await;
        let (server, case) = run(&world).await;
        assert_eq!(case.state(), State::Resolved);
        assert_eq!(case.mind.as_deref(), Some("model"));
        assert!(dead.count() >= 3 && good.count() == 3, "{} {}", dead.count(), good.count());
        assert_eq!(good.violations(), Vec::<String>::new());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn when_every_model_is_down_the_runbook_takes_over_and_people_are_told() {
    let replies: Vec<fn(&ModelRequest) -> ModelReply> = vec![
        |_| ModelReply::error(500, "server_error", "broken"),
        |_| ModelReply::error(401, "invalid_api_key", "no such key"),
        |_| ModelReply::rate_limited("3600"),
        |_| ModelReply::error(429, "insufficient_quota", "out of credit"),
        |_| ModelReply::html(502),
        |_| ModelReply::html(200),
        |_| ModelReply::invalid_json(),
        |_| ModelReply::CutOff("{\"choices\":".into()),
        |_| ModelReply::large(10 * 1024 * 1024),
        |_| ModelReply::json(200, &json!({})),
        |_| ModelReply::json(200, &json!({ "choices": [] })),
    ];
    for (n, reply) in replies.into_iter().enumerate() {
        on_sqlite(|ground| async move {
            let model = FakeModel::respond(reply).await;
            let world = with_models(&ground, &[&model]).await;
            let (server, case) = run(&world).await;
            eprintln!("case {n}");
            assert_taken_over(&world, &server, &case, "every model is down").await;
            assert!(world.slack_said().contains("No model answers"), "{}", world.slack_said());
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_model_that_hangs_is_left_for_the_runbook() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|_| ModelReply::Hang).await;
        let mut world = with_models(&ground, &[&model]).await;
        world.settings.model.endpoints[0].timeout_s = 1;
        let (server, case) = run(&world).await;
        assert_taken_over(&world, &server, &case, "every model is down").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_model_that_says_nothing_ends_with_a_person() {
    for reply in ["", "   ", "I am only a language model.", "<tool_call>{\"name\":"] {
        on_sqlite(|ground| async move {
            let model = FakeModel::respond(move |_| ModelReply::text(reply)).await;
            let world = with_models(&ground, &[&model]).await;
            let (server, case) = run(&world).await;
            assert!(
                case.state() == State::Escalated || case.mind.as_deref() == Some("runbook"),
                "{case:#?}"
            );
            assert!(model.count() <= 30);
            server.stop().await;
        })
        .await;
    }
}

/// Looks again and again, never the same way.
fn endless(request: &ModelRequest) -> ModelReply {
    let lines = turn(request) + 1;
    ModelReply::call("get_service_logs", json!({ "service": "web", "lines": lines }))
}

#[tokio::test]
async fn an_endless_loop_ends_after_25_turns_and_the_runbook_takes_over() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(endless).await;
        let world = with_models(&ground, &[&model]).await;
        let (server, case) = run(&world).await;
        assert_eq!(model.count(), 25);
        assert_eq!(model.violations(), Vec::<String>::new());
        assert_taken_over(&world, &server, &case, "25 turns").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_tokens_of_an_incident_are_bounded() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(endless).await;
        let mut world = with_models(&ground, &[&model]).await;
        // The double charges 110 tokens an answer.
        world.settings.model.budgets.tokens_per_incident = 500;
        let (server, case) = run(&world).await;
        assert_eq!(model.count(), 5);
        assert_taken_over(&world, &server, &case, "tokens").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_last_fifth_of_a_days_tokens_is_for_critical_incidents() {
    for (severity, expected) in [("warning", 8), ("critical", 10)] {
        for_each_engine(|ground| async move {
            let model = FakeModel::respond(endless).await;
            let mut world = with_models(&ground, &[&model]).await;
            world.settings.model.budgets.tokens_per_day = 1_100;
            let problem = Problem::down().with("severity", severity);
            world.prometheus.clear_alerts();
            problem.in_prometheus(&world);
            let server = world.server().await;
            server.post(&problem.firing()).await;
            server.settle(20).await;
            let case = server.only_case().await;
            assert_eq!(model.count(), expected, "{severity}");
            assert_taken_over(&world, &server, &case, "today's budget").await;
            // The next day there are tokens again.
            let day_ms = 24 * 3_600_000;
            let usage = server.app.store.usage_of_day("default", world.clock.now_ms()).await;
            assert_eq!(usage.unwrap().tokens, 110 * i64::try_from(expected).unwrap());
            let later = world.clock.now_ms() + day_ms;
            let usage = server.app.store.usage_of_day("default", later).await.unwrap();
            assert_eq!(usage.tokens, 0);
            assert_ne!(case.usage, Usage::default());
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_runbook_that_takes_over_does_not_repeat_a_change_that_helped() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|request| match turn(request) {
            0 => ModelReply::call("restart_service", json!({ "service": "web", "reason": "r" })),
            _ => ModelReply::error(500, "server_error", "broken"),
        })
        .await;
        let world = with_models(&ground, &[&model]).await;
        let (server, case) = run(&world).await;
        assert_taken_over(&world, &server, &case, "every model is down").await;
        assert!(case.conclusion.unwrap().is_hypothesis());
        server.stop().await;
    })
    .await;
}

/// What nothing may be done about belongs to a person from the first moment on: neither the clock
/// moves here nor does the model answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_level_page_pages_at_once() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|_| ModelReply::Hang).await;
        let world = with_models(&ground, &[&model]).await;
        let server = world.server().await;
        server.run();
        let problem = Problem { name: "PrimaryFailover", ..Problem::down() };
        server.post(&problem.with("severity", "warning").firing()).await;
        let cases = server.wait_for("a page", |_| world.pagerduty.opened() == 1).await;
        assert_eq!(cases[0].turns, []);
    })
    .await;
}

/// The deadline passes while the mind hangs: someone is paged, once.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_deadline_does_not_wait_for_the_mind() {
    for (severity, deadline_ms) in [("critical", 300_000), ("warning", 1_800_000)] {
        for_each_engine(|ground| async move {
            let model = FakeModel::respond(|_| ModelReply::Hang).await;
            let world = with_models(&ground, &[&model]).await;
            let server = world.server().await;
            server.run();
            server.post(&Problem::down().with("severity", severity).firing()).await;
            server
                .wait_for("the model is asked", |cases| {
                    model.count() == 1 && cases.iter().all(|case| case.mind.is_some())
                })
                .await;
            world.clock.advance(deadline_ms - 1);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert_eq!(world.pagerduty.opened(), 0, "{severity}: too early");
            world.clock.advance(1);
            server.wait_for("a page", |_| world.pagerduty.opened() == 1).await;
            world.clock.advance(deadline_ms);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            assert_eq!(world.pagerduty.attempts(), 1, "{severity}: paged again");
        })
        .await;
    }
}

/// A mind's own loud words do not stand in for the page that the deadline owes.
#[tokio::test]
async fn a_note_to_slack_is_no_page() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|request| match turn(request) {
            0 => ModelReply::call(
                "send_notification",
                json!({ "channel": "slack", "severity": "critical", "message": "all is well" }),
            ),
            _ => ModelReply::call(
                "request_human_confirmation",
                json!({
                    "tool": "restart_service",
                    "args": { "service": "web", "reason": "r" },
                    "action_description": "restart",
                    "reason": "r",
                    "risk_level": "low",
                }),
            ),
        })
        .await;
        let world = with_models(&ground, &[&model]).await;
        let problem = Problem::down().with("severity", "warning");
        let server = world.server().await;
        server.post(&problem.firing()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::AwaitingApproval);
        assert_eq!(world.pagerduty.opened(), 0);
        world.clock.advance(1_800_000);
        server.settle(0).await;
        assert_eq!(world.pagerduty.opened(), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_is_not_lost_while_pagerduty_and_slack_are_down() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        world.pagerduty.fail_next((0..40).map(|n| match n % 3 {
            0 => Fault::Status(500),
            1 => Fault::RateLimited("30".into()),
            _ => Fault::CutOff,
        }));
        world.slack.fail_next((0..40).map(|_| Fault::Status(503)));
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        for _ in 0..400 {
            server.settle(0).await;
            world.clock.advance(30_000);
            if world.pagerduty.opened() > 0 && !world.slack.messages().is_empty() {
                break;
            }
        }
        let events = world.pagerduty.events();
        let of_incident = |event: &&serde_json::Value| {
            event["payload"]["summary"].to_string().contains("ServiceDown: web")
        };
        assert_eq!(events.iter().filter(of_incident).count(), 1, "{events:?}");
        assert!(world.slack_said().contains("ServiceDown"));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_hanging_incident_delays_no_other() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|request| {
            if request.body.to_string().contains("worker") {
                return ModelReply::Hang;
            }
            conclude(request, "nothing to do")
        })
        .await;
        let world = with_models(&ground, &[&model]).await;
        let server = world.server().await;
        server.run();
        server.post(&Problem::down().with("service", "worker").firing()).await;
        server.wait_for("it hangs", |_| model.count() == 1).await;
        server.post(&Problem::down().firing()).await;
        let ended = |case: &Case| case.state() == State::Escalated;
        server.wait_for("the other one's end", |cases| cases.iter().any(ended)).await;
    })
    .await;
}

/// Ends the incident in the moment between the pager's look and its page.
struct EndsInBetween(Store);

impl Tap for EndsInBetween {
    fn before(&self, _: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn after(&self, access: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if !matches!(access, Access::Read(name) if name.contains("page_due")) {
                return Ok(());
            }
            let end = "update incident set page_due_at_ms = null";
            self.0
                .write(move |conn| {
                    Box::pin(async move {
                        match conn {
                            Conn::Lite(c) => {
                                sqlx::query(end).execute(&mut **c).await.map(|_| ())?
                            }
                            Conn::Pg(c) => sqlx::query(end).execute(&mut **c).await.map(|_| ())?,
                        }
                        Ok(())
                    })
                })
                .await
        })
    }
}

/// A page after the end would stay open: nothing comes that closes it.
#[tokio::test]
async fn nobody_is_paged_for_what_ended_a_moment_ago() {
    for_each_engine(|ground| async move {
        let opened = ground.open().await;
        let tapped = opened.store.tapped(Arc::new(EndsInBetween(opened.store.clone())));
        let world = World::new(&ground).await;
        let server = world.server_with(Instead { store: Some(tapped), ..Instead::default() }).await;
        server.post(&Problem::down().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        world.clock.advance(300_000);
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 0);
        server.app.outbox.deliver_due().await.unwrap();
        assert_eq!(world.pagerduty.attempts(), 0);
        server.stop().await;
    })
    .await;
}
