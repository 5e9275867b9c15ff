//! Incidents for programs: lists, one with all that is known, its timeline; and taking one.

use super::Web;
use super::error::Error;
use super::forms::{self, Fields, Id};
use super::sign_in::redirect;
use super::visitor::Visitor;
use crate::approval::Role;
use crate::model::case::Case;
use crate::model::ids::IncidentId;
use crate::model::incident::{IncidentRow, State as IncidentState};
use crate::model::timeline::{Entry, Stored};
use crate::store::incidents::Filter;
use crate::store::timeline::Stream;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A storm has more than one answer can hold; `/api/v1/alerts` pages through all.
const ALERTS_MAX: usize = 200;

/// An incident with its whole history.
pub struct Whole {
    pub row: IncidentRow,
    pub entries: Vec<Stored>,
    pub case: Case,
}

/// Reads an incident by the id of a path.
pub async fn load(web: &Web, id: &str) -> Result<Whole, Error> {
    let row = row(web, id).await?;
    let entries = web.deps()?.store.timeline(Stream::incident(row.id)).await?;
    let case = Case::fold(row.id, &row.scope, &entries);
    Ok(Whole { row, entries, case })
}

async fn row(web: &Web, id: &str) -> Result<IncidentRow, Error> {
    let id: IncidentId = forms::id(id, "incident")?;
    let store = &web.deps()?.store;
    if let Some(row) = store.incident(web.scope(), id).await? {
        return Ok(row);
    }
    let stone = store.tombstone(id).await?;
    let gone = |at_ms| Error::AgedOut { what: "incident", at_ms };
    Err(stone.map_or(Error::NotFound("incident"), |stone| gone(stone.aged_out_at_ms)))
}

/// Which incidents a query asks for.
pub fn filter(query: &BTreeMap<String, String>) -> Result<Filter, Error> {
    let state = match query.get("state").map(String::as_str) {
        None | Some("") => None,
        Some(word) => Some(IncidentState::parse(word).ok_or_else(|| {
            let all: Vec<&str> = IncidentState::ALL.iter().map(|state| state.as_str()).collect();
            Error::invalid("state", format!("must be one of {}", all.join(", ")))
        })?),
    };
    Ok(Filter { state, at_most: forms::limit(query)? })
}

/// A part of a list, newest first, and before which incident the next part goes on.
pub struct Part {
    pub rows: Vec<IncidentRow>,
    pub next_before: Option<IncidentId>,
}

/// What a query asks for.
pub async fn part(web: &Web, query: &BTreeMap<String, String>) -> Result<Part, Error> {
    let mut filter = filter(query)?;
    let at_most = usize::try_from(filter.at_most).unwrap_or(usize::MAX);
    // One more says whether there are more.
    filter.at_most += 1;
    let before = match query.get("before").map(|text| text.parse()) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(Error::invalid("before", "must be the id of an incident")),
    };
    let mut rows = web.deps()?.store.incidents_before(web.scope(), filter, before).await?;
    let more = rows.len() > at_most;
    rows.truncate(at_most);
    let next_before = rows.last().filter(|_| more).map(|row| row.id);
    Ok(Part { rows, next_before })
}

/// Newest first.
pub async fn list(State(web): State<Web>, _: Visitor, uri: Uri) -> Result<Json<Value>, Error> {
    let Part { rows, next_before } = part(&web, &forms::of_uri(&uri)?).await?;
    Ok(Json(json!({ "incidents": rows, "next_before": next_before })))
}

/// The row, and what the timeline says in sum.
pub async fn one(State(web): State<Web>, _: Visitor, Id(id): Id) -> Result<Json<Value>, Error> {
    let Whole { row, mut case, .. } = load(&web, &id).await?;
    let deps = web.deps()?;
    let queued = deps.store.queued(row.id, deps.clock.now_ms()).await?;
    let further = case.alerts.len().max(usize::try_from(row.alerts).unwrap_or(0));
    case.alerts.truncate(ALERTS_MAX);
    let further =
        (further > case.alerts.len()).then(|| format!("/api/v1/alerts?incident={}", row.id));
    let url = format!("{}/incidents/{}", web.settings().public_url(), row.id);
    let unverified = case.is_unverified();
    Ok(Json(json!({
        "incident": row,
        "url": url,
        "acknowledged": case.acknowledged.map(|(by, at_ms)| json!({"by": by, "at_ms": at_ms})),
        "mind": case.mind,
        "waiting": queued,
        "flapping": case.flapping,
        "alerts": case.alerts,
        "all_alerts": further,
        "actions": case.actions,
        "conclusion": case.conclusion,
        "measured": case.measured,
        "unverified": unverified,
        "end": case.end,
        "usage": case.usage,
    })))
}

/// The entries after `after` in order, each with the hash that chains it. `next_after` says that
/// there are more.
pub async fn timeline(
    State(web): State<Web>,
    _: Visitor,
    Id(id): Id,
    uri: Uri,
) -> Result<Json<Value>, Error> {
    let query = forms::of_uri(&uri)?;
    let limit = match query.get("limit") {
        None => forms::LIMIT_MAX,
        Some(_) => forms::limit(&query)?,
    };
    let after = forms::number(&query, "after")?.unwrap_or(0);
    let row = row(&web, &id).await?;
    let stream = Stream::incident(row.id);
    let mut entries = web.deps()?.store.entries_after(stream, after, limit + 1).await?;
    let at_most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > at_most;
    entries.truncate(at_most);
    let next_after = entries.last().filter(|_| more).map(|entry| entry.seq);
    Ok(Json(json!({"incident_id": row.id, "entries": entries, "next_after": next_after})))
}

/// A named person takes the incident, which stops further paging.
pub async fn acknowledge(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Json<Value>, Error> {
    let by = &visitor.author(&web, &headers, None, Role::Responder)?.name;
    take(&web, &id, by).await?;
    Ok(Json(json!({"status": "acknowledged", "by": by})))
}

/// The same from the console.
pub async fn acknowledge_by_form(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let fields = Fields::of(&web, &headers, body).await?;
    let by = &visitor.author(&web, &headers, fields.get("csrf"), Role::Responder)?.name;
    let id = take(&web, &id, by).await?;
    Ok(redirect(&format!("/incidents/{id}"), None))
}

async fn take(web: &Web, id: &str, by: &str) -> Result<IncidentId, Error> {
    let Whole { row, case, .. } = load(web, id).await?;
    if case.acknowledged.is_none_or(|(known, _)| known != by) {
        let deps = web.deps()?;
        let entry = Entry::Acknowledged { by: by.to_owned() };
        deps.store.tell_incident(row.id, deps.clock.now_ms(), entry).await?;
        deps.due.notify_one();
        tracing::info!(incident.id = %row.id, by, "{by} took incident {}", row.id);
    }
    Ok(row.id)
}
