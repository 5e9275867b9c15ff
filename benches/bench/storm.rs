//! A storm: ten thousand alerts in a thousand groups within a minute, some of them twice. Then the
//! process is killed, and everything that was acknowledged must be there.

use super::Plan;
use super::alerts::{Bodies, Theme};
use super::child::{Folder, Keeps, Server};
use super::driver;
use super::postgres::{self, Database};
use super::table::{Line, Table};
use anyhow::Result;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATH: &str = "/webhook/alert";
const GROUPS: u64 = 1_000;
const ALERTS: usize = 10;
/// One in so many groups is sent again a little later.
const REPEAT_EVERY: usize = 20;
const SETTLE: Duration = Duration::from_secs(90);

pub fn on_sqlite(plan: Plan, table: &mut Table) -> Result<()> {
    let folder = Folder::new()?;
    let stored = Stored::File(folder.path().join("data/watchkeeper.db"));
    storm(plan, table, "SQLite", &folder, &Keeps::Sqlite, &Keeps::Sqlite, &stored)
}

pub fn on_postgres(plan: Plan, table: &mut Table) -> Result<()> {
    let (Some(ours), Some(theirs)) = (Database::create()?, Database::create()?) else {
        return Ok(());
    };
    let (a, b) = (Keeps::Postgres(ours.url().into()), Keeps::Postgres(theirs.url().into()));
    let stored = Stored::Url(ours.url().to_owned());
    storm(plan, table, "Postgres", &Folder::new()?, &a, &b, &stored)
}

/// The groups in the order in which they are sent: each repeat comes ten groups after the first.
fn with_repeats() -> Vec<u64> {
    const LATER: usize = 10;
    let first = driver::fresh(GROUPS);
    let mut all = Vec::new();
    for (i, group) in first.iter().enumerate() {
        all.push(*group);
        if i % REPEAT_EVERY == REPEAT_EVERY - 1 {
            all.push(first[i - LATER]);
        }
    }
    all
}

fn storm(
    plan: Plan,
    table: &mut Table,
    engine: &str,
    folder: &Folder,
    ours: &Keeps,
    theirs: &Keeps,
    stored: &Stored,
) -> Result<()> {
    let bodies = Bodies::new(PATH, ALERTS, Theme::Storm);
    let groups = with_repeats();
    let per_second = groups.len() as f64 / plan.storm.as_secs_f64();
    // A third of the storm is enough to know the reference's percentiles.
    let part = driver::fresh(GROUPS / 3);
    let ceiling = Server::ceiling(folder.path(), theirs)?;
    let reference = driver::open_with(ceiling.address, &bodies, per_second, part);
    drop(ceiling);
    let server = Server::ours(folder.path(), ours, "")?;
    let idle = server.usage()?;
    let outcome = driver::open_with(server.address, &bodies, per_second, groups);
    let settled = server.settle(SETTLE)?;
    let after = server.usage()?;
    // The kill comes in the middle of more.
    let further = driver::open(server.address, &bodies, per_second * 10.0, GROUPS / 10);
    server.kill()?;
    let what = |figure: &str| format!("{engine}, storm of 10,000 alerts: {figure}");
    for (figure, share, aim) in [("p50 ms", 0.5, ""), ("p99 ms", 0.99, "<= 2")] {
        let (ours, theirs) = (outcome.percentile_ms(share), reference.percentile_ms(share));
        table.line(&Line {
            what: &what(figure),
            ours: format!("{ours:.2}"),
            reference: format!("{theirs:.2}"),
            ratio: Some(ours / theirs),
            aim,
        });
    }
    let acknowledged = [outcome.acknowledged.as_slice(), &further.acknowledged].concat();
    let cpu_us = (after.cpu_s - idle.cpu_s) * 1e6 / (GROUPS as f64 * ALERTS as f64);
    let count = |sql| stored.count(sql).map(|count| count.to_string());
    for (figure, value, aim) in [
        ("not acknowledged", outcome.refused.to_string(), "0"),
        ("acknowledged, lost by kill -9", stored.lost(&acknowledged)?.to_string(), "0"),
        ("alerts known, of those and 1,000 more", count("select count(*) from alert")?, ""),
        (
            "alerts without an incident",
            count("select count(*) from alert where incident_id is null")?,
            "0",
        ),
        ("incidents", count("select count(*) from incident")?, ""),
        ("investigations", count(INVESTIGATIONS)?, ""),
        ("messages", count("select count(*) from message")?, ""),
        ("peak memory, MB", format!("{:.0}", after.peak_mb), ""),
        ("s until all rests, at most 90", format!("{:.1}", settled.as_secs_f64()), ""),
        ("CPU us per alert, its incident included", format!("{cpu_us:.0}"), ""),
    ] {
        table.line(&Line { what: &what(figure), ours: value, aim, ..Line::default() });
    }
    Ok(())
}

const INVESTIGATIONS: &str =
    "select count(distinct stream_id) from timeline where kind = 'started'";

/// What a server left behind.
enum Stored {
    File(PathBuf),
    Url(String),
}

impl Stored {
    fn count(&self, sql: &'static str) -> Result<i64> {
        let rows = match self {
            Self::File(file) => lite(file, sql)?,
            Self::Url(url) => postgres::query(url, sql)?,
        };
        Ok(rows.into_iter().next().unwrap_or(0))
    }

    /// Acknowledged groups of which no stored body speaks.
    fn lost(&self, acknowledged: &[u64]) -> Result<usize> {
        const BODIES: &str = "select body from delivery";
        let bodies: Vec<String> = match self {
            Self::File(file) => lite(file, BODIES)?,
            Self::Url(url) => postgres::query(url, BODIES)?,
        };
        let mark = "group=\\\"";
        let group = |body: &String| body.split_once(mark)?.1.get(..8)?.parse().ok();
        let stored: BTreeSet<u64> = bodies.iter().filter_map(group).collect();
        Ok(acknowledged.iter().filter(|group| !stored.contains(group)).count())
    }
}

fn lite<T>(file: &Path, sql: &'static str) -> Result<Vec<T>>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Send + Unpin,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let rows = sqlx::query_scalar(sql).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows)
    })
}
