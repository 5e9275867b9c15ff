//! The one way to speak HTTP to an outside service.
//!
//! In: a base address and [`Options`]. Out: [`Http`], which sends requests and returns the whole
//! answer, capped in time and bytes. Never: a proxy that was not named, a redirect to another host,
//! credentials in a log line or an error. `ca_file` replaces the system's authorities, so that a
//! private service can be pinned to its own. To add an option, give it a field in [`Options`] and
//! apply it in `setup::client`.

mod setup;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};

pub use super::retry_after::retry_after_ms;
use crate::crash::{self, Point};

/// Enough to see which page or message came back, short enough for a log line.
const EXCERPT_CHARS: usize = 300;

/// How to reach one service.
#[derive(Clone)]
pub struct Options {
    /// From the first byte sent to the last byte read.
    pub timeout_ms: u64,
    pub connect_timeout_ms: u64,
    /// PEM bundle; when set, only these authorities are trusted.
    pub ca_file: Option<PathBuf>,
    /// `http://user:password@host:port`; none is taken from the environment.
    pub proxy: Option<String>,
    pub auth: Auth,
    /// Answers in place of the network: for simulations.
    pub wire: Option<Arc<dyn Wire>>,
}

/// Something that answers requests without a network.
pub trait Wire: Send + Sync {
    /// The answer, or `None` when the time limit passes without one.
    fn answer(&self, request: reqwest::Request) -> BoxFuture<'_, Option<Answer>>;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: 10_000,
            connect_timeout_ms: 3_000,
            ca_file: None,
            proxy: None,
            auth: Auth::None,
            wire: None,
        }
    }
}

impl std::fmt::Debug for Options {
    /// Leaves the proxy out, whose address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("ca_file", &self.ca_file)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// What the service wants to see in `Authorization`.
#[derive(Debug, Clone)]
pub enum Auth {
    None,
    Bearer(SecretString),
    Basic { user: String, password: SecretString },
}

/// Why a service gave no usable answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; asking again cannot help.
    #[error("cannot set up the client for {what}: {reason}")]
    Setup { what: String, reason: String },
    /// Nothing came back, or it broke off; asking later may help.
    #[error("cannot reach {what} at {url}: {reason}. {mend}")]
    Unreachable {
        what: String,
        url: String,
        reason: String,
        mend: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("{what} at {url} did not answer within {timeout_ms} ms")]
    Timeout { what: String, url: String, timeout_ms: u64 },
    #[error("{what} at {url} answered {status}: {body_excerpt}")]
    Status {
        what: String,
        url: String,
        status: u16,
        body_excerpt: String,
        retry_after_ms: Option<u64>,
    },
    /// Ask for less.
    #[error("{what} at {url} sent more than {bytes_max} bytes")]
    TooLarge { what: String, url: String, bytes_max: usize },
    /// It answered, but not what this service answers; the address is probably not the right one.
    #[error("{what} at {url} gave an answer that cannot be used: {reason}")]
    BadAnswer { what: String, url: String, reason: String },
}

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the answer is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the answer broke off")]
    BrokeOff(#[source] reqwest::Error),
}

