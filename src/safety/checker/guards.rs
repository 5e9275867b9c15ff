//! The reasons of the guards: freeze, blast radius, common cause, breaker, recurrence.
//!
//! Each says what it found, the harmless as well, so that people can see how near a guard is.

use super::checks::used;
use super::{Checker, Request};
use crate::model::verdict::{Autonomy, Limit, Tier};
use crate::safety::guards::{Frozen, Guards, alertnames};
use crate::safety::permit::Consent;
use crate::safety::weigh::{Subject, Weighed};
use chrono::DateTime;

impl Checker {
    /// The window that holds a change at the moment of the request, in spite of the consent that
    /// it has.
    pub fn frozen(&self, request: &Request<'_>, consent: Consent) -> Option<String> {
        let (tool, now_ms) = (&request.call.tool, request.circumstances.now_ms);
        let freezes = self.rules.guards().freezes.iter();
        let mut holding = freezes.filter(|freeze| {
            freeze.concerns(tool, request.labels)
                && match consent {
                    Consent::None => true,
                    Consent::Approved => freeze.writes().tier() == Tier::Forbidden,
                }
        });
        holding.find_map(|freeze| match freeze.at(now_ms) {
            Frozen::Yes(note) => Some(format!("{}: {note}", freeze.source())),
            Frozen::No(_) => None,
        })
    }
}

/// Windows in which changes are held.
pub(super) fn freeze(guards: &Guards, request: &Request<'_>, weighed: &mut Weighed<'_>) {
    let tool = &request.call.tool;
    for freeze in guards.freezes.iter().filter(|freeze| freeze.concerns(tool, request.labels)) {
        let (tier, note) = match freeze.at(request.circumstances.now_ms) {
            Frozen::Yes(note) => (freeze.writes().tier(), note),
            Frozen::No(note) => (Tier::Safe, note),
        };
        weighed.push(freeze.source(), tier, note);
    }
}

/// Changes in flight. There is nothing to ask a person: whoever comes later waits.
pub(super) fn in_flight(
    guards: &Guards,
    subject: &Subject<'_>,
    request: &Request<'_>,
    weighed: &mut Weighed<'_>,
) {
    for slot in guards.slots(subject.target) {
        let count = request.circumstances.recent.in_flight.get(&slot.name).copied();
        let count = count.unwrap_or_default();
        let waits = if count >= slot.max { ": it waits until one has ended" } else { "" };
        let note = format!("{count} of {} in flight{waits}", slot.max);
        weighed.push(slot.name, Tier::Safe, note);
    }
}

/// The limits over everything, and over the same change of the same target. They count every change,
/// whichever rule allows it.
pub(super) fn limits(
    guards: &Guards,
    subject: &Subject<'_>,
    counts: &dyn Fn(&Limit) -> i64,
    weighed: &mut Weighed<'_>,
) -> Vec<Limit> {
    let limits = guards.limits(&subject.call.tool, subject.target).into_iter();
    limits
        .map(|guard| {
            let count = counts(&guard.limit);
            let tier = if count >= guard.limit.max { guard.then.tier() } else { Tier::Safe };
            let note = format!("{} of {} in {}", used(count), guard.limit.max, guard.within);
            weighed.push(guard.limit.key.as_str(), tier, note);
            guard.limit
        })
        .collect()
}

/// Changes of this kind that kept failing.
pub(super) fn breaker(
    guards: &Guards,
    subject: &Subject<'_>,
    request: &Request<'_>,
    weighed: &mut Weighed<'_>,
) {
    let Some(rule) = &guards.breaker else { return };
    for breaker in guards.breakers(&subject.call.tool, subject.target) {
        let until_ms = request.circumstances.recent.open_until_ms.get(&breaker.name);
        // One that closed between the lookup and the verdict is closed.
        let until_ms = until_ms.filter(|until_ms| **until_ms > request.circumstances.now_ms);
        let (tier, note) = match until_ms {
            None => (Tier::Safe, "closed".to_owned()),
            Some(until_ms) => {
                let until = DateTime::from_timestamp_millis(*until_ms)
                    .map_or_else(|| until_ms.to_string(), |at| at.format("%FT%TZ").to_string());
                let bad = "changes failed or were not measured to help";
                let note = format!("open until {until}: {} {bad} in {}", breaker.max, rule.within);
                (breaker.then.tier(), note)
            }
        };
        weighed.push(breaker.name, tier, note);
    }
}

/// One alert on several targets; returns how much may still be done for it.
pub(super) fn common_cause(
    guards: &Guards,
    request: &Request<'_>,
    weighed: &mut Weighed<'_>,
) -> Autonomy {
    let Some(rule) = &guards.common else { return Autonomy::Act };
    let recent = &request.circumstances.recent;
    let mut cap = Autonomy::Act;
    for name in alertnames(request.labels) {
        let count = recent.targets.get(&name).copied().unwrap_or_default();
        let found = format!("fires on {count} targets in {}", rule.within);
        let (tier, note) = if count >= rule.at_least {
            cap = cap.min(rule.then);
            (rule.then.tier_of_write(), format!("{found}; {}", rule.then.means()))
        } else {
            (Tier::Safe, format!("{found}; {} have one cause", rule.at_least))
        };
        weighed.push(format!("common cause: {}", super::shown(&name)), tier, note);
    }
    cap
}
