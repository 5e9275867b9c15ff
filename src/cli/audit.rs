//! `watchkeeper audit verify|log|export`: whether the history is whole, that of the system itself,
//! and all of it.
//!
//! In: the database itself, read only, also beside a running server: who checks the history does
//! not ask the process that writes it; checkpoints that were kept elsewhere. Out: the first broken
//! entry of each stream and what is no longer as it was recorded, or entries. Never: a write, a lock that keeps the server out.

use super::{Global, block_on, print, settings};
use crate::app::location;
use crate::audit::compare::{Extent, Report, compare};
use crate::audit::line::Key;
use crate::clock::Clock;
use crate::config::Settings;
use crate::model::ids::IncidentId;
use crate::model::time::parse_duration_ms;
use crate::store::Store;
use crate::store::audit::{Named, Raw};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Recompute every chain; name the first entry of each that was changed, added or removed.
    Verify(Verify),
    /// What happened to the system itself: rules, users, tokens, halts, holds.
    Log(Log),
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
pub struct Verify {
    #[command(flatten)]
    which: Which,
    /// Files of checkpoint lines that were kept elsewhere: finds what was rewritten or cut off with
    /// every hash computed anew. May be repeated; the lines may stand in a log of syslog.
    #[arg(long, value_name = "FILE", conflicts_with = "incident")]
    checkpoints: Vec<PathBuf>,
    /// The files hold only some of the lines, such as one piece of a rotated log: lines that are
    /// missing at the beginning or at the end are no finding.
    #[arg(long, requires = "checkpoints")]
    partial: bool,
    /// The key of the checkpoints [default: the one of the configuration].
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    key_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct Log {
    /// The last so many entries.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
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
    let settings = settings(global)?;
    let location = location(&settings);
    block_on(async {
        let store = Store::open_read_only(&location).await?;
        match verb {
            Verb::Verify(verify) => {
                let kept = match verify.checkpoints.as_slice() {
                    [] => None,
                    files => Some(compared(&store, &verify, files, &settings).await?),
                };
                self::verify(global, &store, &verify.which, kept).await
            }
            Verb::Log(log) => self::log(global, &store, &log).await,
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

/// Holds the database against the lines of these files.
async fn compared(
    store: &Store,
    verify: &Verify,
    files: &[PathBuf],
    settings: &Settings,
) -> Result<Report> {
    let key = match (&verify.key_file, &settings.audit.checkpoint.key) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the key file {}", file.display()))?;
            if text.trim().is_empty() {
                bail!("the key file {} is empty", file.display());
            }
            Key::new(&SecretString::from(text))
        }
        (None, Some(key)) => Key::new(key),
        (None, None) => {
            bail!("no key is configured; name the key of the checkpoints by --key-file")
        }
    };
    // Before the files are read: a server beside may add lines all the time.
    let extent = match verify.partial {
        true => Extent::Part,
        false => Extent::UpTo(store.taken_checkpoints().await?),
    };
    let mut texts = Vec::new();
    for file in files {
        let bytes = std::fs::read(file)
            .with_context(|| format!("cannot read the checkpoints {}", file.display()))?;
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let report = compare(store, &key, &texts, extent).await?;
    if report.lines == 0 && report.findings.is_empty() {
        bail!("these files hold no checkpoints");
    }
    if report.lines == 0 {
        bail!("no line was made with this key; is it the key of these checkpoints?");
    }
    Ok(report)
}

async fn verify(
    global: &Global,
    store: &Store,
    which: &Which,
    kept: Option<Report>,
) -> Result<ExitCode> {
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
    let (aged_out, missing) = match which.incident {
        Some(_) => (0, Vec::new()),
        None => store.gone_texts().await?,
    };
    let incidents_aged_out = streams.iter().filter(|named| named.aged_out != 0).count();
    let as_recorded = kept.as_ref().is_none_or(|report| report.findings.is_empty());
    let whole = broken.is_empty() && texts.is_empty() && missing.is_empty() && as_recorded;
    let mut value = json!({
        "whole": whole, "streams": streams.len(), "broken": broken, "changed_outputs": texts,
        "missing_outputs": missing, "outputs_aged_out": aged_out,
        "incidents_aged_out": incidents_aged_out,
    });
    if let Some(report) = &kept {
        value["checkpoints"] = json!(report);
    }
    print::show(global.output, &value, |value| {
        let mut lines: Vec<String> = broken.iter().map(|one| told("BROKEN ", one)).collect();
        lines.extend(texts.iter().map(|hash| format!("CHANGED  stored output {hash}")));
        lines.extend(missing.iter().map(|hash| {
            format!("MISSING  stored output {hash}: it is gone, and no policy took it")
        }));
        if incidents_aged_out > 0 || aged_out > 0 {
            lines.push(format!(
                "aged out by policy: {incidents_aged_out} incidents, {aged_out} outputs"
            ));
        }
        lines.extend(kept.iter().flat_map(|report| told_of(report, &value["checkpoints"])));
        let said = if whole { "whole" } else { "NOT whole" };
        lines.push(format!("{} streams: the history is {said}", streams.len()));
        lines.join("\n")
    })?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(word: &str, finding: &Value) -> String {
    let at = |pointer| print::field(finding, pointer);
    format!("{word} {} at entry {}: {}", at("/stream"), at("/seq"), at("/why"))
}

fn told_of(report: &Report, value: &Value) -> Vec<String> {
    let findings = value["findings"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = findings.map(|one| told("DIFFERS", one)).collect();
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.push(format!(
        "{} lines of checkpoints, {} streams recorded",
        report.lines, report.streams
    ));
    lines
}

async fn log(global: &Global, store: &Store, log: &Log) -> Result<ExitCode> {
    let after = store.system_end().await?.saturating_sub(log.limit);
    let entries = store.system_timeline(after, log.limit).await?;
    let shown: Vec<Value> = entries
        .iter()
        .map(|one| {
            json!({
                "seq": one.seq, "at_ms": one.at_ms, "entry": one.entry,
                "words": one.entry.words(), "hash": one.hash,
            })
        })
        .collect();
    print::show(global.output, &json!({"entries": shown}), |_| {
        let row = |one: &Value| {
            let kind = print::field(one, "/entry/kind").replace('_', " ");
            vec![
                print::field(one, "/seq"),
                print::time(one, "/at_ms"),
                kind,
                print::field(one, "/words"),
            ]
        };
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        print::columns(&["ENTRY", "AT", "KIND", "WHAT"], &rows)
    })?;
    Ok(ExitCode::SUCCESS)
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
