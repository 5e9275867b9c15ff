//! The second source: before a change that nobody is asked about, an alert about its target must be
//! firing in Prometheus, too.
//!
//! In: the labels of an incident's alerts, the target of a call. Out: whether one of those that name
//! this target fires there. Never: an alert about something else taken for a confirmation.

use crate::clients::prometheus::{Firing as PrometheusFiring, Prometheus};
use crate::model::alert::Labels;
use crate::safety::checker::Firing;
use crate::targets::inventory::{Inventory, Mapping, To, locate};

/// So many alerts of a storm are looked for in Prometheus; when none of them fires there, a person
/// is asked.
const CONFIRMED_MAX: usize = 50;

/// Prometheus, and which labels name a target.
pub struct SecondSource {
    pub prometheus: Option<Prometheus>,
    pub mappings: Vec<Mapping>,
}

/// Canonical names of a host and a service, as far as a call names them.
pub type Named = (Option<String>, Option<String>);

impl SecondSource {
    /// Asks Prometheus whether an alert about the target fires there, under labels that name it.
    pub async fn confirm(
        &self,
        inventory: &dyn Inventory,
        alerts: &[Labels],
        target: Named,
    ) -> Firing {
        let Some(prometheus) = &self.prometheus else { return Firing::NoSource };
        let about = alerts.iter().filter(|labels| self.is_about(inventory, labels, &target));
        for labels in about.take(CONFIRMED_MAX) {
            match prometheus.firing(labels).await {
                Ok(PrometheusFiring::Yes { unconfirmed, .. })
                    if !unconfirmed.iter().any(|label| self.names_targets(label)) =>
                {
                    return Firing::Confirmed;
                }
                Ok(
                    PrometheusFiring::Yes { .. }
                    | PrometheusFiring::Pending(_)
                    | PrometheusFiring::No,
                ) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot ask Prometheus whether the alert fires");
                    return Firing::NoSource;
                }
            }
        }
        Firing::NotFiring
    }

    fn names_targets(&self, label: &str) -> bool {
        self.mappings.iter().any(|mapping| mapping.label == label)
    }

    /// Whether an alert names the target: one part of it at least, and no other in place of a part.
    fn is_about(&self, inventory: &dyn Inventory, labels: &Labels, target: &Named) -> bool {
        let located = locate(inventory, &[labels], &self.mappings);
        let missing = |to: To| {
            let of = |label: &str| self.mappings.iter().any(|m| m.to == to && m.label == label);
            located.missing.iter().any(|missing| of(&missing.label))
        };
        let parts = [
            (&target.0, &located.hosts, missing(To::Host)),
            (&target.1, &located.services, missing(To::Service)),
        ];
        let mut named = false;
        for (wanted, found, missing) in parts {
            let Some(wanted) = wanted else { continue };
            match (found.contains(wanted), found.is_empty() && !missing) {
                (true, _) => named = true,
                (false, true) => {}
                (false, false) => return false,
            }
        }
        named
    }
}
