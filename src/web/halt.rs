//! Halts every change, and lets them go on.

use super::Web;
use super::error::Error;
use super::forms::Fields;
use super::visitor::Visitor;
use crate::approval::Role;
use crate::store::switches::Switch;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

/// Whether changes are halted, by whom and since when.
pub async fn show(State(web): State<Web>, _: Visitor) -> Result<Json<Value>, Error> {
    state(&web).await
}

/// Halts: any responder may, since it is the safe direction.
pub async fn halt(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Responder)?.name;
    if let Some(reason) = Fields::of(&web, &headers, body).await?.get("reason") {
        let reason = web.deps()?.redactor.text(reason);
        tracing::warn!(by, %reason, "{by} halts every change, because: {reason}");
    }
    turn(&web, Switch::On, by).await
}

/// Lets changes go on.
pub async fn resume(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Sre)?.name;
    turn(&web, Switch::Off, by).await
}

async fn turn(web: &Web, to: Switch, by: &str) -> Result<Json<Value>, Error> {
    let deps = web.deps()?;
    deps.store.set_halt(to, by, deps.clock.now_ms()).await?;
    tracing::warn!(by, ?to, "halt turned {to:?} by {by}");
    state(web).await
}

async fn state(web: &Web) -> Result<Json<Value>, Error> {
    let halt = web.deps()?.store.halt().await?;
    Ok(Json(match halt {
        Some(halt) => json!({"halted": true, "by": halt.by, "at_ms": halt.at_ms}),
        None => json!({"halted": false}),
    }))
}
