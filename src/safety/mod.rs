//! Decides whether a proposed tool call may run.
//!
//! In: a completed call, what the inventory knows of its target, the rules. Out: a verdict with
//! every reason, those that did not decide included; the strictest wins.
//! Never: I/O, a clock, prose, a default that allows a change. To add a rule edit
//! `config/safety_rules.yaml`; to add a built-in refusal, add a line to a table of [`floor`]; to
//! add another kind of reason, add a check to [`checker`].

pub mod checker;
pub mod circumstances;
pub mod command;
pub mod evidence;
pub mod floor;
pub mod guards;
pub mod levels;
pub mod paths;
pub mod permit;
pub mod provenance;
pub mod rules;
pub mod verdict;

mod approvals;
mod condition;
mod limits;
mod weigh;
