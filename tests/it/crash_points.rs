//! Every point of `crash::Point` is reached by a real process, and whoever dies where people, jobs
//! or tools take part loses nothing. Where an incident goes its way alone is in
//! `promises/at_most_once.rs`.
//!
//! The story: an alert whose remedy needs nobody, and one whose remedy waits for a person.
//! Everything is halted and let go on; nobody answers in time, so that somebody is paged; then a
//! person approves. Beside it checkpoints are made, Alertmanager is asked, and mails are put together.

mod verbs;

use crate::support::binary;
use crate::support::engines::{Ground, on_postgres, on_sqlite};
use crate::support::process::{Process, client, is_settled, time_passes};
use crate::support::world::{World, alert, webhook};
use crate::support::{FakeAlertmanager, FakeSmtp};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use watchkeeper::crash::{Point, VARIABLE};

/// Its remedy needs nobody: Prometheus is asked first whether it fires.
const DOWN: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "web"), ("severity", "critical")];
/// Its remedy waits for a person.
const ERRORS: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "worker"), ("severity", "warning")];
const RUNBOOKS: &str = r#"version: 1
runbooks:
  - name: errors
    match: ['alertname=~"HighErrorRate|ServiceDown"']
    steps:
      - { id: logs, tool: get_service_logs, args: { service: "${service}", level: error } }
      - id: restart
        tool: restart_service
        args: { service: "${service}", host: "${host}", reason: "it answers with errors" }
    verify: { query: 'up{service="${service}"}', expect: "value == 1.0" }
    conclude: { root_cause: "${service} had run out of memory" }
