//! Sends one completion request, again where that may help, within one deadline.
//!
//! In: the library's request factory. Out: an answer that is JSON and no error, or our own error in
//! the library's box. Never: a wait that a server chose without our cap, a second try when the
//! account is empty, a body beyond the cap. The library's own retries are not used: they obey any
//! `Retry-After` and lose the status of errors that are not shaped as OpenAI's.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use rand::Rng as _;
use reqwest::Response;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep, timeout_at};

use super::refusal::Refusal;
use super::{Endpoint, Error};
use crate::clients::http::{self, Answer, Http, retry_after_ms};
use crate::crash::{self, Point};

/// Longer than any completion; a server that sends more is broken or hostile.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A server that wants a longer pause is better replaced by the next endpoint.
const WAIT_MS_MAX: u64 = 20_000;
const BACKOFF_MS_FIRST: u64 = 200;

type Delivery = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

#[derive(Clone)]
pub(super) struct Transport {
    http: Http,
    endpoint: String,
    timeout_ms: u64,
    retries_max: u32,
}

/// A failed attempt: the error if it was the last, and whether it need be.
struct Failure {
    error: Error,
    again: Again,
}

enum Again {
    Never,
    After { wait_ms: Option<u64> },
}

impl Transport {
    pub fn new(http: Http, endpoint: &Endpoint) -> Self {
        Self {
            http,
            endpoint: endpoint.name.clone(),
            timeout_ms: endpoint.timeout_ms,
            retries_max: endpoint.retries_max,
        }
    }

    async fn deliver(&self, factory: HttpRequestFactory) -> Result<Response, Error> {
        let deadline = Instant::now() + Duration::from_millis(self.timeout_ms);
        let mut retries = 0;
        loop {
            let failure = match timeout_at(deadline, self.attempt(&factory)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(failure)) => failure,
                Err(_) => return Err(self.timed_out()),
            };
            let Again::After { wait_ms } = failure.again else { return Err(failure.error) };
            let wait_ms = wait_ms.unwrap_or_else(|| backoff_ms(retries));
            let wait = Duration::from_millis(wait_ms);
            if retries >= self.retries_max
                || wait_ms > WAIT_MS_MAX
                || Instant::now() + wait >= deadline
            {
                return Err(failure.error);
            }
            tracing::debug!(endpoint = self.endpoint, wait_ms, retries, "asking the model again");
            sleep(wait).await;
            retries += 1;
        }
    }

    async fn attempt(&self, factory: &HttpRequestFactory) -> Result<Response, Failure> {
        let request = factory.build().await.map_err(|error| Failure {
            error: self.malformed(error.to_string()),
            again: Again::Never,
        })?;
        crash::at(Point::BeforeRequest);
        let answer = match self.http.client().execute(request).await {
            Ok(response) => self.http.read(response, ANSWER_BYTES_MAX).await,
            Err(error) => Err(self.http.failed(error)),
        };
        crash::at(Point::AfterRequest);
        self.checked(answer.map_err(|error| self.unreached(error))?)
    }

    /// Passes on what the library can parse; it would log a whole body that it cannot.
    fn checked(&self, answer: Answer) -> Result<Response, Failure> {
        if !answer.is_success() {
            return Err(self.refused(Refusal::read(answer.status, &answer.body), &answer));
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&answer.body) {
            let excerpt = self.http.excerpt(&answer.body);
            let error = self.malformed(format!("it is not JSON ({error}): {excerpt}"));
            return Err(Failure { error, again: Again::Never });
        }
        if let Some(refusal) = Refusal::within_success(&answer.body) {
            return Err(self.refused(refusal, &answer));
        }
        Ok(Response::from(hyper::http::Response::new(answer.body)))
    }

    fn refused(&self, refusal: Refusal, answer: &Answer) -> Failure {
        let wait_ms = retry_after_ms(&answer.headers);
        let text = refusal.message.as_deref().map_or(&*answer.body, str::as_bytes);
        let message = self.http.excerpt(text);
        let again =
            if refusal.passes_by_itself() { Again::After { wait_ms } } else { Again::Never };
        Failure { error: refusal.into_error(&self.endpoint, message, wait_ms), again }
    }

    fn unreached(&self, error: http::Error) -> Failure {
        let again = match &error {
            http::Error::Unreachable { .. } => Again::After { wait_ms: None },
            // A server that was too slow once is too slow for the time that is left.
            http::Error::Timeout { .. }
            | http::Error::Setup { .. }
            | http::Error::Status { .. }
            | http::Error::TooLarge { .. }
            | http::Error::BadAnswer { .. } => Again::Never,
        };
        let error = match error {
            http::Error::BadAnswer { reason, .. } => self.malformed(reason),
            http::Error::TooLarge { bytes_max, .. } => {
                self.malformed(format!("it is larger than {bytes_max} bytes"))
            }
            http::Error::Timeout { .. } => self.timed_out(),
            other @ (http::Error::Setup { .. }
            | http::Error::Unreachable { .. }
            | http::Error::Status { .. }) => Error::Unavailable {
                endpoint: self.endpoint.clone(),
                reason: other.to_string(),
                retry_after_ms: None,
                source: Some(Box::new(other)),
            },
        };
        Failure { error, again }
    }

    fn timed_out(&self) -> Error {
        Error::Unavailable {
            endpoint: self.endpoint.clone(),
            reason: format!("no reply within {} ms", self.timeout_ms),
            retry_after_ms: None,
            source: None,
        }
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { endpoint: self.endpoint.clone(), reason }
    }
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Delivery;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Delivery {
        let transport = self.clone();
        Box::pin(async move {
            transport.deliver(factory).await.map_err(|error| OpenAIError::Boxed(Box::new(error)))
        })
    }
}

/// Doubles, with jitter, so that many incidents do not come back in step.
fn backoff_ms(retries: u32) -> u64 {
    let base = BACKOFF_MS_FIRST << retries.min(6);
    base + rand::rng().random_range(0..=base / 2)
}
