//! How people hear that Watchkeeper itself does not work.
//!
//! In: YAML. Out: [`LastResortSettings`] and [`HeartbeatSettings`]; heartbeats are sent when there
//! is an address for them.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::ClientSettings;

/// The message that needs no database.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LastResortSettings {
    /// People are told when the database takes no writes for this long.
    pub after_s: u64,
}

impl Default for LastResortSettings {
    fn default() -> Self {
        Self { after_s: 60 }
    }
}

/// A monitor elsewhere that calls people when it hears nothing. Whoever knows its address can
/// pretend that all is well, so it is a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatSettings {
    pub url: Option<SecretString>,
    pub url_file: Option<PathBuf>,
    pub every_s: u64,
    pub client: ClientSettings,
}

impl Default for HeartbeatSettings {
    fn default() -> Self {
        Self { url: None, url_file: None, every_s: 60, client: ClientSettings::default() }
    }
}
