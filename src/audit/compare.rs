//! Holds the database against checkpoints that were kept elsewhere.
//!
//! In: lines, the key, the store. Out: everything that is no longer as a line recorded it, and
//! everything that is wrong with the lines themselves. Never: a line counted that the key did not
//! make.

use super::line::{Checked, Key, Unfit, read};
use crate::store::checkpoints::Kept;
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
    /// Streams whose entries were deleted because of their age.
    pub aged_out: usize,
    pub findings: Vec<Finding>,
    /// What is worth knowing and proves nothing.
    pub notes: Vec<String>,
}

/// Number, hash, and the line that recorded it.
type Recorded = BTreeMap<String, Vec<(i64, String, i64)>>;

/// Compares the lines of all texts, in whatever order and however often they stand there.
///
/// # Errors
/// The database cannot be read.
pub async fn compare(store: &Store, key: &Key, texts: &[String]) -> Result<Report, Error> {
    let mut report = Report::default();
    let lines = gather(key, texts, &mut report);
    report.lines = lines.len();
    let last = sequence(&lines, &mut report);
    known_lines(last, store.last_checkpoint().await?, &mut report);
    for (stream, heads) in recorded(&lines) {
        report.streams += 1;
        report.heads += heads.len();
        let Some((kind, id)) = stream.split_once('/') else { continue };
        let kept = store.kept(kind, id).await?;
        stream_as_recorded(&stream, &heads, &kept, &mut report);
    }
    report.findings.sort_by(|a, b| (&a.stream, a.seq).cmp(&(&b.stream, b.seq)));
    Ok(report)
}

impl Report {
    fn find(&mut self, stream: &str, seq: i64, why: impl Into<String>) {
        self.findings.push(Finding { stream: stream.to_owned(), seq, why: why.into() });
    }

    fn about_line(&mut self, number: i64, why: impl Into<String>) {
        self.find("checkpoints", number, why);
    }
}

/// The lines that count, by number. A line that stands there twice is one.
fn gather(key: &Key, texts: &[String], report: &mut Report) -> BTreeMap<i64, Checked> {
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
                    report.about_line(number, why);
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
            None if *number > 1 => report.notes.push(format!(
                "the checkpoints begin with line {number}; earlier ones are not in these files"
            )),
            None => {}
            Some(before) if before.body.number + 1 != *number => {
                let (from, to) = (before.body.number + 1, number - 1);
                report.about_line(from, format!("lines {from} to {to} are missing"));
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

fn known_lines(last: Option<i64>, known: i64, report: &mut Report) {
    let last = last.unwrap_or(0);
    if last > known {
        let why = format!(
            "the database knows of {known} lines only: it was set back to an earlier state"
        );
        report.about_line(known + 1, why);
    }
    if last < known {
        report.notes.push(format!(
            "the database has made lines up to {known}; those after {last} are not in these files"
        ));
    }
}

fn recorded(lines: &BTreeMap<i64, Checked>) -> Recorded {
    let mut recorded = Recorded::new();
    for (number, line) in lines {
        for (stream, seq, hash) in &line.body.heads {
            let heads = recorded.entry(stream.clone()).or_default();
            heads.push((*seq, hash.clone(), *number));
        }
    }
    recorded
}

/// Compares one stream with every head that was recorded of it.
fn stream_as_recorded(
    stream: &str,
    heads: &[(i64, String, i64)],
    kept: &Kept,
    report: &mut Report,
) {
    let entries: BTreeMap<i64, &str> =
        kept.entries.iter().map(|(seq, hash)| (*seq, hash.as_str())).collect();
    let Some(end) = entries.keys().next_back().copied() else {
        let last = heads.iter().max_by_key(|(seq, ..)| *seq);
        let Some((seq, hash, line)) = last else { return };
        match &kept.tombstone {
            Some((at, head)) if (at, head) == (seq, hash) => report.aged_out += 1,
            Some((at, _)) if at > seq => report.aged_out += 1,
            Some((at, _)) => report.find(
                stream,
                *at,
                format!(
                    "it aged out under another head than entry {seq}, which line {line} recorded"
                ),
            ),
            None => report.find(
                stream,
                1,
                format!("the whole stream is missing; line {line} recorded it up to entry {seq}"),
            ),
        }
        return;
    };
    let mut good = 0;
    for (seq, hash, line) in heads {
        let why = match entries.get(seq) {
            Some(found) if found == hash => {
                good = *seq;
                continue;
            }
            Some(_) => format!(
                "rewritten: the entry is not the one that line {line} recorded; up to entry {good} \
                 the stream is as recorded"
            ),
            None if *seq > end => {
                format!("truncated: the stream ends at {end}, line {line} recorded this entry")
            }
            None => format!("missing: line {line} recorded this entry"),
        };
        report.find(stream, *seq, why);
    }
}
