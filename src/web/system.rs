//! The timeline of the system itself, for programs.

use super::Web;
use super::error::Error;
use super::forms;
use super::visitor::Visitor;
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

/// The entries after `after`, in order; without it the last ones.
pub async fn timeline(State(web): State<Web>, _: Visitor, uri: Uri) -> Result<Json<Value>, Error> {
    let query = forms::of_uri(&uri)?;
    let limit = forms::limit(&query)?;
    let store = &web.deps()?.store;
    let after = match query.get("after").map(|text| text.parse::<i64>()) {
        None => (store.system_end().await? - limit).max(0),
        Some(Ok(after)) if after >= 0 => after,
        Some(_) => return Err(Error::invalid("after", "must be the number of an entry")),
    };
    let entries = store.system_timeline(after, limit).await?;
    let shown = entries.iter().map(|stored| {
        json!({
            "seq": stored.seq, "at_ms": stored.at_ms, "entry": stored.entry,
            "words": stored.entry.words(), "hash": stored.hash,
        })
    });
    Ok(Json(json!({"entries": shown.collect::<Vec<_>>()})))
}
