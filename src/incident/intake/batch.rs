//! The decisions about alerts that are taken in together, and how they are written.

use super::places::{Found, Home, Places};
use super::{Arrival, Correlator, Heard, LATE_COPY_MS, outlives};
use crate::incident::announce;
use crate::model::alert::{Alert, AlertKey, Severity, Status};
use crate::model::ids::IncidentId;
use crate::model::timeline::Entry;
use crate::model::verdict::Autonomy;
use crate::store::alerts::{Known, Record};
use crate::store::db::Conn;
use crate::store::incidents::{Opening, Place};
use crate::store::priority::Weight;
use crate::store::step::Announcement;
use crate::store::{Error, alerts, inbox, incidents, joins, outbox, priority};
use std::collections::{BTreeMap, BTreeSet};

/// Alerts that are taken in together, with what earlier ones among them changed.
pub(super) struct Batch<'a> {
    correlator: &'a Correlator,
    scope: &'a str,
    now_ms: i64,
    known: BTreeMap<AlertKey, Known>,
    outlived: BTreeSet<IncidentId>,
    places: Places,
    openings: Vec<Opening>,
    /// Pages for new incidents, which do not wait until somebody works on them.
    pages: Vec<Announcement>,
    /// Entries for incidents, in order.
    news: Vec<(IncidentId, Entry)>,
    records: BTreeMap<AlertKey, Record<'a>>,
    weights: BTreeMap<IncidentId, Weight>,
    /// Keys under which others may join what is opened here.
    offers: Vec<(String, IncidentId)>,
    aliases: BTreeMap<String, IncidentId>,
}

impl<'a> Batch<'a> {
    pub fn new(
        correlator: &'a Correlator,
        scope: &'a str,
        now_ms: i64,
        known: BTreeMap<AlertKey, Known>,
        outlived: BTreeSet<IncidentId>,
        places: Places,
    ) -> Self {
        Self {
            correlator,
            scope,
            now_ms,
            known,
            outlived,
            places,
            openings: Vec::new(),
            pages: Vec::new(),
            news: Vec::new(),
            records: BTreeMap::new(),
            weights: BTreeMap::new(),
            offers: Vec::new(),
            aliases: BTreeMap::new(),
        }
    }

    /// `home` belongs to an alert that is not known to fire.
    pub async fn take(
        &mut self,
        conn: &mut Conn<'_>,
        key: &AlertKey,
        arrival: Arrival<'a>,
        home: Option<Home>,
    ) -> Result<(), Error> {
        let alert = arrival.alert;
        match (self.known.get(key).cloned(), alert.status) {
            (Some(known), Status::Firing)
                if known.status == Status::Firing && !outlives(&self.outlived, &known) =>
            {
                self.record(key, alert, known.incident_id, None);
            }
            (Some(known), Status::Firing)
                if known.status == Status::Resolved
                    && self.now_ms - known.last_seen_ms < LATE_COPY_MS =>
            {
                tracing::debug!(fingerprint = %alert.fingerprint, "ignored a late firing copy");
            }
            (Some(known), Status::Resolved)
                if known.status == Status::Firing && arrival.heard == Heard::Late =>
            {
                // Its delivery waited for the intake while Prometheus was asked: what Prometheus no
                // longer fires may have lost its exporter.
                tracing::debug!(fingerprint = %alert.fingerprint, "fires as far as its source told");
            }
            (Some(known), Status::Resolved) => {
                self.record(key, alert, known.incident_id, None);
                if let (Status::Firing, Some(incident)) = (known.status, known.incident_id) {
                    let ends_at_ms = alert.ends_at_ms.unwrap_or(self.now_ms);
                    let entry = Entry::AlertResolved { key: alert.key(), ends_at_ms };
                    self.news.push((incident, entry));
                    self.weigh(incident, Severity::Info, -1, None);
                }
            }
            (Some(_) | None, Status::Firing) => {
                let home = home.unwrap_or_else(|| Home::of(self.correlator, key, alert));
                self.fires(conn, key, arrival, &home).await?;
            }
            (None, Status::Resolved) if arrival.heard == Heard::Late => {
                let home = home.unwrap_or_else(|| Home::of(self.correlator, key, alert));
                self.over_before_heard(key, arrival, &home);
            }
            (None, Status::Resolved) => {
                // Its firing never reached us. It is on record, under the incident of its kind if
                // one is open; there is nothing left to investigate.
                let incident = home.and_then(|home| self.places.open(&home));
                self.record(key, alert, incident, None);
            }
        }
        Ok(())
    }

