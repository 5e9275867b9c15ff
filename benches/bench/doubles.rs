//! A model that says what the bench needs, a Prometheus that always has data, and a Slack.

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Tool calls before the model concludes.
pub const CALLS: usize = 10;
const POINTS: i64 = 120;

/// All of them on one address.
pub struct Doubles {
    runtime: Option<Runtime>,
    pub address: SocketAddr,
    model: Arc<Model>,
}

#[derive(Default)]
struct Model {
    latency_ms: AtomicU64,
    waiting: AtomicU64,
    /// The most that ever waited at once.
    waiting_max: AtomicU64,
    asked: AtomicU64,
    concluded: AtomicU64,
}

impl Doubles {
    pub fn start() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let model = Arc::new(Model::default());
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/api/v1/query_range", any(range))
            .route(
                "/api/v1/query",
                any(|| async { data(json!({"resultType": "vector", "result": []})) }),
            )
            .route("/api/v1/rules", get(|| async { data(json!({ "groups": [] })) }))
            .route("/api/v1/alerts", get(|| async { data(json!({ "alerts": [] })) }))
            .route("/slack", post(|| async { "ok" }))
            .with_state(Arc::clone(&model));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { runtime: Some(runtime), address, model })
    }

    /// Lines of configuration that make a server use all of them.
    pub fn settings(&self, investigations_max: u32) -> String {
        let address = self.address;
        format!(
            "prometheus:\n  url: http://{address}\nnotify:\n  slack:\n    webhook_url: \
             http://{address}/slack\nworker:\n  investigations_max: \
             {investigations_max}\nmodel:\n  budgets:\n    tokens_per_day: 1000000000000\n  endpoints:\n    - name: scripted\n      \
             base_url: http://{address}/v1\n      model: scripted\n      timeout_s: 600\n"
        )
    }

    /// How long the model thinks.
    pub fn set_latency(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.model.latency_ms.store(ms, Ordering::Relaxed);
    }

    /// Waits until so many investigations have been concluded since the start.
    pub fn wait_for_conclusions(&self, count: u64, at_most: Duration) -> bool {
        until(at_most, || self.concluded() >= count)
    }

    /// The most requests that ever waited at once.
    pub fn waiting_max(&self) -> u64 {
        self.model.waiting_max.load(Ordering::Relaxed)
    }

    /// Requests to the model so far.
    pub fn asked(&self) -> u64 {
        self.model.asked.load(Ordering::Relaxed)
    }

    /// Waits until so many requests were made since the start.
    pub fn wait_for_asked(&self, count: u64, at_most: Duration) -> bool {
        until(at_most, || self.asked() >= count)
    }

    pub fn concluded(&self) -> u64 {
        self.model.concluded.load(Ordering::Relaxed)
    }
}

impl Drop for Doubles {
    fn drop(&mut self) {
        // Requests that still wait for a slow model are dropped, not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn until(at_most: Duration, holds: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < at_most {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

async fn complete(State(model): State<Arc<Model>>, body: Bytes) -> impl IntoResponse {
    let waiting = model.waiting.fetch_add(1, Ordering::Relaxed) + 1;
    model.waiting_max.fetch_max(waiting, Ordering::Relaxed);
    model.asked.fetch_add(1, Ordering::Relaxed);
    let latency_ms = model.latency_ms.load(Ordering::Relaxed);
    if latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }
    model.waiting.fetch_sub(1, Ordering::Relaxed);
    let answered = body.windows(13).filter(|part| part == b"\"role\":\"tool\"").count();
    let (name, arguments) = if answered < CALLS {
        ("get_metrics", json!({ "query": format!("up{{step=\"{answered}\"}}"), "duration": "30m" }))
    } else {
        model.concluded.fetch_add(1, Ordering::Relaxed);
        ("conclude", json!({ "root_cause": "a test", "confidence": "high", "evidence": [] }))
    };
    let call = json!({
        "id": format!("call_{answered}"),
        "type": "function",
        "function": { "name": name, "arguments": arguments.to_string() },
    });
    Json(json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "scripted",
        "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Looking at the metrics.", "tool_calls": [call],
        }}],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050 },
    }))
}

async fn range() -> Json<Value> {
    let values: Vec<Value> =
        (0..POINTS).map(|i| json!([1_773_136_800 + i * 15, format!("{}", i % 7)])).collect();
    let series = json!({ "metric": { "__name__": "up", "job": "node" }, "values": values });
    data(json!({ "resultType": "matrix", "result": [series] }))
}

fn data(data: Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}
