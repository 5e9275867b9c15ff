//! What a judgement knows of the world beyond the call and its incident.
//!
//! In: the clock, and what the store holds of people's orders and of recent changes. Never: a read;
//! whoever asks for a verdict has looked, and looks again when the intent is written.

use crate::model::guard::Recent;
use crate::model::orders::Orders;

/// The world at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Circumstances {
    pub now_ms: i64,
    /// How far the clock that says so leapt a short while ago.
    pub leapt_ms: Option<i64>,
    /// Holds and rules in quarantine.
    pub orders: Orders,
    /// What the guards found in recent history.
    pub recent: Recent,
}

impl Circumstances {
    /// Nothing happened and nobody ordered anything.
    pub fn calm(now_ms: i64) -> Self {
        Self { now_ms, leapt_ms: None, orders: Orders::default(), recent: Recent::default() }
    }
}