    /// An alert begins to fire.
    async fn fires(
        &mut self,
        conn: &mut Conn<'_>,
        key: &AlertKey,
        arrival: Arrival<'a>,
        home: &Home,
    ) -> Result<(), Error> {
        let alert = arrival.alert;
        let severity = self.correlator.severity(&alert.labels);
        let target = self.correlator.target(alert);
        let (incident, shared) = self.place(conn, arrival, home, &target).await?;
        self.places.attached(incident, &target);
        self.record(key, alert, Some(incident), Some(target));
        self.news.push((incident, Entry::AlertFired { alert: alert.clone(), severity }));
        if let Some(labels) = shared {
            let correlation_key = home.key.clone();
            let entry = Entry::Joined { key: alert.key(), labels, correlation_key };
            self.news.push((incident, entry));
        }
        let (times, flapping) = (self.places.fired(home), self.correlator.flapping);
        if flapping.times > 0 && times >= flapping.times {
            let within_ms = flapping.within_ms;
            self.news.push((incident, Entry::Flapping { key: alert.key(), times, within_ms }));
        }
        let page_due_at_ms = self.page_due_at_ms(alert, severity);
        self.weigh(incident, severity, 1, page_due_at_ms);
        Ok(())
    }

    /// An alert fired and was over before anybody told us of it: nothing is left to investigate, and
    /// people are told.
    fn over_before_heard(&mut self, key: &AlertKey, arrival: Arrival<'a>, home: &Home) {
        let alert = arrival.alert;
        let severity = self.correlator.severity(&alert.labels);
        let target = self.correlator.target(alert);
        let incident = self.places.open(home).unwrap_or_else(|| {
            let id = self.open(arrival, home, &target);
            self.places.opened(&home.key, id);
            id
        });
        self.record(key, alert, Some(incident), Some(target));
        self.news.push((incident, Entry::AlertHeardLate { alert: alert.clone(), severity }));
    }

    fn record(
        &mut self,
        key: &AlertKey,
        alert: &'a Alert,
        incident: Option<IncidentId>,
        target: Option<String>,
    ) {
        let known =
            Known { incident_id: incident, status: alert.status, last_seen_ms: self.now_ms };
        self.known.insert(key.clone(), known);
        let before = self.records.get(key).map_or(0, |record| record.deliveries);
        let target = target.unwrap_or_else(|| self.correlator.target(alert));
        let record = Record { alert, incident, deliveries: before + 1, target };
        self.records.insert(key.clone(), record);
    }

    fn weigh(&mut self, id: IncidentId, severity: Severity, more: i64, due_at_ms: Option<i64>) {
        let weight = self.weights.entry(id).or_insert(Weight {
            id,
            severity: Severity::Info,
            more: 0,
            page_due_at_ms: None,
        });
        weight.severity = weight.severity.min(severity);
        weight.more += more;
        weight.page_due_at_ms = weight.page_due_at_ms.into_iter().chain(due_at_ms).min();
    }

    /// What is for people alone is not kept waiting.
    fn page_due_at_ms(&self, alert: &Alert, severity: Severity) -> Option<i64> {
        if self.is_for_people(alert) {
            return Some(self.now_ms);
        }
        self.correlator.page_after_ms(severity).map(|ms| self.now_ms + ms)
    }

    fn is_for_people(&self, alert: &Alert) -> bool {
        (self.correlator.level)(&alert.labels) == Autonomy::Page
    }

    /// The incident of an alert that begins to fire; with the labels that they share if it is one
    /// of another key.
    async fn place(
        &mut self,
        conn: &mut Conn<'_>,
        arrival: Arrival<'_>,
        home: &Home,
        target: &str,
    ) -> Result<(IncidentId, Option<String>), Error> {
        let severity = self.correlator.severity(&arrival.alert.labels);
        let id = match self.places.find(home, target) {
            Found::Open(id) => return Ok((id, None)),
            Found::Joins(id, labels) => {
                self.places.joined(&home.key, id);
                self.aliases.insert(home.key.clone(), id);
                return Ok((id, Some(labels)));
            }
            Found::Ended(id, shared) => {
                let page_due_at_ms = self.page_due_at_ms(arrival.alert, severity);
                // Somebody else may have reopened it, or opened another one, since the look.
                match incidents::reopen(conn, id, self.now_ms, page_due_at_ms).await? {
                    1 if shared.is_some() => {
                        self.places.joined(&home.key, id);
                        return Ok((id, shared));
                    }
                    1 => id,
                    _ => match open_now(conn, self.scope, &home.key).await? {
                        Some(id) => id,
                        None => self.open(arrival, home, target),
                    },
                }
            }
            Found::Nothing => self.open(arrival, home, target),
        };
        self.places.opened(&home.key, id);
        Ok((id, None))
    }

    fn open(&mut self, arrival: Arrival<'_>, home: &Home, target: &str) -> IncidentId {
        let severity = self.correlator.severity(&arrival.alert.labels);
        let mut opening = Opening {
            id: IncidentId::new(),
            scope: self.scope.to_owned(),
            title: self.correlator.title(arrival.alert),
            severity,
            correlation_key: home.key.clone(),
            at_ms: self.now_ms,
            page_due_at_ms: self.correlator.page_after_ms(severity).map(|ms| self.now_ms + ms),
            breadth: 1,
        };
        let id = opening.id;
        let entry = Entry::Opened {
            title: opening.title.clone(),
            severity,
            correlation_key: home.key.clone(),
            group_key: arrival.group_key.map(str::to_owned),
            continues: None,
        };
        self.news.push((id, entry));
        if arrival.heard == Heard::InTime && self.is_for_people(arrival.alert) {
            opening.page_due_at_ms = None;
            self.page(arrival, &opening);
        }
        self.openings.push(opening);
        self.places.offer(home, id, target);
        self.offers.extend(Places::offers(home).map(|key| (key.clone(), id)));
        id
    }

