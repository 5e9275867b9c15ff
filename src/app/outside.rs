//! Clients for the services around, made from the settings.

use super::heartbeat::Heartbeat;
use crate::agent::model::{Endpoint as ModelEndpoint, Model};
use crate::agent::prompt::Caps;
use crate::audit::line::Key;
use crate::audit::target::Target;
use crate::audit::writer::Writer;
use crate::clients::alertmanager::Alertmanager;
use crate::clients::chat::{Chat, Endpoint, Reasoning};
use crate::clients::http::{Auth, Http, Options};
use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::config::{ClientSettings, DigestSettings, Settings};
use crate::notify::Channel;
use crate::notify::email::{self, Email, Login};
use crate::notify::pagerduty::PagerDuty;
use crate::notify::slack::Slack;
use crate::store::Store;
use crate::store::digests::Rule;
use anyhow::{Context, Result};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whoever is called upon in a digest waits no longer than this for it.
const GATHER_MS_MAX: i64 = 60_000;
/// Annotations are one-liners; more than this is somebody's novel.
const ANNOTATION_BYTES_MAX: usize = 2_000;

/// Prometheus, when its address is configured.
pub fn prometheus(settings: &Settings) -> Result<Option<Prometheus>> {
    let Some(url) = &settings.prometheus.url else { return Ok(None) };
    let client = Prometheus::new(url, &options(&settings.prometheus.client));
    Ok(Some(client.context("cannot set up the Prometheus client")?))
}

/// Every configured peer of Alertmanager.
pub fn alertmanagers(settings: &Settings) -> Result<Vec<Alertmanager>> {
    let options = options(&settings.alertmanager.client);
    let client = |url: &String| Alertmanager::new(url, &options);
    let clients: Result<_, _> = settings.alertmanager.urls.iter().map(client).collect();
    clients.context("cannot set up the Alertmanager client")
}

/// The model mind, when an endpoint is configured.
pub fn model(settings: &Settings) -> Result<Option<Model>> {
    let mut endpoints = Vec::new();
    for endpoint in &settings.model.endpoints {
        let chat = Chat::new(Endpoint {
            name: endpoint.name.clone(),
            base_url: endpoint.base_url.clone(),
            model: endpoint.model.clone(),
            api_key: endpoint.api_key.clone(),
            timeout_ms: endpoint.timeout_s * 1000,
            retries_max: settings.model.retries_max,
            #[expect(clippy::cast_possible_truncation, reason = "a temperature is 0 to 2")]
            temperature: settings.model.temperature.map(|value| value as f32),
            reasoning: Reasoning::Dropped,
            options: options(&endpoint.client()),
        });
        endpoints.push(ModelEndpoint {
            chat: chat.with_context(|| format!("cannot set up the model {}", endpoint.name))?,
            price_input: endpoint.price_per_million_input_tokens.unwrap_or_default(),
            price_output: endpoint.price_per_million_output_tokens.unwrap_or_default(),
            breaker: Arc::default(),
        });
    }
    let output_bytes_max = usize::try_from(settings.model.output_bytes_in_prompt_max)?;
    let caps = Caps { output_bytes_max, annotation_bytes_max: ANNOTATION_BYTES_MAX };
    Ok((!endpoints.is_empty()).then(|| Model::new(endpoints, settings.language, caps)))
}

/// Every configured channel.
pub fn channels(settings: &Settings) -> Result<Vec<Arc<dyn Channel>>> {
    let language = settings.language;
    let notify = &settings.notify;
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(url) = &notify.slack.webhook_url {
        let http = Http::new("Slack", url.expose_secret(), &options(&notify.slack.client));
        channels.push(Arc::new(Slack::new(http.context("cannot set up Slack")?, language)));
    }
    if let Some(key) = &notify.pagerduty.routing_key {
        let pagerduty = &notify.pagerduty;
        let http = Http::new("PagerDuty", &pagerduty.url, &options(&pagerduty.client));
        let http = http.context("cannot set up PagerDuty")?;
        channels.push(Arc::new(PagerDuty::new(http, key.clone(), language)));
    }
    if let Some(email) = email(settings)? {
        channels.push(Arc::new(email));
    }
    Ok(channels)
}

