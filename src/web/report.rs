//! The report of an incident, as a page, as Markdown and as JSON.

use super::chrome::Chrome;
use super::error::Error;
use super::incidents::{self, Whole};
use super::visitor::Visitor;
use super::{Report, Web, visible};
use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
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
    Path(id): Path<String>,
) -> Result<Html<String>, Error> {
    let (whole, report) = written(&web, &id).await?;
    let page = Page {
        c: Chrome::of(&web, &visitor).await?,
        id: whole.row.id.to_string(),
        markdown: visible(&report.markdown),
    };
    Ok(Html(page.render()?))
}

/// The Markdown itself. Declared as plain text, so that no browser takes it for anything active.
pub async fn markdown(
    State(web): State<Web>,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let (_, report) = written(&web, &id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], report.markdown).into_response())
}

pub async fn json(
    State(web): State<Web>,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let (_, report) = written(&web, &id).await?;
    Ok(Json(report.json).into_response())
}

/// JSON, the same as [`json`].
pub async fn api(web: State<Web>, visitor: Visitor, id: Path<String>) -> Result<Response, Error> {
    json(web, visitor, id).await
}

async fn written(web: &Web, id: &str) -> Result<(Whole, Report), Error> {
    let whole = incidents::load(web, id).await?;
    let report = (web.deps()?.report)(&whole.case, &whole.entries);
    Ok((whole, report))
}
