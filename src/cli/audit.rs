//! `watchkeeper audit verify|export`: whether the history is whole, and all of it.
//!
//! In: the database itself, read only, also beside a running server: who checks the history does
//! not ask the process that writes it. Out: the first broken entry of each stream, or every entry
//! as a line of JSON. Never: a write, a lock that keeps the server out.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::clock::Clock;
use crate::model::ids::IncidentId;
use crate::model::time::parse_duration_ms;
use crate::store::Store;
use crate::store::audit::{Named, Raw};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Recompute every chain; name the first entry of each that was changed, added or removed.
    Verify(Which),
    /// Write every entry as a line of JSON, in order.
    Export(Export),
}

/// Which streams.
#[derive(Args)]
pub struct Which {
    /// Only this incident.
    #[arg(long, value_name = "ID")]
    incident: Option<IncidentId>,
}

#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    which: Which,
    /// Only entries of this long ago or less, e.g. 30d.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ms)]
    since: Option<i64>,
}

/// A line of an export. `entry` is the exact text that was hashed.
#[derive(Serialize)]
struct Line<'a> {
    stream: String,
    seq: i64,
    at_ms: i64,
    kind: &'a str,
    version: i64,
    entry: &'a RawValue,
    hash: &'a str,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    let location = location(&settings(global)?);
    block_on(async {
        let store = Store::open_read_only(&location).await?;
        match verb {
            Verb::Verify(which) => verify(global, &store, &which).await,
            Verb::Export(export) => self::export(&store, &export).await,
        }
    })
}

impl Which {
    async fn streams(&self, store: &Store) -> Result<Vec<Named>> {
        let mut streams = store.streams().await?;
        if let Some(id) = self.incident {
            let id = id.to_string();
            streams.retain(|named| named.stream_kind == "incident" && named.stream_id == id);
            if streams.is_empty() {
                bail!("there is no incident {id} in the database");
            }
        }
        Ok(streams)
    }
}

async fn verify(global: &Global, store: &Store, which: &Which) -> Result<ExitCode> {
    let streams = which.streams(store).await?;
    let mut broken = Vec::new();
    for named in &streams {
        if let Some(found) = store.audit(named).await? {
            broken.push(json!({"stream": name(named), "seq": found.seq, "why": found.why}));
        }
    }
    let texts = match which.incident {
        Some(_) => Vec::new(),
        None => store.changed_texts().await?,
    };
    let whole = broken.is_empty() && texts.is_empty();
    let value = json!({
        "whole": whole, "streams": streams.len(), "broken": broken, "changed_outputs": texts,
    });
    print::show(global.output, &value, |_| {
        let mut lines: Vec<String> = broken
            .iter()
            .map(|one| {
                let at = |pointer| print::field(one, pointer);
                format!("BROKEN  {} at entry {}: {}", at("/stream"), at("/seq"), at("/why"))
            })
            .collect();
        lines.extend(texts.iter().map(|hash| format!("CHANGED  stored output {hash}")));
        let said = if whole { "whole" } else { "NOT whole" };
        lines.push(format!("{} streams: the history is {said}", streams.len()));
        lines.join("\n")
    })?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn export(store: &Store, export: &Export) -> Result<ExitCode> {
    let from_ms = export.since.map_or(i64::MIN, |ms| Clock::system().now_ms().saturating_sub(ms));
    let mut out = BufWriter::new(std::io::stdout().lock());
    for named in export.which.streams(store).await? {
        let stream = name(&named);
        for raw in store.raw_entries(&named).await? {
            if raw.at_ms < from_ms {
                continue;
            }
            let line = line(&stream, &raw).with_context(|| format!("{stream}, {}", raw.seq))?;
            match writeln!(out, "{line}") {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::SUCCESS);
                }
                other => other.context("cannot write to standard output")?,
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Err(_) | Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn line(stream: &str, raw: &Raw) -> Result<String> {
    let entry: &RawValue = serde_json::from_str(&raw.body).context("the entry is no JSON")?;
    Ok(serde_json::to_string(&Line {
        stream: stream.to_owned(),
        seq: raw.seq,
        at_ms: raw.at_ms,
        kind: &raw.kind,
        version: raw.version,
        entry,
        hash: &raw.hash,
    })?)
}

fn name(named: &Named) -> String {
    format!("{}/{}", named.stream_kind, named.stream_id)
}