/// An answer with any status, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Makes the ring provider the process's TLS provider; later calls change nothing.
///
/// Without a provider `reqwest` panics when it builds a client.
pub fn install_tls() {
    // An error only says that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a body of at most `bytes_max` bytes; a larger one is dropped, not cut.
///
/// # Errors
/// `TooLarge`, or `BrokeOff` when the connection ends early.
pub async fn read_capped(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::BrokeOff)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(ReadError::TooLarge { bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// One service at one base address.
#[derive(Clone)]
pub struct Http {
    client: Client,
    what: String,
    base: Url,
    /// Shared by clones.
    auth: Arc<RwLock<Auth>>,
    /// What besides the credentials is kept out of errors.
    hidden: Option<SecretString>,
    path: PathShown,
    timeout_ms: u64,
    wire: Option<Arc<dyn Wire>>,
}

/// Whether the address's path may appear in an error.
#[derive(Debug, Clone, Copy)]
enum PathShown {
    Yes,
    No,
}

impl Http {
    /// Prepares to ask `what` (its name for people) at `base_url`.
    ///
    /// A user and password in `base_url` are used as basic credentials and kept out of every error.
    ///
    /// # Errors
    /// `Setup`: the address, the CA file or the proxy cannot be used.
    pub fn new(what: &str, base_url: &str, options: &Options) -> Result<Self, Error> {
        install_tls();
        let setup = |reason: String| Error::Setup { what: what.to_owned(), reason };
        let (base, auth) = setup::address(base_url, &options.auth).map_err(setup)?;
        let client = setup::client(&base, options).map_err(setup)?;
        let timeout_ms = options.timeout_ms;
        Ok(Self {
            client,
            what: what.to_owned(),
            base,
            auth: Arc::new(RwLock::new(auth)),
            hidden: None,
            path: PathShown::Yes,
            timeout_ms,
            wire: options.wire.clone(),
        })
    }

    /// Keeps the path out of errors too, for addresses that are themselves the secret.
    #[must_use]
    pub fn hiding_path(mut self) -> Self {
        self.path = PathShown::No;
        let path = self.base.path().trim_matches('/').to_owned();
        if !path.is_empty() {
            self.hidden = Some(path.into());
        }
        self
    }

    /// Shows these credentials from the next request on, in every clone; they win over those that
    /// stood in the address.
    pub fn renew(&self, auth: Auth) {
        *self.auth.write().unwrap_or_else(PoisonError::into_inner) = auth;
    }

    fn auth(&self) -> Auth {
        self.auth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address of `path` below the base; an empty path is the base itself.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if !path.is_empty() {
            let base_path = url.path().trim_end_matches('/');
            url.set_path(&format!("{base_path}/{}", path.trim_start_matches('/')));
        }
        url
    }

    /// A GET with query parameters.
    pub fn get(&self, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.get(url)
    }

    /// A POST without a body yet.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// The client underneath, for a library that builds its own requests.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The value of `Authorization`, marked as sensitive; none without credentials.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let text = match self.auth() {
            Auth::None => return None,
            // A server that wants no key may refuse an empty one.
            Auth::Bearer(token) if token.expose_secret().is_empty() => return None,
            Auth::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Auth::Basic { user, password } => format!("Basic {}", basic(&user, &password)),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Sends a request with our credentials and reads the answer, whatever its status.
    ///
    /// # Errors
    /// `Setup`, `Unreachable`, `Timeout`, `TooLarge`.
    pub async fn send(&self, request: RequestBuilder, bytes_max: usize) -> Result<Answer, Error> {
        let request = match self.authorization() {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        if let Some(wire) = &self.wire {
            let request = request.build().map_err(|error| self.failed(error))?;
            return wire.answer(request).await.ok_or_else(|| self.timed_out());
        }
        crash::at(Point::BeforeRequest);
        let answer = match request.send().await {
            Ok(response) => self.read(response, bytes_max).await,
            Err(error) => Err(self.failed(error)),
        };
        crash::at(Point::AfterRequest);
        answer
    }

    fn timed_out(&self) -> Error {
        let (what, url, timeout_ms) = (self.what.clone(), self.shown(), self.timeout_ms);
        Error::Timeout { what, url, timeout_ms }
    }

    /// Reads what [`Http::client`] received.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn read(&self, response: Response, bytes_max: usize) -> Result<Answer, Error> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        match read_capped(response, bytes_max).await {
            Ok(body) => Ok(Answer { status, headers, body }),
            Err(ReadError::TooLarge { bytes_max }) => {
                Err(Error::TooLarge { what: self.what.clone(), url: self.shown(), bytes_max })
            }
            Err(ReadError::BrokeOff(error)) => Err(self.failed(error)),
        }
    }

    /// Passes a 2xx answer on and turns any other into `Status`.
    ///
    /// # Errors
    /// `Status`, with an excerpt of the body that holds none of our secrets.
    pub fn success(&self, answer: Answer) -> Result<Answer, Error> {
        if answer.is_success() { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    /// The `Status` of an answer that is not 2xx.
    pub fn refused(&self, answer: &Answer) -> Error {
        let body_excerpt = match redirect_target(answer) {
            Some(target) => format!("it redirects to {target}; configure that address instead"),
            None => self.excerpt(&answer.body),
        };
        Error::Status {
            what: self.what.clone(),
            url: self.shown(),
            status: answer.status,
            body_excerpt,
            retry_after_ms: retry_after_ms(&answer.headers),
        }
    }

    /// The start of a body on one line, without control characters or our own secrets.
    pub fn excerpt(&self, body: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        for secret in secrets_of(&self.auth()).iter().chain(&self.hidden) {
            text = text.replace(secret.expose_secret(), "[redacted]");
        }
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|w| !w.is_empty())
            .collect();
        let line = words.join(" ");
        match line.char_indices().nth(EXCERPT_CHARS) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None if line.is_empty() => "(empty)".to_owned(),
            None => line,
        }
    }

    /// An answer that this service would not give.
    pub fn bad_answer(&self, reason: String) -> Error {
        Error::BadAnswer { what: self.what.clone(), url: self.shown(), reason }
    }

    /// Names what went wrong between us and the service.
    pub fn failed(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let (what, url) = (self.what.clone(), self.shown());
        if error.is_builder() {
            return Error::Setup { what, reason: innermost(&error) };
        }
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { what, url, timeout_ms: self.timeout_ms };
        }
        let reason = innermost(&error);
        let mend = mend(&error, &reason);
        Error::Unreachable { what, url, reason, mend, source: error }
    }

    /// The base address without credentials, query or, where it is a secret, path.
    pub fn shown(&self) -> String {
        match self.path {
            PathShown::Yes => shown(&self.base),
            PathShown::No => self.base.origin().ascii_serialization(),
        }
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("what", &self.what).field("url", &self.shown()).finish()
    }
}

fn secrets_of(auth: &Auth) -> Vec<SecretString> {
    let secrets = match auth {
        Auth::None => vec![],
        Auth::Bearer(token) => vec![token.clone()],
        Auth::Basic { user, password } => vec![password.clone(), basic(user, password).into()],
    };
    // An empty pattern would match between all characters.
    secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect()
}

fn basic(user: &str, password: &SecretString) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose_secret()))
}

