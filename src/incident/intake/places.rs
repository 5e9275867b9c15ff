//! Where alerts may belong: everything that is looked up before anything is decided.

use super::{Correlator, Join};
use crate::model::alert::{Alert, AlertKey, Status};
use crate::model::ids::IncidentId;
use crate::store::db::Conn;
use crate::store::incidents::Place;
use crate::store::joins::Candidate;
use crate::store::{Error, alerts, incidents, joins};
use std::collections::{BTreeMap, BTreeSet};

/// What an alert that is not known to fire is looked for by.
#[derive(Clone)]
pub(super) struct Home {
    /// Our own key.
    pub key: String,
    /// Of the same alert whenever it fires: source and fingerprint as they are stored.
    alert: (String, String),
    status: Status,
    joins: Vec<(String, Join)>,
}

/// Why an alert belongs to an incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Open(IncidentId),
    /// With the labels that they share if its key differs from the incident's.
    Ended(IncidentId, Option<String>),
    /// Its key differs from the incident's; the labels that they share.
    Joins(IncidentId, String),
    Nothing,
}

/// The answers, with what earlier alerts of the batch changed.
pub(super) struct Places {
    own: BTreeMap<String, Place>,
    aliases: BTreeMap<String, Place>,
    candidates: BTreeMap<String, Vec<Candidate>>,
    /// Targets that alerts of this batch brought to candidates.
    targets: BTreeSet<(IncidentId, String)>,
    /// How often each alert began to fire within the window of flapping.
    firings: BTreeMap<(String, String), i64>,
}

impl Home {
    pub fn of(correlator: &Correlator, key: &AlertKey, alert: &Alert) -> Self {
        let joins = match alert.status {
            Status::Firing => correlator.join_keys(alert),
            Status::Resolved => Vec::new(),
        };
        Self {
            key: correlator.key(alert),
            alert: (key.source.clone(), key.fingerprint.clone()),
            status: alert.status,
            joins: joins.into_iter().map(|(key, rule)| (key, rule.clone())).collect(),
        }
    }
}

impl Places {
    pub async fn look_up(
        conn: &mut Conn<'_>,
        correlator: &Correlator,
        scope: &str,
        homes: &[&Home],
        now_ms: i64,
    ) -> Result<Self, Error> {
        let mut places = Self {
            own: BTreeMap::new(),
            aliases: BTreeMap::new(),
            candidates: BTreeMap::new(),
            targets: BTreeSet::new(),
            firings: BTreeMap::new(),
        };
        if homes.is_empty() {
            return Ok(places);
        }
        let keys: BTreeSet<&str> = homes.iter().map(|home| home.key.as_str()).collect();
        let ended_after_ms = now_ms - correlator.reopen_within_ms;
        places.own = incidents::places(conn, scope, &keys, ended_after_ms).await?;
        places.count_firings(conn, correlator, scope, homes, now_ms).await?;
        if correlator.joins.is_empty() {
            return Ok(places);
        }
        places.aliases = joins::aliases(conn, scope, &keys, ended_after_ms).await?;
        let mut wanted = BTreeMap::new();
        for (key, rule) in homes.iter().flat_map(|home| &home.joins) {
            wanted.insert(key.clone(), now_ms - rule.within_ms);
        }
        if !wanted.is_empty() {
            places.candidates = joins::joinable(conn, scope, &wanted).await?;
        }
        Ok(places)
    }

    /// Counts how often the alerts fired before. One that comes back again and again belongs to its
    /// incident also when that ended longer ago.
    async fn count_firings(
        &mut self,
        conn: &mut Conn<'_>,
        correlator: &Correlator,
        scope: &str,
        homes: &[&Home],
        now_ms: i64,
    ) -> Result<(), Error> {
        let flapping = correlator.flapping;
        let firing: BTreeSet<&(String, String)> = homes
            .iter()
            .filter(|home| home.status == Status::Firing)
            .map(|home| &home.alert)
            .collect();
        if flapping.times == 0 || firing.is_empty() {
            return Ok(());
        }
        let since_ms = now_ms - flapping.within_ms;
        self.firings = alerts::firings(conn, scope, &firing, since_ms).await?;
        let again: BTreeSet<&str> = homes
            .iter()
            .filter(|home| self.firings.get(&home.alert).is_some_and(|n| n + 1 >= flapping.times))
            .map(|home| home.key.as_str())
            .filter(|key| !self.own.contains_key(*key))
            .collect();
        if !again.is_empty() {
            self.own.extend(incidents::places(conn, scope, &again, since_ms).await?);
        }
        Ok(())
    }

    /// Where an alert that begins to fire belongs.
    pub fn find(&self, home: &Home, target: &str) -> Found {
        match (self.own.get(&home.key), self.aliases.get(&home.key)) {
            (Some(Place::Open(id)), _) => return Found::Open(*id),
            (_, Some(Place::Open(id))) => return Found::Joins(*id, String::new()),
            (Some(Place::Ended(id)), _) => return Found::Ended(*id, None),
            (None, Some(Place::Ended(id))) => return Found::Ended(*id, Some(String::new())),
            (None, None) => {}
        }
        for (key, rule) in &home.joins {
            let candidates = self.candidates.get(key).into_iter().flatten();
            for candidate in candidates.filter(|one| one.alerts < rule.alerts_max) {
                let brought = self.targets.contains(&(candidate.incident_id, target.to_owned()));
                if brought || candidate.targets < rule.targets_max {
                    return Found::Joins(candidate.incident_id, rule.words());
                }
            }
        }
        Found::Nothing
    }

    /// The open incident under the alert's own key, or one that it joined.
    pub fn open(&self, home: &Home) -> Option<IncidentId> {
        match (self.own.get(&home.key), self.aliases.get(&home.key)) {
            (Some(Place::Open(id)), _) | (_, Some(Place::Open(id))) => Some(*id),
            (Some(Place::Ended(_)) | None, Some(Place::Ended(_)) | None) => None,
        }
    }

    /// From now on alerts with this key belong there.
    pub fn opened(&mut self, key: &str, id: IncidentId) {
        self.own.insert(key.to_owned(), Place::Open(id));
    }

    /// A new incident may be joined by alerts that share its first one's labels.
    pub fn offer(&mut self, home: &Home, id: IncidentId, target: &str) {
        for (key, _) in &home.joins {
            let candidate = Candidate { incident_id: id, alerts: 0, targets: 1 };
            self.candidates.entry(key.clone()).or_default().push(candidate);
        }
        self.targets.insert((id, target.to_owned()));
    }

    /// The keys under which an incident that an alert opens may be joined.
    pub fn offers(home: &Home) -> impl Iterator<Item = &String> {
        home.joins.iter().map(|(key, _)| key)
    }

    pub fn joined(&mut self, key: &str, id: IncidentId) {
        self.aliases.insert(key.to_owned(), Place::Open(id));
    }

    /// One more alert fires under an incident.
    pub fn attached(&mut self, id: IncidentId, target: &str) {
        let news = self.targets.insert((id, target.to_owned()));
        for one in self.candidates.values_mut().flatten().filter(|one| one.incident_id == id) {
            one.alerts += 1;
            // It may be a target that an earlier batch brought; then the incident is full early.
            one.targets += i64::from(news);
        }
    }

    /// Counts one more firing of the alert; returns how many there were within the window.
    pub fn fired(&mut self, home: &Home) -> i64 {
        let count = self.firings.entry(home.alert.clone()).or_default();
        *count += 1;
        *count
    }
}
