//! Real faults under the real process: it is killed, stopped, cut off from its database and its disk,
//! and goes on by itself when they are back.

mod clock;
mod cut_postgres;
mod dead_model;
mod disks;
mod kills;
mod last_resort;
mod replicas;
mod sends;
mod stops;
mod traced;

use crate::support::drill::Problem;
use crate::support::engines::Ground;
use crate::support::process::{Process, client, is_settled};
use crate::support::world::{World, alert, webhook};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Whatever comes, comes within this, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
/// Alerts of this name are stored and never acted on.
const NOISE: (&str, &str) = ("WATCHKEEPER__INGEST__IGNORE", "alertname=\"Noise\"");
/// What a message that may be a repeat says.
const REPEAT: &str = "May be a repeat: an earlier delivery was interrupted";

/// A world whose web service has stopped; a restart helps.
async fn broken_web(ground: &Ground) -> World {
    let world = World::new(ground).await;
    Problem::down().in_prometheus(&world);
    world.break_service("web");
    world
}

/// One delivery that nobody else posts.
fn noise(n: usize) -> Value {
    webhook(&[alert("firing", "Noise", &[("nth", &format!("n{n}n"))])])
}

/// The numbers of the deliveries of noise that are stored.
async fn stored_noise(ground: &Ground) -> BTreeSet<usize> {
    let number = Regex::new(r#""nth":"n(\d+)n""#).unwrap();
    let rows = ground.sql("select body from delivery").await;
    rows.iter()
        .filter_map(|row| number.captures(&row[0]))
        .map(|found| found[1].parse().unwrap())
        .collect()
}

/// Posts; `None` when there was no answer.
async fn post(client: &reqwest::Client, base: &str, body: &Value) -> Option<u16> {
    let sent = client.post(format!("{base}/webhook/alert")).json(body).send().await;
    sent.ok().map(|answer| answer.status().as_u16())
}

/// Posts until it is accepted, as Alertmanager does.
async fn post_until_accepted(base: &str, body: &Value) {
    let (client, began) = (client(), Instant::now());
    loop {
        match post(&client, base, body).await {
            Some(200) => return,
            None | Some(500..) => {}
            Some(status) => panic!("{status}: Alertmanager would not send this again"),
        }
        assert!(began.elapsed() < PATIENCE, "never accepted");
        sleep(POLL).await;
    }
}

/// The status of a page; `None` without an answer.
async fn status(base: &str, path: &str) -> Option<u16> {
    let sent = client().get(format!("{base}{path}")).send().await;
    sent.ok().map(|answer| answer.status().as_u16())
}

/// Looks until it is so.
async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < PATIENCE, "it never happened that {what}");
        sleep(POLL).await;
    }
}

/// Waits until every incident has ended and every message has arrived. A delivery whose end was not
/// recorded falls due at once and not in minutes.
async fn settled(process: &mut Process, ground: &Ground) {
    let began = Instant::now();
    while !is_settled(ground).await {
        let alive = !process.has_ended() && began.elapsed() < PATIENCE;
        assert!(alive, "the world does not settle:\n{}", process.log().join("\n"));
        if began.elapsed() > Duration::from_secs(20) {
            ground.sql("update message_delivery set next_at_ms = 0 where state = 'sending'").await;
            sleep(Duration::from_secs(2)).await;
        }
        sleep(POLL).await;
    }
}

/// Every text came once, or the others say that they may be repeats.
fn heard_once(world: &World) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for message in world.slack.messages() {
        let (text, whole) = (message["text"].as_str().unwrap(), message.to_string());
        let plain = text.replace(&format!(" ({REPEAT})"), "");
        let first = seen.insert(plain);
        assert!(first || whole.contains(REPEAT), "twice and not marked: {text}");
    }
}
