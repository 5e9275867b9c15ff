//! Asks every peer of a cluster, and puts together what they hold.

use crate::clients::alertmanager::{Alert, Alertmanager, Filter, Routes, Silence, State, Status};
use crate::model::matcher::Matcher;
use futures::future::join_all;
use regex::Regex;
use std::collections::{BTreeMap, HashMap};

/// What one peer said, or why it said nothing that counts.
pub(super) struct Look {
    pub name: String,
    pub told: Result<Told, String>,
}

/// A peer's answers.
pub(super) struct Told {
    pub status: Status,
    pub routes: Routes,
    pub alerts: Vec<Alert>,
}

/// One poll of all peers.
pub(super) struct Looks(pub Vec<Look>);

/// An alert that some peer holds.
pub(super) struct Held {
    pub alert: Alert,
    pub stands: Stands,
}

/// Whether anybody is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stands {
    Firing,
    /// By which silence.
    Silenced(String),
    /// Inhibited, or not looked at yet.
    Aside,
}

/// Whether every peer is able to say that an alert is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    Whole,
    Partial,
}

/// What all peers together hold.
pub(super) struct Seen {
    pub alerts: HashMap<String, Held>,
    pub sight: Sight,
}

/// Asks every peer at once.
pub(super) async fn poll(peers: &[Alertmanager], receiver: &Regex) -> Looks {
    let looks = peers
        .iter()
        .map(|peer| async move { Look { name: peer.shown(), told: look(peer, receiver).await } });
    Looks(join_all(looks).await)
}

async fn look(peer: &Alertmanager, receiver: &Regex) -> Result<Told, String> {
    let status = peer.status().await.map_err(|error| error.to_string())?;
    let routes = Routes::read(&status.config_yaml)?;
    if !routes.receivers().iter().any(|name| receiver.is_match(name)) {
        return Err(format!(
            "none of its routes leads to a receiver that matches {}; set alertmanager.receiver",
            shown(receiver)
        ));
    }
    let filter = Filter { receiver: Some(shown(receiver).to_owned()), ..Filter::default() };
    let alerts = peer.alerts(&filter).await.map_err(|error| error.to_string())?;
    Ok(Told { status, routes, alerts })
}

/// Every silence that some peer knows; they share them.
pub(super) async fn silences(peers: &[Alertmanager]) -> Vec<Silence> {
    for peer in peers {
        match peer.silences().await {
            Ok(silences) => return silences,
            Err(error) => tracing::warn!(%error, "cannot ask for silences"),
        }
    }
    Vec::new()
}

/// The pattern without the anchors that we put around it.
fn shown(receiver: &Regex) -> &str {
    let text = receiver.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

impl Looks {
    pub(super) fn answered(&self) -> impl Iterator<Item = &Told> {
        self.0.iter().filter_map(|look| look.told.as_ref().ok())
    }

    /// The name of a peer that holds an alert of this kind.
    pub(super) fn holding(&self, matcher: &Matcher) -> Option<&str> {
        let holds = |told: &Told| told.alerts.iter().any(|alert| matcher.matches(&alert.labels));
        let found = self.0.iter().find(|look| look.told.as_ref().is_ok_and(holds));
        found.map(|look| look.name.as_str())
    }

    /// Whether some peer's routes lead an alert with these labels to us.
    pub(super) fn routes_to_us(&self, labels: &BTreeMap<String, String>, receiver: &Regex) -> bool {
        let leads = |told: &Told| {
            told.routes.receivers_of(labels).iter().any(|name| receiver.is_match(name))
        };
        self.answered().any(leads)
    }
}

impl Seen {
    /// `mature_ms` is how long a peer must be up before it knows everything that fires.
    pub(super) fn of(looks: &Looks, now_ms: i64, mature_ms: i64) -> Self {
        let mature = |told: &Told| {
            now_ms - told.status.up_since_ms >= mature_ms && told.status.cluster != "settling"
        };
        let whole = looks.0.iter().all(|look| look.told.as_ref().is_ok_and(mature));
        let mut alerts: HashMap<String, Held> = HashMap::new();
        for alert in looks.answered().flat_map(|told| &told.alerts) {
            let stands = stands(alert);
            match alerts.get_mut(&alert.fingerprint) {
                // A silence reaches one peer before the other, and counts.
                Some(held) if rank(&stands) > rank(&held.stands) => {
                    *held = Held { alert: alert.clone(), stands };
                }
                Some(_) => {}
                None => {
                    let held = Held { alert: alert.clone(), stands };
                    alerts.insert(alert.fingerprint.clone(), held);
                }
            }
        }
        Self { alerts, sight: if whole { Sight::Whole } else { Sight::Partial } }
    }

    pub(super) fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|held| held.stands == Stands::Firing).map(|held| &held.alert)
    }

    pub(super) fn any_silenced(&self) -> bool {
        self.alerts.values().any(|held| matches!(held.stands, Stands::Silenced(_)))
    }
}

fn rank(stands: &Stands) -> u8 {
    match stands {
        Stands::Aside => 0,
        Stands::Firing => 1,
        Stands::Silenced(_) => 2,
    }
}

fn stands(alert: &Alert) -> Stands {
    if let Some(id) = alert.status.silenced_by.first() {
        return Stands::Silenced(id.clone());
    }
    match alert.status.state {
        State::Active => Stands::Firing,
        State::Suppressed | State::Unprocessed => Stands::Aside,
    }
}
