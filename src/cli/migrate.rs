//! `watchkeeper migrate`: brings the database's tables up to date, or says what that would do.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::store::Store;
use crate::store::effects::Effect;
use crate::store::plan::{Change, Plan, Statement, plan};
use crate::tasks::Tasks;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub struct Migrate {
    /// Print what would be applied, what it does to tables in use and who would wait; write nothing.
    #[arg(long)]
    plan: bool,
}

pub fn run(global: &Global, migrate: &Migrate) -> Result<ExitCode> {
    let location = location(&settings(global)?);
    block_on(async {
        let before = plan(&location).await?;
        if let Some(why) = &before.refusal {
            bail!("{why}");
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
        "newer": plan.unknown, "changes": plan.changes,
    });
    print::show(global.output, &value, |_| {
        let mut lines = vec![format!("{} at {}", plan.engine, plan.place)];
        for change in &plan.changes {
            lines.push(format!("{word}  {}: {}", change.migration, beside(change)));
            lines.extend(change.statements.iter().map(|one| format!("    {}", told(one))));
        }
        if plan.pending.is_empty() {
            lines.push(format!("up to date ({} applied)", plan.applied.len()));
        }
        if let Some(newer) = plan.unknown.last() {
            lines.push(format!(
                "a newer Watchkeeper migrated it to {newer}; this one may still run beside it"
            ));
        }
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Who may run while it is applied, and after.
fn beside(change: &Change) -> String {
    match (change.expands, change.floor) {
        (true, None) => "only adds; the version before may run beside it".to_owned(),
        (_, Some(floor)) => {
            format!("programs older than schema {floor:04} must be stopped before it")
        }
        (false, None) => "stop every other Watchkeeper before it".to_owned(),
    }
}

fn told(statement: &Statement) -> String {
    let mut said = match &statement.effect {
        Effect::CreatesTable { table } => format!("creates table {table}"),
        Effect::AddsColumn { table, column, .. } => format!("adds column {table}.{column}"),
        Effect::BuildsIndex { table, index, unique } => {
            let unique = if *unique { "unique " } else { "" };
            format!("builds {unique}index {index} on {table}")
        }
        Effect::Fills { table } => format!("writes rows into {table}"),
        Effect::RaisesFloor { to } => format!("ends programs older than schema {to:04}"),
        Effect::Other { statement } => statement.clone(),
    };
    if let Some(rows) = statement.rows {
        said.push_str(&format!(", about {rows} rows"));
    }
    if let Some(who) = statement.holds_up {
        said.push_str(&format!("; holds up {who}"));
    }
    said
}
