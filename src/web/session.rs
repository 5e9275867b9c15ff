//! Sessions of people in browsers: a random token in a cookie, its hash in the store.
//!
//! Never: a session that outlives its user, the user's password, or twelve hours.

use super::Web;
use super::error::Error;
use crate::approval::{Principal, equal, secrets};
use crate::model::call::sha256_hex;
use crate::store::sessions::Session;
use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

/// One shift.
const LASTS_MS: i64 = 12 * 3600 * 1000;

/// A session in force.
pub struct Found {
    pub principal: Principal,
    pub csrf: String,
    pub token_hash: String,
}

/// The session of a request's cookie.
pub async fn find(web: &Web, headers: &HeaderMap) -> Result<Option<Found>, Error> {
    let Some(token) = cookie(web, headers) else { return Ok(None) };
    let deps = web.deps()?;
    let token_hash = sha256_hex(token.as_bytes());
    let Some(session) = deps.store.session(&token_hash, deps.clock.now_ms()).await? else {
        return Ok(None);
    };
    let Some((principal, password)) = web.people().by_name(&session.user) else {
        return Ok(None);
    };
    // The CSRF token is made from the password's hash: a changed password ends the session.
    let in_force = equal(&session.csrf, &csrf(&token, &password));
    let Session { csrf, token_hash, .. } = session;
    Ok(in_force.then_some(Found { principal, csrf, token_hash }))
}

/// Begins a session; returns its cookie.
pub async fn begin(web: &Web, user: &str) -> Result<HeaderValue, Error> {
    let deps = web.deps()?;
    let Some((_, password)) = web.people().by_name(user) else { return Err(Error::SignIn) };
    let token = secrets::random_text();
    let now_ms = deps.clock.now_ms();
    let session = Session {
        token_hash: sha256_hex(token.as_bytes()),
        user: user.to_owned(),
        csrf: csrf(&token, &password),
        created_at_ms: now_ms,
        expires_at_ms: now_ms + LASTS_MS,
    };
    deps.store.add_session(session).await?;
    Ok(set_cookie(web, &token, LASTS_MS / 1000))
}

/// Ends a session; returns the cookie that makes the browser forget it.
pub async fn end(web: &Web, found: &Found) -> Result<HeaderValue, Error> {
    web.deps()?.store.end_session(&found.token_hash).await?;
    Ok(set_cookie(web, "", 0))
}

fn csrf(token: &str, password: &str) -> String {
    sha256_hex(format!("csrf\n{token}\n{password}").as_bytes())
}

impl Web {
    /// Whether people reach this server by TLS.
    pub(super) fn is_https(&self) -> bool {
        self.settings().http.tls_cert_file.is_some()
            || self.settings().public_url().starts_with("https://")
    }

    /// The prefix makes browsers refuse the cookie from anywhere but this host over TLS.
    fn cookie_name(&self) -> &'static str {
        if self.is_https() { "__Host-watchkeeper" } else { "watchkeeper" }
    }
}

fn set_cookie(web: &Web, token: &str, lasts_s: i64) -> HeaderValue {
    let secure = if web.is_https() { "; Secure" } else { "" };
    let name = web.cookie_name();
    let cookie =
        format!("{name}={token}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Lax{secure}");
    // The token is base64, so it always fits into a header.
    HeaderValue::try_from(cookie).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn cookie(web: &Web, headers: &HeaderMap) -> Option<String> {
    let name = web.cookie_name();
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, token) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}
