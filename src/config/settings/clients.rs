//! How to reach the services that are asked over HTTP, and Prometheus.
//!
//! In: YAML. Out: [`ClientSettings`], the same for every HTTP client of this program.
//! Never: a proxy or a credential from the environment of the process.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusSettings {
    /// Base URL; without one nothing can be measured.
    pub url: Option<String>,
    pub client: ClientSettings,
}

/// What an HTTP client needs to reach its server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// For a whole exchange.
    pub timeout_s: u64,
    /// PEM file of authorities that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port`; no proxy is taken from the environment.
    pub proxy: Option<String>,
    pub bearer_token: Option<SecretString>,
    pub bearer_token_file: Option<PathBuf>,
    pub basic_user: Option<String>,
    pub basic_password: Option<SecretString>,
    pub basic_password_file: Option<PathBuf>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            timeout_s: 10,
            ca_file: None,
            proxy: None,
            bearer_token: None,
            bearer_token_file: None,
            basic_user: None,
            basic_password: None,
            basic_password_file: None,
        }
    }
}
