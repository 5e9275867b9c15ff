//! Every setting of `watchkeeper.yaml`, its type, its default and its unit.
//!
//! In: nothing; [`super::load`] fills it. Out: plain public fields.
//! Never: a default that is not also in `config/watchkeeper.yaml` (a test compares the two), a
//! number without its unit in the name, a path that is still relative to the file after loading.
//! To add a setting: a field with its default here, its range in `check.rs`, its line in the YAML.

mod alertmanager;
mod alive;
mod audit;
mod clients;
mod ingest;
mod model;
mod notify;
mod storms;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::network::Network;

pub use alertmanager::{AlertmanagerSettings, WatchdogSettings};
pub use alive::{HeartbeatSettings, LastResortSettings};
pub use audit::{
    AuditSettings, CheckpointHttp, CheckpointMethod, CheckpointSettings, SyslogAddress,
};
pub use clients::{ClientSettings, PrometheusSettings};
pub use ingest::{IngestSettings, TargetKind, TargetRule};
pub use model::{BudgetSettings, ModelEndpoint, ModelSettings};
pub use notify::{
    DeadlineSettings, EmailSecurity, EmailSettings, NotifySettings, PagerdutyDedup,
    PagerdutySettings, SlackSettings,
};
pub use storms::{DigestSettings, FlappingSettings, JoinRule};

/// The whole configuration of one process.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port of the HTTP server.
    pub listen: String,
    /// How people and Alertmanager reach this server; see [`Settings::public_url`].
    pub public_url: Option<String>,
    /// Holds the SQLite database and the halt file; relative to the working folder.
    pub data_dir: PathBuf,
    /// Team or tenant that every row belongs to.
    pub scope: String,
    /// Of prompts and messages.
    pub language: Language,
    pub inventory_file: PathBuf,
    pub safety_rules_file: PathBuf,
    pub runbooks_file: PathBuf,
    /// Users and tokens.
    pub access_file: PathBuf,
    pub http: HttpSettings,
    pub store: StoreSettings,
    pub ingest: IngestSettings,
    pub worker: WorkerSettings,
    pub prometheus: PrometheusSettings,
    pub alertmanager: AlertmanagerSettings,
    pub model: ModelSettings,
    pub approval: ApprovalSettings,
    pub verify: VerifySettings,
    pub notify: NotifySettings,
    pub audit: AuditSettings,
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            public_url: None,
            data_dir: PathBuf::from("data"),
            scope: "default".to_owned(),
            language: Language::En,
            inventory_file: PathBuf::from("inventory.yaml"),
            safety_rules_file: PathBuf::from("safety_rules.yaml"),
            runbooks_file: PathBuf::from("runbooks.yaml"),
            access_file: PathBuf::from("access.yaml"),
            http: HttpSettings::default(),
            store: StoreSettings::default(),
            ingest: IngestSettings::default(),
            worker: WorkerSettings::default(),
            prometheus: PrometheusSettings::default(),
            alertmanager: AlertmanagerSettings::default(),
            model: ModelSettings::default(),
            approval: ApprovalSettings::default(),
            verify: VerifySettings::default(),
            notify: NotifySettings::default(),
            audit: AuditSettings::default(),
            log: LogSettings::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    En,
    Zh,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    /// Addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub connections_max: u32,
    pub connections_per_address_max: u32,
    /// Of `/webhook/*`; 500 alerts are about 245 KB.
    pub webhook_body_bytes_max: u64,
    /// Of everything else.
    pub body_bytes_max: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            tls_cert_file: None,
            tls_key_file: None,
            trusted_proxies: Vec::new(),
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
            connections_max: 512,
            connections_per_address_max: 64,
            webhook_body_bytes_max: 8 * 1024 * 1024,
            body_bytes_max: 64 * 1024,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Postgres; absent means SQLite in `data_dir/watchkeeper.db`.
    pub database_url: Option<SecretString>,
    pub database_url_file: Option<PathBuf>,
    pub connections_max: u32,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { database_url: None, database_url_file: None, connections_max: 8 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// Incidents that are investigated at once by this process.
    pub investigations_max: u32,
    /// How long an incident stays with a process that no longer renews its claim.
    pub lease_s: u64,
    /// How often the store is asked for work when nothing announces any.
    pub poll_ms: u64,
    /// See [`Settings::halt_file`].
    pub halt_file: Option<PathBuf>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { investigations_max: 64, lease_s: 30, poll_ms: 1_000, halt_file: None }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalSettings {
    /// After this an unanswered request is expired.
    pub ttl_s: u64,
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self { ttl_s: 3_600 }
    }
}

