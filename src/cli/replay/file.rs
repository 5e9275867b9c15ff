//! Reads an exported incident and checks what it says of itself.

use crate::model::call::sha256_hex;
use crate::model::timeline::{Entry, Stored, chain_hash};
use crate::report::export::{Export, FORMAT, VERSION};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// An incident that can be replayed.
pub struct Recorded {
    pub export: Export,
    pub entries: Vec<Stored>,
    /// Kinds of entries that this version does not know; they are kept and change nothing.
    pub unknown: Vec<String>,
}

/// Whether the file is as it was written.
#[derive(Serialize, Debug, Default)]
pub struct Chain {
    pub entries: usize,
    /// Entries whose hash cannot be checked, since something was taken out of them.
    pub redacted: usize,
    pub unknown_kinds: Vec<String>,
    /// What does not fit, the first of each kind.
    pub broken: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// Why it cannot be replayed.
pub fn read(path: &Path) -> Result<Recorded, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let not_ours = |why: &str| format!("{} is no exported incident: {why}", path.display());
    let value: Value = serde_json::from_str(&text).map_err(|e| not_ours(&e.to_string()))?;
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(not_ours("its `format` is another one"));
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version <= u64::from(VERSION) => {}
        _ => return Err(not_ours("it was written by a later version; use that one")),
    }
    let export: Export = serde_json::from_value(value).map_err(|e| not_ours(&e.to_string()))?;
    let (mut entries, mut unknown) = (Vec::new(), Vec::new());
    for exported in &export.entries {
        let entry: Entry = serde_json::from_str(&exported.body)
            .map_err(|error| not_ours(&format!("entry {}: {error}", exported.seq)))?;
        if let Entry::Unknown(_) = &entry {
            unknown.push(entry.kind().to_owned());
        }
        let (seq, at_ms, hash) = (exported.seq, exported.at_ms, exported.hash.clone());
        entries.push(Stored { seq, at_ms, entry, hash });
    }
    unknown.sort();
    unknown.dedup();
    Ok(Recorded { export, entries, unknown })
}

/// Recomputes the chain and the hashes of the texts.
pub fn check(recorded: &Recorded) -> Chain {
    let export = &recorded.export;
    let mut chain = Chain {
        entries: export.entries.len(),
        redacted: export.entries.iter().filter(|entry| entry.redacted).count(),
        unknown_kinds: recorded.unknown.clone(),
        broken: Vec::new(),
    };
    chain.broken.extend(first_break(export));
    let end = export.entries.last().map_or(0, |entry| entry.seq);
    if end != export.incident.seq {
        chain.broken.push(format!("the chain ends at {end} instead of {}", export.incident.seq));
    }
    for (name, text) in export.outputs.iter().filter(|(_, text)| !text.redacted) {
        if sha256_hex(text.text.as_bytes()) != *name {
            chain.broken.push(format!("output {name} was changed"));
        }
    }
    chain
}

fn first_break(export: &Export) -> Option<String> {
    let stream = format!("incident/{}", export.incident.id);
    let (mut previous, mut last) = ("", 0);
    for entry in &export.entries {
        let seq = entry.seq;
        if seq != last + 1 {
            return Some(format!("entry {} is missing", last + 1));
        }
        let hash = chain_hash(previous, &stream, seq, entry.at_ms, &entry.body);
        if !entry.redacted && hash != entry.hash {
            return Some(format!("entry {seq} or one before it was changed"));
        }
        let body: Value = serde_json::from_str(&entry.body).unwrap_or_default();
        if body.get("kind").and_then(Value::as_str) != Some(entry.kind.as_str()) {
            return Some(format!("entry {seq} is filed as '{}', which it is not", entry.kind));
        }
        (previous, last) = (&entry.hash, seq);
    }
    None
}
