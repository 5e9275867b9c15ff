//! Durable acknowledgements: as many as possible, and at fixed rates.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::driver::{self, Outcome};
use super::postgres::Database;
use super::table::{Line, Table, median, ratio};
use anyhow::Result;
use std::time::Duration;

const CONNECTIONS: usize = 64;
const PATH: &str = "/webhook/alert";
/// Between two rounds ours takes in what it stored, so that a round does not pay for the one before.
const SETTLE: Duration = Duration::from_secs(3);

/// What one server did in each round.
#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    cpu_us: Vec<f64>,
    refused: u64,
}

impl Rounds {
    fn measure(&mut self, server: &Server, load: impl FnOnce() -> Outcome) -> Result<()> {
        let before = server.usage()?.cpu_s;
        let outcome = load();
        let cpu_s = server.usage()?.cpu_s - before;
        self.per_second.push(outcome.per_second());
        self.p50_ms.push(outcome.percentile_ms(0.5));
        self.p99_ms.push(outcome.percentile_ms(0.99));
        self.cpu_us.push(cpu_s * 1e6 / outcome.latencies_us.len().max(1) as f64);
        self.refused += outcome.refused;
        Ok(())
    }
}

/// Ours and the reference, a folder or database each.
struct Pair {
    ours: Server,
    ceiling: Server,
    _folder: Folder,
}

impl Pair {
    fn start(ours: &Keeps, ceiling: &Keeps) -> Result<Self> {
        let folder = Folder::new()?;
        Ok(Self {
            ours: Server::ours(folder.path(), ours, "")?,
            ceiling: Server::ceiling(folder.path(), ceiling)?,
            _folder: folder,
        })
    }

    /// Both in turn, each alone on the machine.
    fn rounds(
        &self,
        plan: Plan,
        load: impl Fn(std::net::SocketAddr) -> Outcome,
    ) -> Result<(Rounds, Rounds)> {
        let (mut ours, mut ceiling) = (Rounds::default(), Rounds::default());
        for _ in 0..plan.rounds {
            self.ours
                .asleep(|| ceiling.measure(&self.ceiling, || load(self.ceiling.address)))??;
            ours.measure(&self.ours, || load(self.ours.address))?;
            self.ours.settle(SETTLE)?;
        }
        Ok((ours, ceiling))
    }
}

/// The most acknowledgements a second, with one alert a webhook and with a hundred.
pub fn closed_loop(plan: Plan, table: &mut Table) -> Result<()> {
    for (alerts, aim) in [(1, ">= 0.60"), (100, ">= 0.50")] {
        let pair = Pair::start(&Keeps::Sqlite, &Keeps::Sqlite)?;
        closed(plan, table, &pair, alerts, "SQLite", aim)?;
    }
    Ok(())
}

pub fn closed_loop_on_postgres(plan: Plan, table: &mut Table) -> Result<()> {
    for (alerts, aim) in [(1, ">= 0.60"), (100, ">= 0.50")] {
        let (Some(ours), Some(ceiling)) = (Database::create()?, Database::create()?) else {
            return Ok(());
        };
        let pair = Pair::start(
            &Keeps::Postgres(ours.url().to_owned()),
            &Keeps::Postgres(ceiling.url().to_owned()),
        )?;
        let plan = Plan { rounds: plan.rounds.min(3), ..plan };
        closed(plan, table, &pair, alerts, "Postgres", aim)?;
    }
    Ok(())
}

fn closed(
    plan: Plan,
    table: &mut Table,
    pair: &Pair,
    alerts: usize,
    engine: &str,
    aim: &str,
) -> Result<()> {
    let bodies = Bodies::new(PATH, alerts, Theme::Problems);
    let (ours, ceiling) =
        pair.rounds(plan, |address| driver::closed(address, &bodies, CONNECTIONS, plan.load))?;
    let what = |figure: &str| format!("{engine}, {alerts} alerts a webhook, closed loop: {figure}");
    let mut line = |figure: &str, ours: &[f64], ceiling: &[f64], digits: usize, aim: &str| {
        table.line(&Line {
            what: &what(figure),
            ours: format!("{:.digits$}", median(ours)),
            reference: format!("{:.digits$}", median(ceiling)),
            ratio: Some(ratio(ours, ceiling)),
            aim,
        });
    };
    line("acks/s", &ours.per_second, &ceiling.per_second, 0, aim);
    line("p50 ms", &ours.p50_ms, &ceiling.p50_ms, 2, "");
    line("p99 ms", &ours.p99_ms, &ceiling.p99_ms, 2, "");
    line("CPU us/ack", &ours.cpu_us, &ceiling.cpu_us, 1, "");
    if ours.refused + ceiling.refused > 0 {
        table.note(&format!("refused: ours {}, reference {}", ours.refused, ceiling.refused));
    }
    Ok(())
}

/// How long an acknowledgement takes when the server is not at its limit.
pub fn fixed_rate(plan: Plan, table: &mut Table) -> Result<()> {
    let pair = Pair::start(&Keeps::Sqlite, &Keeps::Sqlite)?;
    let bodies = Bodies::new(PATH, 1, Theme::Problems);
    for per_second in [50.0, 1_000.0] {
        let during = plan.load.as_secs_f64() * if per_second < 100.0 { 2.0 } else { 1.0 };
        let requests = (per_second * during) as u64;
        let (ours, ceiling) =
            pair.rounds(plan, |address| driver::open(address, &bodies, per_second, requests))?;
        for (figure, ours, ceiling, aim) in [
            ("p50 ms", &ours.p50_ms, &ceiling.p50_ms, ""),
            ("p99 ms", &ours.p99_ms, &ceiling.p99_ms, "<= 2"),
        ] {
            table.line(&Line {
                what: &format!("SQLite, {per_second:.0} webhooks a second: {figure}"),
                ours: format!("{:.2}", median(ours)),
                reference: format!("{:.2}", median(ceiling)),
                ratio: Some(ratio(ours, ceiling)),
                aim,
            });
        }
        if ours.refused + ceiling.refused > 0 {
            table.note(&format!("refused: ours {}, reference {}", ours.refused, ceiling.refused));
        }
    }
    Ok(())
}
