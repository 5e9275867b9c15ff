//! Each change is started at most once, wherever the process dies.
//!
//! The real binary runs in a world whose counters live here. A first run tells which crash points
//! an incident reaches; then one process is aborted at each of them, a second one goes on, and the
//! world and the store are looked at afterwards.

use crate::support::engines::{Ground, on_postgres, on_sqlite};
use crate::support::process::{Process, is_settled, time_passes};
use crate::support::world::{SCOPE, World, alert, webhook};
use futures::StreamExt as _;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use watchkeeper::crash::VARIABLE;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::case::Case;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Finding;
use watchkeeper::store::timeline::Stream;

const DOWN: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "web"), ("severity", "critical")];
/// Worlds at once: they mostly wait.
const WORLDS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Engine {
    Sqlite,
    Postgres,
}

/// Whether the restart helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Service {
    Stopped,
    Broken,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_on_sqlite_it_goes_on_and_restarts_once() {
    survives_every_point(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_on_postgres_it_goes_on_and_restarts_once() {
    survives_every_point(Engine::Postgres).await;
}

async fn survives_every_point(engine: Engine) {
    let mut deaths = Vec::new();
    for service in [Service::Stopped, Service::Broken] {
        let points = points_reached(engine, service).await;
        if service == Service::Stopped {
            deaths.extend(some_of_any(&points).into_iter().map(|point| (service, point)));
        }
        for point in points {
            // Both worlds take the same steps up to the measurement; the second one pages.
            let wanted = service == Service::Stopped || point.contains("send");
            if wanted && hangs_on_steps(&point) {
                deaths.push((service, point));
            }
        }
    }
    if deaths.is_empty() {
        // Postgres was left out on purpose.
        return;
    }
    assert!(deaths.len() >= 30, "{deaths:?}");
    futures::stream::iter(deaths)
        .map(|(service, point)| async move {
            on(engine, move |ground| dies_once(ground, service, point.clone())).await;
        })
        .buffer_unordered(WORLDS)
        .collect::<Vec<()>>()
        .await;
}

/// Any commit, request and program at all: some of each, over the whole run.
const ANYWHERE: [&str; 4] = ["before_stored", "after_stored", "after_request", "after_program"];
const OF_EACH: usize = 5;

fn some_of_any(points: &[String]) -> Vec<String> {
    let mut some = Vec::new();
    for name in ANYWHERE {
        let of_it: Vec<&String> = points.iter().filter(|point| is_at(point, name)).collect();
        // The first of each is among those that are always reached.
        let step = of_it.len().div_ceil(OF_EACH).max(1);
        some.extend(of_it.into_iter().skip(1).step_by(step).cloned());
    }
    some
}

fn is_at(point: &str, name: &str) -> bool {
    point.split(':').next() == Some(name)
}

/// Whether a point is reached as often in every run. How often leases are taken, renewed and given
/// back, and how often it is measured, hangs on the clock, and how often messages are expanded on
/// which channel is first; of those only the first time counts.
fn hangs_on_steps(point: &str) -> bool {
    // There are no tables yet to look at; `crash_points.rs` dies there.
    if point.contains("_migrate") {
        return false;
    }
    let by_the_clock = [
        "after_claim",
        "after_release",
        "after_renew",
        "_measure",
        "_expand",
        "_stored",
        "_request",
        "_program",
    ];
    point.ends_with(":1") || !by_the_clock.iter().any(|name| point.contains(name))
}

async fn on<F, Fut>(engine: Engine, test: F)
where
    F: Fn(Arc<Ground>) -> Fut,
    Fut: Future<Output = ()>,
{
    match engine {
        Engine::Sqlite => on_sqlite(test).await,
        Engine::Postgres => on_postgres(test).await,
    }
}

async fn world(ground: &Ground, service: Service) -> World {
    let world = World::new(ground).await;
    let mut labels = DOWN.to_vec();
    labels.push(("alertname", "ServiceDown"));
    world.fire_in_prometheus(&labels);
    world.break_service("web");
    if service == Service::Broken {
        world.make_unrepairable("web");
    }
    world
}

fn body() -> Value {
    webhook(&[alert("firing", "ServiceDown", &DOWN)])
}

/// The points of an undisturbed run.
async fn points_reached(engine: Engine, service: Service) -> Vec<String> {
    let reached = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&reached);
    on(engine, move |ground| {
        let kept = Arc::clone(&kept);
        async move {
            let world = world(&ground, service).await;
            let mut process = Process::start(&world, &ground, &[(VARIABLE, "none")]);
            assert_eq!(process.post(&body()).await, Some(200));
            process.settled(&ground).await;
            let points = process.points();
            for point in ["before_commit:1", "after_commit:5", "before_run:1", "after_run:1"] {
                assert!(points.iter().any(|at| at == point), "{point} is not in {points:?}");
            }
            kept.lock().unwrap().extend(points);
            process.kill().await;
            check(&world, &ground, service, "none", Started::WithOutcome).await;
        }
    })
    .await;
    std::mem::take(&mut *reached.lock().unwrap())
}

/// One death at `point`, then a second process that goes on.
async fn dies_once(ground: Arc<Ground>, service: Service, point: String) {
    let world = world(&ground, service).await;
    let mut first = Process::start(&world, &ground, &[(VARIABLE, &point)]);
    let answered = first.post(&body()).await;
    if ANYWHERE.iter().any(|name| is_at(&point, name)) {
        // How often it comes by hangs on the clock: it dies there, or has nothing left to do.
        while !first.has_ended() && !is_settled(&ground).await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        first.kill().await;
    } else {
        let ended = first.ended().await;
        assert!(!ended.success(), "{point}: {ended:?}");
    }
    let started = started(&ground).await;
    let restarts = world.restarts("web");
    time_passes(&ground).await;

    let mut second = Process::start(&world, &ground, &[]);
    if answered != Some(200) {
        // Alertmanager sends again what was not acknowledged, and only that.
        assert_eq!(second.post(&body()).await, Some(200), "{point}");
    }
    second.settled(&ground).await;
    second.kill().await;
    if started == Started::WithoutOutcome {
        assert_eq!(world.restarts("web"), restarts, "{point}: the change was repeated");
    }
    check(&world, &ground, service, &point, started).await;
}

/// What the timeline of a dead process says of the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Started {
    No,
    WithoutOutcome,
    WithOutcome,
}

