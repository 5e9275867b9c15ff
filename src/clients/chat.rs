//! Asks one OpenAI-compatible model for its next message.
//!
//! In: messages and tools as JSON, in the shape of the chat completions API. Out: a [`Reply`] read
//! tolerantly, with usage and a message that can be echoed back to any server. Never: a request
//! without a time limit, an answer without a size limit, a retry when the money is spent, a key in
//! an error. Choosing another endpoint is the caller's job: [`Error`] says whether to.
//! The providers' odd error bodies are read in `refusal`, their odd replies in `reply`.

mod refusal;
mod reply;
mod text_calls;
mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_openai::config::Config;
use async_openai::error::OpenAIError;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::http::{self, Auth, Http, Options};
pub use reply::{Counted, Origin, Reply, ToolCall, Usage};
use transport::Transport;

/// One model at one address.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name for people, in errors and logs.
    pub name: String,
    /// Up to and including the version, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    pub model: String,
    pub api_key: Option<SecretString>,
    /// For one completion, all its retries included; replaces the one in `options`.
    pub timeout_ms: u64,
    /// Attempts after the first.
    pub retries_max: u32,
    /// Left to the server when none.
    pub temperature: Option<f32>,
    pub reasoning: Reasoning,
    pub options: Options,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the address out, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Whether a model wants to see its own reasoning again in later turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// Most servers refuse or ignore it.
    #[default]
    Dropped,
    /// Some thinking models refuse a tool answer without it.
    Echoed,
}

/// Why there is no reply, by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not now; the next endpoint may answer.
    #[error("the model endpoint {endpoint} is unavailable: {reason}")]
    Unavailable {
        endpoint: String,
        reason: String,
        /// How long it asked us to stay away.
        retry_after_ms: Option<u64>,
        #[source]
        source: Option<Box<http::Error>>,
    },
    /// A wrong key, model or request: the next endpoint may answer, and somebody must mend this.
    #[error("the model endpoint {endpoint} refuses the request ({status}): {message}")]
    Rejected { endpoint: String, status: u16, message: String },
    /// It answered something that is no completion.
    #[error("the model endpoint {endpoint} answered something unreadable: {reason}")]
    Malformed { endpoint: String, reason: String },
    /// The account is out of credit; waiting does not help.
    #[error("the account of the model endpoint {endpoint} is out of credit: {message}")]
    QuotaExhausted { endpoint: String, message: String },
    /// The conversation must be shortened; the same request fails everywhere with this model.
    #[error("the conversation is too long for the model endpoint {endpoint}: {message}")]
    ContextTooLong { endpoint: String, message: String },
}

/// A client for one endpoint; clones share connections.
#[derive(Clone)]
pub struct Chat {
    endpoint: Endpoint,
    client: async_openai::Client<Address>,
    /// Newer OpenAI models refuse `max_tokens`, many others know nothing else. Which one this
    /// endpoint wants is learned from its refusal.
    wants_completion_tokens: Arc<AtomicBool>,
}

impl Chat {
    /// Prepares to ask the endpoint; sends nothing.
    ///
    /// # Errors
    /// [`http::Error::Setup`].
    pub fn new(endpoint: Endpoint) -> Result<Self, http::Error> {
        let mut options = endpoint.options.clone();
        options.timeout_ms = endpoint.timeout_ms;
        if let Some(key) = &endpoint.api_key {
            options.auth = Auth::Bearer(key.clone());
        }
        let http = Http::new(&endpoint.name, &endpoint.base_url, &options)?;
        let address = Address { http: http.clone(), no_key: SecretString::default() };
        let transport = Transport::new(http.clone(), &endpoint);
        let client = async_openai::Client::build(http.client().clone(), address)
            .with_http_service(transport);
        Ok(Self { endpoint, client, wants_completion_tokens: Arc::default() })
    }

    /// The endpoint's name for people.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// The model asked for.
    pub fn model(&self) -> &str {
        &self.endpoint.model
    }

    /// Asks for the message that follows `messages`.
    ///
    /// Takes at most the endpoint's `timeout_ms`. Tool calls written as text are understood when
    /// `tools` is not empty and the reply holds no structured calls.
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn complete(
        &self,
        messages: &[Value],
        tools: &[Value],
        max_tokens: Option<u32>,
    ) -> Result<Reply, Error> {
        let answer = match self.ask(messages, tools, max_tokens).await {
            Err(Error::Rejected { message, .. })
                if max_tokens.is_some() && message.contains("max_completion_tokens") =>
            {
                self.wants_completion_tokens.fetch_xor(true, Ordering::Relaxed);
                self.ask(messages, tools, max_tokens).await?
            }
            other => other?,
        };
        let asked = reply::Asked { messages, tools, reasoning: self.endpoint.reasoning };
        reply::read(&answer, &asked)
            .map_err(|reason| Error::Malformed { endpoint: self.endpoint.name.clone(), reason })
    }

    async fn ask(
        &self,
        messages: &[Value],
        tools: &[Value],
        max_tokens: Option<u32>,
    ) -> Result<Value, Error> {
        let request = self.request(messages, tools, max_tokens);
        self.client.chat().create_byot(&request).await.map_err(|error| self.read_error(error))
    }

    fn request<'a>(
        &'a self,
        messages: &'a [Value],
        tools: &'a [Value],
        max_tokens: Option<u32>,
    ) -> Request<'a> {
        let completion = self.wants_completion_tokens.load(Ordering::Relaxed);
        Request {
            model: &self.endpoint.model,
            messages,
            stream: false,
            tools,
            // Widening alone would send 0.20000000298023224.
            temperature: self.endpoint.temperature.map(|t| (f64::from(t) * 1e4).round() / 1e4),
            max_completion_tokens: max_tokens.filter(|_| completion),
            max_tokens: max_tokens.filter(|_| !completion),
        }
    }

    /// Takes our own error out of the library's box.
    fn read_error(&self, error: OpenAIError) -> Error {
        let reason = if let OpenAIError::Boxed(boxed) = error {
            match boxed.downcast::<Error>() {
                Ok(own) => return *own,
                Err(other) => other.to_string(),
            }
        } else {
            error.to_string()
        };
        Error::Malformed { endpoint: self.endpoint.name.clone(), reason }
    }
}

/// The question as it is sent.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Value],
    stream: bool,
    // Several servers refuse an empty list.
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    tools: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat")
            .field("endpoint", &self.endpoint.name)
            .field("model", &self.endpoint.model)
            .finish_non_exhaustive()
    }
}

/// Replaces the library's own configuration, which reads keys and addresses from the environment.
#[derive(Clone)]
struct Address {
    http: Http,
    no_key: SecretString,
}

impl Config for Address {
    fn headers(&self) -> HeaderMap {
        self.http.authorization().map(|value| (AUTHORIZATION, value)).into_iter().collect()
    }

    fn url(&self, path: &str) -> String {
        self.http.url(path).into()
    }

    fn query(&self) -> Vec<(&str, &str)> {
        vec![]
    }

    fn api_base(&self) -> &str {
        ""
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
}
