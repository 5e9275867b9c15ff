//! What a digest stands for: every message that it was sent instead of.

use super::Web;
use super::chrome::Chrome;
use super::error::Error;
use super::forms::{self, Id};
use super::visible;
use super::visitor::Visitor;
use crate::clock::format_ms;
use crate::model::ids::MessageId;
use crate::model::message::Message;
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::Html;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "digest.html")]
struct Page {
    c: Chrome,
    title: String,
    at: String,
    members: Vec<Member>,
}

struct Member {
    incident: String,
    severity: &'static str,
    kind: String,
    title: String,
    at: String,
}

/// The page that a digest links to.
pub async fn page(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<Html<String>, Error> {
    let (digest, members) = load(&web, &id).await?;
    let page = Page {
        c: Chrome::of(&web, &visitor).await?,
        title: visible(&digest.title),
        at: format_ms(digest.created_at_ms),
        members: members.iter().map(Member::of).collect(),
    };
    Ok(Html(page.render()?))
}

/// The same for programs.
pub async fn one(State(web): State<Web>, _: Visitor, Id(id): Id) -> Result<Json<Value>, Error> {
    let (digest, members) = load(&web, &id).await?;
    Ok(Json(json!({ "digest": digest, "stands_for": members })))
}

async fn load(web: &Web, id: &str) -> Result<(Message, Vec<Message>), Error> {
    let id: MessageId = forms::id(id, "digest")?;
    let found = web.deps()?.store.digest(web.scope(), id).await?;
    found.ok_or(Error::NotFound("digest"))
}

impl Member {
    fn of(message: &Message) -> Self {
        Self {
            incident: message.incident_id.map(|id| id.to_string()).unwrap_or_default(),
            severity: message.severity.as_str(),
            kind: format!("{:?}", message.event).to_lowercase(),
            title: visible(&message.title),
            at: format_ms(message.created_at_ms),
        }
    }
}
