//! The policy in force: which it is, on which replica, taking over changed files; and rules that
//! people put in quarantine.
//!
//! In: an admin's word to read the files again, a responder's against a rule. Out: what is in force,
//! or everything that is wrong with the files. Never: a file that arrives over the network; only
//! those on the server's own disk are read.

use super::error::Error;
use super::forms::{self, Fields};
use super::halt::reason;
use super::visitor::Visitor;
use super::{Deps, Web};
use crate::approval::Role;
use crate::clock::format_ms;
use crate::model::orders::{Held, Hold, PolicySummary, Quarantined};
use crate::model::policy::InForce;
use crate::model::text::distance;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// Knows the policy in force and can read its files again.
pub trait PolicyDoor: Send + Sync {
    fn in_force(&self) -> InForce;

    /// The rules in force by name, tool and tier.
    fn summary(&self) -> PolicySummary;

    /// Reads the files and takes them over, all or none; `by` is who asked, for the log.
    ///
    /// # Errors
    /// Everything that is wrong with them, a line for each; what was in force stays in force.
    fn reload<'a>(&'a self, by: &'a str) -> BoxFuture<'a, Result<InForce, Vec<String>>>;

    /// The targets of the inventory in force that a hold matches.
    fn held(&self, hold: &Hold) -> Held;
}

/// Version, autonomy and rules of this process, with what people ordered about them, and what the
/// other replicas have in force.
pub async fn show(State(web): State<Web>, _: Visitor) -> Result<Json<Value>, Error> {
    state(&web).await
}

/// Takes over changed policy files.
pub async fn reload(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Admin)?.name;
    let deps = web.deps()?;
    match deps.policy.reload(by).await {
        Ok(_) => state(&web).await,
        Err(problems) => Err(Error::Broken { problems }),
    }
}

/// What is said where people look whether all is well; nothing when it is.
pub fn complaint(deps: &Deps) -> Option<String> {
    let broken = deps.policy.in_force().broken?;
    let since = format_ms(broken.since_ms);
    Some(format!("running on older files, those there cannot be taken over since {since}"))
}

/// Lets a rule ask. Any responder may: it is the safe direction.
pub async fn quarantine(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    let by = visitor.author(&web, &headers, None, Role::Responder)?.name.clone();
    let fields = Fields::of(&web, &headers, body).await?;
    let rule = fields.get("rule").unwrap_or_default();
    let deps = web.deps()?;
    let policy = deps.policy.summary();
    let names: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    if !names.contains(&rule) {
        return Err(unknown("there is no rule", rule, &names));
    }
    let (rule, at_ms) = (rule.to_owned(), deps.clock.now_ms());
    tracing::warn!(by, rule, "{by} puts a rule in quarantine");
    let order = Quarantined { rule, reason: reason(&web, &fields)?, by, at_ms };
    deps.store.quarantine(order).await?;
    state(&web).await
}

/// Lifts the quarantine of a rule, also of one that the rules no longer have.
pub async fn release(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Sre)?.name;
    let query = forms::of_uri(&uri)?;
    let rule = query.get("rule").map_or("", String::as_str);
    let deps = web.deps()?;
    let now_ms = deps.clock.now_ms();
    if !deps.store.release_rule(rule, by, now_ms).await? {
        let orders = deps.store.orders(now_ms).await?;
        let names: Vec<&str> = orders.quarantined.iter().map(|one| one.rule.as_str()).collect();
        return Err(unknown("in quarantine there is no rule", rule, &names));
    }
    tracing::warn!(by, rule, "{by} lifts the quarantine of a rule");
    state(&web).await
}

async fn state(web: &Web) -> Result<Json<Value>, Error> {
    let deps = web.deps()?;
    let orders = deps.store.orders(deps.clock.now_ms()).await?;
    let policy = deps.policy.summary();
    let of = |name: &str| orders.quarantined.iter().find(|one| one.rule == name);
    let rules = policy.rules.iter().map(|rule| {
        json!({
            "name": rule.name, "tool": rule.tool, "tier": rule.tier,
            "quarantine": of(&rule.name),
        })
    });
    // Quarantine outlives its rule: the name may come back.
    let known = |name: &str| policy.rules.iter().any(|rule| rule.name == name);
    let absent = orders.quarantined.iter().filter(|one| !known(&one.rule));
    let replicas = deps.store.replicas(deps.clock.now_ms()).await?;
    let same = replicas.iter().all(|replica| replica.rules_version == policy.rules_version);
    Ok(Json(json!({
        "in_force": deps.policy.in_force(),
        "replicas": replicas,
        "replicas_agree": same,
        "rules_version": policy.rules_version,
        "autonomy": policy.autonomy,
        "rules": rules.collect::<Vec<_>>(),
        "quarantined_without_a_rule": absent.collect::<Vec<_>>(),
        "holds": orders.holds,
    })))
}

fn unknown(said: &str, name: &str, names: &[&str]) -> Error {
    let nearest = names.iter().min_by_key(|known| distance(name, known));
    let hint = nearest.map_or_else(
        || "there are none at all".to_owned(),
        |near| format!("did you mean '{near}'? `watchkeeper policy state` lists the rules"),
    );
    Error::Invalid { path: "rule".into(), message: format!("{said} '{name}'"), hint }
}
