//! What the server does in a second, and what that costs, beside the least server that could.
//!
//! `make bench` runs everything; arguments choose parts (`make bench ARGS="acks verdict"`), `--quick`
//! shortens them. Nothing is asserted: figures are printed with their aims. Where a reference is
//! named, both ran in turn in the same minute; the ratios say more than the figures. With
//! WATCHKEEPER_TEST_POSTGRES_URL or DATABASE_URL the acknowledgements are measured on Postgres too.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench is no product code: it may stop at a surprise and read the environment"
)]

mod acks;
mod alerts;
mod ceiling;
mod child;
mod doubles;
mod driver;
mod life;
mod micro;
mod postgres;
mod table;

use anyhow::Result;
use std::time::{Duration, Instant};
use table::Table;

/// How long and how often things are measured.
#[derive(Clone, Copy)]
pub struct Plan {
    pub rounds: usize,
    /// Of one load in one round.
    pub load: Duration,
    pub storm: Duration,
    pub investigations: u64,
}

const FULL: Plan = Plan {
    rounds: 4,
    load: Duration::from_millis(1_500),
    storm: Duration::from_secs(30),
    investigations: 40,
};
const QUICK: Plan = Plan {
    rounds: 2,
    load: Duration::from_millis(1_000),
    storm: Duration::from_secs(10),
    investigations: 15,
};

type Part = (&'static str, fn(Plan, &mut Table) -> Result<()>);

const PARTS: [Part; 8] = [
    ("start", life::start),
    ("acks", acks::closed_loop),
    ("postgres", acks::closed_loop_on_postgres),
    ("rate", acks::fixed_rate),
    ("storm", life::storm),
    ("agent", life::investigations),
    ("wait", life::waiting),
    ("micro", micro::all),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, listen, store] = args.as_slice()
        && word == "ceiling"
    {
        return ceiling::main(listen, store);
    }
    let plan = if args.iter().any(|arg| arg == "--quick") { QUICK } else { FULL };
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let began = Instant::now();
    let mut table = Table::begin();
    for (name, part) in PARTS {
        if !chosen.is_empty() && !chosen.iter().any(|arg| *arg == name) {
            continue;
        }
        if let Err(error) = part(plan, &mut table) {
            table.note(&format!("{name}: could not be measured: {error:#}"));
        }
    }
    table.note(&format!("took {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}