fn redirect_target(answer: &Answer) -> Option<String> {
    if !(300..400).contains(&answer.status) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    Some(match Url::parse(location) {
        Ok(url) => shown(&url),
        Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    })
}

fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/'))
}

/// The deepest cause says what happened; the outer layers only say "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What to do about a failure, by the words of its deepest cause; the crates underneath give no
/// kinds that could be matched.
fn mend(error: &reqwest::Error, reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    let by_words = [
        ("causedasendentity", "Its certificate is an authority's; give the server one of its own"),
        ("not valid for name", "Use a name in its address that its certificate holds"),
        ("expired", "Its certificate has run out, or a clock is wrong"),
        ("certificate", "Set ca_file to the authority that signed its certificate"),
        ("invalidcontenttype", "It does not speak TLS there; write http:// in its address"),
        ("lookup", "Check the host name in its address"),
        ("name or service", "Check the host name in its address"),
        ("refused", "Check that it runs and listens on that address"),
    ];
    match by_words.iter().find(|(words, _)| reason.contains(words)) {
        Some((_, mend)) => mend,
        None if error.is_connect() => {
            "Check the address, the network between and whether it needs a proxy"
        }
        None => "The connection broke off while it answered; look at its own log",
    }
}

#[cfg(test)]
mod tests;
