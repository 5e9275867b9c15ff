//! Checks `audit`.

use secrecy::ExposeSecret as _;

use super::super::network::base_url;
use super::{Checks, DAY_S, WEB};
use crate::config::settings::{Settings, SyslogAddress};

/// A shorter key could be guessed; 32 characters of base64 are 192 bits.
const KEY_CHARS_MIN: usize = 32;

impl Checks<'_> {
    pub(super) fn audit(&mut self, settings: &Settings) {
        let checkpoint = &settings.audit.checkpoint;
        let at = |key: &str| format!("audit.checkpoint.{key}");
        let key = checkpoint.key.as_ref().map(|key| key.expose_secret().trim().chars().count());
        let key_named = checkpoint.key.is_some() || checkpoint.key_file.is_some();
        if let Some(chars) = key.filter(|chars| *chars < KEY_CHARS_MIN) {
            let key = if checkpoint.key_file.is_some() { "key_file" } else { "key" };
            self.add_with_hint(
                &at(key),
                format!("holds a key of {chars} characters; at least {KEY_CHARS_MIN} are needed"),
                "head -c 32 /dev/urandom | base64 > FILE",
            );
        }
        if key_named && !checkpoint.has_target() && checkpoint.http.url_file.is_none() {
            self.add(&at("key"), "is of no use without `file`, `syslog` or `http.url` beside it");
        }
        if !key_named && checkpoint.has_target() {
            self.add("audit.checkpoint", "needs `key_file`: without a key anybody can write lines");
        }
        self.range(&at("every_s"), checkpoint.every_s, 5..=DAY_S);
        if let Some(address) = &checkpoint.syslog
            && let Err(message) = address.parse::<SyslogAddress>()
        {
            self.add(&at("syslog"), message);
        }
        // `{number}` stands for digits, which are fit for any place of an address.
        let url =
            checkpoint.http.url.as_ref().map(|url| url.expose_secret().replace("{number}", "1"));
        if let Some(Err(message)) = url.map(|url| base_url(&url, &WEB)) {
            self.add(&at("http.url"), message);
        }
        self.client(&at("http.client"), &checkpoint.http.client);
    }
}
