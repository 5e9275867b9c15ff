//! Every point of `crash::Point` is reached by a real process, and whoever dies where people take
//! part loses nothing. Where an incident goes its way alone is in `promises/at_most_once.rs`.
//!
//! The story: an alert whose remedy waits for a person; everything is halted and let go on; nobody
//! answers in time, so that a person is paged; then somebody approves.

use crate::support::binary;
use crate::support::engines::{Ground, on_postgres, on_sqlite};
use crate::support::process::{Process, client, is_settled, time_passes};
use crate::support::world::{World, alert, webhook};
use futures::StreamExt as _;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watchkeeper::crash::{Point, VARIABLE};

const ERRORS: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "worker"), ("severity", "warning")];
const RUNBOOKS: &str = r#"version: 1
runbooks:
  - name: errors
    match: ['alertname="HighErrorRate"']
    steps:
      - { id: logs, tool: get_service_logs, args: { service: "${service}", level: error } }
      - id: restart
        tool: restart_service
        args: { service: "${service}", host: "${host}", reason: "it answers with errors" }
    verify: { query: 'up{service="${service}"}', expect: "value == 1.0" }
    conclude: { root_cause: "${service} had run out of memory" }
"#;
/// Where people or the clock take part; every other point is met by an incident on its own.
const WITH_PEOPLE: [Point; 9] = [
    Point::AfterRenew,
    Point::BeforeDecision,
    Point::AfterDecision,
    Point::BeforeHalt,
    Point::AfterHalt,
    Point::BeforePage,
    Point::AfterPage,
    Point::AfterCheckpoint,
    Point::AfterCheckpointSent,
];
/// Looks, a twentieth of a second apart, until something is there: two minutes.
const LOOKS_MAX: usize = 2_400;

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_is_reached_on_sqlite() {
    on_sqlite(all_are_reached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_is_reached_on_postgres() {
    on_postgres(all_are_reached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_where_people_take_part_on_sqlite_nothing_is_lost_or_done_twice() {
    deaths(|point| Box::pin(on_sqlite(move |ground| dies_once(ground, point)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_where_people_take_part_on_postgres_nothing_is_lost_or_done_twice() {
    deaths(|point| Box::pin(on_postgres(move |ground| dies_once(ground, point)))).await;
}

async fn deaths(die: impl Fn(Point) -> futures::future::LocalBoxFuture<'static, ()>) {
    let deaths = futures::stream::iter(WITH_PEOPLE).map(die);
    deaths.buffer_unordered(4).collect::<Vec<()>>().await;
}

async fn all_are_reached(ground: Arc<Ground>) {
    let story = Story::new(&ground).await;
    // Whose remedy needs nobody asks Prometheus first whether the alert fires.
    let alone = [("instance", "10.2.3.4:9100"), ("service", "web"), ("severity", "critical")];
    let firing = [&alone[..], &[("alertname", "ServiceDown")]].concat();
    story.world.fire_in_prometheus(&firing);
    let mut process = story.start(&ground, "none");
    let body = webhook(&[alert("firing", "ServiceDown", &alone)]);
    assert_eq!(story.post(&mut process, &body).await, Some(200));
    story.tell(&mut process, &ground).await;
    process.settled(&ground).await;
    let wanted: BTreeSet<&str> = Point::ALL.into_iter().map(Point::as_str).collect();
    let reached = Mutex::new(BTreeSet::new());
    eventually("every point is reached", async || {
        let points = process.points();
        let names = points.iter().filter_map(|point| point.split(':').next());
        *reached.lock().unwrap() = names.map(str::to_owned).collect();
        let reached = reached.lock().unwrap();
        let missing: Vec<_> = wanted.iter().filter(|name| !reached.contains(**name)).collect();
        missing.is_empty().then_some(()).ok_or_else(|| format!("{missing:?} are missing"))
    })
    .await;
    process.kill().await;
}

async fn dies_once(ground: Arc<Ground>, point: Point) {
    let at = point.as_str();
    let story = Story::new(&ground).await;
    let mut first = story.start(&ground, at);
    story.tell(&mut first, &ground).await;
    let ended = first.ended().await;
    assert!(!ended.success(), "{at}: {ended:?}");
    time_passes(&ground).await;
    let mut second = story.start(&ground, "none");
    story.tell(&mut second, &ground).await;
    second.settled(&ground).await;
    second.kill().await;

    assert_eq!(story.world.restarts("worker"), 1, "{at}");
    let rows = ground.sql("select state, decided_by from action").await;
    assert_eq!(rows, [["done", "kim"]], "{at}");
    let rows = ground.sql("select state from incident").await;
    assert_eq!(rows, [["resolved"]], "{at}");
    let rows = ground.sql("select value from switch where name = 'halt'").await;
    assert_eq!(rows, [["off"]], "{at}");
    assert_eq!(story.world.pagerduty.opened(), 1, "{at}: one page, one incident there");
    assert_eq!(story.world.pagerduty.violations(), Vec::<String>::new(), "{at}");
}

/// A world whose remedy waits for `kim`.
struct Story {
    world: World,
    token: String,
    /// Alertmanager's.
    sender: String,
}

impl Story {
    async fn new(ground: &Ground) -> Self {
        let world = World::new(ground).await;
        world.set_runbooks(RUNBOOKS);
        world.break_service("worker");
        let mut labels = ERRORS.to_vec();
        labels.push(("alertname", "HighErrorRate"));
        world.fire_in_prometheus(&labels);
        // Of this configuration a verb needs only where users and tokens are.
        let config = world.folder.join("config/token.yaml");
        std::fs::write(&config, "listen: 127.0.0.1:0\n").unwrap();
        let config = config.display().to_string();
        let create = async |name: &str, kind: &[&str]| {
            let args = [&["token", "create", name, "--config", &config, "--kind"], kind].concat();
            let token = binary::run(&world.folder, None, &args, "").await.ok();
            token.trim_end().to_owned()
        };
        let token = create("kim", &["api", "--role", "sre"]).await;
        let sender = create("alertmanager", &["webhook"]).await;
        Self { token, sender, world }
    }

    fn start(&self, ground: &Ground, point: &str) -> Process {
        let checkpoints = format!(
            "audit:\n  checkpoint:\n    key: 0123456789abcdef0123456789abcdef\n    every_s: 5\n    \
             file: {}\n",
            self.world.folder.join("checkpoints").display()
        );
        let variables = [(VARIABLE, point)];
        Process::start_with(&self.world, ground, &variables, &checkpoints)
    }

    /// Posts a webhook; `None` when there was no answer.
    async fn post(&self, process: &mut Process, body: &Value) -> Option<u16> {
        let url = format!("{}/webhook/alert", process.url().await?);
        let sent = client().post(url).bearer_auth(&self.sender).json(body).send().await;
        sent.ok().map(|answer| answer.status().as_u16())
    }

    /// Everything that people and Alertmanager still have to do, until it is done or the process
    /// has died.
    async fn tell(&self, process: &mut Process, ground: &Ground) {
        let Some(url) = process.url().await else { return };
        let body = webhook(&[alert("firing", "HighErrorRate", &ERRORS)]);
        let _ = self.post(process, &body).await;
        let halt = format!("{url}/api/v1/halt");
        let json = serde_json::json!({ "reason": "a drill" });
        let _ = client().post(&halt).bearer_auth(&self.token).json(&json).send().await;
        let _ = client().delete(&halt).bearer_auth(&self.token).send().await;
        let waiting = "select id, state from action";
        let action = eventually("a person is asked", async || {
            if process.has_ended() {
                return Ok(None);
            }
            let rows = ground.sql(waiting).await;
            rows.into_iter().next().map(Some).ok_or_else(|| "there is no action".to_owned())
        })
        .await;
        let Some(action) = action else { return };
        ground.sql("update incident set page_due_at_ms = 0 where page_due_at_ms is not null").await;
        eventually("somebody is paged", async || {
            let rows = "select id from incident where page_due_at_ms is not null";
            let paged = process.has_ended() || ground.sql(rows).await.is_empty();
            paged.then_some(()).ok_or_else(|| "nobody is paged".to_owned())
        })
        .await;
        if action[1] == "awaiting" {
            let path = format!("{url}/api/v1/actions/{}/approve", action[0]);
            let sent = client()
                .post(path)
                .bearer_auth(&self.token)
                .json(&serde_json::json!({}))
                .send()
                .await;
            if let Ok(answer) = sent {
                assert!(answer.status().is_success(), "{answer:?}");
            }
        }
        // Leases are renewed, checkpoints are written: it lives a little longer than its incident.
        eventually("it settles or dies", async || {
            let done = process.has_ended() || is_settled(ground).await;
            done.then_some(()).ok_or_else(|| "it goes on".to_owned())
        })
        .await;
    }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        match look().await {
            Ok(found) => return found,
            Err(why) => last = why,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never happened that {what}: {last}");
}
