//! Mixed load for a long time: what leaks shows here.
//!
//! Alerts that fire, repeat and resolve, investigations with a model, pages and the API, all at a
//! rate that leaves the machine some air. A line a minute, taken a few seconds after its load has
//! ended; after a warm-up nothing in it should grow but the database.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::doubles::Doubles;
use super::driver;
use super::table::Table;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATH: &str = "/webhook/alert";
const MINUTE: Duration = Duration::from_secs(60);
/// Of each minute; what is counted at its end is what is left without load.
const LOAD: Duration = Duration::from_secs(50);
/// Webhooks a second: new problems, and alerts that are stored and never acted on.
const PROBLEMS: f64 = 2.0;
const IGNORED: f64 = 40.0;
/// Minutes that a problem lasts before its alerts are resolved.
const LASTS: usize = 2;
const PAGES: [&str; 5] =
    ["/api/v1/incidents", "/metrics", "/readyz", "/incidents", "/api/v1/openapi.json"];

pub fn run(plan: Plan, table: &mut Table) -> Result<()> {
    let (folder, doubles) = (Folder::new()?, Doubles::start()?);
    doubles.set_latency(Duration::from_millis(200));
    let server = Server::ours(folder.path(), &Keeps::Sqlite, &doubles.settings(64))?;
    table.note(&format!("soak of {} minutes on SQLite; a line a minute:", plan.soak_minutes));
    let titles =
        "minute  acks  refused  p99 ms  RSS MB  peak MB  files  threads  tasks  cpu s  db MB";
    table.note(&format!("{titles}  open  outbox"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| read_pages(&server, &done));
        let lines = minutes(plan, table, &server, folder.path());
        done.store(true, Ordering::Relaxed);
        lines
    })
}

fn minutes(plan: Plan, table: &mut Table, server: &Server, folder: &std::path::Path) -> Result<()> {
    let firing = Bodies::new(PATH, 3, Theme::Problems);
    let resolved = Bodies::resolved(PATH, 3);
    let ignored = Bodies::new(PATH, 1, Theme::Ignored);
    let mut sent: Vec<Vec<u64>> = Vec::new();
    for minute in 1..=plan.soak_minutes {
        let (began, cpu_s) = (Instant::now(), server.usage()?.cpu_s);
        let count = |per_second: f64| (per_second * LOAD.as_secs_f64()) as u64;
        let problems = driver::fresh(count(PROBLEMS));
        // Alertmanager sends a group again while it fires, and once more when it is resolved.
        let again = sent.last().cloned().unwrap_or_default();
        let over = sent.iter().rev().nth(LASTS).cloned().unwrap_or_default();
        sent.push(problems.clone());
        let address = server.address;
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| driver::open_with(address, &firing, PROBLEMS, problems));
            scope.spawn(|| driver::open_with(address, &firing, PROBLEMS, again));
            scope.spawn(|| driver::open_with(address, &resolved, PROBLEMS, over));
            driver::open(address, &ignored, IGNORED, count(IGNORED))
        });
        std::thread::sleep(MINUTE.saturating_sub(began.elapsed()));
        let usage = server.usage()?;
        let db = std::fs::metadata(folder.join("data/watchkeeper.db"))?.len() as f64 / 1e6;
        let open: f64 = ["open", "investigating", "proposed", "awaiting_approval", "verifying"]
            .iter()
            .map(|state| server.metric(&format!("watchkeeper_incidents{{state=\"{state}\"}}")))
            .sum::<Result<f64>>()?;
        table.note(&format!(
            "{minute:>6}  {:>4}  {:>7}  {:>6.2}  {:>6.1}  {:>7.1}  {:>5}  {:>7}  {:>5}  {:>5.1}  {db:>5.1}  {open:>4}  {:>6}",
            outcome.acknowledged.len(),
            outcome.refused,
            outcome.percentile_ms(0.99),
            usage.resident_mb,
            usage.peak_mb,
            usage.files,
            usage.threads,
            server.metric("watchkeeper_tasks")?,
            usage.cpu_s - cpu_s,
            server.metric("watchkeeper_outbox_waiting")?,
        ));
    }
    Ok(())
}

/// Somebody has the console open, and a script asks the API.
fn read_pages(server: &Server, done: &AtomicBool) {
    for page in PAGES.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            return;
        }
        // What a page answers is other tests' business; here it only costs what it costs.
        let _ = driver::get(server.address, page);
        std::thread::sleep(Duration::from_millis(200));
    }
}
