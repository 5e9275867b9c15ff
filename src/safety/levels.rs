//! How much may be done for an alert: the strictest of the cap and of every level that matches.
//!
//! In: the labels of every alert of an incident. Out: the autonomy and what decided it. Labels can
//! only lower it: an alert that no level matches grants `advise`, and one page-level alert among
//! many makes the whole incident page-level.

use crate::model::alert::Labels;
use crate::model::matcher::Matcher;
use crate::model::verdict::{Autonomy, Matched, Tier};

/// The cap and the levels of the rules file.
#[derive(Debug)]
pub struct Levels {
    cap: Autonomy,
    levels: Vec<Level>,
}

#[derive(Debug)]
pub(super) struct Level {
    matchers: Vec<Matcher>,
    autonomy: Autonomy,
    source: String,
}

/// The autonomy of an incident with the reasons for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pub autonomy: Autonomy,
    reasons: Vec<Reason>,
}

#[derive(Debug, PartialEq, Eq)]
struct Reason {
    source: String,
    autonomy: Autonomy,
}

impl Level {
    pub(super) fn new(matchers: Vec<Matcher>, autonomy: Autonomy) -> Self {
        let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        Self { matchers, autonomy, source: format!("level: {}", texts.join(", ")) }
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

impl Levels {
    pub(super) fn new(cap: Autonomy, levels: Vec<Level>) -> Self {
        Self { cap, levels }
    }

    /// What may be done for an incident with these alerts.
    pub fn grant(&self, alerts: &[&Labels]) -> Granted {
        let mut hit = vec![false; self.levels.len()];
        let mut unmatched = None;
        for labels in alerts {
            let mut known = false;
            for (level, hit) in self.levels.iter().zip(&mut hit) {
                if level.matches(labels) {
                    known = true;
                    *hit = true;
                }
            }
            if !known {
                let name = labels.get("alertname").map_or("unnamed", String::as_str);
                unmatched = unmatched.or(Some(name));
            }
        }
        let mut reasons = vec![Reason { source: "autonomy".to_owned(), autonomy: self.cap }];
        reasons.extend(
            self.levels.iter().zip(&hit).filter(|(_, hit)| **hit).map(|(level, _)| Reason {
                source: level.source.clone(),
                autonomy: level.autonomy,
            }),
        );
        if alerts.is_empty() {
            reasons.push(Reason { source: "level: no alert".into(), autonomy: Autonomy::Advise });
        } else if let Some(name) = unmatched {
            let source = format!("level: none matches alert {}", super::checker::shown(name));
            reasons.push(Reason { source, autonomy: Autonomy::Advise });
        }
        let autonomy = reasons.iter().map(|reason| reason.autonomy).min();
        Granted { autonomy: autonomy.unwrap_or(Autonomy::Observe), reasons }
    }
}

impl Granted {
    /// What the autonomy says of a write; `others` is the tier that everything else gives it.
    /// Returns the tier that it would have were nothing capped at looking, if something is.
    pub(super) fn weigh_write(&self, others: Tier, into: &mut Vec<Matched>) -> Option<Tier> {
        let would = self
            .reasons
            .iter()
            .filter(|reason| reason.autonomy != Autonomy::Observe)
            .map(|reason| reason.autonomy.tier_of_write())
            .fold(others, Tier::max);
        for reason in &self.reasons {
            let note = match reason.autonomy {
                Autonomy::Observe => format!("observe: would have been {}", would.as_str()),
                Autonomy::Page | Autonomy::Advise | Autonomy::Act => {
                    reason.autonomy.means().to_owned()
                }
            };
            let tier = reason.autonomy.tier_of_write();
            into.push(Matched { source: reason.source.clone(), tier, note });
        }
        let acting = |reason: &&Reason| reason.autonomy >= Autonomy::Advise;
        let freed =
            self.reasons.iter().filter(acting).map(|reason| reason.autonomy.tier_of_write());
        (self.autonomy < Autonomy::Advise).then(|| freed.fold(others, Tier::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        [("alertname".to_owned(), name.to_owned())].into()
    }

    fn levels(cap: Autonomy) -> Levels {
        let level =
            |text: &str, autonomy| Level::new(vec![Matcher::parse(text).unwrap()], autonomy);
        Levels::new(
            cap,
            vec![
                level("alertname=Intrusion", Autonomy::Page),
                level("alertname=~\"Slow.*\"", Autonomy::Advise),
                level("alertname=~\"Slow.*|Disk\"", Autonomy::Act),
            ],
        )
    }

    #[test]
    fn the_strictest_level_of_all_alerts_counts() {
        for (cap, alerts, expected) in [
            (Autonomy::Act, vec!["Disk"], Autonomy::Act),
            (Autonomy::Act, vec!["SlowDisk"], Autonomy::Advise),
            (Autonomy::Act, vec!["Disk", "Intrusion"], Autonomy::Page),
            (Autonomy::Act, vec!["Disk", "Unheard"], Autonomy::Advise),
            (Autonomy::Act, vec!["Intrusion", "Unheard"], Autonomy::Page),
            (Autonomy::Act, vec![], Autonomy::Advise),
            (Autonomy::Page, vec!["Disk"], Autonomy::Page),
            (Autonomy::Observe, vec!["Intrusion"], Autonomy::Observe),
        ] {
            let alerts: Vec<Labels> = alerts.into_iter().map(labels).collect();
            let alerts: Vec<&Labels> = alerts.iter().collect();
            assert_eq!(levels(cap).grant(&alerts).autonomy, expected, "{cap:?} {alerts:?}");
        }
    }

    #[test]
    fn observe_tells_what_acting_would_have_meant() {
        let disk = labels("Disk");
        let mut told = Vec::new();
        levels(Autonomy::Observe).grant(&[&disk]).weigh_write(Tier::Safe, &mut told);
        assert_eq!(told[0].note, "observe: would have been safe");
        let unheard = labels("Unheard");
        told.clear();
        levels(Autonomy::Observe).grant(&[&unheard]).weigh_write(Tier::Safe, &mut told);
        assert_eq!(told[0].note, "observe: would have been confirm");
        assert_eq!(told[1].source, "level: none matches alert \"Unheard\"");
    }
}
