//! The life of a server: its start, a storm, investigations, and waiting for a slow model.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::doubles::{CALLS, Doubles};
use super::driver;
use super::table::{Line, Table, median};
use anyhow::{Result, ensure};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::path::Path;
use std::time::{Duration, Instant};

const PATH: &str = "/webhook/alert";
const STORM_GROUPS: u64 = 1_000;
const STORM_ALERTS: usize = 10;
const WAITING: u32 = 100;

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

/// Ten thousand alerts in half a minute; then the process is killed and everything must be there.
pub fn storm(plan: Plan, table: &mut Table) -> Result<()> {
    let folder = Folder::new()?;
    let bodies = Bodies::new(PATH, STORM_ALERTS, Theme::Problems);
    let per_second = STORM_GROUPS as f64 / plan.storm.as_secs_f64();
    let ceiling = Server::ceiling(folder.path(), &Keeps::Sqlite)?;
    let reference = driver::open(ceiling.address, &bodies, per_second, STORM_GROUPS);
    drop(ceiling);
    let ours = Server::ours(folder.path(), &Keeps::Sqlite, "")?;
    let idle = ours.usage()?;
    let outcome = driver::open(ours.address, &bodies, per_second, STORM_GROUPS);
    let settled_s = ours.settle(Duration::from_secs(25))?.as_secs_f64();
    let after = ours.usage()?;
    let further = driver::open(ours.address, &bodies, per_second, STORM_GROUPS / 10);
    ours.kill()?;
    let acknowledged = [outcome.acknowledged.as_slice(), &further.acknowledged].concat();
    let lost = lost(&folder.path().join("data/watchkeeper.db"), &acknowledged)?;
    for (what, share, aim) in [
        ("storm of 10,000 alerts: p50 ms", 0.5, ""),
        ("storm of 10,000 alerts: p99 ms", 0.99, "<= 2"),
    ] {
        let (ours, theirs) = (outcome.percentile_ms(share), reference.percentile_ms(share));
        table.line(&Line {
            what,
            ours: format!("{ours:.2}"),
            reference: format!("{theirs:.2}"),
            ratio: Some(ours / theirs),
            aim,
        });
    }
    let single = |what, ours: String, aim| Line { what, ours, aim, ..Line::default() };
    table.line(&single("storm: not acknowledged", outcome.refused.to_string(), "0"));
    table.line(&single("storm: acknowledged and lost by kill -9", lost.to_string(), "0"));
    let memory = format!("{:.1}", after.resident_mb);
    table.line(&single("resident memory after 10,000 alerts, MB", memory, ""));
    let settled = format!("{settled_s:.1}");
    table.line(&single("seconds until every incident rests, at most 25", settled, ""));
    let cpu_us = (after.cpu_s - idle.cpu_s) * 1e6 / (STORM_GROUPS as f64 * STORM_ALERTS as f64);
    table.line(&single("CPU us per alert, its incident included", format!("{cpu_us:.0}"), ""));
    Ok(())
}

/// Acknowledged groups of which no stored body speaks.
fn lost(file: &Path, acknowledged: &[u64]) -> Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bodies: Vec<(String,)> = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let bodies = sqlx::query_as("select body from delivery").fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(bodies)
    })?;
    let mark = "group=\\\"";
    let stored: std::collections::BTreeSet<u64> = bodies
        .iter()
        .filter_map(|(body,)| body.split_once(mark)?.1.get(..8)?.parse().ok())
        .collect();
    Ok(acknowledged.iter().filter(|group| !stored.contains(group)).count())
}

/// Our own time for an investigation of ten tool calls with a model that answers at once.
pub fn investigations(plan: Plan, table: &mut Table) -> Result<()> {
    let (folder, doubles) = (Folder::new()?, Doubles::start()?);
    let server = Server::ours(folder.path(), &Keeps::Sqlite, &doubles.settings(8))?;
    let bodies = Bodies::new(PATH, 1, Theme::Problems);
    let run = |count: u64| -> Result<Vec<f64>> {
        (0..count)
            .map(|_| {
                let wanted = doubles.concluded() + 1;
                let began = Instant::now();
                driver::post_once(server.address, &bodies)?;
                let done = doubles.wait_for_conclusions(wanted, Duration::from_secs(20));
                ensure!(done, "an investigation did not end");
                Ok(began.elapsed().as_secs_f64() * 1e3)
            })
            .collect()
    };
    run(5)?;
    server.settle(Duration::from_secs(5))?;
    let before = server.usage()?.cpu_s;
    let wall_ms = run(plan.investigations)?;
    std::thread::sleep(Duration::from_millis(300));
    let cpu_ms = (server.usage()?.cpu_s - before) * 1e3 / plan.investigations as f64;
    for (what, value, aim) in [
        (format!("investigation of {CALLS} tool calls: our CPU, ms"), cpu_ms, "< 10"),
        (format!("investigation of {CALLS} tool calls: wall, ms"), median(&wall_ms), ""),
    ] {
        let ours = format!("{value:.1}");
        table.line(&Line { what: &what, ours, aim, ..Line::default() });
    }
    Ok(())
}

/// Acknowledgements while a hundred investigations wait for a slow model, and while none do.
pub fn waiting(plan: Plan, table: &mut Table) -> Result<()> {
    const CONNECTIONS: usize = 64;
    let (one, other, doubles) = (Folder::new()?, Folder::new()?, Doubles::start()?);
    doubles.set_latency(Duration::from_secs(300));
    let settings = doubles.settings(WAITING);
    let busy = Server::ours(one.path(), &Keeps::Sqlite, &settings)?;
    let free = Server::ours(other.path(), &Keeps::Sqlite, &settings)?;
    let problems = Bodies::new(PATH, 1, Theme::Problems);
    driver::open(busy.address, &problems, 200.0, u64::from(WAITING));
    let all = doubles.wait_for_questions(u64::from(WAITING), Duration::from_secs(20));
    ensure!(all, "the investigations did not begin");
    // Alerts that open no incident: all that differs is what waits.
    let ignored = Bodies::new(PATH, 1, Theme::Ignored);
    let load = |server: &Server| {
        let outcome = driver::closed(server.address, &ignored, CONNECTIONS, plan.load);
        server.settle(Duration::from_secs(3)).map(|_| outcome.per_second())
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        without.push(busy.asleep(|| load(&free))??);
        with.push(free.asleep(|| load(&busy))??);
    }
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, free)| with / free).collect();
    table.line(&Line {
        what: &format!("acks/s while {WAITING} investigations wait / none"),
        ours: format!("{:.0}", median(&with)),
        reference: format!("{:.0}", median(&without)),
        ratio: Some(median(&ratios)),
        aim: "about 1",
    });
    Ok(())
}
