//! Who is told, over which channels, and how soon at the latest.
//!
//! In: YAML. Out: [`NotifySettings`]; a channel is on when its address or key is set.
//! Never: a recipient chosen by a model.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::{ClientSettings, DigestSettings, HeartbeatSettings, LastResortSettings};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifySettings {
    pub slack: SlackSettings,
    pub pagerduty: PagerdutySettings,
    pub email: EmailSettings,
    pub deadlines: DeadlineSettings,
    /// A message that cannot be delivered is tried again for this long.
    pub retry_max_s: u64,
    pub last_resort: LastResortSettings,
    pub heartbeat: HeartbeatSettings,
}

impl Default for NotifySettings {
    fn default() -> Self {
        Self {
            slack: SlackSettings::default(),
            pagerduty: PagerdutySettings::default(),
            email: EmailSettings::default(),
            deadlines: DeadlineSettings::default(),
            retry_max_s: 86_400,
            last_resort: LastResortSettings::default(),
            heartbeat: HeartbeatSettings::default(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlackSettings {
    /// An incoming webhook. Whoever knows it can post, so it is a secret.
    pub webhook_url: Option<SecretString>,
    pub webhook_url_file: Option<PathBuf>,
    pub digest: DigestSettings,
    pub client: ClientSettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerdutySettings {
    /// The integration key of a service's Events API v2.
    pub routing_key: Option<SecretString>,
    pub routing_key_file: Option<PathBuf>,
    pub url: String,
    pub dedup: PagerdutyDedup,
    pub client: ClientSettings,
}

impl Default for PagerdutySettings {
    fn default() -> Self {
        Self {
            routing_key: None,
            routing_key_file: None,
            url: "https://events.pagerduty.com/v2/enqueue".to_owned(),
            dedup: PagerdutyDedup::Own,
            client: ClientSettings::default(),
        }
    }
}

/// Whose key joins our events to an incident in PagerDuty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PagerdutyDedup {
    /// One of our own for each incident.
    Own,
    /// The one that Alertmanager sends for the group, so that both update one incident.
    Alertmanager,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailSettings {
    /// SMTP server; absent means no e-mail.
    pub host: Option<String>,
    pub port: u16,
    pub security: EmailSecurity,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub password_file: Option<PathBuf>,
    pub from: Option<String>,
    pub to: Vec<String>,
    pub timeout_s: u64,
    pub ca_file: Option<PathBuf>,
    pub digest: DigestSettings,
}

impl Default for EmailSettings {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            security: EmailSecurity::Starttls,
            user: None,
            password: None,
            password_file: None,
            from: None,
            to: Vec::new(),
            timeout_s: 30,
            ca_file: None,
            digest: DigestSettings::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailSecurity {
    Tls,
    Starttls,
    None,
}

/// By when a human has been told of an incident that is not verified as resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadlineSettings {
    pub critical_within_s: u64,
    pub warning_within_s: u64,
}

impl Default for DeadlineSettings {
    fn default() -> Self {
        Self { critical_within_s: 300, warning_within_s: 1_800 }
    }
}
