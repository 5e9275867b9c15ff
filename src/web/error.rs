//! The only place with status codes of errors. Each error says what the caller can do next.
//!
//! In: errors of handlers. Out: `{"error": {code, message, hint, path, id}}`, or a page for
//! browsers; the cause is logged here under the same id and told to nobody.

use super::chrome::{Chrome, ProblemPage};
use super::{Web, visible};
use crate::approval;
use crate::store;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was not done.
#[derive(Debug)]
pub enum Error {
    NotFound(&'static str),
    /// It was there, and was deleted because of its age at that time.
    AgedOut {
        what: &'static str,
        at_ms: i64,
    },
    MethodNotAllowed,
    /// Nobody is signed in, or the session has ended.
    SignIn,
    /// A machine without valid credentials.
    Credentials,
    Forbidden {
        code: &'static str,
        message: String,
        hint: &'static str,
    },
    Invalid {
        path: String,
        message: String,
        hint: String,
    },
    TooLarge {
        bytes_max: u64,
    },
    Slow,
    /// Configuration or policy files cannot be taken over.
    Broken {
        problems: Vec<String>,
    },
    /// An action that cannot be decided any more, with the word for its state.
    Decision(approval::Error),
    /// Too many wrong passwords.
    TooManyAttempts {
        wait_s: u64,
    },
    /// Nothing was done; the same request may work later.
    Unavailable(String),
    /// A bug or an unreadable row.
    Internal(String),
}

/// An error on its way out; [`render`] gives it a body once the request's id is known.
#[derive(Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: String,
    path: Option<String>,
    /// Of an action that was decided already.
    state: Option<&'static str>,
    /// Everything that is wrong, where it is more than the message can say.
    problems: Vec<String>,
    /// For the log alone.
    cause: Option<String>,
    retry_after_s: Option<u64>,
}

impl Error {
    pub fn invalid(path: &str, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), message: message.into(), hint: String::new() }
    }

    fn problem(self) -> Problem {
        let of = |status, code, message: &str| Problem::new(status, code, message);
        match self {
            Self::NotFound(what) => {
                of(StatusCode::NOT_FOUND, "not_found", &format!("there is no such {what}"))
            }
            Self::AgedOut { what, at_ms } => {
                let at = crate::clock::format_ms(at_ms);
                of(StatusCode::GONE, "aged_out", &format!("this {what} aged out at {at}"))
                    .hint("`retention` in the configuration says how long history is kept")
            }
            Self::MethodNotAllowed => of(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not take that method",
            ),
            Self::SignIn => of(StatusCode::UNAUTHORIZED, "sign_in", "sign in first")
                .hint("sign in at /login, or send an API token as `Authorization: Bearer wk_…`"),
            Self::Credentials => of(
                StatusCode::UNAUTHORIZED,
                "credentials",
                "these credentials are missing or not valid here",
            )
            .hint(
                "make a token with `watchkeeper token create` and give it to Alertmanager as \
                 `http_config: {authorization: {credentials: wk_…}}`",
            ),
            Self::Forbidden { code, message, hint } => {
                of(StatusCode::FORBIDDEN, code, &message).hint(hint)
            }
            Self::Invalid { path, message, hint } => {
                Problem { path: Some(path), ..of(StatusCode::BAD_REQUEST, "invalid", &message) }
                    .hint(hint)
            }
            Self::TooLarge { bytes_max } => of(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                &format!("the body is larger than {bytes_max} bytes"),
            )
            .hint("the limits are http.webhook_body_bytes_max and http.body_bytes_max"),
            Self::Slow => {
                of(StatusCode::REQUEST_TIMEOUT, "slow", "the body did not arrive in time")
            }
            Self::Broken { problems } => broken(problems),
            Self::Decision(error) => decision(error),
            Self::TooManyAttempts { wait_s } => Problem {
                retry_after_s: Some(wait_s),
                ..of(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_attempts",
                    "too many wrong passwords from this address",
                )
            }
            .hint("wait some minutes before the next attempt"),
            Self::Unavailable(cause) => unavailable(cause),
            Self::Internal(cause) => Problem {
                cause: Some(cause),
                ..of(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here")
            }
            .hint("the log says more under this id"),
        }
    }
}

fn broken(problems: Vec<String>) -> Problem {
    let count = problems.len();
    let message = format!(
        "the files cannot be taken over ({count} problem{}); the last good ones stay in force",
        if count == 1 { "" } else { "s" }
    );
    Problem { problems, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "broken_policy", message) }
        .hint("mend the files on the server and reload again")
}

fn unavailable(cause: String) -> Problem {
    Problem {
        cause: Some(cause),
        retry_after_s: Some(5),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "not possible right now; nothing was stored",
        )
    }
    .hint("send it again in a few seconds; /readyz says what is not ready")
}

