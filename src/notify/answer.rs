//! Reads the answers of HTTP channels alike.
//!
//! In: what came back, or did not. Out: a [`Failure`], and whether the message may have arrived.
//! Never: a secret in `why`.

use super::{Failure, Repeat, escape};
use crate::clients::http::{Answer, Error, Http, retry_after_ms};

/// More than any of these services answers.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A service that asks for more than this is asked again anyway: a day-long silence is worse.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
const WHY_CHARS: usize = 500;

/// No answer at all.
pub fn unanswered(error: &Error) -> Failure {
    let why = one_why(&error.to_string());
    match error {
        Error::Setup { .. } => Failure::Permanent { why },
        Error::Unreachable { source, .. } if source.is_connect() => retry(why),
        Error::Unreachable { .. }
        | Error::Timeout { .. }
        | Error::Status { .. }
        | Error::TooLarge { .. }
        | Error::BadAnswer { .. } => doubtful(why),
    }
}

/// An answer that says nothing about the message itself: try later. `None` when it does.
///
/// Also an unexpected 2xx or 3xx: a login page of some proxy is no delivery.
pub fn try_later(http: &Http, what: &str, answer: &Answer) -> Option<Failure> {
    let status = answer.status;
    if matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429) {
        return None;
    }
    let excerpt = http.excerpt(&answer.body);
    let why = match status {
        429 => format!("{what} limits how often we may send (429)"),
        200..=399 => format!(
            "{what} answered {status} without confirming the message; is a proxy in between? {excerpt}"
        ),
        _ => format!("{what} has a problem of its own ({status}): {excerpt}"),
    };
    let after_ms = retry_after_ms(&answer.headers).map(|ms| ms.min(RETRY_AFTER_MS_MAX));
    // A gateway that gave up waiting does not know what became of the message.
    let maybe_sent = if matches!(status, 502 | 504) { Repeat::AfterCrash } else { Repeat::Fresh };
    Some(Failure::Retry { after_ms, why: one_why(&why), maybe_sent })
}

/// One line of bounded length, fit for a log and for another channel.
pub fn one_why(text: &str) -> String {
    escape::cut(&escape::one_line(text), WHY_CHARS)
}

pub fn retry(why: String) -> Failure {
    Failure::Retry { after_ms: None, why, maybe_sent: Repeat::Fresh }
}

/// It may have arrived.
pub fn doubtful(why: String) -> Failure {
    Failure::Retry { after_ms: None, why, maybe_sent: Repeat::AfterCrash }
}
