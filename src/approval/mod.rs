//! People decide: who they are, what they may, and that each question is answered once.
//!
//! In: an authenticated [`Principal`], an action, an answer. Out: the decision, committed, with the
//! incident woken; or an [`Error`] that says what to do next.
//! Never: a decision by somebody unnamed, by a viewer, or about another call than the one shown.
//! To add a way to sign in, make it end in a [`Principal`] in `people.rs`.

pub mod access;
pub mod attempts;
pub mod people;
pub mod secrets;

pub use access::{Access, Token, TokenKind, User};
pub use people::{Busy, Holder, People, Principal, Role, Via};

use crate::clock::Clock;
use crate::model::action::{ActionState, Answer};
use crate::model::ids::ActionId;
use crate::store::actions::{Decided, Decision, Row};
use crate::store::{self, Store};
use subtle::ConstantTimeEq;

/// Of a comment, so much is kept.
const COMMENT_CHARS_MAX: usize = 2_000;

/// An answer on its way to the store.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub scope: &'a str,
    pub principal: &'a Principal,
    pub action_id: ActionId,
    pub answer: Answer,
    pub comment: Option<&'a str>,
    /// The hash of the call that was on the page when the button was pressed.
    pub hash_seen: Option<&'a str>,
}

/// Why there was no decision.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such action")]
    NotFound,
    #[error("{0}")]
    NotAllowed(String),
    /// Look at the page again: it shows another call by now.
    #[error("the call is not the one that was shown; look at it again before you decide")]
    Changed,
    #[error("{}", already(*state, by.as_deref()))]
    AlreadyDecided { state: ActionState, by: Option<String> },
    #[error("nobody answered in time, so the request expired; nothing was run")]
    Expired,
    #[error("you have approved this already; another person has to agree")]
    Repeated,
    #[error("the request was superseded: the reason for asking went away; nothing was run")]
    Superseded,
    #[error("the decision could not be stored; nothing was decided")]
    Unavailable(#[source] store::Error),
}

/// Records one person's answer to one action, once.
///
/// # Errors
/// Each variant is a different thing to say to the person; nothing was changed by any of them.
pub async fn decide(store: &Store, clock: &Clock, request: Request<'_>) -> Result<(), Error> {
    let Request { scope, principal, action_id, answer, comment, hash_seen } = request;
    let found = store.action(scope, action_id).await.map_err(Error::Unavailable)?;
    let row = found.ok_or(Error::NotFound)?;
    may_decide(principal, &row.roles).map_err(Error::NotAllowed)?;
    if hash_seen.is_some_and(|seen| !equal(seen, &row.call_hash)) {
        return Err(Error::Changed);
    }
    let at_ms = clock.now_ms();
    open_at(&row, at_ms)?;
    let comment = comment.map(str::trim).filter(|comment| !comment.is_empty());
    let decision = Decision {
        action_id,
        answer,
        by: principal.name.clone(),
        comment: comment.map(|comment| comment.chars().take(COMMENT_CHARS_MAX).collect()),
        at_ms,
    };
    match store.decide(decision).await.map_err(Error::Unavailable)? {
        Decided::Recorded | Decided::Counted { .. } => {
            tracing::info!(
                action.id = %action_id, by = principal.name, ?answer, "{} answered {answer:?}",
                principal.name
            );
            Ok(())
        }
        Decided::Repeated => Err(Error::Repeated),
        Decided::NotFound => Err(Error::NotFound),
        Decided::TooLate => Err(Error::Expired),
        Decided::Already(state) => {
            let by = store.action(scope, action_id).await.map_err(Error::Unavailable)?;
            Err(closed(state, by.and_then(|row| row.decided_by)))
        }
    }
}

/// Whether this person may answer a question that is put to `roles`; otherwise why not.
///
/// A role counts for the ones below it. With no roles named, every responder may answer.
pub fn may_decide(principal: &Principal, roles: &[String]) -> Result<(), String> {
    if principal.role < Role::Responder {
        let role = principal.role;
        return Err(format!("the role {role} may look and not decide; a responder may"));
    }
    let named: Vec<Role> = roles.iter().filter_map(|role| Role::parse(role)).collect();
    if roles.is_empty() || named.iter().any(|least| principal.role >= *least) {
        return Ok(());
    }
    let (asked, role) = (roles.join(", "), principal.role);
    Err(format!("the rules ask for one of these roles here: {asked}; yours is {role}"))
}

/// Whether a question can still be answered; otherwise what became of it.
pub fn open_at(row: &Row, now_ms: i64) -> Result<(), Error> {
    if row.state != ActionState::Awaiting {
        return Err(closed(row.state, row.decided_by.clone()));
    }
    if row.expires_at_ms.is_some_and(|expires| expires <= now_ms) {
        return Err(Error::Expired);
    }
    Ok(())
}

fn closed(state: ActionState, by: Option<String>) -> Error {
    match state {
        ActionState::Expired => Error::Expired,
        ActionState::Superseded => Error::Superseded,
        ActionState::Proposed
        | ActionState::Refused
        | ActionState::Allowed
        | ActionState::Awaiting
        | ActionState::Approved
        | ActionState::Rejected
        | ActionState::Intended
        | ActionState::Done
        | ActionState::Failed
        | ActionState::Unknown => Error::AlreadyDecided { state, by },
    }
}

/// What became of an action that nobody can decide on any more, in words.
pub fn already(state: ActionState, by: Option<&str>) -> String {
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    match state {
        ActionState::Proposed => "the rules have not judged this action yet".to_owned(),
        ActionState::Refused => "the rules refused this action; nobody can approve it".to_owned(),
        ActionState::Allowed => {
            "the rules allowed this action; nobody has to approve it".to_owned()
        }
        ActionState::Awaiting => "this action waits for a decision".to_owned(),
        ActionState::Approved => format!("this action was approved{by}"),
        ActionState::Rejected => format!("this action was rejected{by}; nothing was run"),
        ActionState::Expired => "nobody answered in time; nothing was run".to_owned(),
        ActionState::Superseded => "the reason for asking went away; nothing was run".to_owned(),
        ActionState::Intended => format!("this action was let through{by} and is being run"),
        ActionState::Done => format!("this action was let through{by} and has run"),
        ActionState::Failed => format!("this action was let through{by} and failed"),
        ActionState::Unknown => {
            format!("this action was let through{by}; whether it ran is not known")
        }
    }
}

/// Compares in a time that does not depend on where two texts differ.
pub fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(role: Role) -> Principal {
        Principal { name: "kim".into(), role, via: Via::Form }
    }

    #[test]
    fn roles_named_by_the_rules_restrict_further() {
        let sre = ["sre".to_owned()];
        assert_eq!(may_decide(&person(Role::Responder), &[]), Ok(()));
        assert_eq!(may_decide(&person(Role::Sre), &sre), Ok(()));
        assert_eq!(may_decide(&person(Role::Admin), &sre), Ok(()));
        assert_eq!(
            may_decide(&person(Role::Responder), &sre),
            Err("the rules ask for one of these roles here: sre; yours is responder".into())
        );
        assert!(may_decide(&person(Role::Viewer), &[]).is_err());
        assert!(may_decide(&person(Role::Viewer), &["viewer".to_owned()]).is_err());
        assert!(may_decide(&person(Role::Admin), &["dba".to_owned()]).is_err());
    }
}
