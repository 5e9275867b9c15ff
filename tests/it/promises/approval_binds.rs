//! An approval covers one exact call, once, until it expires, while everything is as it was judged.

use crate::support::drill::{Problem, conclude, sre_token, token_of, turn};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::process::client;
use crate::support::world::{SCOPE, Server, World};
use crate::support::{FakeModel, ModelReply};
use futures::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::fs;
use tokio::sync::oneshot;
use watchkeeper::approval::access::Access;
use watchkeeper::model::action::{Action, ActionState, Answer};
use watchkeeper::model::incident::State;
use watchkeeper::store::actions::Decided;
use watchkeeper::store::inbox;
use watchkeeper::store::switches::Switch;

/// A world in which the restart of the database waits for a person.
async fn asked(ground: &Ground) -> (World, Server, Action) {
    let world = World::new(ground).await;
    Problem::corruption().in_prometheus(&world);
    let server = world.server().await;
    server.post(&Problem::corruption().firing()).await;
    server.settle(0).await;
    let action = waiting(&server).await;
    (world, server, action)
}

async fn waiting(server: &Server) -> Action {
    let case = server.only_case().await;
    assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
    case.open_action().unwrap().clone()
}

/// The action was not run, and a person knows why.
async fn assert_superseded(world: &World, server: &Server, action: &Action, why: &str) {
    let case = server.only_case().await;
    let ended = case.action(action.id()).unwrap();
    assert_eq!(ended.state, ActionState::Superseded, "{ended:#?}");
    let said = ended.outcome.clone().unwrap();
    assert!(said.contains(why), "{said}");
    assert_eq!(world.all_restarts(), 0);
    let row = server.app.store.action(SCOPE, action.id()).await.unwrap().unwrap();
    assert_eq!(row.state, ActionState::Superseded);
}

/// A write that holds the incident, so that decisions on it queue up behind.
struct Jam {
    release: oneshot::Sender<()>,
}

impl Jam {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    async fn begin(server: &Server) -> Self {
        let (store, incident) = (server.app.store.clone(), server.incidents().await[0].id);
        let now_ms = server.app.clock.now_ms();
        let ((started, has_started), (release, go_on)) = (oneshot::channel(), oneshot::channel());
        tokio::spawn(async move {
            let held = store.write(move |conn| {
                Box::pin(async move {
                    inbox::wake(conn, [incident], now_ms).await?;
                    started.send(()).unwrap();
                    let _ = go_on.await;
                    Ok(())
                })
            });
            held.await.unwrap();
        });
        has_started.await.unwrap();
        Self { release }
    }

    /// Postgres says who waits for a lock. SQLite does not, but its readers take turns: what is
    /// asked later is answered later.
    async fn until_they_wait(&self, ground: &Ground, look: impl Fn() -> RequestBuilder) {
        let waits = "select 1 from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'";
        for _ in 0..1_000 {
            if ground.engine() == "postgres" && ground.sql(waits).await.len() >= 2 {
                return;
            }
            if ground.engine() == "sqlite" {
                join_all((0..100).map(|_| look().send())).await;
                return;
            }
        }
        panic!("no decision waits for another one");
    }

