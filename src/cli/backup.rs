//! `watchkeeper backup FILE`: a copy of the database as it is now, also while the server runs.
//!
//! In: the database itself, read only. Out: the file, and beside it `FILE.manifest.json`, both for
//! their owner alone. Never: a file overwritten.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::clock::Clock;
use crate::store::backup::{back_up, manifest_of};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Backup {
    /// Where to; must not be there yet.
    file: PathBuf,
}

pub fn run(global: &Global, backup: &Backup) -> Result<ExitCode> {
    let location = location(&settings(global)?);
    let now_ms = Clock::system().now_ms();
    let manifest = block_on(async { Ok(back_up(&location, &backup.file, now_ms).await?) })?;
    let (file, beside) = (backup.file.display(), manifest_of(&backup.file));
    let value = json!({ "file": file.to_string(), "manifest": manifest });
    print::show(global.output, &value, |_| {
        format!(
            "{file}: {} at {}, {} bytes, {} entries in {} timelines, SHA-256 {}\nkeep {} with it",
            manifest.engine,
            manifest.taken_at,
            manifest.bytes,
            manifest.heads.entries,
            manifest.heads.streams,
            manifest.sha256,
            beside.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
