//! What makes alerts one problem: our own key, and labels that different alerts share.
//!
//! In: an alert. Out: its correlation key, the keys under which it may join an incident of another
//! one, its severity, the target that it names. Never: the sender's group key.

use super::announce::Words;
use crate::model::alert::{Alert, Labels, Severity};
use crate::model::entity::Located;
use crate::model::matcher::Matcher;
use crate::model::verdict::Autonomy;
use std::sync::Arc;

/// Of a title from labels, so much is kept.
const TITLE_BYTES_MAX: usize = 300;

/// How alerts are grouped.
pub struct Correlator {
    /// Labels that make the key; `host` and `service` mean the resolved targets.
    pub by: Vec<String>,
    /// Labels by which an alert of another key joins an open incident; tried in order.
    pub joins: Vec<Join>,
    pub flapping: Flapping,
    pub severity_label: String,
    /// Alerts that are stored and never acted on.
    pub ignore: Vec<Matcher>,
    pub reopen_within_ms: i64,
    pub critical_page_ms: i64,
    pub warning_page_ms: i64,
    /// Finds the targets of an alert.
    pub locate: Arc<dyn Fn(&Labels) -> Located + Send + Sync>,
    /// How much may be done for an alert; what is for people alone is paged at once.
    pub level: Arc<dyn Fn(&Labels) -> Autonomy + Send + Sync>,
    pub words: Words,
}

/// Says which alerts belong together although their keys differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    /// Every one of them must be there; `host` and `service` mean the resolved targets.
    pub labels: Vec<String>,
    /// Counted from the opening of the incident.
    pub within_ms: i64,
    /// An incident with so many alerts, or alerts about so many targets, takes no more this way.
    pub alerts_max: i64,
    pub targets_max: i64,
}

/// When an alert counts as flapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flapping {
    /// Firings of the same alert; 0 for never.
    pub times: i64,
    pub within_ms: i64,
}

impl Correlator {
    /// What two alerts must share to be one problem: source and configured labels.
    pub fn key(&self, alert: &Alert) -> String {
        let located = (self.locate)(&alert.labels);
        let mut key = alert.source.clone();
        for label in &self.by {
            push(&mut key, label, &value(&located, &alert.labels, label));
        }
        key
    }

    /// The keys under which an alert may join, each with its rule. None where a label is missing:
    /// two alerts share nothing by both not having it.
    pub(super) fn join_keys(&self, alert: &Alert) -> Vec<(String, &Join)> {
        if self.joins.is_empty() {
            return Vec::new();
        }
        let located = (self.locate)(&alert.labels);
        let of_rule = |rule: &Join| {
            let mut key = alert.source.clone();
            for label in &rule.labels {
                let value = value(&located, &alert.labels, label);
                if value.is_empty() {
                    return None;
                }
                // Quoted, so that no value can end where it pleases and read like two labels.
                push(&mut key, label, &format!("{value:?}"));
            }
            Some(key)
        };
        self.joins.iter().filter_map(|rule| Some((of_rule(rule)?, rule))).collect()
    }

    /// The host and service that an alert names, in one spelling; what the inventory lacks as the
    /// labels spell it.
    pub(super) fn target(&self, alert: &Alert) -> String {
        let located = (self.locate)(&alert.labels);
        let host = target(&located.hosts, &alert.labels, &["instance", "host"]);
        let service = target(&located.services, &alert.labels, &["service"]);
        format!("host={host}|service={service}").to_ascii_lowercase()
    }

    /// The severity that the configured label gives.
    pub fn severity(&self, labels: &Labels) -> Severity {
        Severity::from_label(labels.get(&self.severity_label).map(String::as_str))
    }

    /// When a person is paged at the latest, counted from the opening; `None` for mere information.
    pub fn page_after_ms(&self, severity: Severity) -> Option<i64> {
        match severity {
            Severity::Critical => Some(self.critical_page_ms),
            Severity::Warning => Some(self.warning_page_ms),
            Severity::Info => None,
        }
    }

    pub(super) fn title(&self, alert: &Alert) -> String {
        let located = (self.locate)(&alert.labels);
        let service = target(&located.services, &alert.labels, &["service"]);
        let host = target(&located.hosts, &alert.labels, &["instance", "host"]);
        let mut title = match (service.is_empty(), host.is_empty()) {
            (true, true) => alert.name().to_owned(),
            (false, true) => format!("{}: {service}", alert.name()),
            (true, false) => format!("{} on {host}", alert.name()),
            (false, false) => format!("{}: {service} on {host}", alert.name()),
        };
        title.truncate(title.floor_char_boundary(TITLE_BYTES_MAX));
        title
    }
}

impl Join {
    /// The rule in words.
    pub(super) fn words(&self) -> String {
        self.labels.join(", ")
    }
}

fn push(key: &mut String, label: &str, value: &str) {
    key.push('|');
    key.push_str(label);
    key.push('=');
    key.push_str(value);
}

fn value(located: &Located, labels: &Labels, label: &str) -> String {
    match label {
        "host" => target(&located.hosts, labels, &["instance", "host"]),
        "service" => target(&located.services, labels, &["service"]),
        other => labels.get(other).cloned().unwrap_or_default(),
    }
}

/// The resolved target, else what the labels say of it.
fn target(resolved: &[String], labels: &Labels, fallback: &[&str]) -> String {
    resolved
        .first()
        .or_else(|| fallback.iter().find_map(|label| labels.get(*label)))
        .cloned()
        .unwrap_or_default()
}
