//! The life of an incident, from the first alert to the report.
//!
//! [`intake`] lets alerts find their incident, [`worker`] claims one that is due, [`advance`] takes
//! its next step; each state has a file of its own. In: the store. Out: one transaction a step.
//! Never: anything known of an incident that its timeline does not tell. While it holds the lease a
//! worker carries the fold from step to step; the store refuses a step that was decided on another.

pub mod advance;
pub mod desks;
pub mod intake;
pub mod pager;
pub mod worker;

mod announce;
mod approve;
mod breaker;
mod claims;
mod close;
mod correlator;
mod draft;
mod events;
mod execute;
mod flapping;
mod investigate;
mod measure;
mod origins;
mod pipeline;
mod reconsider;
mod wait;

use crate::action::evidence;
use crate::action::gate::{Facts, Gate};
use crate::action::verify::Verifier;
use crate::agent::Minds;
use crate::agent::budget::Budget;
use crate::clock::Clock;
use crate::knowledge::runbooks::Runbooks;
use crate::model::alert::Labels;
use crate::model::case::Case;
use crate::model::entity::Located;
use crate::redact::Redactor;
use crate::safety::provenance::Trusted;
use crate::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// Finds the targets that labels name.
pub type Locate = dyn Fn(&[&Labels]) -> Located + Send + Sync;

/// How PagerDuty events of one incident are grouped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DedupKey {
    /// One key for each incident of ours.
    Own,
    /// Alertmanager's own key, so that both update one PagerDuty incident.
    Alertmanager,
}

/// Durations and addresses that a step needs.
#[derive(Clone, Debug)]
pub struct Policy {
    pub public_url: String,
    pub dedup: DedupKey,
    pub approval_ttl_ms: i64,
    pub verify_poll_ms: i64,
    pub critical_page_ms: i64,
    pub warning_page_ms: i64,
    /// Of one tool output, so much is shown to a mind; the rest is read with `read_output`.
    pub output_bytes_max: usize,
    /// A change that was allowed must start within this.
    pub start_within_ms: i64,
    pub tool_timeout_ms: u64,
}

/// Everything that a step may use.
pub struct Desk {
    pub store: Store,
    pub clock: Clock,
    pub minds: Minds,
    pub budget: Budget,
    pub gate: Gate,
    pub verifier: Verifier,
    pub runbooks: Arc<Runbooks>,
    pub redactor: Redactor,
    pub locate: Arc<Locate>,
    pub policy: Policy,
    /// Fires when the process stops: what can be asked again later is not waited for.
    pub hurry: CancellationToken,
    /// Whether a newer policy is in force.
    pub retired: AtomicBool,
}

impl Desk {
    /// Says that another desk is in force from now on.
    fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether another desk is in force.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The targets that the incident's alerts name.
    fn located(&self, case: &Case) -> Located {
        let labels: Vec<&Labels> = case.alerts.iter().map(|a| &a.alert.labels).collect();
        (self.locate)(&labels)
    }

    /// The targets of the alert that a runbook is followed for. What another alert names, e.g. one
    /// that joined by shared labels, is not filled into its steps.
    fn led(&self, case: &Case) -> Located {
        let led = self.runbooks.alert_of(case).or_else(|| case.lead());
        let labels: Vec<&Labels> = led.map(|alert| &alert.labels).into_iter().collect();
        (self.locate)(&labels)
    }

    /// What a judgement needs to know of the incident. Trusted are its labels' targets, the
    /// inventory's relations of those, and the parameters of its runbook's own steps.
    fn facts(&self, case: &Case) -> Facts {
        let located = self.located(case);
        let inventory = &self.gate.inventory;
        // Relations reach one step, so that the rest of the inventory need not be looked at.
        let own: Vec<_> =
            located.services.iter().filter_map(|name| inventory.service(name)).collect();
        let needed: Vec<_> = own
            .iter()
            .flat_map(|service| &service.depends_on)
            .filter_map(|name| inventory.service(name))
            .collect();
        let mut trusted = Trusted::of_incident(&located).relate(own.iter().chain(&needed));
        if let Some(runbook) = self.runbooks.of_case(case) {
            for step in &runbook.steps {
                trusted = trusted.parameters(&step.args);
                if let Some(inner) = step.args.get("args").and_then(|args| args.as_object()) {
                    trusted = trusted.parameters(inner);
                }
            }
        }
        let labels = case.alerts.iter().map(|a| a.alert.labels.clone()).collect();
        let seen = evidence::seen(case, &self.gate.register);
        Facts { scope: case.scope.clone(), labels, located, trusted, seen }
    }
}
