//! The model endpoints: a list of models where there is one, else one tiny completion.

use super::{ANSWER_WITHIN_MS, Finding};
use crate::app::outside::options;
use crate::clients::chat::{Chat, Endpoint, Reasoning};
use crate::clients::http::{Answer, Http, Options};
use crate::config::{ModelEndpoint, Settings};
use serde_json::{Value, json};

/// Some gateways list every model they know.
const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A local model may have to be loaded before it says its first word.
const COMPLETION_WITHIN_MS: u64 = 60_000;
const TOKENS_MAX: u32 = 16;
const NAMES_SHOWN: usize = 8;

pub async fn look(settings: &Settings) -> Vec<Finding> {
    if settings.model.endpoints.is_empty() {
        return vec![Finding::ok("model", "none configured; runbooks are followed")];
    }
    let looks = settings.model.endpoints.iter().map(one);
    futures::future::join_all(looks).await
}

async fn one(endpoint: &ModelEndpoint) -> Finding {
    let about = format!("model {}", endpoint.name);
    let options = options(&endpoint.client());
    let options = Options { timeout_ms: options.timeout_ms.min(ANSWER_WITHIN_MS), ..options };
    let http = match Http::new(&endpoint.name, &endpoint.base_url, &options) {
        Ok(http) => http,
        Err(error) => return Finding::fail(&about, error.to_string(), ""),
    };
    let answer = match http.send(http.get("models", &[]), LIST_BYTES_MAX).await {
        Ok(answer) => answer,
        Err(error) => return Finding::fail(&about, error.to_string(), ""),
    };
    match answer.status {
        401 | 403 => {
            let said = http.refused(&answer).to_string();
            Finding::fail(&about, said, "check its api_key (or the environment variable for it)")
        }
        _ => match names(&answer) {
            Some(names) => listed(&about, endpoint, &names),
            // Not every gateway has a list.
            None => completed(&about, endpoint, options).await,
        },
    }
}

fn names(answer: &Answer) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.is_success())?;
    let models = body.get("data")?.as_array()?.iter();
    Some(models.filter_map(|model| model.get("id")?.as_str().map(str::to_owned)).collect())
}

fn listed(about: &str, endpoint: &ModelEndpoint, names: &[String]) -> Finding {
    let model = &endpoint.model;
    // Ollama lists `name:latest` for what is asked for as `name`.
    let is_it = |name: &String| name == model || *name == format!("{model}:latest");
    if names.iter().any(is_it) {
        return Finding::ok(about, format!("reached; it offers {model}"));
    }
    let some: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    let said = format!("reached, but {model} is not among its models");
    let mend = match some.is_empty() {
        true => "load a model on that server first".to_owned(),
        false => format!("take one of those it offers, e.g. {}", some.join(", ")),
    };
    Finding::fail(about, said, mend)
}

async fn completed(about: &str, endpoint: &ModelEndpoint, options: Options) -> Finding {
    let chat = Chat::new(Endpoint {
        name: endpoint.name.clone(),
        base_url: endpoint.base_url.clone(),
        model: endpoint.model.clone(),
        api_key: endpoint.api_key.clone(),
        timeout_ms: (endpoint.timeout_s * 1000).min(COMPLETION_WITHIN_MS),
        retries_max: 0,
        temperature: None,
        reasoning: Reasoning::Dropped,
        options,
    });
    let chat = match chat {
        Ok(chat) => chat,
        Err(error) => return Finding::fail(about, error.to_string(), ""),
    };
    let question = json!({"role": "user", "content": "Answer with the one word: ready"});
    match chat.complete(&[question], &[], Some(TOKENS_MAX)).await {
        Ok(_) => Finding::ok(about, format!("reached; {} answers", endpoint.model)),
        Err(error) => {
            let mend = "check base_url (with its version, such as /v1), model and api_key";
            Finding::fail(about, error.to_string(), mend)
        }
    }
}
