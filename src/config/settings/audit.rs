//! Checkpoints of the history that leave this machine.
//!
//! In: YAML. Out: [`AuditSettings`]; checkpoints are made when there is a key and a target.

use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;

use super::ClientSettings;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    pub checkpoint: CheckpointSettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSettings {
    /// What the lines are authenticated with; whoever knows it can forge them.
    pub key: Option<SecretString>,
    pub key_file: Option<PathBuf>,
    /// Between two checkpoints.
    pub every_s: u64,
    /// Lines are added to this file.
    pub file: Option<PathBuf>,
    /// `udp://host:port` or `unix:///dev/log`, RFC 5424.
    pub syslog: Option<String>,
    pub http: CheckpointHttp,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            key: None,
            key_file: None,
            every_s: 300,
            file: None,
            syslog: None,
            http: CheckpointHttp::default(),
        }
    }
}

/// An object store or a collector. The address may be presigned, so it is a secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointHttp {
    /// `{number}` in it stands for the number of the line.
    pub url: Option<SecretString>,
    pub url_file: Option<PathBuf>,
    pub method: CheckpointMethod,
    pub client: ClientSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointMethod {
    #[default]
    Put,
    Post,
}

impl CheckpointSettings {
    /// Whether anything is to be written anywhere.
    pub fn has_target(&self) -> bool {
        self.file.is_some() || self.syslog.is_some() || self.http.url.is_some()
    }
}

/// Where syslog listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// Host and port.
    Udp(String),
    /// A datagram socket of this machine.
    Unix(PathBuf),
}

impl FromStr for SyslogAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be udp://host:port or unix:///dev/log".to_owned();
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        let address = text.strip_prefix("udp://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let fits = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        if fits { Ok(Self::Udp(address.to_owned())) } else { Err(wrong()) }
    }
}
