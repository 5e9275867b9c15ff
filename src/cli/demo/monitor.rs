//! The demo's own monitor: it plays Prometheus and Alertmanager by measuring.
//!
//! In: which services and which folder to measure. Out: samples, alerts and rules over Prometheus'
//! API, webhooks to the server over HTTP, and a chat that keeps what is posted to it. Never: a
//! value that was not measured just before.

use super::alerts::{Alerts, Due};
use super::query::{Query, Sample};
use super::say::{Journal, Who};
use crate::clock::Clock;
use crate::model::alert::{Labels, Status};
use crate::tasks::Tasks;
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// A service on this machine answers in a millisecond.
const ANSWERS_WITHIN: Duration = Duration::from_millis(400);
/// As Alertmanager's own default.
const DELIVERS_WITHIN: Duration = Duration::from_secs(10);

/// What is measured.
pub struct Watched {
    /// Names and ports.
    pub services: Vec<(String, u16)>,
    pub folder: PathBuf,
}

/// Where webhooks go.
pub struct Receiver {
    pub url: String,
    pub token: String,
}

/// A monitor that listens.
#[derive(Clone)]
pub struct Monitor(Arc<Shared>);

struct Shared {
    address: String,
    watched: Watched,
    receiver: Receiver,
    clock: Clock,
    client: reqwest::Client,
    journal: Journal,
    samples: Mutex<Vec<Sample>>,
    alerts: Mutex<Alerts>,
    chat: Mutex<Vec<Value>>,
}

impl Monitor {
    /// Answers on `listener` and measures until the tasks are stopped.
    ///
    /// # Errors
    /// The rules cannot be read, or there is no client.
    pub fn start(
        listener: TcpListener,
        watched: Watched,
        receiver: Receiver,
        rules: &str,
        journal: Journal,
        tasks: &Tasks,
    ) -> Result<Self> {
        let shared = Shared {
            address: format!("http://{}", listener.local_addr()?),
            watched,
            receiver,
            clock: Clock::system(),
            client: reqwest::Client::builder().no_proxy().build().context("no HTTP client")?,
            journal,
            samples: Mutex::default(),
            alerts: Mutex::new(Alerts::parse(rules)?),
            chat: Mutex::default(),
        };
        let monitor = Self(Arc::new(shared));
        let router = Router::new()
            .route("/-/ready", get(|| std::future::ready("ready\n")))
            .route("/api/v1/query", get(query))
            .route("/api/v1/alerts", get(alerts))
            .route("/api/v1/rules", get(rules_page))
            .route("/chat", post(chat))
            .fallback(|| {
                std::future::ready(refusal(StatusCode::NOT_FOUND, "not_found", "no such page"))
            })
            .with_state(monitor.clone());
        let stop = tasks.stopping();
        tasks.spawn(async move {
            let served = async { axum::serve(listener, router).await };
            tokio::select! { _ = served => {} () = stop.cancelled() => {} }
        });
        let (measuring, stop) = (monitor.clone(), tasks.stopping());
        tasks.spawn(async move {
            tokio::select! { () = measuring.go_on() => {} () = stop.cancelled() => {} }
        });
        Ok(monitor)
    }

    /// The last value of a metric for a service, or of one without services.
    pub fn value(&self, metric: &str, service: Option<&str>) -> Option<f64> {
        let samples = locked(&self.0.samples);
        let of = |sample: &&Sample| {
            sample.metric == metric && sample.labels.get("service").map(String::as_str) == service
        };
        samples.iter().find(of).map(|sample| sample.value)
    }

    /// What was posted to the chat.
    pub fn posted(&self) -> Vec<Value> {
        locked(&self.0.chat).clone()
    }

    async fn go_on(&self) {
        let interval_ms = locked(&self.0.alerts).interval_ms().unsigned_abs();
        let mut tick = tokio::time::interval(Duration::from_millis(interval_ms));
        loop {
            tick.tick().await;
            let samples = self.measure().await;
            self.take(samples);
            let due = locked(&self.0.alerts).due(&self.0.address, self.0.clock.now_ms());
            for due in due {
                self.deliver(due).await;
            }
        }
    }

    async fn measure(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (service, port) in &self.0.watched.services {
            let up = self.answers(service, *port).await;
            let labels =
                labels(&[("service", service), ("instance", &format!("127.0.0.1:{port}"))]);
            samples.push(Sample { metric: "up".into(), labels, value: f64::from(u8::from(up)) });
        }
        if let Ok(bytes) = bytes_in(&self.0.watched.folder) {
            let labels = labels(&[("instance", "127.0.0.1")]);
            samples.push(Sample { metric: "log_folder_bytes".into(), labels, value: bytes });
        }
        samples
    }

