//! The alerts of the demo's monitor: rules over samples, from pending to firing to resolved.
//!
//! In: a rules file as for Prometheus, samples, the time. Out: what changed in words, the bodies of
//! the webhooks that are due, and the answers of Prometheus' API. Never: an alert that no sample
//! caused.

use super::query::{Query, Sample};
use crate::config::yaml;
use crate::model::alert::{Labels, Status};
use crate::model::call::sha256_hex;
use crate::model::time::parse_duration_ms;
use anyhow::{Result, anyhow};
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    interval: String,
    rules: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    alert: String,
    expr: String,
    r#for: String,
    labels: Labels,
    annotations: Labels,
}

struct Rule {
    group: String,
    entry: RuleEntry,
    query: Query,
    for_ms: i64,
    interval_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Firing,
    Resolved { at_ms: i64 },
}

struct Active {
    rule: usize,
    stage: Stage,
    since_ms: i64,
    value: f64,
    /// What the receiver acknowledged last, and when.
    told: Option<(Status, i64)>,
}

/// Between two webhooks about the same alert, as Alertmanager's `group_interval`.
const NEWS_EVERY_MS: i64 = 5_000;

/// A webhook that is due.
pub struct Due {
    pub labels: Labels,
    pub status: Status,
    pub body: Value,
}

/// Rules and the alerts that they caused.
pub struct Alerts {
    rules: Vec<Rule>,
    active: BTreeMap<Labels, Active>,
}

impl Alerts {
    /// Reads a rules file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let file = yaml::load::<RulesFile>("rules.yaml", text)
            .map_err(|problems| anyhow!("the demo's rules: {problems:?}"))?
            .value;
        let mut rules = Vec::new();
        for group in file.groups {
            let interval_ms = parse_duration_ms(&group.interval).map_err(|why| anyhow!(why))?;
            for entry in group.rules {
                let query = Query::parse(&entry.expr).map_err(|why| anyhow!(why))?;
                let for_ms = parse_duration_ms(&entry.r#for).map_err(|why| anyhow!(why))?;
                rules.push(Rule { group: group.name.clone(), entry, query, for_ms, interval_ms });
            }
        }
        Ok(Self { rules, active: BTreeMap::new() })
    }

    /// How often to evaluate.
    pub fn interval_ms(&self) -> i64 {
        self.rules.iter().map(|rule| rule.interval_ms).min().unwrap_or(1_000)
    }

    /// Evaluates every rule; tells what changed.
    pub fn evaluate(&mut self, samples: &[Sample], now_ms: i64) -> Vec<String> {
        let mut said = Vec::new();
        let mut holds: BTreeMap<Labels, (usize, f64)> = BTreeMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            for sample in rule.query.select(samples) {
                let mut labels = sample.labels.clone();
                labels.extend(rule.entry.labels.clone());
                labels.insert("alertname".to_owned(), rule.entry.alert.clone());
                holds.insert(labels, (index, sample.value));
            }
        }
        for (labels, (rule, value)) in &holds {
            let fresh = Active {
                rule: *rule,
                stage: Stage::Pending,
                since_ms: now_ms,
                value: *value,
                told: None,
            };
            let active = self.active.entry(labels.clone()).or_insert(fresh);
            active.value = *value;
            let rule = &self.rules[*rule];
            if active.stage == Stage::Pending && now_ms - active.since_ms >= rule.for_ms {
                active.stage = Stage::Firing;
                let (name, expr) = (&rule.entry.alert, &rule.entry.expr);
                let held = rule.entry.r#for.as_str();
                said.push(format!("{name} fires: {expr} held for {held}: {}", shown(labels)));
            }
        }
        self.active.retain(|labels, active| match active.stage {
            _ if holds.contains_key(labels) => true,
            Stage::Pending => false,
            Stage::Firing => {
                active.stage = Stage::Resolved { at_ms: now_ms };
                let rule = &self.rules[active.rule].entry;
                let name = &rule.alert;
                said.push(format!("{name} no longer fires: not {}: {}", rule.expr, shown(labels)));
                true
            }
            Stage::Resolved { .. } => active.told.is_none_or(|told| told.0 != Status::Resolved),
        });
        said
    }

    /// What Alertmanager would send, one alert a group.
    pub fn due(&self, address: &str, now_ms: i64) -> Vec<Due> {
        let due = self.active.iter().filter_map(|(labels, active)| {
            let status = match active.stage {
                Stage::Pending => return None,
                Stage::Firing => Status::Firing,
                Stage::Resolved { .. } => Status::Resolved,
            };
            let is_news = active
                .told
                .is_none_or(|(told, at_ms)| told != status && now_ms - at_ms >= NEWS_EVERY_MS);
            is_news.then(|| {
                let body = self.webhook(labels, active, status, address);
                Due { labels: labels.clone(), status, body }
            })
        });
        due.collect()
    }

    /// The receiver stored it.
    pub fn told(&mut self, labels: &Labels, status: Status, at_ms: i64) {
        if let Some(active) = self.active.get_mut(labels) {
            active.told = Some((status, at_ms));
        }
    }

    /// The answer to `/api/v1/alerts`.
    pub fn listed(&self) -> Value {
        let alerts = self.active.iter().filter_map(|(labels, active)| {
            let state = match active.stage {
                Stage::Pending => "pending",
                Stage::Firing => "firing",
                Stage::Resolved { .. } => return None,
            };
            Some(json!({
                "labels": labels,
                "annotations": self.annotations(labels, active),
                "state": state,
                "activeAt": rfc3339(active.since_ms),
                "value": active.value.to_string(),
            }))
        });
        json!({ "alerts": alerts.collect::<Vec<_>>() })
    }

    /// The answer to `/api/v1/rules`.
    pub fn rules(&self) -> Value {
        let groups = self.rules.iter().enumerate().map(|(index, rule)| {
            let fires = |active: &Active| active.rule == index && active.stage == Stage::Firing;
            let state = if self.active.values().any(fires) { "firing" } else { "inactive" };
            json!({
                "name": rule.group,
                "file": "rules.yaml",
                "interval": seconds(rule.interval_ms),
                "rules": [{
                    "type": "alerting",
                    "name": rule.entry.alert,
                    "query": rule.entry.expr,
                    "duration": seconds(rule.for_ms),
                    "labels": rule.entry.labels,
                    "annotations": rule.entry.annotations,
                    "alerts": [],
                    "health": "ok",
                    "state": state,
                }],
            })
        });
        json!({ "groups": groups.collect::<Vec<_>>() })
    }

    fn webhook(&self, labels: &Labels, active: &Active, status: Status, address: &str) -> Value {
        let (status, ends_at) = match (status, active.stage) {
            (Status::Resolved, Stage::Resolved { at_ms }) => ("resolved", rfc3339(at_ms)),
            (Status::Firing | Status::Resolved, _) => ("firing", "0001-01-01T00:00:00Z".to_owned()),
        };
        let fingerprint = sha256_hex(json!(labels).to_string().as_bytes())[..16].to_owned();
        let annotations = self.annotations(labels, active);
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{{fingerprint=\"{fingerprint}\"}}"),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "watchkeeper",
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": address,
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": rfc3339(active.since_ms),
                "endsAt": ends_at,
                "generatorURL": format!("{address}/api/v1/rules"),
                "fingerprint": fingerprint,
            }],
        })
    }

    fn annotations(&self, labels: &Labels, active: &Active) -> Labels {
        let filled = |text: &str| {
            let text = text.replace("{{ $value }}", &active.value.to_string());
            labels.iter().fold(text, |text, (name, value)| {
                text.replace(&format!("{{{{ $labels.{name} }}}}"), value)
            })
        };
        let annotations = &self.rules[active.rule].entry.annotations;
        annotations.iter().map(|(name, text)| (name.clone(), filled(text))).collect()
    }
}

