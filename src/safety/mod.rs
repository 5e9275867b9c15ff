//! Decides whether a proposed tool call may run.

pub mod paths;
pub mod permit;
pub mod verdict;