"#;
/// Where people, jobs or the clock take part: an incident that goes its way alone does not come by.
const BESIDE: [Point; 21] = [
    Point::AfterRenew,
    Point::BeforeDecision,
    Point::AfterDecision,
    Point::BeforeHalt,
    Point::AfterHalt,
    Point::BeforePage,
    Point::AfterPage,
    Point::BeforeDigest,
    Point::AfterDigest,
    Point::BeforePoll,
    Point::AfterPoll,
    Point::BeforeJob,
    Point::AfterJob,
    Point::BeforeCheckpoint,
    Point::AfterCheckpoint,
    Point::BeforeCheckpointSent,
    Point::AfterCheckpointSent,
    Point::BeforeMigrate,
    Point::AfterMigrate,
    Point::BeforeMail,
    Point::AfterMail,
];
/// Deaths at once: they mostly wait.
const WORLDS: usize = 6;
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
async fn killed_beside_an_incident_on_sqlite_nothing_is_lost_or_done_twice() {
    deaths(|point| Box::pin(on_sqlite(move |ground| dies_once(ground, point)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_beside_an_incident_on_postgres_nothing_is_lost_or_done_twice() {
    deaths(|point| Box::pin(on_postgres(move |ground| dies_once(ground, point)))).await;
}

async fn deaths(die: impl Fn(Point) -> futures::future::LocalBoxFuture<'static, ()>) {
    let deaths = futures::stream::iter(BESIDE).map(die);
    deaths.buffer_unordered(WORLDS).collect::<Vec<()>>().await;
}

/// A point is missing here: let the story come by it, or a verb in `verbs.rs`.
async fn all_are_reached(ground: Arc<Ground>) {
    let story = Story::new(&ground, &[DOWN_TOO, ASKS]).await;
    let mut process = story.start(&ground, "none");
    let down = webhook(&[alert("firing", "ServiceDown", &DOWN)]);
    assert_eq!(story.post(&mut process, &down).await, Some(200));
    eventually("what needs nobody is done", async || {
        let done = story.world.restarts("web") == 1;
        if done { Ok(()) } else { Err(process.log().join("\n")) }
    })
    .await;
    story.tell(&mut process, &ground).await;
    eventually("every point is reached", async || {
        let points = process.points();
        let reached: BTreeSet<&str> =
            points.iter().filter_map(|point| point.split(':').next()).collect();
        let of_verbs = verbs::POINTS.map(Point::as_str);
        let missing: Vec<&str> = Point::ALL
            .iter()
            .map(|point| point.as_str())
            .filter(|name| !reached.contains(name) && !of_verbs.contains(name))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    })
    .await;
    process.kill().await;
    assert_eq!((story.world.restarts("web"), story.world.restarts("worker")), (1, 1));
    assert_eq!(story.mail.violations(), Vec::<String>::new());
}

async fn dies_once(ground: Arc<Ground>, point: Point) {
    let at = point.as_str();
    let story = Story::new(&ground, &[ASKS]).await;
    let mut first = story.start(&ground, at);
    story.tell(&mut first, &ground).await;
    let ended = first.ended().await;
    assert!(!ended.success(), "{at}: {ended:?}");
    if point != Point::BeforeMigrate {
        time_passes(&ground).await;
    }
    let mut second = story.start(&ground, "none");
    story.tell(&mut second, &ground).await;
    second.settled(&ground).await;
    eventually("a checkpoint leaves the machine", async || {
        let lines = std::fs::read_to_string(story.checkpoints()).map_err(|why| why.to_string())?;
        if lines.ends_with('\n') { Ok(()) } else { Err(format!("{at}: {lines:?}")) }
    })
    .await;
    second.kill().await;

    let restarts = story.world.restarts("worker");
    let rows = ground.sql("select state, decided_by from action").await;
    // What the clock brings may come while the change is on its way: then nobody can know its outcome.
    let unknown = rows == [["unknown", "kim"]] && restarts <= 1;
    assert!(unknown || (rows == [["done", "kim"]] && restarts == 1), "{at}: {rows:?}, {restarts}");
    let rows = ground.sql("select state from incident").await;
    assert_eq!(rows, [[if restarts == 1 { "resolved" } else { "escalated" }]], "{at}");
    let rows = ground.sql("select value from switch where name = 'halt'").await;
    assert_eq!(rows, [["off"]], "{at}");
    // On a busy machine a channel may be too slow as well, which has a key of its own.
    let id = ground.sql("select id from incident").await.concat().concat();
    let events = story.world.pagerduty.events();
    assert_eq!(opened(&events, &id), 1, "{at}: one page, one incident there: {events:#?}");
    assert_eq!(story.world.pagerduty.violations(), Vec::<String>::new(), "{at}");
    let waiting = "select count(*) from message_delivery
                   where state in ('waiting', 'held', 'sending', 'failed')";
    assert_eq!(ground.sql(waiting).await, [["0"]], "{at}: a message was lost");
}

/// How often somebody was paged for this incident.
fn opened(events: &[Value], id: &str) -> usize {
    let (mut opened, mut open) = (0, false);
    for event in events.iter().filter(|event| event["dedup_key"] == format!("watchkeeper-{id}")) {
        let triggers = event["event_action"] == "trigger";
        let ends = event["event_action"] == "resolve";
        opened += usize::from(triggers && !open);
        open = (open || triggers) && !ends;
    }
    opened
}

type Problem = (&'static str, &'static str, [(&'static str, &'static str); 3]);
const DOWN_TOO: Problem = ("ServiceDown", "web", DOWN);
const ASKS: Problem = ("HighErrorRate", "worker", ERRORS);

/// A world in which one remedy waits for `kim`.
struct Story {
    world: World,
    alertmanager: FakeAlertmanager,
    mail: FakeSmtp,
    token: String,
    /// Alertmanager's.
    sender: String,
}

impl Story {
    async fn new(ground: &Ground, problems: &[Problem]) -> Self {
        let world = World::new(ground).await;
        world.set_runbooks(RUNBOOKS);
        let alertmanager = FakeAlertmanager::start().await;
        for (name, service, labels) in problems {
            world.break_service(service);
            world.fire_in_prometheus(&[&labels[..], &[("alertname", *name)]].concat());
            alertmanager.hold(&alert("firing", name, labels));
        }
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
        Self { token, sender, mail: FakeSmtp::start().await, alertmanager, world }
    }

    fn checkpoints(&self) -> std::path::PathBuf {
        self.world.folder.join("checkpoints")
    }

    fn start(&self, ground: &Ground, point: &str) -> Process {
        let more = format!(
            "  email:\n    host: 127.0.0.1\n    port: {}\n    security: none\n    \
             from: wk@example.org\n    to: [oncall@example.org]\n    \
             digest: {{ messages_max: 1, within_s: 10 }}\n\
             alertmanager: {{ urls: ['{}'], poll_s: 1 }}\n\
             audit:\n  checkpoint:\n    key: 0123456789abcdef0123456789abcdef\n    every_s: 5\n    \
             file: {}\n",
            self.mail.port(),
            self.alertmanager.url(),
            self.checkpoints().display()
        );
        Process::start_with(&self.world, ground, &[(VARIABLE, point)], &more)
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
        // Whether it waits for a person, or did before the process died.
        let asked = eventually("a person is asked", async || {
            if process.has_ended() {
                return Ok(None);
            }
            let sql = "select id, state from action where args like '%worker%'";
            let rows = ground.sql(sql).await;
            let asked = rows.into_iter().find(|row| row[1] != "proposed");
            asked.map(Some).ok_or_else(|| process.log().join("\n"))
        })
        .await;
        let Some(action) = asked else { return };
        // A halt would take back what is approved by now.
        if action[1] == "awaiting" {
            self.halt(&url).await;
        }
        self.go_on(&url).await;
        ground.sql("update incident set page_due_at_ms = 0 where page_due_at_ms is not null").await;
        eventually("somebody is paged", async || {
            let rows = "select id from incident where page_due_at_ms is not null";
            let paged = process.has_ended() || ground.sql(rows).await.is_empty();
            if paged { Ok(()) } else { Err(process.log().join("\n")) }
        })
        .await;
        if action[1] == "awaiting" {
            let path = format!("{url}/confirm/{}?approved=true", action[0]);
            let by = client().post(path).bearer_auth(&self.token).json(&json!({}));
            if let Ok(answer) = by.send().await {
                assert!(answer.status().is_success(), "{answer:?}");
            }
        }
        eventually("it settles or dies", async || {
            let done = process.has_ended() || is_settled(ground).await;
            if done { Ok(()) } else { Err(process.log().join("\n")) }
        })
        .await;
    }

    async fn halt(&self, url: &str) {
        let halt = format!("{url}/api/v1/halt");
        let reason = json!({ "reason": "a drill" });
        let _ = client().post(halt).bearer_auth(&self.token).json(&reason).send().await;
    }

    async fn go_on(&self, url: &str) {
        let halt = format!("{url}/api/v1/halt");
        let _ = client().delete(halt).bearer_auth(&self.token).send().await;
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
