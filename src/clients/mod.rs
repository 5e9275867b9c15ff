//! Talks to the services around us: Prometheus, Alertmanager and language models.
//!
//! In: an address from the configuration and typed questions. Out: typed answers, or an error that
//! says what to mend. Never: a decision, a retry without a bound, an answer without a size limit, a
//! secret in an error, a proxy or a key taken from the environment. To add a service, add a file
//! that asks through [`http::Http`].

pub mod alertmanager;
pub mod chat;
pub mod http;
pub mod prometheus;
mod retry_after;
