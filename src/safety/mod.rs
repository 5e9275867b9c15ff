//! Decides whether a proposed tool call may run.

pub mod command;
pub mod paths;
pub mod permit;
pub mod verdict;
