//! Doubles of the services around Watchkeeper, on loopback.
//!
//! Each checks every request against the published rules of the service it plays, refuses what the
//! service would refuse, and keeps what broke a rule: a test ends with `violations()` empty. Not
//! every test binary uses every double.
#![allow(dead_code, unused_imports, clippy::disallowed_methods, clippy::result_large_err)]

pub mod binary;
pub mod disk;
pub mod drill;
pub mod engines;
pub mod fake_alertmanager;
pub mod fake_model;
pub mod fake_pagerduty;
pub mod fake_prometheus;
pub mod fake_slack;
pub mod fake_smtp;
mod model_rules;
pub mod obedient;
pub mod own_postgres;
pub mod planted;
pub mod process;
pub mod proxy;
pub mod real;
pub mod world;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The shipped rules without their freeze, so that no test depends on the day.
pub fn shipped_rules() -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/safety_rules.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let freeze = regex::Regex::new("(?m)^freeze:\n(  .*\n)+").unwrap();
    assert_eq!(freeze.find_iter(&text).count(), 1);
    freeze.replace(&text, "").into_owned()
}

pub use fake_alertmanager::FakeAlertmanager;
pub use fake_model::{FakeModel, ModelReply, ModelRequest};
pub use fake_pagerduty::FakePagerDuty;
pub use fake_prometheus::{FakePrometheus, QueryAnswer};
pub use fake_slack::FakeSlack;
pub use fake_smtp::{FakeSmtp, SmtpFault};

/// A task on a loopback port that ends with its owner.
pub struct Server {
    pub addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts what `run` makes of a listener on a free port.
    pub async fn start<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(TcpListener) -> F,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, task: tokio::spawn(run(listener)) }
    }

    pub async fn http(router: Router) -> Self {
        Self::start(|listener| async move { axum::serve(listener, router).await.unwrap() }).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// State shared between a double and its server; a failed test must not hide behind a poisoned
/// lock.
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failure that a webhook-like double gives in place of its answer.
#[derive(Debug, Clone)]
pub enum Fault {
    Status(u16),
    /// Status 429 with this `Retry-After`.
    RateLimited(String),
    /// Never answers.
    Hang,
    /// Closes the connection in the middle of the answer.
    CutOff,
    /// Takes the message and closes the connection in the middle of the answer.
    TakenUnanswered,
}

impl Fault {
    pub async fn response(self) -> Response<Body> {
        match self {
            Self::Status(status) => answer(status, "text/plain", "fault"),
            Self::RateLimited(wait) => {
                let mut response = answer(429, "text/plain", "rate_limited");
                response.headers_mut().insert("retry-after", wait.parse().unwrap());
                response
            }
            Self::Hang => std::future::pending().await,
            Self::CutOff | Self::TakenUnanswered => cut_off("o"),
        }
    }
}

pub fn answer(status: u16, content_type: &str, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", content_type)
        .body(body.into())
        .unwrap()
}

pub fn json_answer(status: u16, body: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

/// A 200 whose connection closes after `start`.
pub fn cut_off(start: &str) -> Response<Body> {
    let parts = [Ok(start.to_owned()), Err(std::io::Error::other("cut off"))];
    answer(200, "application/json", Body::from_stream(futures::stream::iter(parts)))
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}
