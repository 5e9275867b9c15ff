//! Which models may be asked, in which order, and how much they may cost.
//!
//! In: YAML. Out: [`ModelSettings`]; no endpoint means that runbooks are followed instead.
//! Never: an endpoint that nobody named. A key in the environment enables nothing by itself.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::ClientSettings;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// In order of preference; the next is asked when one fails.
    pub endpoints: Vec<ModelEndpoint>,
    /// Lets `OPENAI_BASE_URL` and `HERMES_BASE_URL` name an endpoint beyond this machine.
    pub remote_endpoints_from_environment: bool,
    pub budgets: BudgetSettings,
    /// Of one tool output; the rest stays readable by reference.
    pub output_bytes_in_prompt_max: u64,
    /// Absent leaves it to the server.
    pub temperature: Option<f64>,
    /// Of one request to one endpoint, before the next endpoint is asked.
    pub retries_max: u32,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            remote_endpoints_from_environment: false,
            budgets: BudgetSettings::default(),
            output_bytes_in_prompt_max: 16 * 1024,
            temperature: None,
            retries_max: 2,
        }
    }
}

/// One OpenAI-compatible server and a model on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEndpoint {
    /// How timeline, metrics and messages call it.
    pub name: String,
    /// With its version, such as `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    pub model: String,
    #[serde(default)]
    pub api_key: Option<SecretString>,
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// For one answer.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
    /// In the currency of `budgets.money_per_day`.
    #[serde(default)]
    pub price_per_million_input_tokens: Option<f64>,
    #[serde(default)]
    pub price_per_million_output_tokens: Option<f64>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub proxy: Option<String>,
}

fn timeout_s() -> u64 {
    120
}

impl ModelEndpoint {
    /// An endpoint with defaults for all that need not be said.
    pub fn named(name: &str, base_url: &str, model: &str) -> Self {
        Self {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            model: model.to_owned(),
            api_key: None,
            api_key_file: None,
            timeout_s: timeout_s(),
            price_per_million_input_tokens: None,
            price_per_million_output_tokens: None,
            ca_file: None,
            proxy: None,
        }
    }

    /// The same in the form that HTTP clients are built from; the key is the bearer token.
    pub fn client(&self) -> ClientSettings {
        ClientSettings {
            timeout_s: self.timeout_s,
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            bearer_token: self.api_key.clone(),
            ..ClientSettings::default()
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetSettings {
    pub turns_per_incident: u32,
    pub tokens_per_incident: u64,
    pub seconds_per_incident: u64,
    pub tokens_per_day: u64,
    /// Of what a day has, this share is kept for critical incidents.
    pub reserve_percent: u32,
    /// In the currency of the endpoints' prices; absent means no limit in money.
    pub money_per_day: Option<f64>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            turns_per_incident: 25,
            tokens_per_incident: 400_000,
            seconds_per_incident: 1_800,
            tokens_per_day: 5_000_000,
            reserve_percent: 20,
            money_per_day: None,
        }
    }
}
