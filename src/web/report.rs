//! The report of an incident, as a page, as Markdown and as JSON.

use super::chrome::Chrome;
use super::error::Error;
use super::forms::Id;
use super::incidents::{self, Whole};
use super::visitor::Visitor;
use super::{Web, visible};
use crate::model::alert::Labels;
use crate::report::{self, Report};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    c: Chrome,
    id: String,
    markdown: String,
}

/// The Markdown as text in a page.
pub async fn page(
    State(web): State<Web>,
    visitor: Visitor,
    Id(id): Id,
) -> Result<Html<String>, Error> {
    let report = built(&web, &id).await?;
    let page = Page {
        c: Chrome::of(&web, &visitor).await?,
        id: report.incident_id.to_string(),
        markdown: visible(&report::markdown(&report, web.settings().language)),
    };
    Ok(Html(page.render()?))
}

/// The Markdown itself. Declared as plain text, so that no browser takes it for anything active.
pub async fn markdown(State(web): State<Web>, _: Visitor, Id(id): Id) -> Result<Response, Error> {
    let text = report::markdown(&built(&web, &id).await?, web.settings().language);
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

pub async fn json(State(web): State<Web>, _: Visitor, Id(id): Id) -> Result<Response, Error> {
    Ok(Json(built(&web, &id).await?).into_response())
}

/// JSON, the same as [`json`].
pub async fn api(web: State<Web>, visitor: Visitor, id: Id) -> Result<Response, Error> {
    json(web, visitor, id).await
}

async fn built(web: &Web, id: &str) -> Result<Report, Error> {
    let Whole { entries, case, .. } = incidents::load(web, id).await?;
    let deps = web.deps()?;
    let labels: Vec<&Labels> = case.alerts.iter().map(|one| &one.alert.labels).collect();
    let located = (deps.locate)(&labels);
    Ok(report::build(&case, &entries, Some(&located), deps.clock.now_ms()))
}
