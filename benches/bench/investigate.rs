//! Investigations: what one costs us, and a thousand that wait for a slow model.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::doubles::{CALLS, Doubles};
use super::driver;
use super::postgres::Database;
use super::table::{Line, Table, median, ratio};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const PATH: &str = "/webhook/alert";
const WAITING: u32 = 1_000;
const LATENCY: Duration = Duration::from_secs(1);

/// What an investigation of ten tool calls costs when the model answers at once, beside the least
/// agent that stores each step.
pub fn cost(plan: Plan, table: &mut Table) -> Result<()> {
    cost_on(plan, table, "SQLite", &Keeps::Sqlite, &Keeps::Sqlite, &|| 0.0)
}

pub fn cost_on_postgres(plan: Plan, table: &mut Table) -> Result<()> {
    let (Some(ours), Some(theirs)) = (Database::create()?, Database::create()?) else {
        return Ok(());
    };
    // The reference shares the database's processes only while it is measured.
    let databases = || ours.cpu_s() + theirs.cpu_s();
    let (a, b) = (Keeps::Postgres(ours.url().into()), Keeps::Postgres(theirs.url().into()));
    cost_on(plan, table, "Postgres", &a, &b, &databases)
}

fn cost_on(
    plan: Plan,
    table: &mut Table,
    engine: &str,
    ours: &Keeps,
    theirs: &Keeps,
    database_cpu_s: &dyn Fn() -> f64,
) -> Result<()> {
    let (folder, doubles) = (Folder::new()?, Doubles::start()?);
    let ours = Server::ours(folder.path(), ours, &doubles.settings(8))?;
    let theirs = Server::ceiling_agent(folder.path(), theirs, doubles.address)?;
    let one_by_one = |server: &Server, count: u64| -> Result<Cost> {
        let before = server.usage()?.cpu_s + database_cpu_s();
        let mut wall_ms = Vec::new();
        for _ in 0..count {
            wall_ms.push(investigate(server, &doubles)?);
        }
        // What follows the last answer of the model belongs to it.
        std::thread::sleep(Duration::from_millis(300));
        let cpu_s = server.usage()?.cpu_s + database_cpu_s() - before;
        Ok(Cost { cpu_ms: cpu_s * 1e3 / count as f64, wall_ms: median(&wall_ms) })
    };
    for server in [&ours, &theirs] {
        one_by_one(server, 5)?;
    }
    ours.settle(Duration::from_secs(5))?;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        b.push(ours.asleep(|| one_by_one(&theirs, plan.investigations))??);
        a.push(one_by_one(&ours, plan.investigations)?);
    }
    let each = |of: fn(&Cost) -> f64| {
        let all = |costs: &[Cost]| costs.iter().map(of).collect::<Vec<f64>>();
        (all(&a), all(&b))
    };
    for (figure, (a, b), aim) in
        [("CPU, ms", each(|cost| cost.cpu_ms), "<= 2"), ("wall, ms", each(|cost| cost.wall_ms), "")]
    {
        table.line(&Line {
            what: &format!("{engine}, investigation of {CALLS} calls: {figure}"),
            ours: format!("{:.1}", median(&a)),
            reference: format!("{:.1}", median(&b)),
            ratio: Some(ratio(&a, &b)),
            aim,
        });
    }
    Ok(())
}

struct Cost {
    cpu_ms: f64,
    wall_ms: f64,
}

