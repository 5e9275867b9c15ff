//! The real binary as a process of its own, in a [`World`] whose doubles live in the test.
//!
//! In: a world and variables for the process. Out: its address, its log, its end.
//! Never: a process that outlives its test.

use super::Shared;
use super::engines::Ground;
use super::world::World;
use serde_json::Value;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use watchkeeper::store::db::Location;

/// Whatever a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// A running server.
pub struct Process {
    child: Child,
    address: watch::Receiver<Option<String>>,
    log: Shared<Vec<String>>,
}

impl Process {
    /// Starts `serve`; returns at once.
    pub fn start(world: &World, ground: &Ground, variables: &[(&str, &str)]) -> Self {
        let config = world.folder.join("config/watchkeeper.yaml");
        std::fs::write(&config, settings(world, ground)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
        command.arg("--config").arg(&config).arg("serve").current_dir(&world.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (found, address) = watch::channel(None);
        let log = Shared::new(Vec::new());
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, rest)) = line.split_once("Watchkeeper listens on ") {
                    let end = rest.find(' ').unwrap_or(rest.len());
                    let _ = found.send(Some(rest[..end].to_owned()));
                }
                kept.lock().push(line);
            }
        });
        Self { child, address, log }
    }

    /// Waits until it listens; returns its base URL, or `None` when it ended before.
    pub async fn url(&mut self) -> Option<String> {
        let listens = async {
            let address = self.address.wait_for(Option::is_some).await;
            address.ok().and_then(|address| address.clone())
        };
        let address = timeout(PATIENCE, listens).await.expect("the server does not start");
        address.map(|address| format!("http://{address}"))
    }

    /// Posts a webhook; `None` when there was no answer.
    pub async fn post(&mut self, body: &Value) -> Option<u16> {
        let url = format!("{}/webhook/alert", self.url().await?);
        let sent = client().post(url).json(body).send().await;
        sent.ok().map(|answer| answer.status().as_u16())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("the server does not end:\n{}", self.log().join("\n")),
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits until a line of its log holds these words.
    pub async fn says(&mut self, words: &str) {
        let began = Instant::now();
        while !self.log().iter().any(|line| line.contains(words)) {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "the server ended:\n{}", self.log().join("\n"));
            assert!(
                began.elapsed() < PATIENCE,
                "it never says {words:?}:\n{}",
                self.log().join("\n")
            );
            sleep(POLL).await;
        }
    }

    /// Sends a signal of this name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success());
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// The crash points that were reached, in order, as `point:nth`.
    pub fn points(&self) -> Vec<String> {
        let point = |line: &String| Some(line.split_once("crash point ")?.1.trim().to_owned());
        self.log().iter().filter_map(point).collect()
    }

    /// Waits until every incident has ended and every message has arrived.
    pub async fn settled(&mut self, ground: &Ground) {
        let began = Instant::now();
        while !is_settled(ground).await {
            assert!(!self.has_ended(), "the server ended:\n{}", self.log().join("\n"));
            assert!(
                began.elapsed() < PATIENCE,
                "the world does not settle:\n{}",
                self.log().join("\n")
            );
            sleep(POLL).await;
        }
    }
}

pub fn client() -> reqwest::Client {
    watchkeeper::clients::http::install_tls();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

/// Whether there is an ended incident, none goes on, and nothing waits in the outbox.
pub async fn is_settled(ground: &Ground) -> bool {
    let rows = ground
        .sql(
            "select (select count(*) from incident
                     where state in ('resolved', 'escalated') and due_at_ms is null),
                    (select count(*) from incident
                     where state not in ('resolved', 'escalated') or due_at_ms is not null),
                    (select count(*) from delivery where state = 'waiting'),
                    (select count(*) from message where expanded_at_ms is null),
                    (select count(*) from message_delivery where next_at_ms is not null)",
        )
        .await;
    let counts: Vec<&str> = rows[0].iter().map(String::as_str).collect();
    counts[0] != "0" && counts[1..].iter().all(|count| *count == "0")
}

/// What a dead process held falls due, as if its lease and its deliveries had run out.
pub async fn time_passes(ground: &Ground) {
    ground.sql("update incident set lease_until_ms = 0 where lease_owner is not null").await;
    ground.sql("update message_delivery set next_at_ms = 0 where state = 'sending'").await;
}

fn settings(world: &World, ground: &Ground) -> String {
    let store = match ground.location() {
        Location::Folder(_) => String::new(),
        Location::Postgres { url, .. } => {
            use secrecy::ExposeSecret as _;
            format!("store: {{ database_url: '{}', connections_max: 4 }}\n", url.expose_secret())
        }
    };
    format!(
        "listen: 127.0.0.1:0\ndata_dir: {}\n{store}worker: {{ poll_ms: 20, lease_s: 5 }}\n\
         prometheus: {{ url: '{}' }}\nverify: {{ wait_s: 2, poll_s: 1, timeout_s: 10 }}\n\
         notify:\n  slack: {{ webhook_url: '{}' }}\n  pagerduty:\n    routing_key: {}\n    \
         url: '{}'\n",
        world.settings.data_dir.display(),
        world.prometheus.url(),
        world.slack.webhook_url(),
        super::FakePagerDuty::ROUTING_KEY,
        world.pagerduty.enqueue_url(),
    )
}
