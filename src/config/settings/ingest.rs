//! How alerts are mapped to targets, grouped into incidents and graded.
//!
//! In: YAML. Out: [`IngestSettings`]; matchers and patterns are still text, checked for syntax.
//! Never: the name of an alert or of a service.

use super::{FlappingSettings, JoinRule};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Labels that make two alerts one problem; `host` and `service` are the targets found by
    /// `targets`, all others labels of the alert.
    pub correlate_by: Vec<String>,
    /// A problem that comes back within this time opens its last incident again.
    pub reopen_within_s: u64,
    pub join: Vec<JoinRule>,
    pub flapping: FlappingSettings,
    /// Tried in order; the first that yields a name wins, separately for hosts and services.
    pub targets: Vec<TargetRule>,
    /// Label that holds `critical`, `warning` or `info`.
    pub severity_label: String,
    /// Alertmanager matchers; alerts that match are stored and never acted on.
    pub ignore: Vec<String>,
}

impl Default for IngestSettings {
    fn default() -> Self {
        let rule = |label: &str, to| TargetRule {
            label: label.to_owned(),
            pattern: None,
            to,
            optional: label == "job",
        };
        Self {
            correlate_by: ["alertname", "host", "service"].map(str::to_owned).to_vec(),
            reopen_within_s: 900,
            join: Vec::new(),
            flapping: FlappingSettings::default(),
            targets: vec![
                rule("instance", TargetKind::Host),
                rule("host", TargetKind::Host),
                rule("hostname", TargetKind::Host),
                rule("service", TargetKind::Service),
                rule("name", TargetKind::Service),
                rule("job", TargetKind::Service),
            ],
            severity_label: "severity".to_owned(),
            ignore: vec![r#"alertname=~"Watchkeeper.*""#.to_owned()],
        }
    }
}

/// Says which label names a target, and which part of its value is the name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRule {
    pub label: String,
    /// Regular expression; the first group that took part is the name. See [`TargetRule::pattern`].
    #[serde(default)]
    pub pattern: Option<String>,
    pub to: TargetKind,
    /// A name that the inventory lacks is not reported as missing.
    #[serde(default)]
    pub optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    Host,
    Service,
}

impl TargetRule {
    /// `web1:9100`, `[::1]:9100` and `web1` without the port; anything else as it is.
    pub const HOST_PATTERN: &str = r"^(?:\[([^\]]+)\]|([^:]+))(?::[0-9]+)?$|^(.+)$";
    /// `nginx.service` without its suffix.
    pub const SERVICE_PATTERN: &str = r"^(.+?)(?:\.service)?$";

    /// The configured pattern, else the one for its kind of target.
    pub fn pattern(&self) -> &str {
        match (&self.pattern, self.to) {
            (Some(pattern), TargetKind::Host | TargetKind::Service) => pattern,
            (None, TargetKind::Host) => Self::HOST_PATTERN,
            (None, TargetKind::Service) => Self::SERVICE_PATTERN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pattern: &str, value: &str) -> Option<String> {
        let found = regex::Regex::new(pattern).unwrap().captures(value)?;
        found.iter().skip(1).flatten().next().map(|group| group.as_str().to_owned())
    }

    #[test]
    fn default_patterns_take_the_name_of_the_target() {
        for (value, host) in [
            ("web1", "web1"),
            ("web1.example.org:9100", "web1.example.org"),
            ("10.2.3.4:9100", "10.2.3.4"),
            ("[fe80::1]:9100", "fe80::1"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(name(TargetRule::HOST_PATTERN, value).as_deref(), Some(host));
        }
        for (value, service) in [("nginx.service", "nginx"), ("node", "node")] {
            assert_eq!(name(TargetRule::SERVICE_PATTERN, value).as_deref(), Some(service));
        }
    }
}