    fn end(self) {
        self.release.send(()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_approvals_at_once_are_one_decision_and_one_run() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        let decisions = join_all((0..50).map(|n| {
            let answer = if n % 2 == 0 { Answer::Approve } else { Answer::Reject };
            server.decide(action.id(), answer)
        }))
        .await;
        let recorded = decisions.iter().filter(|decided| **decided == Decided::Recorded);
        assert_eq!(recorded.count(), 1, "{decisions:?}");
        server.settle(10).await;
        let case = server.only_case().await;
        let ended = case.action(action.id()).unwrap();
        let expected = if ended.state == ActionState::Rejected { 0 } else { 1 };
        assert_eq!(world.restarts("db"), expected);
        server.stop().await;
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "what it starts ends with the test")]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_approvals_over_http_are_one_decision_and_one_run() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        let texts: Vec<String> = (0..50).map(|n| format!("wk_{n:032}")).collect();
        let tokens = texts.iter().enumerate().map(|(n, text)| token_of(&format!("p{n}"), text));
        let base = server.listen(Access { users: vec![], tokens: tokens.collect() }).await;
        server.run();
        let client = client();
        let paths = ["confirm/{id}?approved=true", "api/v1/actions/{id}/approve"];
        let jam = Jam::begin(&server).await;
        // Fifty people: one of them who asks twice would be told so anyway.
        let requests: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(n, text)| {
                let path = paths[n % 2].replace("{id}", &action.id().to_string());
                let request = client.post(format!("{base}/{path}")).bearer_auth(text);
                tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
            })
            .collect();
        // By now they have all seen a question that is open; only the store can tell them apart.
        jam.until_they_wait(&ground, || {
            client.get(format!("{base}/api/v1/actions/{}", action.id())).bearer_auth(&texts[0])
        })
        .await;
        jam.end();
        let answers = join_all(requests).await;
        let answers: Vec<u16> = answers.into_iter().map(Result::unwrap).collect();
        let won = answers.iter().filter(|status| **status == 200).count();
        assert_eq!(won, 2, "each of the two counts once: {answers:?}");
        assert!(answers.iter().all(|status| [200, 409].contains(status)), "{answers:?}");
        // From there on the incident waits for a clock that stands still.
        server.wait_for("the measurement", |cases| cases[0].state() == State::Verifying).await;
        assert_eq!(world.restarts("db"), 1);
        let case = server.only_case().await;
        // The two who were counted first, whoever came first.
        let by = case.action(action.id()).unwrap().decided_by.clone().unwrap();
        let mut by: Vec<String> = by.split(", ").map(str::to_owned).collect();
        by.sort();
        let won = (0..50).filter(|n| answers[*n] == 200);
        let mut won: Vec<String> = won.map(|n| format!("p{n}")).collect();
        won.sort();
        assert_eq!(by, won);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_decides_nothing_and_strangers_cannot() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        let (token, text) = sre_token();
        let base = server.listen(Access { users: vec![], tokens: vec![token] }).await;
        let url = format!("{base}/confirm/{}?approved=true", action.id());
        let client = client();
        for request in [
            client.get(&url).bearer_auth(text),
            client.head(&url).bearer_auth(text),
            client.post(&url),
            client.post(&url).bearer_auth("wk_wrong"),
            client.post(&url).bearer_auth(text).header("origin", "https://evil.example"),
            client.post(format!("{base}/confirm/{}", action.id())).bearer_auth(text),
        ] {
            let status = request.send().await.unwrap().status().as_u16();
            assert!(status != 409, "it was decided before");
        }
        let row = server.app.store.action(SCOPE, action.id()).await.unwrap().unwrap();
        assert_eq!(row.state, ActionState::Awaiting);
        server.settle(0).await;
        assert_eq!(world.all_restarts(), 0);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn changed_rules_supersede_an_approval() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        server.decide(action.id(), Answer::Approve).await;
        server.stop().await;
        let file = world.folder.join("config/safety_rules.yaml");
        let rules = fs::read_to_string(&file).unwrap();
        fs::write(&file, rules.replace("max: 6, per: [host, service]", "max: 5, per: [service]"))
            .unwrap();
        let server = world.server().await;
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "the safety rules changed").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_stricter_rule_refuses_an_approved_call() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        server.decide(action.id(), Answer::Approve).await;
        server.stop().await;
        world.set_autonomy("page");
        let server = world.server().await;
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "now refused: ").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_target_that_drifted_supersedes_an_approval() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        server.decide(action.id(), Answer::Approve).await;
        server.stop().await;
        let file = world.folder.join("config/inventory.yaml");
        let inventory = fs::read_to_string(&file).unwrap();
        let other = world.folder.join("other.sh").display().to_string();
        fs::copy(world.folder.join("restart.sh"), &other).unwrap();
        let restart = world.folder.join("restart.sh").display().to_string();
        fs::write(&file, inventory.replace(&restart, &other)).unwrap();
        let server = world.server().await;
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "changed since it was judged").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn alerts_that_resolve_supersede_an_approval() {
    for approved_first in [true, false] {
        for_each_engine(|ground| async move {
            let (world, server, action) = asked(&ground).await;
            if approved_first {
                server.decide(action.id(), Answer::Approve).await;
            }
            server.post(&Problem::corruption().resolved()).await;
            while server.app.intake.take_batch().await.unwrap() > 0 {}
            if !approved_first {
                server.decide(action.id(), Answer::Approve).await;
            }
            server.settle(10).await;
            let why = "every alert was resolved in the meantime";
            assert_superseded(&world, &server, &action, why).await;
            assert_eq!(server.only_case().await.state(), State::Resolved);
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_halt_after_the_approval_stops_the_run() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        server.decide(action.id(), Answer::Approve).await;
        server.app.store.set_halt(Switch::On, "bob", world.clock.now_ms()).await.unwrap();
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "halted by").await;
        // Letting changes go on again does not bring the approval back.
        server.app.store.set_halt(Switch::Off, "bob", world.clock.now_ms()).await.unwrap();
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "halted by").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_approval_that_expired_before_its_run_does_not_run() {
    for_each_engine(|ground| async move {
        let (world, server, action) = asked(&ground).await;
        world.clock.advance(action.expires_at_ms.unwrap() - world.clock.now_ms() - 1);
        assert_eq!(server.decide(action.id(), Answer::Approve).await, Decided::Recorded);
        world.clock.advance(1);
        server.settle(10).await;
        assert_superseded(&world, &server, &action, "the approval has expired").await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rejected_change_is_not_asked_for_again_in_other_words() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let model = FakeModel::respond(|request| match turn(request) {
            3 => conclude(request, "damaged pages"),
            n => {
                let reason = format!("reason number {n}");
                let args = json!({ "service": "db", "host": "box1", "reason": reason });
                ModelReply::call("restart_service", args)
            }
        })
        .await;
        world.models(&[&model]);
        Problem::corruption().in_prometheus(&world);
        let server = world.server().await;
        server.post(&Problem::corruption().firing()).await;
        server.settle(0).await;
        let action = waiting(&server).await;
        server.decide(action.id(), Answer::Reject).await;
        server.settle(10).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated, "{case:#?}");
        assert_eq!(case.actions.len(), 1);
        let told = model.requests().last().unwrap().body.to_string();
        assert!(told.contains("a person rejected this very change"), "{told}");
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_approver_sees_is_the_stored_call() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        let hostile = "<script>alert(1)</script> \u{202e}gnihtyna ${x} {{x}} ' OR 1=1 --";
        let model = FakeModel::respond(move |request| match turn(request) {
            0 => {
                let args = json!({ "service": "db", "host": "box1", "reason": hostile });
                ModelReply::call("restart_service", args)
            }
            _ => conclude(request, "damaged pages"),
        })
        .await;
        world.models(&[&model]);
        let server = world.server().await;
        server.post(&Problem::corruption().firing()).await;
        server.settle(0).await;
        let action = waiting(&server).await;
        let (token, text) = sre_token();
        let base = server.listen(Access { users: vec![], tokens: vec![token] }).await;
        let get = |path: String| client().get(format!("{base}/{path}")).bearer_auth(text).send();
        let page = get(format!("confirm/{}", action.id())).await.unwrap().text().await.unwrap();
        assert!(page.contains(&action.proposal.call.hash()), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains('\u{202e}'), "{page}");
        let path = format!("api/v1/actions/{}", action.id());
        let shown: Value = get(path).await.unwrap().json().await.unwrap();
        let row = server.app.store.action(SCOPE, action.id()).await.unwrap().unwrap();
        assert_eq!(row.call_hash, action.proposal.call.hash());
        assert_eq!(row.args, action.proposal.call.canonical_args());
        assert!(shown.to_string().contains(&row.call_hash), "{shown}");
        server.stop().await;
    })
    .await;
}