/// What tells two alerts of one rule apart, for a line of text.
fn shown(labels: &Labels) -> &str {
    labels.get("service").or(labels.get("instance")).map_or("", String::as_str)
}

fn rfc3339(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms)
        .map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
groups:
  - name: g
    interval: 1s
    rules:
      - alert: Down
        expr: up == 0
        for: 2s
        labels: { severity: critical }
        annotations: { summary: "{{ $labels.service }} is {{ $value }}" }
"#;

    fn up(value: f64) -> Vec<Sample> {
        let labels = Labels::from([("service".to_owned(), "a".to_owned())]);
        vec![Sample { metric: "up".to_owned(), labels, value }]
    }

    fn tell(alerts: &mut Alerts, now_ms: i64) -> Vec<(Status, String)> {
        let due = alerts.due("http://monitor", now_ms);
        let summary = |due: &Due| due.body["alerts"][0]["annotations"]["summary"].to_string();
        let all = due.iter().map(|due| (due.status, summary(due))).collect();
        for due in due {
            alerts.told(&due.labels, due.status, now_ms);
        }
        all
    }

    #[test]
    fn an_alert_fires_after_its_time_and_resolves_once() {
        let mut alerts = Alerts::parse(RULES).unwrap();
        let mut heard = Vec::new();
        for (now_ms, value) in [
            (0, 0.0),
            (1_000, 0.0),
            (2_000, 0.0),
            (3_000, 0.0),
            (4_000, 1.0),
            (7_000, 1.0),
            (8_000, 1.0),
        ] {
            alerts.evaluate(&up(value), now_ms);
            heard.extend(tell(&mut alerts, now_ms).into_iter().map(|told| (now_ms, told)));
        }
        let summary = "\"a is 0\"".to_owned();
        assert_eq!(
            heard,
            [(2_000, (Status::Firing, summary.clone())), (7_000, (Status::Resolved, summary))]
        );
        assert_eq!(alerts.listed(), json!({ "alerts": [] }));
    }

    #[test]
    fn a_short_breach_never_fires() {
        let mut alerts = Alerts::parse(RULES).unwrap();
        alerts.evaluate(&up(0.0), 0);
        alerts.evaluate(&up(1.0), 1_000);
        alerts.evaluate(&up(0.0), 2_000);
        assert_eq!(tell(&mut alerts, 2_000), []);
        assert_eq!(alerts.listed()["alerts"][0]["state"], json!("pending"));
    }

    #[test]
    fn the_shipped_rules_can_be_read() {
        assert_eq!(Alerts::parse(include_str!("rules.yaml")).unwrap().interval_ms(), 500);
    }
}