    fn page(&mut self, arrival: Arrival<'_>, opening: &Opening) {
        let located = (self.correlator.locate)(&arrival.alert.labels);
        let message = announce::at_once(&self.correlator.words, opening, arrival, &located);
        let entry = Entry::MessageQueued {
            message_id: message.id,
            transition: announce::AT_ONCE.to_owned(),
            title: message.title.clone(),
            urgency: message.urgency,
        };
        self.news.push((opening.id, entry));
        self.pages.push(Announcement { transition: announce::AT_ONCE.to_owned(), message });
    }

    pub async fn write(mut self, conn: &mut Conn<'_>) -> Result<(), Error> {
        let mut openings = std::mem::take(&mut self.openings);
        for opening in &mut openings {
            self.weigh_opening(opening);
        }
        let opened = incidents::open_all(conn, &openings).await?;
        for lost in openings.iter().filter(|opening| !opened.contains(&opening.id)) {
            // Another replica opened it between the look and the insert.
            let theirs = open_now(conn, self.scope, &lost.correlation_key).await?;
            // None at all was closed in between: the batch is taken again.
            let closed = || Error::Unavailable("the incident was closed in between".into());
            let theirs = theirs.ok_or_else(closed)?;
            self.give_to(lost.id, theirs);
        }
        let records: Vec<Record<'_>> = self.records.into_values().collect();
        alerts::record_all(conn, self.scope, &records, self.now_ms).await?;
        inbox::put_all(conn, self.now_ms, &self.news).await?;
        for page in &self.pages {
            outbox::queue(conn, page).await?;
        }
        if !self.offers.is_empty() {
            let longest = self.correlator.joins.iter().map(|rule| rule.within_ms).max();
            let before_ms = self.now_ms - longest.unwrap_or_default();
            joins::offer(conn, self.scope, &self.offers, self.now_ms, before_ms).await?;
        }
        if !self.aliases.is_empty() {
            joins::alias(conn, self.scope, &self.aliases, self.now_ms).await?;
        }
        // What was opened here is due from the start.
        let told: BTreeSet<IncidentId> =
            self.news.iter().map(|(id, _)| *id).filter(|id| !opened.contains(id)).collect();
        if told.is_empty() {
            return Ok(());
        }
        inbox::wake(conn, told.iter().copied(), self.now_ms).await?;
        let weights = self.weights.into_values().filter(|weight| told.contains(&weight.id));
        priority::weigh(conn, &weights.collect::<Vec<_>>()).await
    }

    /// Further alerts of the same batch may have made a new incident more severe, broader or
    /// something for people alone.
    fn weigh_opening(&self, opening: &mut Opening) {
        let Some(weight) = self.weights.get(&opening.id) else { return };
        opening.severity = opening.severity.min(weight.severity);
        opening.breadth = weight.more.max(0);
        let paged = self.pages.iter().any(|page| page.message.incident_id == Some(opening.id));
        if !paged {
            let due = opening.page_due_at_ms.into_iter().chain(weight.page_due_at_ms);
            opening.page_due_at_ms = due.min();
        }
    }

    /// What was meant for an incident that another replica had opened already goes to that one.
    fn give_to(&mut self, ours: IncidentId, theirs: IncidentId) {
        self.pages.retain(|page| page.message.incident_id != Some(ours));
        self.offers.retain(|(_, id)| *id != ours);
        self.news.retain(|(id, entry)| {
            *id != ours || !matches!(entry, Entry::Opened { .. } | Entry::MessageQueued { .. })
        });
        for (id, _) in self.news.iter_mut().filter(|(id, _)| *id == ours) {
            *id = theirs;
        }
        for record in self.records.values_mut().filter(|r| r.incident == Some(ours)) {
            record.incident = Some(theirs);
        }
        for id in self.aliases.values_mut().filter(|id| **id == ours) {
            *id = theirs;
        }
        if let Some(weight) = self.weights.remove(&ours) {
            self.weigh(theirs, weight.severity, weight.more, weight.page_due_at_ms);
        }
    }
}

/// The incident that holds the key by now.
async fn open_now(
    conn: &mut Conn<'_>,
    scope: &str,
    key: &str,
) -> Result<Option<IncidentId>, Error> {
    let places = incidents::places(conn, scope, &BTreeSet::from([key]), i64::MAX).await?;
    Ok(places.get(key).and_then(|place| match place {
        Place::Open(id) => Some(*id),
        Place::Ended(_) => None,
    }))
}
