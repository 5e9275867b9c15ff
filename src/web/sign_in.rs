//! Signing in and out.

use super::chrome::Chrome;
use super::error::Error;
use super::forms::{self, Fields};
use super::peer::Peer;
use super::visitor::{Visitor, nobody_configured, refuse_foreign};
use super::{Web, session};
use crate::approval::Role;
use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use secrecy::SecretString;
use std::time::Instant;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    c: Chrome,
    next: String,
    people_exist: bool,
    failed: bool,
}

/// The form.
pub async fn form(State(web): State<Web>, uri: Uri) -> Result<Response, Error> {
    let next = forms::of_uri(&uri)?.remove("next").unwrap_or_default();
    let page = Page {
        c: Chrome::for_stranger(&web),
        next: local(&next).to_owned(),
        people_exist: web.people().has_readers(),
        failed: false,
    };
    Ok(Html(page.render()?).into_response())
}

/// Checks a name and a password, and begins a session.
pub async fn submit(
    State(web): State<Web>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    refuse_foreign(&web, &headers)?;
    if !web.people().has_readers() {
        return Err(nobody_configured());
    }
    let fields = Fields::of(&web, &headers, body).await?;
    let began = Instant::now();
    let too_many =
        |wait: std::time::Duration| Error::TooManyAttempts { wait_s: wait.as_secs() + 1 };
    let slower = web.0.attempts.begin(peer.address, began).map_err(too_many)?;
    let name = fields.get("name").unwrap_or_default();
    let password = SecretString::from(fields.get("password").unwrap_or_default());
    let found = web.people().sign_in(name, &password).await;
    let next = local(fields.get("next").unwrap_or_default());
    if let Some(principal) = found.map_err(|busy| Error::Unavailable(busy.to_string()))? {
        web.0.attempts.succeeded(peer.address);
        let cookie = session::begin(&web, &principal.name).await?;
        let (user, client) = (&principal.name, peer.address);
        tracing::info!(user, %client, "{user} signed in");
        return Ok(redirect(next, Some(cookie)));
    }
    metrics::counter!("watchkeeper_sign_ins_failed_total").increment(1);
    tracing::warn!(client = %peer.address, "a sign-in failed");
    tokio::time::sleep(slower).await;
    let page = Page {
        c: Chrome::for_stranger(&web),
        next: next.to_owned(),
        people_exist: true,
        failed: true,
    };
    Ok((StatusCode::UNAUTHORIZED, Html(page.render()?)).into_response())
}

/// Ends the session.
pub async fn out(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let fields = Fields::of(&web, &headers, body).await?;
    visitor.author(&web, &headers, fields.get("csrf"), Role::Viewer)?;
    let cookie = match session::find(&web, &headers).await? {
        Some(found) => Some(session::end(&web, &found).await?),
        None => None,
    };
    Ok(redirect("/login", cookie))
}

/// Sends a browser on with GET.
pub fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let to = HeaderValue::try_from(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The path to come back to; anything that could lead to another site becomes the start page.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let inside = next.starts_with('/') && !next.starts_with("//");
    if plain && inside { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_come_back_to() {
        assert_eq!(local("/confirm/1?x=y"), "/confirm/1?x=y");
        for other in ["", "https://evil.example", "//evil.example", "/\\evil", "/a\r\nb", "x"] {
            assert_eq!(local(other), "/", "{other}");
        }
    }
}