/// One investigation, from the webhook to the model's last answer, in milliseconds.
fn investigate(server: &Server, doubles: &Doubles) -> Result<f64> {
    let wanted = doubles.concluded() + 1;
    let began = Instant::now();
    driver::post_once(server.address, &Bodies::new(PATH, 1, Theme::Problems))?;
    let done = doubles.wait_for_conclusions(wanted, Duration::from_secs(20));
    ensure!(done, "an investigation did not end");
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// A thousand investigations at once with a model that takes a second for each answer, and what an
/// acknowledgement takes meanwhile.
pub fn waiting(plan: Plan, table: &mut Table) -> Result<()> {
    let (folder, doubles) = (Folder::new()?, Doubles::start()?);
    let server = Server::ours(folder.path(), &Keeps::Sqlite, &doubles.settings(WAITING))?;
    let problems = Bodies::new(PATH, 1, Theme::Problems);
    // Alerts that open no incident: all that differs is what waits.
    let ignored = Bodies::new(PATH, 1, Theme::Ignored);
    let acks = |seconds: u64| driver::open(server.address, &ignored, 50.0, 50 * seconds);
    let idle = acks(plan.load.as_secs().max(1) * 6);
    server.settle(Duration::from_secs(3))?;
    doubles.set_latency(LATENCY);
    let before = server.usage()?;
    let ideal = LATENCY * u32::try_from(CALLS + 1)?;
    let began = Instant::now();
    let (busy, done) = std::thread::scope(|scope| {
        let post = scope.spawn(|| driver::open(server.address, &problems, 4_000.0, WAITING.into()));
        let busy = scope.spawn(|| acks(ideal.as_secs()));
        let done = doubles.wait_for_conclusions(WAITING.into(), Duration::from_secs(120));
        let took = began.elapsed();
        post.join().map_err(|_| anyhow::anyhow!("the alerts could not be posted"))?;
        let busy = busy.join().map_err(|_| anyhow::anyhow!("no load"))?;
        Ok::<_, anyhow::Error>((busy, done.then_some(took)))
    })?;
    let took = done.ok_or_else(|| anyhow::anyhow!("the investigations did not end"))?;
    let after = server.usage()?;
    let each = |mb: f64| mb / f64::from(WAITING);
    let what = |figure: &str| format!("{WAITING} investigations, model of 1 s: {figure}");
    let lines = [
        ("in flight at once", doubles.waiting_max() as f64, f64::from(WAITING), "1", 0),
        ("total s, ideal s", took.as_secs_f64(), ideal.as_secs_f64(), "<= 1.1", 2),
        ("p99 ack ms, idle", busy.percentile_ms(0.99), idle.percentile_ms(0.99), "<= 2", 2),
        ("p50 ack ms, idle", busy.percentile_ms(0.5), idle.percentile_ms(0.5), "", 2),
    ];
    for (figure, ours, reference, aim, digits) in lines {
        table.line(&Line {
            what: &what(figure),
            ours: format!("{ours:.digits$}"),
            reference: format!("{reference:.digits$}"),
            ratio: Some(ours / reference),
            aim,
        });
    }
    for (figure, value, aim) in [
        ("memory, MB each", each(after.peak_mb - before.resident_mb), "< 0.5"),
        ("CPU, ms each", each((after.cpu_s - before.cpu_s) * 1e3), ""),
    ] {
        let ours = format!("{value:.2}");
        table.line(&Line { what: &what(figure), ours, aim, ..Line::default() });
    }
    Ok(())
}

/// From a kill in the middle of a thousand investigations until all of them have asked the model
/// again.
pub fn resume(_: Plan, table: &mut Table) -> Result<()> {
    let (folder, doubles) = (Folder::new()?, Doubles::start()?);
    doubles.set_latency(Duration::from_secs(600));
    let settings = doubles.settings(WAITING);
    let server = Server::ours(folder.path(), &Keeps::Sqlite, &settings)?;
    let problems = Bodies::new(PATH, 1, Theme::Problems);
    driver::open(server.address, &problems, 1_000.0, WAITING.into());
    let all = doubles.wait_for_asked(WAITING.into(), Duration::from_secs(60));
    ensure!(all, "the investigations did not begin");
    server.kill()?;
    let began = Instant::now();
    let again = Server::ours(folder.path(), &Keeps::Sqlite, &settings)?;
    let ready = began.elapsed();
    let all = doubles.wait_for_asked(u64::from(WAITING) * 2, Duration::from_secs(120));
    ensure!(all, "the investigations did not go on");
    let resumed = began.elapsed();
    drop(again);
    for (figure, value, aim) in [("ready, s", ready, ""), ("all go on, s", resumed, "< 2")] {
        let ours = format!("{:.2}", value.as_secs_f64());
        let what = format!("SQLite, killed with {WAITING} open incidents: {figure}");
        table.line(&Line { what: &what, ours, aim, ..Line::default() });
    }
    Ok(())
}