/// For changes whose runbook or tool says nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifySettings {
    /// From a change to the first measurement.
    pub wait_s: u64,
    /// Between measurements.
    pub poll_s: u64,
    /// From a change until it counts as not verified.
    pub timeout_s: u64,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self { wait_s: 120, poll_s: 5, timeout_s: 900 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A level, or directives such as `info,watchkeeper::ingest=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// The parsed `listen`; `None` only for settings that did not pass [`Settings::check`].
    pub fn listen_address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// Whether other machines can connect, which asks for credentials to be configured.
    pub fn listens_beyond_loopback(&self) -> bool {
        self.listen_address().is_none_or(|address| !address.ip().to_canonical().is_loopback())
    }

    /// The base of every link in messages, without a slash at the end.
    pub fn public_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if self.http.tls_cert_file.is_some() => format!("https://{}", self.listen),
            None => format!("http://{}", self.listen),
        }
    }

    /// While this file exists, no change starts in this process.
    pub fn halt_file(&self) -> PathBuf {
        self.worker.halt_file.clone().unwrap_or_else(|| self.data_dir.join("HALT"))
    }

    /// Where SQLite keeps its file when no `database_url` is set.
    pub fn sqlite_file(&self) -> PathBuf {
        self.data_dir.join("watchkeeper.db")
    }

    /// Takes relative paths from `folder`, where the configuration file lies (`data_dir` stays
    /// relative to the working folder), and removes the slash at the end of base URLs.
    pub(super) fn resolve(&mut self, folder: &Path) {
        let files = [
            &mut self.inventory_file,
            &mut self.safety_rules_file,
            &mut self.runbooks_file,
            &mut self.access_file,
        ];
        let optional = [
            &mut self.http.tls_cert_file,
            &mut self.http.tls_key_file,
            &mut self.worker.halt_file,
            &mut self.audit.checkpoint.file,
            &mut self.audit.checkpoint.http.client.ca_file,
            &mut self.notify.email.ca_file,
            &mut self.prometheus.client.ca_file,
            &mut self.alertmanager.client.ca_file,
            &mut self.notify.slack.client.ca_file,
            &mut self.notify.pagerduty.client.ca_file,
            &mut self.notify.heartbeat.client.ca_file,
        ];
        let of_endpoints = self.model.endpoints.iter_mut().map(|end| &mut end.ca_file);
        let set = optional.into_iter().chain(of_endpoints).flatten();
        for path in set.chain(files).filter(|path| !path.as_os_str().is_empty()) {
            *path = folder.join(&path);
        }
        let of_models = self.model.endpoints.iter_mut().map(|end| &mut end.base_url);
        let urls = self.alertmanager.urls.iter_mut().chain(&mut self.prometheus.url);
        for url in urls.chain(of_models) {
            url.truncate(url.trim_end_matches('/').len());
        }
    }
}

impl HttpSettings {
    /// The trusted proxies; those that did not pass [`Settings::check`] are left out.
    pub fn trusted_networks(&self) -> Vec<Network> {
        self.trusted_proxies.iter().filter_map(|proxy| proxy.parse().ok()).collect()
    }
}

impl Settings {
    /// Every secret value of ours, so that none of them leaves the process.
    pub fn secrets(&self) -> Vec<SecretString> {
        let clients = [
            &self.prometheus.client,
            &self.alertmanager.client,
            &self.notify.slack.client,
            &self.notify.pagerduty.client,
            &self.audit.checkpoint.http.client,
            &self.notify.heartbeat.client,
        ];
        let of_clients =
            clients.iter().flat_map(|client| [&client.bearer_token, &client.basic_password]);
        let of_models = self.model.endpoints.iter().map(|endpoint| &endpoint.api_key);
        [
            &self.store.database_url,
            &self.notify.slack.webhook_url,
            &self.notify.pagerduty.routing_key,
            &self.notify.email.password,
            &self.notify.heartbeat.url,
            &self.audit.checkpoint.key,
            &self.audit.checkpoint.http.url,
        ]
        .into_iter()
        .chain(of_clients)
        .chain(of_models)
        .flatten()
        .cloned()
        .collect()
    }
}
