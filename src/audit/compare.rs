//! Holds the database against checkpoints that were kept elsewhere.
//!
//! In: lines, the key, the store. Out: everything that is no longer as a line recorded it, and
//! everything that is wrong with the lines themselves. Never: a line counted that the key did not
//! make.

use super::line::{Checked, Key, Unfit, read};
use crate::store::retention::tombstones::Vouched;
use crate::store::system::PutBack;
use crate::store::{Error, Store};
use serde::Serialize;
use std::collections::BTreeMap;

/// Something that is not as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// `incident/…`, `system/system`, or `checkpoints` for the lines themselves.
    pub stream: String,
    /// Of the entry, or of the line.
    pub seq: i64,
    pub why: String,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    pub lines: usize,
    /// Recorded streams that were compared, and entries of them that a line names.
    pub streams: usize,
    pub heads: usize,
    /// Recorded streams that aged out, as the system's timeline says.
    pub aged_out: usize,
    pub findings: Vec<Finding>,
    /// What is worth knowing and proves nothing.
    pub notes: Vec<String>,
}

/// How many of the lines that were made these texts are said to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// All up to this one, which some target had taken before the texts were read.
    UpTo(i64),
    /// Pieces: what is before the first and after the last proves nothing.
    Part,
}

/// An entry that a line recorded.
struct Recorded {
    seq: i64,
    hash: String,
    line: i64,
    line_at_ms: i64,
}

/// Compares the lines of all texts, in whatever order and however often they stand there.
///
/// # Errors
/// The database cannot be read.
pub async fn compare(
    store: &Store,
    key: &Key,
    texts: &[String],
    extent: Extent,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let put_backs = store.put_backs().await?;
    let lines = gather(key, texts, &put_backs, &mut report);
    report.lines = lines.len();
    let last = sequence(&lines, &mut report);
    known_lines(last, store.last_checkpoint().await?, &put_backs, &mut report);
    ends(lines.keys().next().copied(), last, extent, &mut report);
    for (stream, heads) in recorded(&lines) {
        report.streams += 1;
        report.heads += heads.len();
        let Some((kind, id)) = stream.split_once('/') else { continue };
        let kept = store.kept(kind, id).await?;
        match aged_out(store, kind, id).await? {
            Some((at_ms, vouched)) => {
                report.aged_out += 1;
                as_it_ended(&stream, &heads, &kept, at_ms, &vouched, &mut report);
            }
            None => stream_as_recorded(&stream, &heads, &kept, &put_backs, &mut report),
        }
    }
    report.findings.sort_by(|a, b| (&a.stream, a.seq).cmp(&(&b.stream, b.seq)));
    Ok(report)
}

impl Report {
    fn find(&mut self, stream: &str, seq: i64, why: impl Into<String>) {
        self.findings.push(Finding { stream: stream.to_owned(), seq, why: why.into() });
    }

    fn miss(&mut self, from: i64, to: i64) {
        let why = format!(
            "lines {from} to {to} are missing: removed, or lost on the way, as syslog over UDP may \
             lose them, or in files that were not given"
        );
        self.about_line(from, why);
    }

    fn about_line(&mut self, number: i64, why: impl Into<String>) {
        self.find("checkpoints", number, why);
    }
}

/// The lines that count, by number. A line that stands there twice is one.
fn gather(
    key: &Key,
    texts: &[String],
    put_backs: &[PutBack],
    report: &mut Report,
) -> BTreeMap<i64, Checked> {
    let mut lines: BTreeMap<i64, Checked> = BTreeMap::new();
    let mut torn = 0;
    let all = texts.iter().flat_map(|text| text.lines());
    for text in all.filter(|text| !text.trim().is_empty()) {
        match read(key, text) {
            Ok(checked) => {
                let number = checked.body.number;
                let other = lines.insert(number, checked.clone());
                if other.is_some_and(|other| other != checked) {
                    let why = "two different lines have this number: the database was set back";
                    report.about_line(number, format!("{}{why}", since(put_backs.last())));
                }
            }
            Err(Unfit::Torn) => torn += 1,
            Err(Unfit::Forged(number)) => {
                report.about_line(number, "the line was changed, or made with another key");
            }
        }
    }
    if torn > 0 {
        report.notes.push(format!("{torn} lines are no whole checkpoints and were left out"));
    }
    lines
}

/// Whether the lines follow each other; returns the number of the last.
fn sequence(lines: &BTreeMap<i64, Checked>, report: &mut Report) -> Option<i64> {
    let mut before: Option<&Checked> = None;
    for (number, line) in lines {
        match before {
            None => {}
            Some(before) if before.body.number + 1 != *number => {
                report.miss(before.body.number + 1, number - 1);
            }
            Some(before) if before.mac != line.body.previous => {
                report.about_line(*number, "it does not follow the line before");
            }
            Some(_) => {}
        }
        before = Some(line);
    }
    before.map(|line| line.body.number)
}

fn known_lines(last: Option<i64>, known: i64, put_backs: &[PutBack], report: &mut Report) {
    let last = last.unwrap_or(0);
    if last > known {
        let why = format!(
            "{}the database knows of {known} lines only: it was set back to an earlier state",
            since(put_backs.last())
        );
        report.about_line(known + 1, why);
    }
    if last < known {
        report.notes.push(format!(
            "the database has made lines up to {known}; those after {last} are not in these files"
        ));
    }
}

