//! `watchkeeper migrate`: brings the database's tables up to date, or says what that would do.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::store::Store;
use crate::store::plan::{Plan, plan};
use crate::tasks::Tasks;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub struct Migrate {
    /// Print what would be applied and write nothing.
    #[arg(long)]
    plan: bool,
}

pub fn run(global: &Global, migrate: &Migrate) -> Result<ExitCode> {
    let location = location(&settings(global)?);
    block_on(async {
        let before = plan(&location).await?;
        if let Some(newer) = before.unknown.last() {
            bail!("{} was migrated to {newer} by a newer Watchkeeper; run that one", before.place);
        }
        if !migrate.plan {
            let tasks = Tasks::default();
            let opened = Store::open(&location, &tasks).await.map(drop);
            tasks.shut_down(Duration::from_secs(10)).await;
            opened?;
        }
        let word = if migrate.plan { "would apply" } else { "applied" };
        shown(global, &before, word)
    })
}

fn shown(global: &Global, plan: &Plan, word: &str) -> Result<ExitCode> {
    let key = word.replace(' ', "_");
    let value = json!({
        "engine": plan.engine, "place": plan.place, "before": plan.applied, key: plan.pending,
    });
    print::show(global.output, &value, |_| {
        let mut lines = vec![format!("{} at {}", plan.engine, plan.place)];
        lines.extend(plan.pending.iter().map(|one| format!("{word}  {one}")));
        if plan.pending.is_empty() {
            lines.push(format!("up to date ({} applied)", plan.applied.len()));
        }
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
