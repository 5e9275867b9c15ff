//! Guards: limits over time and recent history, which stand beside the limits of the rules.
//!
//! In: five optional keys of the rules file. Out: what has to be looked up before a change
//! ([`Watch`]), and what the checker needs to judge by it. Never: a lookup; counting is the store's
//! work. To add a guard: its key in `file`, its check in `compile`, what it asks in `Guards::watch`
//! and its reason in `checker/guards.rs`.

mod compile;
mod file;
mod freeze;

pub use file::{
    BlastRadiusFile, BreakerFile, CommonCauseFile, FleetFile, FreezeFile, GuardsFile,
    RecurrenceFile,
};

use crate::model::alert::Labels;
use crate::model::guard::{Breaker, CommonCause, Slot, Then, Watch};
use crate::model::verdict::{Autonomy, Limit};
use crate::safety::limits::{Per, canonical_service, target_key};
use crate::safety::weigh::Target;
pub(super) use freeze::{Freeze, Frozen};
use std::collections::BTreeSet;

/// Of the alerts of a storm, so many names are looked up.
const ALERTNAMES_MAX: usize = 50;

/// Windows that follow each other without a gap are followed so far: they may never end.
const WINDOWS_MAX: usize = 1_000;

/// The guards of a rules file.
#[derive(Debug, Default)]
pub struct Guards {
    pub(super) freezes: Vec<Freeze>,
    blast: BlastRadius,
    pub(super) common: Option<CommonRule>,
    pub(super) breaker: Option<BreakerRule>,
    recurrence: Option<WindowRule>,
}

/// How many changes may be in flight at once, and how many a fleet takes in a while.
#[derive(Debug, Default)]
struct BlastRadius {
    writes_at_once: Option<i64>,
    per_service: Option<i64>,
    per_region: Option<i64>,
    per_fleet: Option<WindowRule>,
}

/// When an alert on several targets counts as one problem.
#[derive(Debug)]
pub(super) struct CommonRule {
    pub at_least: i64,
    pub within_ms: i64,
    /// The window as the file spells it.
    pub within: String,
    pub then: Autonomy,
}

/// When changes that keep failing are no longer safe.
#[derive(Debug)]
pub(super) struct BreakerRule {
    max: i64,
    everywhere: Option<i64>,
    within_ms: i64,
    pub within: String,
    for_ms: i64,
    then: Then,
}

/// At most `max` within a sliding window.
#[derive(Debug)]
struct WindowRule {
    max: i64,
    within_ms: i64,
    within: String,
    then: Then,
}

/// A limit of a guard on one target.
#[derive(Debug)]
pub(super) struct GuardLimit {
    pub limit: Limit,
    /// The window as the file spells it.
    pub within: String,
    pub then: Then,
}

impl Guards {
    /// What has to be looked up before this change.
    pub(super) fn watch(
        &self,
        scope: &str,
        tool: &str,
        target: Target<'_>,
        labels: &[&Labels],
    ) -> Watch {
        let strict = self.limits(tool, target).into_iter();
        Watch {
            slots: self.slots(target),
            breakers: self.breakers(tool, target),
            common: self.common.as_ref().map(|rule| CommonCause {
                scope: scope.to_owned(),
                alertnames: alertnames(labels),
                at_least: rule.at_least,
                within_ms: rule.within_ms,
                then: rule.then,
            }),
            strict: strict
                .filter(|limit| limit.then == Then::Forbidden)
                .map(|limit| limit.limit)
                .collect(),
        }
    }

    /// The first moment from this one on that lies in no window at all.
    pub(super) fn thaw(&self, from_ms: i64) -> i64 {
        let mut at_ms = from_ms;
        for _ in 0..WINDOWS_MAX {
            let open = self.freezes.iter().filter_map(|freeze| freeze.open_until(at_ms)).max();
            let Some(until_ms) = open else { return at_ms };
            at_ms = until_ms;
        }
        at_ms
    }

    /// The places that a change holds while it is in flight.
    pub(super) fn slots(&self, target: Target<'_>) -> Vec<Slot> {
        let blast = &self.blast;
        let mut slots = Vec::new();
        let mut add = |max: Option<i64>, what: String| {
            slots.extend(max.map(|max| Slot { name: format!("blast radius: {what}"), max }));
        };
        add(blast.writes_at_once, "writes at once".into());
        if let Some(service) = target.service {
            add(blast.per_service, format!("service={}", canonical_service(service)));
        }
        add(blast.per_region, format!("region={}", region(target)));
        slots
    }

    /// The breakers that a change counts for: one for its tool on targets of its class, and the one
    /// for everything.
    pub(super) fn breakers(&self, tool: &str, target: Target<'_>) -> Vec<Breaker> {
        let Some(rule) = &self.breaker else { return Vec::new() };
        let breaker = |name: String, max| Breaker {
            name,
            max,
            within_ms: rule.within_ms,
            for_ms: rule.for_ms,
            then: rule.then,
        };
        let own = breaker(format!("breaker: {tool}|class={}", class(target)), rule.max);
        let all = rule.everywhere.map(|max| breaker("breaker: everywhere".into(), max));
        std::iter::once(own).chain(all).collect()
    }

    /// The limits that count this change, whichever rule allows it.
    pub(super) fn limits(&self, tool: &str, target: Target<'_>) -> Vec<GuardLimit> {
        let limit = |rule: &WindowRule, key| GuardLimit {
            limit: Limit { key, max: rule.max, within_ms: rule.within_ms },
            within: rule.within.clone(),
            then: rule.then,
        };
        let fleet = self.blast.per_fleet.as_ref();
        let again = self.recurrence.as_ref();
        let again_key =
            || target_key(&format!("recurrence: {tool}"), &[Per::Host, Per::Service], target);
        fleet
            .map(|rule| limit(rule, "blast radius: fleet".into()))
            .into_iter()
            .chain(again.map(|rule| limit(rule, again_key())))
            .collect()
    }
}

/// The names of the alerts, each once.
pub(super) fn alertnames(labels: &[&Labels]) -> Vec<String> {
    let names: BTreeSet<&String> = labels.iter().filter_map(|of| of.get("alertname")).collect();
    names.into_iter().take(ALERTNAMES_MAX).cloned().collect()
}

/// Targets without a region share one.
fn region(target: Target<'_>) -> String {
    let host = target.host.map(|host| host.region.as_str());
    let service = target.service.map(|service| service.region.as_str());
    spelt([host, service])
}

fn class(target: Target<'_>) -> String {
    let service = target.service.map(|service| service.class.as_str());
    let host = target.host.map(|host| host.class.as_str());
    spelt([service, host])
}

/// The first word that says anything, in one spelling.
fn spelt(words: [Option<&str>; 2]) -> String {
    let words = words.into_iter().flatten().map(str::trim);
    let word = words.into_iter().find(|word| !word.is_empty()).unwrap_or("-");
    word.to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
