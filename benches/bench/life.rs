//! The start of a server, on a database that has seen work.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::driver;
use super::table::{Line, Table, median};
use anyhow::Result;
use std::time::{Duration, Instant};

const PATH: &str = "/webhook/alert";

/// Start-up on a database that has seen work, and memory before any.
pub fn start(plan: Plan, table: &mut Table) -> Result<()> {
    let folder = Folder::new()?;
    let first = Server::ours(folder.path(), &Keeps::Sqlite, "")?;
    let bodies = Bodies::new(PATH, 10, Theme::Problems);
    driver::open(first.address, &bodies, 200.0, 200);
    first.settle(Duration::from_secs(20))?;
    first.kill()?;
    let (mut healthy, mut ready, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let began = Instant::now();
        let server = Server::ours(folder.path(), &Keeps::Sqlite, "")?;
        ready.push(began.elapsed().as_secs_f64() * 1e3);
        healthy.push(server.started_in.as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(1_200));
        idle.push(server.usage()?.resident_mb);
    }
    for (what, values, aim) in [
        ("start to /healthz, ms", &healthy, "<= 50"),
        ("start to /readyz, ms", &ready, "<= 150"),
        ("resident memory when idle, MB", &idle, "< 25"),
    ] {
        let ours = format!("{:.1}", median(values));
        table.line(&Line { what, ours, aim, ..Line::default() });
    }
    Ok(())
}
