//! `watchkeeper policy`: the safety rules as something that can be asked, tested and tried.
//!
//! In: the configuration files, for the past also the database, read only; for orders the running
//! server. Out: verdicts of the same checker that the server uses. Never: a call that runs, a write
//! but by the server. To add a verb, write its file and its line in [`Verb`].

mod cases;
mod evidence;
mod explain;
pub(super) mod judge;
mod lines;
mod orders;
pub(super) mod past;
mod propose;
mod readiness;
pub(super) mod simulate;
mod suggest;
mod test;

use super::Global;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Say what would become of a call, or of a command line, and why.
    Explain(explain::Explain),
    /// Judge the rules' own examples and files of cases.
    Test(test::Test),
    /// Judge what was recorded once more, and show the decisions that differ.
    Simulate(simulate::Simulate),
    /// Say for each rule what acting would have meant, and what people did instead.
    Readiness(readiness::Readiness),
    /// Suggest rules for what people have approved again and again; a person merges them.
    Suggest(suggest::Suggest),
    /// The rules of the running server, and which of them are in quarantine.
    State(orders::State),
    /// Let a rule ask from now on where it would have let a change run.
    Quarantine(orders::Quarantine),
    /// Lift the quarantine of a rule.
    Unquarantine(orders::Unquarantine),
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Explain(explain) => explain::run(global, &explain),
        Verb::Test(test) => test::run(global, &test),
        Verb::Simulate(simulate) => simulate::run(global, &simulate),
        Verb::Readiness(readiness) => readiness::run(global, &readiness),
        Verb::Suggest(suggest) => suggest::run(global, &suggest),
        Verb::State(state) => orders::state(global, &state),
        Verb::Quarantine(order) => orders::quarantine(global, &order),
        Verb::Unquarantine(order) => orders::unquarantine(global, &order),
    }
}
