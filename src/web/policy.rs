//! The policy in force: which it is, on which replica, and taking over changed files.
//!
//! In: an admin's word. Out: what is in force, or everything that is wrong with the files. Never: a
//! file that arrives over the network; only those on the server's own disk are read.

use super::error::Error;
use super::visitor::Visitor;
use super::{Deps, Web};
use crate::approval::Role;
use crate::clock::format_ms;
use crate::model::policy::InForce;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// Knows the policy in force and can read its files again.
pub trait PolicyDoor: Send + Sync {
    fn in_force(&self) -> InForce;

    /// Reads the files and takes them over, all or none; `by` is who asked, for the log.
    ///
    /// # Errors
    /// Everything that is wrong with them, a line for each; what was in force stays in force.
    fn reload<'a>(&'a self, by: &'a str) -> BoxFuture<'a, Result<InForce, Vec<String>>>;
}

/// What is in force here and on the other replicas.
pub async fn show(State(web): State<Web>, _: Visitor) -> Result<Json<Value>, Error> {
    let deps = web.deps()?;
    shown(deps, door(deps)?.in_force()).await
}

/// Takes over changed policy files.
pub async fn reload(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Admin)?.name;
    let deps = web.deps()?;
    match door(deps)?.reload(by).await {
        Ok(in_force) => shown(deps, in_force).await,
        Err(problems) => Err(Error::Broken { problems }),
    }
}

/// What is said where people look whether all is well; nothing when it is.
pub fn complaint(deps: &Deps) -> Option<String> {
    let broken = deps.policy.as_ref()?.in_force().broken?;
    let since = format_ms(broken.since_ms);
    Some(format!("running on older rules, the file is broken since {since}"))
}

fn door(deps: &Deps) -> Result<&dyn PolicyDoor, Error> {
    let door = deps.policy.as_deref();
    door.ok_or_else(|| Error::Unavailable("no policy is loaded here".into()))
}

async fn shown(deps: &Deps, in_force: InForce) -> Result<Json<Value>, Error> {
    let replicas = deps.store.replicas(deps.clock.now_ms()).await?;
    let same = replicas.iter().all(|replica| replica.rules_version == in_force.rules_version);
    Ok(Json(json!({"in_force": in_force, "replicas": replicas, "replicas_agree": same})))
}
