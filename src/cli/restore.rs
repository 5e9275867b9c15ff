//! `watchkeeper restore FILE`: puts a backup in the place of the database, with every change halted.
//!
//! In: a file of `watchkeeper backup` with its manifest; no server on the database. Out: the
//! database as it was then, at the schema of this program; the one before lies aside. Never: a start
//! that goes on with permissions of then: a person resumes.

use super::{Global, block_on, print, settings};
use crate::app::{location, process};
use crate::clock::Clock;
use crate::store::restore::{Order, Replace, Restored, restore};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Restore {
    /// The backup; its manifest lies beside it.
    file: PathBuf,
    /// Move the database that is there aside. It is not deleted.
    #[arg(long)]
    replace: bool,
}

pub fn run(global: &Global, args: &Restore) -> Result<ExitCode> {
    let settings = settings(global)?;
    let order = Order {
        file: args.file.clone(),
        replace: if args.replace { Replace::Aside } else { Replace::No },
        scope: settings.scope.clone(),
        by: format!("restore on {}", process()),
        now_ms: Clock::system().now_ms(),
    };
    let restored = block_on(async { Ok(restore(&location(&settings), &order).await?) })?;
    let value = json!({
        "manifest": restored.manifest, "aside": restored.aside, "streams": restored.streams,
        "ended": restored.prepared,
    });
    print::show(global.output, &value, |_| told(&restored))?;
    Ok(ExitCode::SUCCESS)
}

fn told(restored: &Restored) -> String {
    let (manifest, ended) = (&restored.manifest, &restored.prepared);
    let mut lines = vec![
        format!(
            "restored the backup of {}: {} entries in {} timelines, each whole",
            manifest.taken_at, manifest.heads.entries, restored.streams
        ),
        format!(
            "{} incidents are open; {} changes called off, {} of unknown outcome, {} messages marked \
             as possible repeats, {} sign-ins ended",
            ended.open, ended.superseded, ended.unknown, ended.marked, ended.sessions
        ),
        "every change is halted: start the server, look at what is open, then `watchkeeper resume`"
            .to_owned(),
    ];
    if let Some(aside) = &restored.aside {
        lines.push(format!("what was there before lies in {aside}"));
    }
    lines.join("\n")
}
