//! Who makes a request: a signed-in person, the holder of an API token, or anyone on this machine
//! while nobody is configured.
//!
//! In: cookies and headers. Out: a [`Visitor`], which may read; [`Visitor::author`] gives the
//! principal that may change things. Never: a change for a page of another site.

use super::error::Error;
use super::peer::{Peer, is_foreign, names_loopback};
use super::{Web, session};
use crate::approval::{Holder, Principal, Role, equal};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

/// Carries the session's CSRF token where there is no form.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// Somebody who may read.
#[derive(Clone, Debug)]
pub enum Visitor {
    /// Signed in by form; changes need this CSRF token.
    Person {
        principal: Principal,
        csrf: String,
    },
    Machine(Principal),
    /// No users and no API tokens exist, and the request comes from this very machine.
    Anyone,
}

impl Visitor {
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Person { principal, .. } | Self::Machine(principal) => Some(principal),
            Self::Anyone => None,
        }
    }

    pub fn csrf(&self) -> &str {
        match self {
            Self::Person { csrf, .. } => csrf,
            Self::Machine(_) | Self::Anyone => "",
        }
    }

    /// The principal of a change, if the request is really theirs and they have the role.
    ///
    /// # Errors
    /// `Forbidden` with what is missing.
    pub fn author(
        &self,
        web: &Web,
        headers: &HeaderMap,
        csrf_in_form: Option<&str>,
        least: Role,
    ) -> Result<&Principal, Error> {
        refuse_foreign(web, headers)?;
        let principal = match self {
            Self::Anyone => return Err(nobody_configured()),
            Self::Machine(principal) => principal,
            Self::Person { principal, csrf } => {
                let in_header = headers.get(CSRF).and_then(|token| token.to_str().ok());
                let given = csrf_in_form.or(in_header).unwrap_or_default();
                if !equal(given, csrf) {
                    return Err(Error::Forbidden {
                        code: "csrf",
                        message: "the form does not belong to this session".into(),
                        hint: "load the page again and repeat what you did",
                    });
                }
                principal
            }
        };
        if principal.role < least {
            return Err(Error::Forbidden {
                code: "not_allowed",
                message: format!("this needs the role {least}; yours is {}", principal.role),
                hint: "ask somebody who has it",
            });
        }
        Ok(principal)
    }
}

/// Refuses what a browser was made to send by a page of another site.
pub fn refuse_foreign(web: &Web, headers: &HeaderMap) -> Result<(), Error> {
    if !is_foreign(headers, &web.settings().public_url()) {
        return Ok(());
    }
    Err(Error::Forbidden {
        code: "foreign_origin",
        message: "the request was made by a page of another site".into(),
        hint: "set public_url to the address that people use, if this is it",
    })
}

/// What somebody is told who wants to decide before anybody can.
pub fn nobody_configured() -> Error {
    Error::Forbidden {
        code: "nobody_configured",
        message: "nobody can decide here yet, because no users exist".into(),
        hint: "run `watchkeeper user add` on this machine, then sign in",
    }
}

/// The token after `Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Error> {
        // Other schemes may be meant for a proxy in front.
        if let Some(token) = bearer(&parts.headers) {
            return match web.people().by_token(token) {
                Some(Holder::Person(principal)) => Ok(Self::Machine(principal)),
                Some(Holder::Sender { .. }) => Err(Error::Forbidden {
                    code: "wrong_token",
                    message: "a webhook token may bring alerts and nothing else".into(),
                    hint: "make an API token with `watchkeeper token create`",
                }),
                None => Err(Error::SignIn),
            };
        }
        if let Some(found) = session::find(web, &parts.headers).await? {
            return Ok(Self::Person { principal: found.principal, csrf: found.csrf });
        }
        let peer = parts.extensions.get::<Peer>();
        if peer.is_some_and(|peer| may_be_anyone(web, peer, &parts.headers)) {
            return Ok(Self::Anyone);
        }
        Err(Error::SignIn)
    }
}

fn may_be_anyone(web: &Web, peer: &Peer, headers: &HeaderMap) -> bool {
    !web.people().has_readers()
        && !web.settings().listens_beyond_loopback()
        && peer.is_local()
        && names_loopback(headers)
}
