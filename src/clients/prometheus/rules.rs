//! Alerts and alerting rules as Prometheus itself sees them.
//!
//! In: the answers of `/api/v1/alerts` and `/api/v1/rules`. Out: typed alerts and rules, and
//! whether one alert fires. Never: a match on the name alone, which would let any delivery borrow the
//! evidence of another host's alert.

use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Labels;
use super::wire::Unusable;

/// One alert of one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub labels: Labels,
    pub annotations: Labels,
    pub state: AlertState,
    /// Since when the expression holds.
    pub active_since_ms: Option<i64>,
    pub value: Option<f64>,
}

/// Where an alert stands; of a rule, its most advanced alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    Inactive,
    /// The expression holds, but not yet for as long as the rule says.
    Pending,
    Firing,
    /// The rule was not evaluated yet.
    #[serde(other)]
    Unknown,
}

/// Whether Prometheus says that one alert fires.
#[derive(Debug, Clone, PartialEq)]
pub enum Firing {
    Yes {
        alert: Alert,
        /// Labels asked for that Prometheus' own alert does not carry.
        unconfirmed: Vec<String>,
    },
    Pending(Alert),
    /// It answered, and the alert is not among them. That is no proof of recovery: the series may
    /// have vanished, or Prometheus may have just started.
    No,
}

/// One alerting rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    pub expr: String,
    /// How long the expression must hold before the alert fires.
    pub for_ms: i64,
    pub keep_firing_for_ms: i64,
    /// How often the group is evaluated.
    pub interval_ms: i64,
    pub labels: Labels,
    pub state: AlertState,
    /// Why the last evaluation failed.
    pub last_error: Option<String>,
}

#[derive(Deserialize)]
struct AlertList {
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    state: AlertState,
    active_at: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    interval: f64,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    name: String,
    query: String,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    keep_firing_for: f64,
    #[serde(default)]
    labels: Labels,
    /// Absent for recording rules.
    state: Option<AlertState>,
    #[serde(default)]
    last_error: String,
}

pub(super) fn alerts(data: &RawValue) -> Result<Vec<Alert>, Unusable> {
    let list: AlertList = serde_json::from_str(data.get())?;
    let read = |raw: RawAlert| Alert {
        active_since_ms: raw.active_at.as_deref().and_then(at_ms),
        value: raw.value.and_then(|value| value.parse().ok()),
        labels: raw.labels,
        annotations: raw.annotations,
        state: raw.state,
    };
    Ok(list.alerts.into_iter().map(read).collect())
}

pub(super) fn firing(alerts: Vec<Alert>, labels: &Labels) -> Firing {
    let mut pending = None;
    for alert in alerts {
        if !matches(&alert, labels) {
            continue;
        }
        match alert.state {
            AlertState::Firing => {
                let unconfirmed =
                    labels.keys().filter(|name| !alert.labels.contains_key(*name)).cloned();
                return Firing::Yes { unconfirmed: unconfirmed.collect(), alert };
            }
            AlertState::Pending => pending = Some(alert),
            AlertState::Inactive | AlertState::Unknown => {}
        }
    }
    pending.map_or(Firing::No, Firing::Pending)
}

pub(super) fn named(data: &RawValue, alertname: &str) -> Result<Vec<Rule>, Unusable> {
    let groups: Groups = serde_json::from_str(data.get())?;
    let mut found = Vec::new();
    for group in groups.groups {
        // Servers before 2.51 ignore `rule_name[]` and send every rule.
        for rule in group.rules.into_iter().filter(|rule| rule.name == alertname) {
            let Some(state) = rule.state else { continue };
            found.push(Rule {
                name: rule.name,
                expr: rule.query,
                for_ms: whole_ms(rule.duration),
                keep_firing_for_ms: whole_ms(rule.keep_firing_for),
                interval_ms: whole_ms(group.interval),
                labels: rule.labels,
                state,
                last_error: Some(rule.last_error).filter(|error| !error.is_empty()),
            });
        }
    }
    Ok(found)
}

/// The rule with the most fixed labels that the alert carries, and none that it contradicts.
pub(super) fn best(rules: Vec<Rule>, labels: &Labels) -> Option<Rule> {
    let agreeing = |rule: &Rule| {
        // A template's value is only known once the rule has fired.
        let fixed = || rule.labels.iter().filter(|(_, value)| !value.contains("{{"));
        fixed().all(|(name, value)| labels.get(name) == Some(value)).then(|| fixed().count())
    };
    rules
        .into_iter()
        .filter_map(|rule| agreeing(&rule).map(|n| (n, rule)))
        .max_by_key(|(n, _)| *n)
        .map(|(_, rule)| rule)
}

fn matches(alert: &Alert, labels: &Labels) -> bool {
    alert.labels.contains_key("alertname")
        && alert.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn at_ms(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}

fn whole_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn alert(pairs: &[(&str, &str)], state: AlertState) -> Alert {
        Alert {
            labels: labels(pairs),
            annotations: Labels::new(),
            state,
            active_since_ms: None,
            value: None,
        }
    }

    fn rule(expr: &str, fixed: &[(&str, &str)]) -> Rule {
        Rule {
            name: "A".to_owned(),
            expr: expr.to_owned(),
            for_ms: 0,
            keep_firing_for_ms: 0,
            interval_ms: 0,
            labels: labels(fixed),
            state: AlertState::Firing,
            last_error: None,
        }
    }

    #[test]
    fn alert_of_another_host_is_no_evidence() {
        let other = alert(&[("alertname", "A"), ("host", "web2")], AlertState::Firing);
        let asked = [
            labels(&[("alertname", "A"), ("host", "web1")]),
            // A forged delivery that leaves the host out.
            labels(&[("alertname", "A")]),
            labels(&[("host", "web2")]),
        ];
        for asked in asked {
            assert_eq!(firing(vec![other.clone()], &asked), Firing::No, "{asked:?}");
        }
    }

    #[test]
    fn labels_that_prometheus_does_not_carry_are_named() {
        let own = alert(&[("alertname", "A"), ("host", "web1")], AlertState::Firing);
        let asked = labels(&[("alertname", "A"), ("host", "web1"), ("cluster", "eu")]);
        assert_eq!(
            firing(vec![own.clone()], &asked),
            Firing::Yes { alert: own, unconfirmed: vec!["cluster".to_owned()] }
        );
    }

    #[test]
    fn firing_outweighs_pending() {
        let waiting = alert(&[("alertname", "A")], AlertState::Pending);
        let asked = labels(&[("alertname", "A")]);
        assert_eq!(firing(vec![waiting.clone()], &asked), Firing::Pending(waiting.clone()));
        let fires = alert(&[("alertname", "A")], AlertState::Firing);
        assert_eq!(
            firing(vec![waiting, fires.clone()], &asked),
            Firing::Yes { alert: fires, unconfirmed: vec![] }
        );
    }

    #[test]
    fn rule_is_chosen_by_its_fixed_labels() {
        let rules = vec![
            rule("any", &[("team", "{{ $labels.team }}")]),
            rule("warning", &[("severity", "warning")]),
            rule("critical", &[("severity", "critical")]),
        ];
        let chosen = |severity: &str| {
            let asked = labels(&[("alertname", "A"), ("severity", severity)]);
            best(rules.clone(), &asked).map(|rule| rule.expr)
        };
        assert_eq!(chosen("critical"), Some("critical".to_owned()));
        assert_eq!(chosen("warning"), Some("warning".to_owned()));
        assert_eq!(chosen("info"), Some("any".to_owned()));
    }
}
