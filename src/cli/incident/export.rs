//! `watchkeeper incident export`: one incident as a file that needs nothing else.

use super::super::Global;
use super::super::print;
use super::super::remote::At;
use crate::model::ids::IncidentId;
use anyhow::{Context, Result};
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    at: At,
    /// The incident's id, as `incident list` shows it.
    id: IncidentId,
    /// Where to write it [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub async fn run(global: &Global, export: &Export) -> Result<ExitCode> {
    let path = format!("api/v1/incidents/{}/export", export.id);
    let text = export.at.remote(global)?.get_text(&path).await?;
    match &export.out {
        None => print::out(&text)?,
        Some(file) => {
            // Whole outputs of tools are nobody else's business.
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options
                .write(true)
                .create(true)
                .truncate(true)
                .open(file)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
