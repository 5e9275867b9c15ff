//! Halts every change, and lets them go on.
//!
//! Out: whether changes are halted, by whom and why, and what is in flight and goes on. Never: an
//! answer to an order before it is stored.

use super::Web;
use super::error::Error;
use super::forms::Fields;
use super::sign_in::redirect;
use super::visitor::Visitor;
use crate::approval::Role;
use crate::store::switches::Switch;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};
use std::time::Duration;

/// Of a reason, so much is kept.
const REASON_CHARS_MAX: usize = 500;
/// A process asks for a halt just before it starts a tool. What asked before the halt was stored
/// has started after this, and stands in the list of what is in flight.
const SETTLES: Duration = Duration::from_millis(250);

/// Whether changes are halted, by whom and since when, and what is in flight.
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
    let fields = Fields::of(&web, &headers, body).await?;
    turn(&web, Switch::On, by, &reason(&web, &fields)?).await?;
    state(&web).await
}

/// Lets changes go on. A halt file goes on halting; the answer says so.
pub async fn resume(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Sre)?.name;
    turn(&web, Switch::Off, by, "").await?;
    state(&web).await
}

/// Halts by the form of the console.
pub async fn halt_by_form(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let fields = Fields::of(&web, &headers, body).await?;
    let by = &visitor.author(&web, &headers, fields.get("csrf"), Role::Responder)?.name;
    turn(&web, Switch::On, by, &reason(&web, &fields)?).await?;
    Ok(redirect("/orders", None))
}

/// Lets changes go on by the form of the console.
pub async fn resume_by_form(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let fields = Fields::of(&web, &headers, body).await?;
    let by = &visitor.author(&web, &headers, fields.get("csrf"), Role::Sre)?.name;
    turn(&web, Switch::Off, by, "").await?;
    Ok(redirect("/orders", None))
}

/// The reason that an order gives, as it may be kept.
pub(super) fn reason(web: &Web, fields: &Fields) -> Result<String, Error> {
    let text = fields.get("reason").unwrap_or_default().trim();
    // The whole, and then cut: half of a secret is not recognised.
    Ok(web.deps()?.redactor.text(text).chars().take(REASON_CHARS_MAX).collect())
}

async fn turn(web: &Web, to: Switch, by: &str, reason: &str) -> Result<(), Error> {
    let deps = web.deps()?;
    deps.store.order_halt(to, by, reason, deps.clock.now_ms()).await?;
    tracing::warn!(by, ?to, reason, "halt turned {to:?} by {by}");
    match to {
        Switch::On => tokio::time::sleep(SETTLES).await,
        Switch::Off => {}
    }
    Ok(())
}

async fn state(web: &Web) -> Result<Json<Value>, Error> {
    let deps = web.deps()?;
    let halt = deps.store.halt().await?;
    let file = (deps.halt_file)();
    let mut said = json!({
        "halted": halt.is_some() || file.is_some(),
        "in_flight": deps.store.in_flight().await?,
    });
    if let Some(halt) = halt {
        said["by"] = json!(halt.by);
        said["reason"] = json!(halt.reason);
        said["at_ms"] = json!(halt.at_ms);
    }
    if let Some(file) = file {
        said["file"] = json!(file);
    }
    Ok(Json(said))
}
