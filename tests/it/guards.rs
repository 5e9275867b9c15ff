//! Guards as incidents meet them: from the alert to what was restarted in the world outside.

mod later;

use crate::support::drill::{BOX, Problem};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World, webhook};
use futures::{StreamExt as _, stream};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use watchkeeper::action::gate::Facts;
use watchkeeper::approval::access::Access;
use watchkeeper::incident::Desk;
use watchkeeper::model::action::{Action, ActionState, Answer, Proposal, Risk, Wanted};
use watchkeeper::model::alert::Labels;
use watchkeeper::model::call::Call;
use watchkeeper::model::case::Case;
use watchkeeper::model::ids::ActionId;
use watchkeeper::model::incident::State;
use watchkeeper::model::verdict::Decision;
use watchkeeper::safety::provenance::Trusted;
use watchkeeper::store::Error;

const MINUTE_MS: i64 = 60_000;

/// Rules under which a restart is safe but for these guards.
fn rules(guards: &str) -> String {
    format!(
        "version: 1\nautonomy: act\n\
         levels: [{{ match: ['alertname=\"ServiceDown\"'], autonomy: act }}]\n{guards}\n\
         rules: [{{ name: restart, tool: restart_service, tier: safe }}]\n"
    )
}

/// The n-th incident about the same service.
fn problem(n: usize) -> Problem {
    Problem::down().with("shard", leaked(n.to_string()))
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

async fn world(ground: &Ground, guards: &str) -> World {
    let mut world = World::new(ground).await;
    world.settings.ingest.correlate_by.push("shard".into());
    world.set_rules(&rules(guards));
    world
}

/// One incident after the other.
async fn happen(world: &World, server: &Server, problem: &Problem) -> Case {
    world.break_service("web");
    problem.in_prometheus(world);
    server.post(&problem.firing()).await;
    server.settle(6).await;
    let newest = server.incidents().await.into_iter().map(|row| row.id).max().unwrap();
    server.case(newest).await
}

fn last(case: &Case) -> &Action {
    case.actions.last().unwrap()
}

fn reason(case: &Case) -> String {
    last(case).verdict.as_ref().unwrap().reason()
}

/// Hosts of the machine's own kind in regions, each with a service of its own.
fn write_hosts(world: &World, regions: &[&str]) {
    let restart = world.folder.join("restart.sh").display().to_string();
    let folder = world.folder.display().to_string();
    let log = world.folder.join("web.log").display().to_string();
    let (mut hosts, mut services) = (String::new(), String::new());
    for (n, region) in regions.iter().enumerate() {
        fs::write(world.folder.join(format!("state/s{n}")), "").unwrap();
        hosts.push_str(&format!(
            "  - {{ name: h{n}, addresses: [10.9.0.{n}], class: server, region: {region}, \
             reach: local, systemd: no, allow: [restart_service] }}\n"
        ));
        services.push_str(&format!(
            "  - {{ name: s{n}, class: web, hosts: [h{n}], logs: {{ file: {log} }}, \
             commands: {{ restart: [{restart}, {folder}, s{n}], status: [/bin/true] }} }}\n"
        ));
    }
    let yaml = format!("hosts:\n{hosts}services:\n{services}");
    fs::write(world.folder.join("config/inventory.yaml"), yaml).unwrap();
    for n in 0..regions.len() {
        let state = world.folder.join(format!("state/s{n}"));
        world.prometheus.set_fn(&format!("up{{service=\"s{n}\"}}"), move |_| {
            crate::support::QueryAnswer::value(if state.exists() { 1.0 } else { 0.0 })
        });
    }
}

/// The service of the n-th host is down.
fn down(n: usize) -> Problem {
    let instance = leaked(format!("10.9.0.{n}:9100"));
    let labels =
        [("instance", instance), ("service", leaked(format!("s{n}"))), ("severity", "critical")];
    Problem::new("ServiceDown", &labels)
}

#[tokio::test]
async fn a_breaker_trips_announces_itself_once_and_closes_after_its_time() {
    for_each_engine(|ground| async move {
        let guards = "breaker: { failed_or_unverified: 2, within: 1h, then: confirm, for: 2h }";
        let world = world(&ground, guards).await;
        let server = world.server().await;
        world.make_unrepairable("web");
        for n in 0..2 {
            let case = happen(&world, &server, &problem(n)).await;
            assert_eq!(last(&case).state, ActionState::Done);
            assert!(!world.slack_said().contains("held back") || n == 1);
        }
        assert_eq!(world.restarts("web"), 2);
        for n in 2..4 {
            let case = happen(&world, &server, &problem(n)).await;
            assert_eq!(case.state(), State::AwaitingApproval);
            let why = reason(&case);
            assert!(
                why.starts_with("breaker: restart_service|class=web: open until 2026-03-10T12"),
                "{why}"
            );
        }
        assert_eq!(world.restarts("web"), 2);
        let told = world.slack.messages().into_iter().map(|message| message.to_string());
        let told: Vec<String> =
            told.filter(|message| message.contains("Changes are held back")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("restart_service|class=web is open"), "{told:?}");

        let base = server.listen(Access::default()).await;
        let open = "watchkeeper_breaker_open{breaker=\"restart_service|class=web\"}";
        let metrics = || async {
            let answer = reqwest::get(format!("{base}/metrics")).await.unwrap();
            answer.text().await.unwrap()
        };
        assert!(metrics().await.contains(&format!("\n{open} 1\n")));

        // A person may go on all the same.
        let waiting = happen(&world, &server, &problem(4)).await;
        server.decide(last(&waiting).id(), Answer::Approve).await;
        server.settle(6).await;
        assert_eq!(world.restarts("web"), 3);

        world.clock.advance(121 * MINUTE_MS);
        server.settle(1).await;
        assert!(metrics().await.contains(&format!("\n{open} 0\n")));
        fs::remove_file(world.folder.join("state/web.broken")).unwrap();
        let case = happen(&world, &server, &problem(5)).await;
        assert_eq!((case.state(), world.restarts("web")), (State::Resolved, 4));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn forty_hosts_with_one_alert_are_not_restarted_one_by_one() {
    for_each_engine(|ground| async move {
        let guards = "common_cause: { same_alert_on: 3, within: 10m, then: advise }";
        let world = world(&ground, guards).await;
        write_hosts(&world, &["eu"; 40]);
        let problems: Vec<Problem> = (0..40).map(down).collect();
        for problem in &problems {
            problem.in_prometheus(&world);
        }
        let server = world.server().await;
        let alerts: Vec<_> = problems.iter().map(|problem| problem.alert("firing")).collect();
        server.post(&webhook(&alerts)).await;
        server.settle(1).await;
        let incidents = server.incidents().await;
        assert_eq!(incidents.len(), 40);
        for row in incidents {
            let case = server.case(row.id).await;
            assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
            let why = reason(&case);
            assert!(why.contains("fires on 40 targets in 10m; advise"), "{why}");
        }
        assert!(!world.folder.join("restarts").exists());
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_third_host_after_two_repaired_ones_is_a_persons() {
    for_each_engine(|ground| async move {
        let guards = "common_cause: { same_alert_on: 3, within: 10m, then: page }";
        let world = world(&ground, guards).await;
        write_hosts(&world, &["eu"; 4]);
        let server = world.server().await;
        for (n, state) in
            [State::Resolved, State::Resolved, State::Escalated].into_iter().enumerate()
        {
            world.break_service(&format!("s{n}"));
            down(n).in_prometheus(&world);
            server.post(&down(n).firing()).await;
            server.settle(1).await;
            let newest = server.incidents().await.into_iter().map(|row| row.id).max().unwrap();
            assert_eq!(server.case(newest).await.state(), state, "host {n}");
        }
        // Ten minutes later a single host is a single host.
        world.clock.advance(11 * MINUTE_MS);
        world.break_service("s3");
        down(3).in_prometheus(&world);
        server.post(&down(3).firing()).await;
        server.settle(1).await;
        let newest = server.incidents().await.into_iter().map(|row| row.id).max().unwrap();
        assert_eq!(server.case(newest).await.state(), State::Resolved);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_freeze_asks_and_nobody_goes_beyond_a_forbidding_one() {
    for_each_engine(|ground| async move {
        // The world begins on a Tuesday at 10:00 UTC, 11:00 in Berlin.
        let guards = "freeze:\n\
            - { cron: '0 11 * * TUE', for: 1h, zone: Europe/Berlin, writes: confirm }\n\
            - { cron: '0 12 * * TUE', for: 1h, zone: Europe/Berlin, writes: forbidden }";
        let mut world = world(&ground, guards).await;
        world.settings.approval.ttl_s = 4 * 3_600;
        let server = world.server().await;
        let first = happen(&world, &server, &problem(0)).await;
        assert_eq!(first.state(), State::AwaitingApproval);
        let why = reason(&first);
        assert!(
            why.contains("until Tue 2026-03-10 12:00 CET: 1h from Tue 2026-03-10 11:00 CET"),
            "{why}"
        );
        server.decide(last(&first).id(), Answer::Approve).await;
        server.settle(6).await;
        assert_eq!(world.restarts("web"), 1);

        let second = happen(&world, &server, &problem(1)).await;
        world.clock.advance(60 * MINUTE_MS);
        server.decide(last(&second).id(), Answer::Approve).await;
        server.settle(6).await;
        let second = server.case(second.id).await;
        assert_eq!(second.actions[0].state, ActionState::Superseded, "{second:#?}");
        assert!(second.actions[0].outcome.as_ref().unwrap().contains("freeze: 0 12 * * TUE"));
        let third = happen(&world, &server, &problem(2)).await;
        assert_eq!(third.actions[0].state, ActionState::Refused);
        assert_eq!(world.restarts("web"), 1);

        world.clock.advance(60 * MINUTE_MS);
        server.settle(1).await;
        let fourth = happen(&world, &server, &problem(3)).await;
        assert_eq!((fourth.state(), world.restarts("web")), (State::Resolved, 2));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_remedy_again_and_again_asks_even_when_it_helps() {
    for_each_engine(|ground| async move {
        let guards = "recurrence: { same_action_same_target: 2, within: 24h, then: confirm }";
        let world = world(&ground, guards).await;
        let server = world.server().await;
        for n in 0..4 {
            let case = happen(&world, &server, &problem(n)).await;
            let expected = if n < 2 { State::Resolved } else { State::AwaitingApproval };
            assert_eq!(case.state(), expected, "{n}: {}", reason(&case));
        }
        assert_eq!(world.restarts("web"), 2);
        // Another target is another matter.
        world.break_service("worker");
        let other = problem(9).with("service", "worker");
        other.in_prometheus(&world);
        server.post(&other.firing()).await;
        server.settle(6).await;
        assert_eq!(world.restarts("worker"), 1);
        server.stop().await;
    })
    .await;
}

/// What an incident about the web service brings along.
fn facts(desk: &Desk, call: &Call) -> Facts {
    let labels: Labels = [
        ("alertname", "ServiceDown"),
        BOX,
        ("service", "web"),
        ("shard", "0"),
        ("severity", "critical"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let trusted = Trusted::default().parameters(&call.args);
    let located = (desk.locate)(&[&labels]);
    Facts { scope: "default".into(), labels: vec![labels], located, trusted, seen: Vec::new() }
}

fn proposal(call: Call) -> Proposal {
    Proposal {
        action_id: ActionId::new(),
        call_id: "call-1".into(),
        call,
        reason: "r".into(),
        description: String::new(),
        risk: Risk::Low,
        rollback: None,
        wants_person: Wanted::Rules,
    }
}

#[tokio::test]
async fn a_change_that_is_crowded_out_waits_and_then_asks_a_person() {
    for_each_engine(|ground| async move {
        let world = world(&ground, "blast_radius: { per_service: 1 }").await;
        let server = world.server().await;
        let far = world.clock.now_ms() + 10 * 60 * MINUTE_MS;
        let take = format!(
            "insert into slot (name, action_id, taken_at_ms, until_ms)
             values ('blast radius: service=web.service', 'another', 0, {far})"
        );
        ground.sql(take).await;
        let waits = happen(&world, &server, &problem(0)).await;
        assert_eq!((waits.state(), last(&waits).state), (State::Executing, ActionState::Allowed));
        assert!(last(&waits).waits_until_ms.is_some());
        assert_eq!(world.restarts("web"), 0);
        // It was told once that it waits, not at every try.
        let told = server.case(waits.id).await.seq;
        server.settle(20).await;
        assert_eq!(server.case(waits.id).await.seq, told);

        world.clock.advance(5 * MINUTE_MS);
        server.settle(2).await;
        let asks = server.case(waits.id).await;
        assert_eq!(asks.state(), State::AwaitingApproval);
        assert_eq!(asks.actions[0].state, ActionState::Superseded);
        assert_eq!(last(&asks).proposal.wants_person, Wanted::Waited);
        assert!(reason(&asks).contains("waited in vain"), "{}", reason(&asks));
        // An approval does not go past a change in flight.
        server.decide(last(&asks).id(), Answer::Approve).await;
        server.settle(20).await;
        assert_eq!(last(&server.case(waits.id).await).state, ActionState::Approved);
        assert_eq!(world.restarts("web"), 0);
        ground.sql("delete from slot").await;
        server.settle(6).await;
        let over = server.case(waits.id).await;
        assert_eq!((over.state(), world.restarts("web")), (State::Resolved, 1));
        assert_eq!(ground.sql("select count(*) from slot").await, [["0"]]);
        server.stop().await;
    })
    .await;
}

/// Restarts that take until they are let go, and leave a line when they begin and when they end.
fn slow_restarts(world: &World) {
    let script = "#!/bin/sh\necho \"begin $2\" >> \"$1/runs\"\n\
        while [ ! -e \"$1/go\" ]; do /bin/sleep 0.02; done\n\
        : > \"$1/state/$2\"\necho \"end $2\" >> \"$1/runs\"\n";
    fs::write(world.folder.join("restart.sh"), script).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_at_a_time_in_each_region_and_all_get_their_turn() {
    for_each_engine(|ground| async move {
        let world = world(&ground, "blast_radius: { writes_at_once: 3, per_region: 1 }").await;
        let regions = ["eu", "us", "eu", "us", "asia", "eu", "asia", "us"];
        write_hosts(&world, &regions);
        slow_restarts(&world);
        let mut alerts = Vec::new();
        for n in 0..regions.len() {
            fs::remove_file(world.folder.join(format!("state/s{n}"))).unwrap();
            down(n).in_prometheus(&world);
            alerts.push(down(n).alert("firing"));
        }
        let server = world.server().await;
        server.run();
        server.post(&webhook(&alerts)).await;
        let waits = |case: &Case| case.actions.iter().any(|a| a.waits_until_ms.is_some());
        let runs = |case: &Case| case.actions.iter().any(|a| a.state == ActionState::Intended);
        server
            .wait_as_time_passes("three run and five wait", |cases| {
                cases.iter().filter(|case| runs(case)).count() == 3
                    && cases.iter().filter(|case| waits(case)).count() == 5
            })
            .await;
        fs::write(world.folder.join("go"), "").unwrap();
        server
            .wait_as_time_passes("all repaired", |cases| {
                cases.len() == 8 && cases.iter().all(|case| case.state() == State::Resolved)
            })
            .await;
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        let log = fs::read_to_string(world.folder.join("runs")).unwrap();
        for line in log.lines() {
            let (what, service) = line.split_once(' ').unwrap();
            let region = regions[service[1..].parse::<usize>().unwrap()];
            let count = running.entry(region).or_default();
            if what == "begin" {
                *count += 1
            } else {
                *count -= 1
            }
            assert!(*count <= 1, "{region}: {log}");
        }
        assert_eq!(log.lines().count(), 16, "{log}");
        server.stop().await;
    })
    .await;
}

/// Twelve spellings of one service, a thousand calls at once, and a limit of three.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_proposals_in_twelve_spellings_stay_within_the_limit() {
    const SPELLINGS: [&str; 12] = [
        "web",
        "WEB",
        "Web",
        "web.service",
        "WEB.SERVICE",
        "Web.Service",
        "web-svc",
        "WEB-SVC",
        "Web-Svc",
        "web-svc.service",
        "wEB",
        "weB",
    ];
    for_each_engine(|ground| async move {
        let guards = "recurrence: { same_action_same_target: 3, within: 1h, then: confirm }\n\
                      blast_radius: { per_service: 500 }";
        let world = world(&ground, guards).await;
        problem(0).in_prometheus(&world);
        let server = world.server().await;
        let desk = server.app.desk();
        let gate = &desk.gate;
        let mut judged = Vec::new();
        for spelling in SPELLINGS {
            let args = json!({"service": spelling, "host": "box1", "reason": "r"});
            let asked = Call::new("restart_service", args);
            let call = gate.register.complete(&asked).unwrap_or(asked);
            let facts = facts(&desk, &call);
            let one = gate.judge_write(&facts, &proposal(call)).await.unwrap();
            let record = one.verdict.record();
            assert_eq!(record.decision, Decision::Allow, "{spelling}: {}", record.reason());
            judged.push((one.verdict.limits().to_vec(), one.watch));
        }
        let store = &server.app.store;
        let steps = crate::store::many_steps(store, 1_000).await;
        let commits = steps.into_iter().enumerate().map(|(n, mut step)| {
            let (limits, watch) = judged[n % SPELLINGS.len()].clone();
            let intent = step.intent.as_mut().unwrap();
            (intent.limits, intent.watch) = (limits, watch);
            store.commit(step)
        });
        let answers: Vec<_> = stream::iter(commits).buffer_unordered(64).collect().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let Error::OverLimit(over) = answer else { panic!("{answer:?}") };
            let key = "recurrence: restart_service|host=box1|service=web.service";
            assert_eq!(
                over.iter().map(|(l, n)| (l.key.as_str(), *n)).collect::<Vec<_>>(),
                [(key, 3)]
            );
        }
        server.stop().await;
    })
    .await;
}
