//! Guards: what recent history says of a change, beside the limits of each rule.
//!
//! Plain words between the rules, which say what to watch; the store, which counts it over all
//! incidents and replicas; and the checker, which judges by what was found. Names are canonical, so
//! that every spelling of a target is found under one.

use crate::model::verdict::{Autonomy, Limit, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of a safe change while a guard holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// A person decides.
    Confirm,
    /// Nobody can let it run.
    Forbidden,
}

impl Then {
    pub fn tier(self) -> Tier {
        match self {
            Self::Confirm => Tier::Confirm,
            Self::Forbidden => Tier::Forbidden,
        }
    }
}

/// What has to be looked up before one change, and again under lock with its intent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    pub slots: Vec<Slot>,
    pub breakers: Vec<Breaker>,
    pub common: Option<CommonCause>,
    /// Limits that no approval goes beyond.
    pub strict: Vec<Limit>,
}

/// At most `max` changes are in flight under `name`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub name: String,
    pub max: i64,
}

/// After `max` bad endings under `name` within `within_ms` changes need `then` for `for_ms`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breaker {
    pub name: String,
    pub max: i64,
    pub within_ms: i64,
    pub for_ms: i64,
    pub then: Then,
}

/// An alert of one of these names that fired on `at_least` targets within `within_ms` has one cause,
/// which no change of a single target removes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommonCause {
    pub scope: String,
    pub alertnames: Vec<String>,
    pub at_least: i64,
    pub within_ms: i64,
    pub then: Autonomy,
}

/// What was found. The default is a world in which nothing happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recent {
    /// Changes in flight, by the name of the slot.
    pub in_flight: BTreeMap<String, i64>,
    /// When each open breaker closes, by its name.
    pub open_until_ms: BTreeMap<String, i64>,
    /// On how many targets an alert fired, by its name.
    pub targets: BTreeMap<String, i64>,
}

impl Recent {
    /// The slots of `watch` that others hold, in words; `None` when there is room.
    pub fn crowded(&self, watch: &Watch) -> Option<String> {
        let full: Vec<String> = watch
            .slots
            .iter()
            .map(|slot| (slot, self.in_flight.get(&slot.name).copied().unwrap_or_default()))
            .filter(|(slot, count)| *count >= slot.max)
            .map(|(slot, count)| format!("{}: {count} of {} in flight", slot.name, slot.max))
            .collect();
        (!full.is_empty()).then(|| full.join("; "))
    }

    /// The guards of `watch` that hold a change back, in words, with what each makes of it.
    pub fn held(&self, watch: &Watch) -> Vec<(String, Tier)> {
        let open = watch.breakers.iter().filter(|b| self.open_until_ms.contains_key(&b.name));
        let mut held: Vec<(String, Tier)> =
            open.map(|b| (format!("{}: it is open", b.name), b.then.tier())).collect();
        if let Some(common) = &watch.common {
            for (name, count) in self.targets.iter().filter(|(_, n)| **n >= common.at_least) {
                let why = format!("common cause: {name} fires on {count} targets");
                held.push((why, common.then.tier_of_write()));
            }
        }
        held
    }
}