    /// Whether a service answers with its own name, so that another process on its port, which
    /// is free while the service is down, is not taken for it.
    async fn answers(&self, service: &str, port: u16) -> bool {
        let request = self.0.client.get(format!("http://127.0.0.1:{port}/"));
        match request.timeout(ANSWERS_WITHIN).send().await {
            Ok(response) => response.text().await.is_ok_and(|text| text.trim() == service),
            Err(_) => false,
        }
    }

    /// Keeps new samples, tells which changed, and evaluates the rules.
    fn take(&self, samples: Vec<Sample>) {
        let now_ms = self.0.clock.now_ms();
        let mut before = locked(&self.0.samples);
        for sample in &samples {
            let same = |old: &&Sample| old.metric == sample.metric && old.labels == sample.labels;
            let old = before.iter().find(same).map(|old| old.value);
            if old != Some(sample.value) {
                let name = sample.labels.get("service").map_or("", String::as_str);
                let was = old.map_or_else(String::new, |old| format!(", before it was {old}"));
                let said = format!("measures {} {name} = {}{was}", sample.metric, sample.value);
                self.0.journal.add(now_ms, Who::Monitor, said.replace("  =", " ="));
            }
        }
        let said = locked(&self.0.alerts).evaluate(&samples, now_ms);
        *before = samples;
        for text in said {
            self.0.journal.add(now_ms, Who::Monitor, text);
        }
    }

    /// Sends one webhook; what is not acknowledged is sent again after the next measurement.
    async fn deliver(&self, due: Due) {
        let receiver = &self.0.receiver;
        let request = self.0.client.post(&receiver.url).bearer_auth(&receiver.token);
        let sent = request.json(&due.body).timeout(DELIVERS_WITHIN).send().await;
        let now_ms = self.0.clock.now_ms();
        let word = match due.status {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        };
        let name = due.labels.get("alertname").map_or("", String::as_str);
        let text = match sent {
            Ok(response) if response.status().is_success() => {
                locked(&self.0.alerts).told(&due.labels, due.status, now_ms);
                format!("webhook: {name} is {word}; the server stored it")
            }
            Ok(response) => format!("webhook: {name} is {word}; refused: {}", response.status()),
            Err(error) => format!("webhook: {name} is {word}; not delivered: {error}"),
        };
        self.0.journal.add(now_ms, Who::Monitor, text);
    }
}

async fn query(State(monitor): State<Monitor>, uri: Uri) -> Response {
    let asked = reqwest::Url::parse("http://monitor/").ok().and_then(|mut url| {
        url.set_query(uri.query());
        let (_, value) = url.query_pairs().find(|(name, _)| name == "query")?;
        Some(value.into_owned())
    });
    let query = match Query::parse(&asked.unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, "bad_data", &why),
    };
    let at = std::time::Duration::from_millis(monitor.0.clock.now_ms().unsigned_abs());
    let samples = locked(&monitor.0.samples);
    let result = query.select(&samples).into_iter().map(|sample| {
        let mut metric = sample.labels.clone();
        metric.insert("__name__".to_owned(), sample.metric.clone());
        json!({ "metric": metric, "value": [at.as_secs_f64(), sample.value.to_string()] })
    });
    let data = json!({ "resultType": "vector", "result": result.collect::<Vec<_>>() });
    success(data)
}

async fn alerts(State(monitor): State<Monitor>) -> Response {
    success(locked(&monitor.0.alerts).listed())
}

async fn rules_page(State(monitor): State<Monitor>) -> Response {
    success(locked(&monitor.0.alerts).rules())
}

async fn chat(State(monitor): State<Monitor>, Json(message): Json<Value>) -> &'static str {
    let text = message["text"].as_str().unwrap_or_default();
    monitor.0.journal.add(monitor.0.clock.now_ms(), Who::Team, text);
    locked(&monitor.0.chat).push(message);
    "ok"
}

fn success(data: Value) -> Response {
    Json(json!({ "status": "success", "data": data })).into_response()
}

fn refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "status": "error", "errorType": kind, "error": message });
    (status, Json(body)).into_response()
}

fn bytes_in(folder: &Path) -> std::io::Result<f64> {
    let mut bytes = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        // A file that is deleted between the two looks counts for nothing.
        bytes += entry?.metadata().map_or(0, |data| data.len());
    }
    #[expect(clippy::cast_precision_loss, reason = "a demo's files stay far below 2^52 bytes")]
    Ok(bytes as f64)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