/// When the messages of a channel are put together. Pages of PagerDuty never are: each opens or ends
/// something there.
pub fn digests(settings: &Settings) -> BTreeMap<String, Rule> {
    let rule = |digest: &DigestSettings| {
        let within_ms = i64::try_from(digest.within_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let gather_ms = (within_ms / 10).min(GATHER_MS_MAX);
        Rule { messages_max: i64::from(digest.messages_max), within_ms, gather_ms }
    };
    let (slack, email) = (&settings.notify.slack, &settings.notify.email);
    [("slack", &slack.digest), ("email", &email.digest)]
        .into_iter()
        .map(|(name, digest)| (name.to_owned(), rule(digest)))
        .collect()
}

/// The writer of checkpoints, when there is a key and a target.
pub fn checkpoints(settings: &Settings, store: &Store, clock: &Clock) -> Option<Writer> {
    let checkpoint = &settings.audit.checkpoint;
    let key = Key::new(checkpoint.key.as_ref()?);
    let http = checkpoint.http.url.clone().map(|url| Target::Http {
        url,
        method: checkpoint.http.method,
        options: options(&checkpoint.http.client),
    });
    // Checked when the settings were loaded.
    let syslog = checkpoint.syslog.as_ref().and_then(|address| address.parse().ok());
    let targets: Vec<Target> =
        [checkpoint.file.clone().map(Target::File), syslog.map(Target::Syslog), http]
            .into_iter()
            .flatten()
            .collect();
    let timeout_ms = checkpoint.http.client.timeout_s.saturating_mul(1_000);
    (!targets.is_empty()).then(|| Writer {
        store: store.clone(),
        clock: clock.clone(),
        key,
        targets,
        every: Duration::from_secs(checkpoint.every_s),
        lease_ms: i64::try_from(timeout_ms).unwrap_or(i64::MAX).saturating_add(60_000),
        owner: format!("{}-{}", std::process::id(), uuid::Uuid::new_v4()),
        scope: settings.scope.clone(),
    })
}

/// The monitor that hears whether all is well, when there is one.
pub fn heartbeat(settings: &Settings) -> Result<Option<Heartbeat>> {
    let heartbeat = &settings.notify.heartbeat;
    let Some(url) = &heartbeat.url else { return Ok(None) };
    let http =
        Http::new("the heartbeat's monitor", url.expose_secret(), &options(&heartbeat.client));
    let http = http.context("cannot set up the heartbeat")?.hiding_path();
    Ok(Some(Heartbeat { http, every: Duration::from_secs(heartbeat.every_s) }))
}

/// E-mail, when a server and a sender are configured.
pub fn email(settings: &Settings) -> Result<Option<Email>> {
    let language = settings.language;
    let settings = &settings.notify.email;
    let (Some(host), Some(from)) = (&settings.host, &settings.from) else { return Ok(None) };
    let login = settings.user.clone().zip(settings.password.clone());
    let email = Email::new(&email::Options {
        host: host.clone(),
        port: settings.port,
        security: settings.security,
        login: login.map(|(user, password)| Login { user, password }),
        ca_file: settings.ca_file.clone(),
        timeout_ms: settings.timeout_s * 1000,
        from: from.clone(),
        to: settings.to.clone(),
        language,
    });
    Ok(Some(email.context("cannot set up e-mail")?))
}

/// What an HTTP client needs, from its settings.
pub fn options(client: &ClientSettings) -> Options {
    let auth = match (&client.bearer_token, &client.basic_user, &client.basic_password) {
        (Some(token), _, _) => Auth::Bearer(token.clone()),
        (None, Some(user), Some(password)) => {
            Auth::Basic { user: user.clone(), password: password.clone() }
        }
        (None, _, _) => Auth::None,
    };
    Options {
        timeout_ms: client.timeout_s * 1000,
        ca_file: client.ca_file.clone(),
        proxy: client.proxy.clone(),
        auth,
        ..Options::default()
    }
}
