//! Proposed changes for programs: lists, one, and a decision on it.

use super::error::Error;
use super::forms::{self, Fields, Id};
use super::visitor::Visitor;
use super::{Web, incidents};
use crate::approval::{self, Principal, Role};
use crate::model::action::{ActionState, Answer};
use crate::model::ids::ActionId;
use crate::store::actions::Row;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};

/// Newest first.
pub async fn list(State(web): State<Web>, _: Visitor, uri: Uri) -> Result<Json<Value>, Error> {
    let query = forms::of_uri(&uri)?;
    let state = match query.get("state").map(String::as_str) {
        None | Some("") => None,
        Some(word) => Some(ActionState::parse(word).ok_or_else(|| {
            let all: Vec<&str> = ActionState::ALL.iter().map(|state| state.as_str()).collect();
            Error::invalid("state", format!("must be one of {}", all.join(", ")))
        })?),
    };
    let limit = forms::limit(&query)?;
    let rows = web.deps()?.store.actions(web.scope(), state, limit).await?;
    let actions: Vec<Value> = rows.iter().map(|row| shown(&web, row)).collect();
    Ok(Json(json!({ "actions": actions })))
}

/// One action as it is stored, with where its arguments come from and how many may decide.
pub async fn one(State(web): State<Web>, _: Visitor, Id(id): Id) -> Result<Json<Value>, Error> {
    let row = load(&web, &id).await?;
    let mut value = shown(&web, &row);
    let case = incidents::load(&web, &row.incident_id.to_string()).await?.case;
    let verdict = case.action(row.id).and_then(|action| action.verdict.as_ref());
    value["origins"] = json!(verdict.map(|verdict| &verdict.origins));
    value["may_decide"] = json!(web.people().eligible(&row.roles).len());
    Ok(Json(value))
}

pub async fn approve(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    by_api(&web, &visitor, &id, Answer::Approve, &headers, body).await
}

pub async fn reject(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    by_api(&web, &visitor, &id, Answer::Reject, &headers, body).await
}

async fn by_api(
    web: &Web,
    visitor: &Visitor,
    id: &str,
    answer: Answer,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<Value>, Error> {
    // Whether they may decide is said together with what the rules ask for.
    let principal = visitor.author(web, headers, None, Role::Viewer)?;
    let fields = Fields::of(web, headers, body).await?;
    decide(web, principal, id, answer, &fields).await?;
    Ok(Json(shown(web, &load(web, id).await?)))
}

/// Reads an action by the id of a path.
pub async fn load(web: &Web, id: &str) -> Result<Row, Error> {
    let id: ActionId = forms::id(id, "action")?;
    let found = web.deps()?.store.action(web.scope(), id).await?;
    found.ok_or(Error::NotFound("action"))
}

/// Records the answer that `fields` explain.
pub async fn decide(
    web: &Web,
    principal: &Principal,
    id: &str,
    answer: Answer,
    fields: &Fields,
) -> Result<(), Error> {
    let deps = web.deps()?;
    let comment = fields.get("comment").map(|comment| deps.redactor.text(comment));
    let request = approval::Request {
        scope: web.scope(),
        principal,
        action_id: forms::id(id, "action")?,
        answer,
        comment: comment.as_deref(),
        hash_seen: fields.get("call_hash"),
    };
    approval::decide(&deps.store, &deps.clock, request).await?;
    deps.due.notify_one();
    Ok(())
}

/// An action with its arguments as an object.
pub fn shown(web: &Web, row: &Row) -> Value {
    let mut value = json!(row);
    if let Ok(args) = serde_json::from_str::<Value>(&row.args) {
        value["args"] = args;
    }
    value["url"] = json!(format!("{}/confirm/{}", web.settings().public_url(), row.id));
    value
}
