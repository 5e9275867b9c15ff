//! What this process has claimed, as far as it knows.
//!
//! A claim whose answer was lost may stand all the same, and nobody works on it. So after a claim without
//! an answer everything that is not in hand is given back first; and only what is in hand is renewed, as
//! the commit may have come after that.

use super::Desk;
use super::worker::Setup;
use crate::model::ids::IncidentId;
use crate::store::Error;
use crate::store::incidents::Lease;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(super) struct Claims {
    /// With their epochs, as an incident may be claimed anew before its last end is noted.
    in_hand: Mutex<BTreeSet<(IncidentId, i64)>>,
    unsure: AtomicBool,
}

impl Claims {
    /// Claims what is due, at most so many. One at a time.
    pub async fn next(
        &self,
        desk: &Desk,
        setup: &Setup,
        at_most: i64,
    ) -> Result<Vec<Lease>, Error> {
        if self.unsure.load(Ordering::SeqCst) {
            let given_back = desk.store.give_back_unknown(&setup.owner, self.known()).await?;
            tracing::info!(given_back, "gave back what was claimed without an answer");
            self.unsure.store(false, Ordering::SeqCst);
        }
        // Set beforehand: whoever asked may be gone before the answer comes.
        self.unsure.store(true, Ordering::SeqCst);
        let now_ms = desk.clock.now_ms();
        let leases = desk.store.claim(&setup.owner, at_most, now_ms, setup.lease_ms).await?;
        self.in_hand().extend(leases.iter().map(|lease| (lease.incident_id, lease.epoch)));
        self.unsure.store(false, Ordering::SeqCst);
        Ok(leases)
    }

    /// What is in hand.
    pub fn known(&self) -> Vec<IncidentId> {
        self.in_hand().iter().map(|(id, _)| *id).collect()
    }

    /// Nothing is done any more under this lease.
    pub fn done(&self, lease: &Lease) {
        self.in_hand().remove(&(lease.incident_id, lease.epoch));
    }

    /// A panic elsewhere leaves the set whole, as every change is one call.
    fn in_hand(&self) -> MutexGuard<'_, BTreeSet<(IncidentId, i64)>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
