//! Alerts find their incident: joined by our own key, opened when there is none.
//!
//! In: one alert inside the intake's transaction. Out: its row, and an entry in the incident's
//! inbox when it says something new. Repeats change nothing but a counter. Never: the sender's
//! group key as identity; it changes when somebody edits the route tree.

use crate::model::alert::{Alert, Labels, Severity, Status};
use crate::model::entity::Located;
use crate::model::ids::IncidentId;
use crate::model::matcher::Matcher;
use crate::model::timeline::Entry;
use crate::store::alerts::Known;
use crate::store::db::Conn;
use crate::store::incidents::{Opening, Place};
use crate::store::{Error, alerts, inbox, incidents};
use std::sync::Arc;

/// A firing copy that arrives this soon after its own resolved notice is a late one, e.g. from the
/// other peer of an Alertmanager pair; Alertmanager's default group_interval is five minutes.
const LATE_COPY_MS: i64 = 5 * 60 * 1000;

/// So long an alert may linger after its incident was measured to be over: the ranges in its rule,
/// `keep_firing_for` and Alertmanager's intervals all delay the resolved notice.
const LINGER_MS: i64 = 30 * 60 * 1000;
/// Of a title from labels, so much is kept.
const TITLE_BYTES_MAX: usize = 300;

/// How alerts are grouped.
pub struct Correlator {
    /// Labels that make the key; `host` and `service` mean the resolved targets.
    pub by: Vec<String>,
    pub severity_label: String,
    /// Alerts that are stored and never acted on.
    pub ignore: Vec<Matcher>,
    pub reopen_within_ms: i64,
    pub critical_page_ms: i64,
    pub warning_page_ms: i64,
    /// Finds the targets of an alert.
    pub locate: Arc<dyn Fn(&Labels) -> Located + Send + Sync>,
}

/// Takes in one alert.
pub async fn take_alert(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    scope: &str,
    alert: &Alert,
    group_key: Option<&str>,
    now_ms: i64,
) -> Result<(), Error> {
    if correlator.ignore.iter().any(|matcher| matcher.matches(&alert.labels)) {
        return Ok(());
    }
    match (alerts::find(conn, scope, &alert.key()).await?, alert.status) {
        (Some(known), Status::Firing)
            if known.status == Status::Firing && !outlives(conn, &known, now_ms).await? =>
        {
            alerts::record(conn, scope, alert, known.incident_id, now_ms).await
        }
        (Some(known), Status::Firing)
            if known.status == Status::Resolved && now_ms - known.last_seen_ms < LATE_COPY_MS =>
        {
            tracing::debug!(fingerprint = %alert.fingerprint, "ignored a late firing copy");
            Ok(())
        }
        (Some(known), Status::Resolved) => {
            alerts::record(conn, scope, alert, known.incident_id, now_ms).await?;
            let (Status::Firing, Some(incident)) = (known.status, known.incident_id) else {
                return Ok(());
            };
            let ends_at_ms = alert.ends_at_ms.unwrap_or(now_ms);
            let entry = Entry::AlertResolved { key: alert.key(), ends_at_ms };
            inbox::tell(conn, incident, now_ms, &entry).await
        }
        (Some(_) | None, Status::Firing) => {
            let incident = place(conn, correlator, scope, alert, group_key, now_ms).await?;
            alerts::record(conn, scope, alert, Some(incident), now_ms).await?;
            let severity = correlator.severity(&alert.labels);
            let entry = Entry::AlertFired { alert: alert.clone(), severity };
            inbox::tell(conn, incident, now_ms, &entry).await
        }
        (None, Status::Resolved) => {
            // Its firing never reached us. It is on record, under the incident of its kind if one
            // is open; there is nothing left to investigate.
            let key = correlator.key(alert);
            match incidents::place(conn, scope, &key, i64::MAX).await? {
                Place::Open(id) | Place::Ended(id) => {
                    alerts::record(conn, scope, alert, Some(id), now_ms).await
                }
                Place::Nowhere => alerts::record(conn, scope, alert, None, now_ms).await,
            }
        }
    }
}

/// Whether an alert still fires long after its incident was measured to be over: then it is not.
async fn outlives(conn: &mut Conn<'_>, known: &Known, now_ms: i64) -> Result<bool, Error> {
    match known.incident_id {
        Some(incident) => incidents::ended_before(conn, incident, now_ms - LINGER_MS).await,
        None => Ok(false),
    }
}

async fn place(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    scope: &str,
    alert: &Alert,
    group_key: Option<&str>,
    now_ms: i64,
) -> Result<IncidentId, Error> {
    let key = correlator.key(alert);
    let ended_after_ms = now_ms - correlator.reopen_within_ms;
    let severity = correlator.severity(&alert.labels);
    let page_due_at_ms = correlator.page_after_ms(severity).map(|after| now_ms + after);
    match incidents::place(conn, scope, &key, ended_after_ms).await? {
        Place::Open(id) => return Ok(id),
        // Somebody else may have reopened it, or opened another one, since the look.
        Place::Ended(id) if incidents::reopen(conn, id, now_ms, page_due_at_ms).await? == 1 => {
            return Ok(id);
        }
        Place::Ended(_) => return now_open(conn, scope, &key).await,
        Place::Nowhere => {}
    }
    let opening = Opening {
        id: IncidentId::new(),
        scope: scope.to_owned(),
        title: correlator.title(alert),
        severity,
        correlation_key: key.clone(),
        at_ms: now_ms,
        page_due_at_ms,
    };
    if incidents::open(conn, &opening).await? == 0 {
        // Another replica opened it between the look and the insert.
        return now_open(conn, scope, &key).await;
    }
    let entry = Entry::Opened {
        title: opening.title,
        severity,
        correlation_key: key,
        group_key: group_key.map(str::to_owned),
        continues: None,
    };
    inbox::tell(conn, opening.id, now_ms, &entry).await?;
    Ok(opening.id)
}

/// The incident that holds the key by now. None at all means that it was closed in between: the
/// batch is taken again.
async fn now_open(conn: &mut Conn<'_>, scope: &str, key: &str) -> Result<IncidentId, Error> {
    match incidents::place(conn, scope, key, i64::MAX).await? {
        Place::Open(id) => Ok(id),
        Place::Ended(_) | Place::Nowhere => {
            Err(Error::Unavailable("the incident was closed in between".into()))
        }
    }
}

impl Correlator {
    /// What two alerts must share to be one problem: source and configured labels.
    pub fn key(&self, alert: &Alert) -> String {
        let located = (self.locate)(&alert.labels);
        let mut key = alert.source.clone();
        for label in &self.by {
            let value = match label.as_str() {
                "host" => target(&located.hosts, &alert.labels, &["instance", "host"]),
                "service" => target(&located.services, &alert.labels, &["service"]),
                other => alert.labels.get(other).cloned().unwrap_or_default(),
            };
            key.push('|');
            key.push_str(label);
            key.push('=');
            key.push_str(&value);
        }
        key
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

    fn title(&self, alert: &Alert) -> String {
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

/// The resolved target, else what the labels say of it.
fn target(resolved: &[String], labels: &Labels, fallback: &[&str]) -> String {
    resolved
        .first()
        .or_else(|| fallback.iter().find_map(|label| labels.get(*label)))
        .cloned()
        .unwrap_or_default()
}