fn decision(error: approval::Error) -> Problem {
    let message = error.to_string();
    let of = |status, code| Problem::new(status, code, message.clone());
    match error {
        approval::Error::NotFound => of(StatusCode::NOT_FOUND, "not_found"),
        approval::Error::NotAllowed(_) => of(StatusCode::FORBIDDEN, "not_allowed"),
        approval::Error::Changed => of(StatusCode::CONFLICT, "changed"),
        approval::Error::AlreadyDecided { state, .. } => {
            Problem { state: Some(state.as_str()), ..of(StatusCode::CONFLICT, "already_decided") }
        }
        approval::Error::Expired => of(StatusCode::GONE, "expired"),
        approval::Error::Repeated => of(StatusCode::CONFLICT, "repeated"),
        approval::Error::Superseded => of(StatusCode::CONFLICT, "superseded"),
        approval::Error::Unavailable(cause) => unavailable(cause.to_string()),
    }
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            hint: String::new(),
            path: None,
            state: None,
            problems: Vec::new(),
            cause: None,
            retry_after_s: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    fn json(&self, id: &str) -> Response {
        let mut error = json!({"code": self.code, "message": visible(&self.message), "id": id});
        if !self.hint.is_empty() {
            error["hint"] = json!(self.hint);
        }
        if let Some(path) = &self.path {
            error["path"] = json!(visible(path));
        }
        if let Some(state) = self.state {
            error["state"] = json!(state);
        }
        if !self.problems.is_empty() {
            error["problems"] = self.problems.iter().map(|said| json!(visible(said))).collect();
        }
        let body = json!({ "error": error }).to_string();
        (self.status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let mut response = problem.status.into_response();
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) | store::Error::Busy => {
                Self::Unavailable(error.to_string())
            }
            store::Error::Fenced
            | store::Error::OverLimit(_)
            | store::Error::OrdersChanged
            | store::Error::Crowded(_)
            | store::Error::Held(_)
            | store::Error::NoLonger(_)
            | store::Error::Conflict(_)
            | store::Error::Corrupt(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<approval::Error> for Error {
    fn from(error: approval::Error) -> Self {
        Self::Decision(error)
    }
}

impl From<askama::Error> for Error {
    fn from(error: askama::Error) -> Self {
        Self::Internal(format!("cannot write the page: {error}"))
    }
}

/// Whom an error is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    Machine,
    /// A person at this address (path and query), which is where to come back after signing in.
    Browser {
        reading: Option<String>,
    },
}

/// Gives an error its body; other responses stay as they are.
pub fn render(web: &Web, audience: &Audience, id: &str, mut response: Response) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    log(&problem, id);
    let mut response = match audience {
        Audience::Browser { reading: Some(back) } if problem.code == "sign_in" => {
            let next = form_escaped(back);
            let to = HeaderValue::try_from(format!("/login?next={next}"));
            let to = to.unwrap_or_else(|_| HeaderValue::from_static("/login"));
            return (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
        }
        Audience::Browser { .. } => page(web, &problem, id),
        Audience::Machine => problem.json(id),
    };
    let headers = response.headers_mut();
    if let Some(wait_s) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait_s));
    }
    match problem.code {
        "credentials" => {
            let realm = HeaderValue::from_static("Bearer realm=\"watchkeeper\"");
            headers.append(WWW_AUTHENTICATE, realm);
            let realm = HeaderValue::from_static("Basic realm=\"watchkeeper\"");
            headers.append(WWW_AUTHENTICATE, realm);
        }
        "sign_in" => {
            let realm = HeaderValue::from_static("Bearer realm=\"watchkeeper\"");
            headers.append(WWW_AUTHENTICATE, realm);
        }
        _ => {}
    }
    response
}

fn log(problem: &Problem, id: &str) {
    let status = problem.status.as_u16();
    match &problem.cause {
        Some(cause) if problem.status == StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(request.id = id, status, cause, "cannot answer a request: {cause}");
        }
        Some(cause) => {
            tracing::warn!(request.id = id, status, cause, "cannot answer a request: {cause}");
        }
        None => tracing::debug!(request.id = id, status, code = problem.code, "refused a request"),
    }
}

fn page(web: &Web, problem: &Problem, id: &str) -> Response {
    let page = ProblemPage {
        c: Chrome::for_stranger(web),
        message: visible(&problem.message),
        hint: &problem.hint,
        id,
    };
    match page.answer() {
        Ok(page) => (problem.status, page).into_response(),
        Err(_) => problem.json(id),
    }
}

/// A text as one value of a query.
pub fn form_escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