/// Whether lines are missing before the first or after the last. What only those recorded could be
/// forged, so that nothing is whole without them.
fn ends(first: Option<i64>, last: Option<i64>, extent: Extent, report: &mut Report) {
    let (Some(first), Some(last)) = (first, last) else { return };
    match extent {
        Extent::UpTo(taken) => {
            if first > 1 {
                report.miss(1, first - 1);
            }
            if taken > last {
                report.miss(last + 1, taken);
            }
        }
        Extent::Part if first > 1 => report.notes.push(format!(
            "the checkpoints begin with line {first}; earlier ones are not in these files"
        )),
        Extent::Part => {}
    }
}

fn recorded(lines: &BTreeMap<i64, Checked>) -> BTreeMap<String, Vec<Recorded>> {
    let mut recorded: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for (number, line) in lines {
        for (stream, seq, hash) in &line.body.heads {
            recorded.entry(stream.clone()).or_default().push(Recorded {
                seq: *seq,
                hash: hash.clone(),
                line: *number,
                line_at_ms: line.body.at_ms,
            });
        }
    }
    recorded
}

/// How a finding begins that a restore accounts for.
fn since(put_back: Option<&PutBack>) -> String {
    put_back.map_or(String::new(), |one| format!("restored from backup of {}: ", one.taken_at))
}

/// The restore that took away what a line recorded: made after the backup was taken, and before it
/// was put back. What the backup should hold is not accounted for by any.
fn taken_by<'b>(put_backs: &'b [PutBack], head: &Recorded) -> Option<&'b PutBack> {
    put_backs.iter().find(|one| one.taken_at_ms <= head.line_at_ms && head.line_at_ms <= one.at_ms)
}

/// Compares one stream with every head that was recorded of it.
fn stream_as_recorded(
    stream: &str,
    heads: &[Recorded],
    kept: &[(i64, String)],
    put_backs: &[PutBack],
    report: &mut Report,
) {
    let entries: BTreeMap<i64, &str> =
        kept.iter().map(|(seq, hash)| (*seq, hash.as_str())).collect();
    let Some(end) = entries.keys().next_back().copied() else {
        let Some(last) = heads.iter().max_by_key(|head| head.seq) else { return };
        let why = format!(
            "{}the whole stream is missing; line {} recorded it up to entry {}",
            since(taken_by(put_backs, last)),
            last.line,
            last.seq
        );
        report.find(stream, 1, why);
        return;
    };
    let mut good = 0;
    // The entries that one restore took away are one finding.
    let mut missing: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for head in heads {
        let (seq, line, taken) = (head.seq, head.line, taken_by(put_backs, head));
        let why = match (entries.get(&seq), taken) {
            (Some(found), _) if *found == head.hash => {
                good = seq;
                continue;
            }
            (_, Some(put_back)) => {
                let range = missing.entry(put_back.at_ms).or_insert((seq, seq));
                *range = (range.0.min(good + 1).min(seq), range.1.max(seq));
                continue;
            }
            (Some(_), None) => format!(
                "rewritten: the entry is not the one that line {line} recorded; up to entry {good} \
                 the stream is as recorded"
            ),
            (None, None) if seq > end => {
                format!("truncated: the stream ends at {end}, line {line} recorded this entry")
            }
            (None, None) => format!("missing: line {line} recorded this entry"),
        };
        report.find(stream, seq, why);
    }
    for (at_ms, (from, to)) in missing {
        let put_back = put_backs.iter().find(|one| one.at_ms == at_ms);
        let why =
            format!("{}entries {from} to {to} known to checkpoints are missing", since(put_back));
        report.find(stream, from, why);
    }
}

const DAY_MS: i64 = 86_400_000;

/// When a stream aged out and what vouches for it. A tombstone that nothing vouches for hides
/// nothing.
async fn aged_out(store: &Store, kind: &str, id: &str) -> Result<Option<(i64, Vouched)>, Error> {
    let Ok(incident) = id.parse() else { return Ok(None) };
    if kind != "incident" {
        return Ok(None);
    }
    let Some(stone) = store.tombstone(incident).await? else { return Ok(None) };
    let vouched = store.vouched(id, &stone).await?.ok();
    Ok(vouched.map(|vouched| (stone.aged_out_at_ms, vouched)))
}

/// Compares what is left of a stream, and the end that was vouched for, with what was recorded.
fn as_it_ended(
    stream: &str,
    heads: &[Recorded],
    kept: &[(i64, String)],
    aged_out_at_ms: i64,
    vouched: &Vouched,
    report: &mut Report,
) {
    let entries: BTreeMap<i64, &str> =
        kept.iter().map(|(seq, hash)| (*seq, hash.as_str())).collect();
    for Recorded { seq, hash, line, line_at_ms } in heads {
        let why = if *seq > vouched.seq {
            format!("truncated: it aged out at {}, line {line} recorded this entry", vouched.seq)
        } else if (*seq == vouched.seq && *hash != vouched.head)
            || entries.get(seq).is_some_and(|found| *found != hash.as_str())
        {
            format!("rewritten: the entry is not the one that line {line} recorded")
        } else if *seq < vouched.seq && aged_out_at_ms - line_at_ms < vouched.days * DAY_MS {
            // It went on after that line was made, so it ended later, too.
            format!(
                "deleted too early: it is said to have aged out after {} days, and line {line} \
                 recorded it when it was not yet over",
                vouched.days
            )
        } else {
            continue;
        };
        report.find(stream, *seq, why);
    }
}
