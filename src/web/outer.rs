//! What surrounds every route: the request's id, its log line, caught panics, security headers,
//! and the bodies of errors.

use super::Web;
use super::error::{self, Audience, Error};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Scripts, frames and other sites have no part in these pages.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Paths that machines use; everything else is for browsers.
const MACHINE_PATHS: [&str; 7] =
    ["/api/", "/webhook/", "/-/", "/healthz", "/readyz", "/metrics", "/assets/"];

/// Answers a request with everything that all answers share.
pub async fn around(State(web): State<Web>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let audience = audience(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = std::time::Instant::now();
    let response = next.run(request).await;
    let mut response = error::render(&web, &audience, &id, response);
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(request.id = id, %method, path, status, duration_ms, "answered a request");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(&id) {
        headers.insert(REQUEST_ID, id);
    }
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    headers.extend(fixed);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What is left of a handler that panicked; the panic hook has told the log where.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::Internal(format!("a handler panicked: {said}")).into_response()
}

/// The sender's own id when it is harmless, else one of ours: unique to this process and request.
fn request_id(headers: &HeaderMap) -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(rand::random);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless);
    given.map_or_else(
        || format!("{:08x}-{}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed)),
        str::to_owned,
    )
}

fn audience(request: &Request) -> Audience {
    let path = request.uri().path();
    let of_machines = MACHINE_PATHS.iter().any(|start| path.starts_with(start));
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if of_machines || !accept.is_some_and(|accept| accept.contains("text/html")) {
        return Audience::Machine;
    }
    let reading = request.method() == Method::GET || request.method() == Method::HEAD;
    let back = request.uri().path_and_query().map(|back| back.as_str().to_owned());
    Audience::Browser { reading: back.filter(|_| reading) }
}
