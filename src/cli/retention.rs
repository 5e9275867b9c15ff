//! `watchkeeper retention`: what would age out by the policy, and nothing else.
//!
//! In: the database itself, read only, also beside a running server. Never: a write; the server
//! lets history age out by itself.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::app::retention::{Planned, Retention};
use crate::clock::{Clock, format_ms};
use crate::store::Store;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

#[derive(Args)]
pub struct Options {
    /// Print what would age out; this is all that the verb does.
    #[arg(long)]
    plan: bool,
}

pub fn run(global: &Global, _options: &Options) -> Result<ExitCode> {
    let settings = settings(global)?;
    block_on(async {
        let store = Store::open_read_only(&location(&settings)).await?;
        let policy = settings.retention.clone();
        let aged_out = store.tombstones().await?;
        let retention = Retention { store, clock: Clock::system(), policy };
        let planned = retention.plan().await?;
        let value = json!({"planned": planned, "incidents_aged_out": aged_out});
        print::show(global.output, &value, |_| {
            let rows: Vec<Vec<String>> = planned.iter().map(row).collect();
            let titles = ["WHAT", "KEPT", "OLD BEFORE", "WOULD GO", "BYTES", "KEPT ALL THE SAME"];
            format!("{}\n{aged_out} incidents have aged out so far", print::columns(&titles, &rows))
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn row(planned: &Planned) -> Vec<String> {
    let Some(before_ms) = planned.before_ms else {
        let none = || "-".to_owned();
        return vec![
            planned.what.to_owned(),
            "for ever".to_owned(),
            none(),
            none(),
            none(),
            none(),
        ];
    };
    vec![
        planned.what.to_owned(),
        format!("{} days", planned.days),
        format_ms(before_ms),
        planned.old.rows.to_string(),
        planned.old.bytes.to_string(),
        planned.held.to_string(),
    ]
}
