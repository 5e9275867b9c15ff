//! Whether the process lives, and whether it can do its work.

use super::{Deps, Web, policy};
use crate::clock::format_ms;
use crate::store::Error;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::future::Future;
use std::time::Duration;

/// A probe that takes longer than this counts as failed; orchestrators give up about then.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// The process answers.
pub async fn alive() -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], "ok\n").into_response()
}

/// The store can be read and written, so alerts can be taken.
pub async fn ready(State(web): State<Web>) -> Response {
    let mut missing = serde_json::Map::new();
    let mut degraded = None;
    if web.0.stopping.is_cancelled() {
        missing.insert("process".into(), json!("stopping"));
    }
    match web.deps() {
        // Migrations are done before there is a store to hand over.
        Err(_) => {
            missing.insert("store".into(), json!("still opening and migrating the database"));
        }
        Ok(deps) => {
            degraded = policy::complaint(deps);
            if let Some(why) = (deps.trouble)() {
                missing.insert("work".into(), json!(why));
            }
            let read = probe(deps.store.halt());
            let write = probe(deps.store.write(|_| Box::pin(async { Ok(()) })));
            let (read, write) = tokio::join!(read, write);
            for (what, failed) in [("store_read", read), ("store_write", write)] {
                if let Some(why) = failed {
                    missing.insert(what.into(), json!(why));
                }
            }
        }
    }
    let ready = missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut said = json!({"ready": ready, "not_ready": missing});
    // Such a server takes alerts and looks, so it is ready; but whoever looks should know.
    let alerts = match web.deps() {
        Ok(deps) if ready => pipeline(deps, web.scope()).await,
        Ok(_) | Err(_) => None,
    };
    if degraded.is_some() || alerts.is_some() {
        let found = [("files", degraded), ("alerts", alerts)];
        let found =
            found.into_iter().filter_map(|(what, why)| Some((what.to_owned(), why?.into())));
        said["degraded"] = serde_json::Value::Object(found.collect());
    }
    if web.deps().is_ok_and(|deps| (deps.halt_file)().is_some()) {
        said["halt_file"] = json!("no change starts in this process while the halt file exists");
    }
    (status, Json(said)).into_response()
}

/// What is wrong with the way that alerts take to us, without names: anybody may read this.
async fn pipeline(deps: &Deps, scope: &str) -> Option<String> {
    let pulses = deps.store.pulses(scope).await.ok()?;
    if let Some(since_ms) = pulses.iter().filter_map(|pulse| pulse.absent_since_ms).min() {
        let since = format_ms(since_ms);
        return Some(format!("no pulse of the alert pipeline; people know since {since}"));
    }
    let peers = deps.store.alertmanager_peers(scope).await.ok()?;
    let since_ms = peers.iter().filter_map(|peer| peer.failing_since_ms).min()?;
    let since = format_ms(since_ms);
    Some(format!("a peer of Alertmanager cannot be asked since {since}; the log says more"))
}

/// Why a probe failed, without the database's own words: anybody may read this.
async fn probe<T>(work: impl Future<Output = Result<T, Error>>) -> Option<&'static str> {
    match tokio::time::timeout(PROBE_WITHIN, work).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store is not ready");
            Some("the database does not answer; the log says more")
        }
        Err(_) => Some("the database takes more than 2 s to answer"),
    }
}
