//! Decides whether a proposed tool call may run.

pub mod permit;
pub mod verdict;
