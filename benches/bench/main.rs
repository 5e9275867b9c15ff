//! What the server does in a second, and what that costs, beside the least server that could.
//!
//! `make bench` runs all but the soak in about ten minutes; arguments choose parts
//! (`make bench ARGS="acks storm"`), `--quick` shortens them, `--minutes=30` lengthens the soak.
//! Nothing is asserted: figures are printed with their aims. Where a reference is named, both ran in
//! turn in the same minute; the ratios say more than the figures. With WATCHKEEPER_TEST_POSTGRES_URL
//! or DATABASE_URL Postgres is measured too. BENCH_LOG is our server's log level.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench is no product code: it may stop at a surprise and read the environment"
)]

mod acks;
mod agent;
mod alerts;
mod ceiling;
mod child;
mod doubles;
mod driver;
mod investigate;
mod life;
mod micro;
mod postgres;
mod soak;
mod storm;
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
    pub soak_minutes: usize,
}

const FULL: Plan = Plan {
    rounds: 4,
    load: Duration::from_millis(1_500),
    storm: Duration::from_secs(60),
    investigations: 40,
    soak_minutes: 25,
};
const QUICK: Plan = Plan {
    rounds: 2,
    load: Duration::from_millis(1_000),
    storm: Duration::from_secs(10),
    investigations: 20,
    soak_minutes: 3,
};

type Part = (&'static str, fn(Plan, &mut Table) -> Result<()>);

const PARTS: [Part; 12] = [
    ("start", life::start),
    ("acks", acks::closed_loop),
    ("postgres-acks", acks::closed_loop_on_postgres),
    ("rate", acks::fixed_rate),
    ("storm", storm::on_sqlite),
    ("postgres-storm", storm::on_postgres),
    ("agent", investigate::cost),
    ("postgres-agent", investigate::cost_on_postgres),
    ("wait", investigate::waiting),
    ("resume", investigate::resume),
    ("micro", micro::all),
    (SOAK, soak::run),
];
/// Only runs when it is asked for.
const SOAK: &str = "soak";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, listen, store, doubles @ ..] = args.as_slice()
        && word == "ceiling"
    {
        return ceiling::main(listen, store, doubles.first().map(String::as_str));
    }
    let mut plan = if args.iter().any(|arg| arg == "--quick") { QUICK } else { FULL };
    if let Some(minutes) = args.iter().find_map(|arg| arg.strip_prefix("--minutes=")) {
        plan.soak_minutes = minutes.parse()?;
    }
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let began = Instant::now();
    let mut table = Table::begin();
    for (name, part) in PARTS {
        let wanted = chosen.iter().any(|arg| *arg == name);
        if !wanted && (name == SOAK || !chosen.is_empty()) {
            continue;
        }
        if let Err(error) = part(plan, &mut table) {
            table.note(&format!("{name}: could not be measured: {error:#}"));
        }
    }
    table.note(&format!("took {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}
