//! The ways to reach a host, one file each.
//!
//! In: what was already judged. Out: what the host answered. Never: a shell, a store, a decision.

pub mod process;
