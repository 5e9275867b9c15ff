//! Alerts find their incident: joined by our own key, opened when there is none.
//!
//! In: alerts inside the intake's transaction. Out: their rows, and entries in the incidents'
//! inboxes where they say something new. Repeats change nothing but a counter. Many alerts take as
//! many statements as one: first everything is looked up, then decided in order, then written.
//! Never: the sender's group key as identity; it changes when somebody edits the route tree.

use crate::model::alert::{Alert, AlertKey, Labels, Severity, Status};
use crate::model::entity::Located;
use crate::model::ids::IncidentId;
use crate::model::matcher::Matcher;
use crate::model::timeline::Entry;
use crate::store::alerts::{Known, Record};
use crate::store::db::Conn;
use crate::store::incidents::{Opening, Place};
use crate::store::{Error, alerts, inbox, incidents};
use std::collections::{BTreeMap, BTreeSet};
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

/// An alert on its way in.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    pub alert: &'a Alert,
    pub group_key: Option<&'a str>,
    pub heard: Heard,
}

/// When an alert was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Delivered, or fetched while it fires.
    InTime,
    /// It was over before anybody could tell us; an incident keeps it findable.
    Late,
}

/// Takes in alerts of one scope, in this order, inside a transaction.
pub async fn take_all(
    conn: &mut Conn<'_>,
    correlator: &Correlator,
    scope: &str,
    arrivals: &[Arrival<'_>],
    now_ms: i64,
) -> Result<(), Error> {
    let ignored = |arrival: &Arrival<'_>| {
        correlator.ignore.iter().any(|matcher| matcher.matches(&arrival.alert.labels))
    };
    let arrivals: Vec<(AlertKey, Arrival<'_>)> = arrivals
        .iter()
        .filter(|arrival| !ignored(arrival))
        .map(|arrival| (alerts::stored_key(arrival.alert), *arrival))
        .collect();
    if arrivals.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<&AlertKey> = arrivals.iter().map(|(key, _)| key).collect();
    let known = alerts::find_all(conn, scope, keys).await?;
    let outlived = outlived(conn, &known, now_ms).await?;
    // An alert that is known to fire has its incident already.
    let homeless: Vec<(usize, String)> = arrivals
        .iter()
        .enumerate()
        .filter(|(_, (key, _))| {
            known
                .get(key)
                .is_none_or(|known| known.status == Status::Resolved || outlives(&outlived, known))
        })
        .map(|(i, (_, arrival))| (i, correlator.key(arrival.alert)))
        .collect();
    let keys: BTreeSet<&str> = homeless.iter().map(|(_, key)| key.as_str()).collect();
    let ended_after_ms = now_ms - correlator.reopen_within_ms;
    let places = if keys.is_empty() {
        BTreeMap::new()
    } else {
        incidents::places(conn, scope, &keys, ended_after_ms).await?
    };
    let mut batch = Batch {
        correlator,
        scope,
        now_ms,
        known,
        outlived,
        places,
        openings: Vec::new(),
        news: Vec::new(),
        records: BTreeMap::new(),
    };
    let mut homeless = homeless.into_iter().peekable();
    for (i, (key, arrival)) in arrivals.iter().enumerate() {
        let home = homeless.next_if(|(of, _)| *of == i).map(|(_, key)| key);
        batch.take(conn, key, *arrival, home).await?;
    }
    batch.write(conn).await
}

/// Alerts that are taken in together, with what earlier ones among them changed.
struct Batch<'a> {
    correlator: &'a Correlator,
    scope: &'a str,
    now_ms: i64,
    known: BTreeMap<AlertKey, Known>,
    outlived: BTreeSet<IncidentId>,
    places: BTreeMap<String, Place>,
    openings: Vec<Opening>,
    /// Entries for incidents, in order.
    news: Vec<(IncidentId, Entry)>,
    records: BTreeMap<AlertKey, Record<'a>>,
}

impl<'a> Batch<'a> {
    /// `home` is the correlation key of an alert that is not known to fire.
    async fn take(
        &mut self,
        conn: &mut Conn<'_>,
        key: &AlertKey,
        arrival: Arrival<'a>,
        home: Option<String>,
    ) -> Result<(), Error> {
        let alert = arrival.alert;
        match (self.known.get(key).cloned(), alert.status) {
            (Some(known), Status::Firing)
                if known.status == Status::Firing && !outlives(&self.outlived, &known) =>
            {
                self.record(key, alert, known.incident_id);
            }
            (Some(known), Status::Firing)
                if known.status == Status::Resolved
                    && self.now_ms - known.last_seen_ms < LATE_COPY_MS =>
            {
                tracing::debug!(fingerprint = %alert.fingerprint, "ignored a late firing copy");
            }
            (Some(known), Status::Resolved) => {
                self.record(key, alert, known.incident_id);
                if let (Status::Firing, Some(incident)) = (known.status, known.incident_id) {
                    let ends_at_ms = alert.ends_at_ms.unwrap_or(self.now_ms);
                    let entry = Entry::AlertResolved { key: alert.key(), ends_at_ms };
                    self.news.push((incident, entry));
                }
            }
            (Some(_) | None, Status::Firing) => {
                let home = home.unwrap_or_else(|| self.correlator.key(alert));
                let incident = self.place(conn, arrival, home).await?;
                self.record(key, alert, Some(incident));
                let severity = self.correlator.severity(&alert.labels);
                self.news.push((incident, Entry::AlertFired { alert: alert.clone(), severity }));
            }
            (None, Status::Resolved) if arrival.heard == Heard::Late => {
                let home = home.unwrap_or_else(|| self.correlator.key(alert));
                let incident = match self.places.get(&home).copied() {
                    Some(Place::Open(id)) => id,
                    Some(Place::Ended(_)) | None => {
                        let id = self.open(arrival, &home);
                        self.places.insert(home, Place::Open(id));
                        id
                    }
                };
                self.record(key, alert, Some(incident));
                let severity = self.correlator.severity(&alert.labels);
                self.news
                    .push((incident, Entry::AlertHeardLate { alert: alert.clone(), severity }));
            }
            (None, Status::Resolved) => {
                // Its firing never reached us. It is on record, under the incident of its kind if
                // one is open; there is nothing left to investigate.
                let place = home.and_then(|home| self.places.get(&home).copied());
                let incident = match place {
                    Some(Place::Open(id)) => Some(id),
                    Some(Place::Ended(_)) | None => None,
                };
                self.record(key, alert, incident);
            }
        }
        Ok(())
    }

