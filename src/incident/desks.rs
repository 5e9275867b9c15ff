//! The desk in force. A changed policy brings a whole new one.
//!
//! In: a desk built from files that were understood in full. Out: the desk for one step, which
//! keeps it to its end, so that no step mixes two versions of anything. Never: a desk changed while
//! somebody works at it.

use super::Desk;
use std::sync::{Arc, PoisonError, RwLock};

/// The desk that steps begin with.
pub struct Desks(RwLock<Arc<Desk>>);

impl Desks {
    pub fn new(desk: Desk) -> Self {
        Self(RwLock::new(Arc::new(desk)))
    }

    /// The desk in force.
    pub fn current(&self) -> Arc<Desk> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in its place; steps that have begun end with the one they have. The one
    /// that it replaces knows from then on that it was replaced.
    pub fn replace(&self, desk: Desk) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        current.retire();
        *current = Arc::new(desk);
    }
}
