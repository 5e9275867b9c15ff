//! Alerts for programs: every one is found by what it is, with the incident that it belongs to.

use super::Web;
use super::error::Error;
use super::forms;
use super::visitor::Visitor;
use crate::model::alert::Status;
use crate::store::alerts::Search;
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

/// One request looks at so many alerts where no index leads to those that it asks for.
const AMONG: i64 = 20_000;

/// Newest first. `next_before` says that older ones were not looked at. `label` may stand several times,
/// each as NAME=VALUE.
pub async fn list(State(web): State<Web>, _: Visitor, uri: Uri) -> Result<Json<Value>, Error> {
    let query = forms::of_uri(&uri)?;
    let mut labels = Vec::new();
    for (_, pair) in forms::pairs(&uri)?.into_iter().filter(|(name, _)| name == "label") {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::invalid("label", "must be NAME=VALUE"));
        };
        labels.push((name.to_owned(), value.to_owned()));
    }
    let incident = query.get("incident").map(|id| forms::id(id, "incident")).transpose()?;
    let status = match query.get("status").map(String::as_str) {
        None | Some("") => None,
        Some("firing") => Some(Status::Firing),
        Some("resolved") => Some(Status::Resolved),
        Some(_) => return Err(Error::invalid("status", "must be firing or resolved")),
    };
    let offset = forms::offset(&query)?;
    let search = Search {
        fingerprint: query.get("fingerprint").cloned(),
        labels,
        incident,
        status,
        before_ms: forms::number(&query, "before")?,
        at_most: forms::limit(&query)?,
        offset,
        among: AMONG,
    };
    let at_most = search.at_most;
    let found = web.deps()?.store.find_alerts(web.scope(), search).await?;
    let next = found.more.then_some(offset + at_most);
    Ok(Json(json!({
        "alerts": found.alerts, "next_offset": next, "next_before": found.searched_to_ms,
    })))
}