    fn record(&mut self, key: &AlertKey, alert: &'a Alert, incident: Option<IncidentId>) {
        let known =
            Known { incident_id: incident, status: alert.status, last_seen_ms: self.now_ms };
        self.known.insert(key.clone(), known);
        let before = self.records.get(key).map_or(0, |record| record.deliveries);
        let target = self.correlator.target(alert);
        let record = Record { alert, incident, deliveries: before + 1, target };
        self.records.insert(key.clone(), record);
    }

    async fn place(
        &mut self,
        conn: &mut Conn<'_>,
        arrival: Arrival<'_>,
        key: String,
    ) -> Result<IncidentId, Error> {
        let severity = self.correlator.severity(&arrival.alert.labels);
        let page_due_at_ms = self.correlator.page_after_ms(severity).map(|ms| self.now_ms + ms);
        let id = match self.places.get(&key).copied() {
            Some(Place::Open(id)) => return Ok(id),
            // Somebody else may have reopened it, or opened another one, since the look.
            Some(Place::Ended(id))
                if incidents::reopen(conn, id, self.now_ms, page_due_at_ms).await? == 1 =>
            {
                id
            }
            Some(Place::Ended(_)) => now_open(conn, self.scope, &key).await?,
            None => self.open(arrival, &key),
        };
        self.places.insert(key, Place::Open(id));
        Ok(id)
    }

    fn open(&mut self, arrival: Arrival<'_>, key: &str) -> IncidentId {
        let severity = self.correlator.severity(&arrival.alert.labels);
        let opening = Opening {
            id: IncidentId::new(),
            scope: self.scope.to_owned(),
            title: self.correlator.title(arrival.alert),
            severity,
            correlation_key: key.to_owned(),
            at_ms: self.now_ms,
            page_due_at_ms: self.correlator.page_after_ms(severity).map(|ms| self.now_ms + ms),
        };
        let entry = Entry::Opened {
            title: opening.title.clone(),
            severity,
            correlation_key: key.to_owned(),
            group_key: arrival.group_key.map(str::to_owned),
            continues: None,
        };
        let id = opening.id;
        self.news.push((id, entry));
        self.openings.push(opening);
        id
    }

    async fn write(mut self, conn: &mut Conn<'_>) -> Result<(), Error> {
        let opened = incidents::open_all(conn, &self.openings).await?;
        let lost = self.openings.iter().filter(|opening| !opened.contains(&opening.id));
        for opening in lost {
            // Another replica opened it between the look and the insert.
            let theirs = now_open(conn, self.scope, &opening.correlation_key).await?;
            self.news
                .retain(|(id, entry)| *id != opening.id || !matches!(entry, Entry::Opened { .. }));
            for (id, _) in self.news.iter_mut().filter(|(id, _)| *id == opening.id) {
                *id = theirs;
            }
            for record in self.records.values_mut().filter(|r| r.incident == Some(opening.id)) {
                record.incident = Some(theirs);
            }
        }
        let records: Vec<Record<'_>> = self.records.into_values().collect();
        alerts::record_all(conn, self.scope, &records, self.now_ms).await?;
        inbox::put_all(conn, self.now_ms, &self.news).await?;
        // What was opened here is due from the start.
        let told: BTreeSet<IncidentId> =
            self.news.iter().map(|(id, _)| *id).filter(|id| !opened.contains(id)).collect();
        if told.is_empty() { Ok(()) } else { inbox::wake(conn, told, self.now_ms).await }
    }
}

/// Incidents that ended long ago, of alerts that are known to fire.
async fn outlived(
    conn: &mut Conn<'_>,
    known: &BTreeMap<AlertKey, Known>,
    now_ms: i64,
) -> Result<BTreeSet<IncidentId>, Error> {
    let of: BTreeSet<IncidentId> = known
        .values()
        .filter(|known| known.status == Status::Firing)
        .filter_map(|known| known.incident_id)
        .collect();
    if of.is_empty() {
        return Ok(BTreeSet::new());
    }
    incidents::ended_before(conn, &of, now_ms - LINGER_MS).await
}

/// Whether an alert still fires long after its incident was measured to be over: then it is not.
fn outlives(outlived: &BTreeSet<IncidentId>, known: &Known) -> bool {
    known.status == Status::Firing && known.incident_id.is_some_and(|id| outlived.contains(&id))
}

/// The incident that holds the key by now. None at all means that it was closed in between: the
/// batch is taken again.
async fn now_open(conn: &mut Conn<'_>, scope: &str, key: &str) -> Result<IncidentId, Error> {
    match incidents::places(conn, scope, &BTreeSet::from([key]), i64::MAX).await?.get(key) {
        Some(Place::Open(id)) => Ok(*id),
        Some(Place::Ended(_)) | None => {
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

    /// The host and service that an alert names, in one spelling; what the inventory lacks as the
    /// labels spell it.
    fn target(&self, alert: &Alert) -> String {
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
