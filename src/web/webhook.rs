//! `POST /webhook/alert`: Alertmanager's deliveries.
//!
//! In: a body from an authenticated sender. Out: 200 once it is stored.
//! Never: an answer that makes Alertmanager drop what a retry could save. It retries 5xx and
//! network errors only (its `notify/webhook/webhook.go`), so no 429, and 4xx for nothing but
//! missing credentials and bodies that stay unreadable.

use super::bodies::{self, Unread};
use super::error::Error;
use super::peer::{Peer, names_loopback};
use super::visitor::{bearer, refuse_foreign};
use super::{Deps, Web};
use crate::approval::people::DEFAULT_SOURCE;
use crate::approval::{Holder, Role};
use crate::ingest::{Delivery, Rejected};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Of a body that is too large, so much is kept for a person to look at.
const KEPT_BYTES: usize = 64 * 1024;

/// Takes one delivery.
pub async fn alert(
    State(web): State<Web>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Error> {
    let (head, body) = request.into_parts();
    let answered = take(&web, &peer, &head.headers, body).await;
    let outcome = match &answered {
        Ok(_) => "accepted",
        Err(Error::Unavailable(_)) => "shed",
        Err(error) => {
            report_refusal(&web, &peer, error);
            // The sender gives such a delivery up.
            if let (Error::Credentials | Error::Forbidden { .. }, Ok(deps)) = (error, web.deps()) {
                deps.ingest.missed().notify_one();
            }
            "refused"
        }
    };
    metrics::counter!("watchkeeper_webhooks_total", "outcome" => outcome).increment(1);
    let count = answered?;
    let body = format!("{{\"status\":\"accepted\",\"count\":{count}}}");
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Alertmanager gives up after a 4xx, so somebody has to hear of it; but strangers could fill the
/// log with refusals, so one a minute is told.
fn report_refusal(web: &Web, peer: &Peer, error: &Error) {
    const EVERY: Duration = Duration::from_secs(60);
    if !matches!(error, Error::Credentials | Error::Forbidden { .. }) {
        return;
    }
    let mut last = web.0.refusal_told.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= EVERY) {
        *last = Some(Instant::now());
        let client = peer.address;
        tracing::warn!(%client, "refused a webhook of {client}: its credentials are not valid");
    }
}

async fn take(web: &Web, peer: &Peer, headers: &HeaderMap, body: Body) -> Result<usize, Error> {
    let deps = web.deps()?;
    if web.0.stopping.is_cancelled() {
        return Err(Error::Unavailable("stopping".into()));
    }
    // Before the body, so that strangers cannot fill memory with theirs.
    let source = sender(web, peer, headers).await?;
    match bodies::hold(web, body).await {
        Ok(held) => store(web, deps, source, held.bytes.clone()).await,
        Err(Unread::TooLarge(start)) => {
            let start = start.slice(..start.len().min(KEPT_BYTES));
            // A cut body is never whole JSON, so it is kept as unreadable; a body that only ends
            // in blanks without number is accepted after all.
            match store(web, deps, source, start).await {
                Err(Error::Invalid { .. }) => {
                    let bytes_max = web.settings().http.webhook_body_bytes_max;
                    tracing::warn!(client = %peer.address, bytes_max, "a webhook was too large");
                    Err(Error::TooLarge { bytes_max })
                }
                other => other,
            }
        }
        Err(Unread::Slow) => Err(Error::Unavailable("a webhook's body was slow".into())),
        Err(Unread::Broken) => Err(Error::Unavailable("a webhook's body broke off".into())),
        Err(Unread::Crowded) => Err(Error::Unavailable("too many bodies at once".into())),
    }
}

async fn store(web: &Web, deps: &Deps, source: String, bytes: Bytes) -> Result<usize, Error> {
    let delivery = Delivery { source, scope: web.scope().to_owned(), bytes };
    match deps.ingest.receive(delivery).await {
        Ok(accepted) => Ok(accepted.alerts),
        Err(Rejected::Malformed(malformed)) => {
            tracing::warn!(
                path = malformed.path,
                message = malformed.message,
                "kept a webhook that cannot be read: {malformed}"
            );
            Err(Error::Invalid {
                path: malformed.path,
                message: malformed.message,
                hint: "send Alertmanager's webhook payload, version 4; this body was kept for a \
                       person to look at"
                    .into(),
            })
        }
        Err(busy @ (Rejected::Busy | Rejected::Unavailable(_))) => {
            Err(Error::Unavailable(busy.to_string()))
        }
    }
}

/// The source under which a sender's alerts are recorded.
async fn sender(web: &Web, peer: &Peer, headers: &HeaderMap) -> Result<String, Error> {
    if headers.contains_key(AUTHORIZATION) {
        return known_sender(web, peer, headers).await;
    }
    let open = web.people().is_nobody() && !web.settings().listens_beyond_loopback();
    if !open || !peer.is_local() {
        return Err(Error::Credentials);
    }
    refuse_foreign(web, headers)?;
    if names_loopback(headers) { Ok(DEFAULT_SOURCE.to_owned()) } else { Err(Error::Credentials) }
}

async fn known_sender(web: &Web, peer: &Peer, headers: &HeaderMap) -> Result<String, Error> {
    let basic = basic(headers);
    let token = bearer(headers).or(basic.as_ref().map(|(_, password)| password.expose_secret()));
    match token.and_then(|token| web.people().by_token(token)) {
        Some(Holder::Sender { source }) => return Ok(source),
        Some(Holder::Person(_)) => {
            return Err(Error::Forbidden {
                code: "wrong_token",
                message: "this is an API token; alerts need a webhook token".into(),
                hint: "make one with `watchkeeper token create`",
            });
        }
        None => {}
    }
    // Nobody configured: credentials that somebody sends anyway do no harm on this machine.
    if web.people().is_nobody() && peer.is_local() && !web.settings().listens_beyond_loopback() {
        return Ok(DEFAULT_SOURCE.to_owned());
    }
    let Some((name, password)) = basic else { return Err(Error::Credentials) };
    user(web, peer, &name, &password).await
}

/// A user's own password, as a person would test the webhook with.
async fn user(
    web: &Web,
    peer: &Peer,
    name: &str,
    password: &SecretString,
) -> Result<String, Error> {
    let known = match web.people().remembers(name, password) {
        Some(principal) => Some(principal),
        None => {
            let later = |_| Error::Unavailable("too many wrong passwords".into());
            web.0.attempts.begin(peer.address, Instant::now()).map_err(later)?;
            let found = web.people().sign_in(name, password).await;
            let found = found.map_err(|busy| Error::Unavailable(busy.to_string()))?;
            if found.is_some() {
                web.0.attempts.succeeded(peer.address);
                web.people().remember(name, password);
            }
            found
        }
    };
    match known {
        Some(principal) if principal.role >= Role::Responder => Ok(DEFAULT_SOURCE.to_owned()),
        Some(_) | None => Err(Error::Credentials),
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), SecretString::from(password)))
}