async fn started(ground: &Ground) -> Started {
    let count = |kind: &str| {
        let sql = format!("select count(*) from timeline where kind = '{kind}'");
        async move { ground.sql(sql).await[0][0].clone() }
    };
    match (count("intent_written").await.as_str(), count("outcome_recorded").await.as_str()) {
        ("0", "0") => Started::No,
        ("1", "0") => Started::WithoutOutcome,
        ("1", "1") => Started::WithOutcome,
        other => panic!("{other:?} intents and outcomes"),
    }
}

async fn check(world: &World, ground: &Ground, service: Service, at: &str, started: Started) {
    assert!(is_settled(ground).await);
    let case = only_case(ground).await;
    let restarts = world.restarts("web");
    assert_eq!(case.actions.len(), 1, "{at}: {:#?}", case.actions);
    let action = &case.actions[0];
    let fixed = match started {
        Started::No | Started::WithOutcome => {
            assert_eq!((action.state, restarts), (ActionState::Done, 1), "{at}");
            service == Service::Stopped
        }
        // Only here nobody can know, and a person is told so.
        Started::WithoutOutcome => {
            assert_eq!(action.state, ActionState::Unknown, "{at}");
            assert!(restarts <= 1, "{at}: {restarts} restarts");
            assert_eq!(told(world, "unknown outcome"), 1, "{at}");
            assert_eq!(world.pagerduty.opened(), 1, "{at}");
            service == Service::Stopped && restarts == 1
        }
    };
    let (state, verified) = if fixed {
        (State::Resolved, Finding::Fixed)
    } else {
        (State::Escalated, Finding::NotFixed)
    };
    assert_eq!(case.state(), state, "{at}: {:?}", case.end);
    assert_eq!(action.verified, Some(verified), "{at}");
    if !fixed {
        assert_eq!(world.pagerduty.opened(), 1, "{at}: nobody was paged");
    }
    assert!(world.pagerduty.opened() <= 1, "{at}: paged twice");
    assert_eq!(world.pagerduty.open_incidents().len(), usize::from(!fixed), "{at}");
    assert_eq!(world.pagerduty.violations(), Vec::<String>::new(), "{at}");
    assert_eq!(world.slack.violations(), Vec::<String>::new(), "{at}");
    heard_once(world, at);
}

/// Slack gets a message twice only when the process died while it was sent, and the second one says
/// so. The outbox sends beside the steps, so any death may fall into a sending.
fn heard_once(world: &World, at: &str) {
    let mut seen: Vec<String> = Vec::new();
    for message in world.slack.messages() {
        let text = message.to_string();
        let plain = message["text"].as_str().unwrap().replace(&format!(" ({REPEAT})"), "");
        if seen.contains(&plain) {
            assert_ne!(at, "none", "{plain} twice");
            assert!(text.contains(REPEAT), "{at}: {plain} twice and not marked");
        }
        seen.push(plain);
    }
    assert!(seen.len() >= 3, "{at}: {seen:?}");
}

const REPEAT: &str = "May be a repeat: an earlier delivery was interrupted";

fn told(world: &World, words: &str) -> usize {
    let messages = world.slack.messages();
    messages.iter().filter(|message| message["text"].to_string().contains(words)).count()
}

/// The case of the only incident, whose chain and report are whole.
async fn only_case(ground: &Ground) -> Case {
    let opened = ground.open().await;
    let store = &opened.store;
    let filter = watchkeeper::store::incidents::Filter { state: None, at_most: 10 };
    let incidents = store.incidents(SCOPE, filter).await.unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let id = incidents[0].id;
    let stream = Stream::incident(id);
    assert_eq!(store.verify_chain(stream.clone()).await.unwrap(), None);
    let case = Case::fold(id, SCOPE, &store.timeline(stream).await.unwrap());
    let report = case.report.clone().unwrap();
    assert!(store.blob(&report.hash).await.unwrap().is_some());
    opened.close().await;
    case
}

/// Every step in a process of its own: nothing is remembered between two of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_incident_whose_every_step_runs_in_a_new_process_ends_the_same() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        on(engine, |ground| async move {
            let world = world(&ground, Service::Stopped).await;
            let mut processes = 0;
            while processes == 0 || !is_settled(&ground).await {
                processes += 1;
                assert!(processes <= 60, "the incident does not end");
                let mut process = Process::start(&world, &ground, &[(VARIABLE, "after_step:1")]);
                if processes == 1 {
                    assert_eq!(process.post(&body()).await, Some(200));
                }
                while !process.has_ended() && !is_settled(&ground).await {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                process.kill().await;
                time_passes(&ground).await;
            }
            assert!(processes >= 8, "{processes} processes for a whole incident");
            check(&world, &ground, Service::Stopped, "after_send", Started::WithOutcome).await;
        })
        .await;
    }
}
