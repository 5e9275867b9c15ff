//! Redacts a JSON document in place, without changing a byte of what may stay.
//!
//! In: raw JSON. Out: the document with some values replaced by JSON strings, or nothing when it
//! is not JSON. Never: a result that does not parse where the input did; the judgement itself is
//! that of `json`, so both agree.

use std::borrow::Cow;
use std::ops::Range;

use super::Redactor;
use super::json::{self, PAIR_NAMES, SECRET_DATA_MARKER};

/// A replacement for raw bytes, already in JSON.
type Edit = (Range<usize>, String);

/// One open object or array.
#[derive(Default)]
struct Level {
    is_object: bool,
    /// The key whose value comes next, also inside arrays.
    key: Option<String>,
    /// An object waits for a key, not for a value.
    awaits_key: bool,
    /// What `name` or `key` said, and where `value` stands.
    pair_name: Option<String>,
    pair_value: Option<Range<usize>>,
    kind_is_secret: bool,
    /// Leaves below `data` and `stringData`, hidden if the object turns out to be a Secret.
    data: Vec<Range<usize>>,
    string_data: Vec<Range<usize>>,
    /// This level lies below `data` of the object at that index of the stack.
    data_of: Option<usize>,
}

struct Walk<'a> {
    redactor: &'a Redactor,
    raw: &'a str,
    at: usize,
    levels: Vec<Level>,
    edits: Vec<Edit>,
}

pub(super) fn redact<'a>(redactor: &Redactor, raw: &'a str) -> Option<Cow<'a, str>> {
    let mut walk = Walk { redactor, raw, at: 0, levels: Vec::new(), edits: Vec::new() };
    walk.run()?;
    let mut edits = walk.edits;
    if edits.is_empty() {
        return Some(Cow::Borrowed(raw));
    }
    // The later edit of the same place is the stricter one.
    edits.reverse();
    edits.sort_by_key(|(range, _)| range.start);
    edits.dedup_by(|next, kept| next.0.start < kept.0.end);
    let mut out = String::with_capacity(raw.len());
    let mut at = 0;
    for (range, text) in edits {
        out.push_str(&raw[at..range.start]);
        out.push_str(&text);
        at = range.end;
    }
    out.push_str(&raw[at..]);
    Some(Cow::Owned(out))
}

impl Walk<'_> {
    fn run(&mut self) -> Option<()> {
        let bytes = self.raw.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'{' | b'[' => self.open(*byte == b'{'),
                b'}' | b']' => self.close()?,
                b',' => self.comma(),
                b'"' => self.string()?,
                b':' => self.at += 1,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.scalar()?,
                _ => return None,
            }
        }
        self.levels.is_empty().then_some(())
    }

    fn open(&mut self, is_object: bool) {
        self.at += 1;
        let data_of = self.data_owner();
        // Arrays pass their key on to their items; objects have keys of their own.
        let key = match self.levels.last() {
            Some(level) if !is_object => level.key.clone(),
            Some(_) | None => None,
        };
        self.levels.push(Level {
            is_object,
            awaits_key: is_object,
            key,
            data_of,
            ..Level::default()
        });
    }

    /// The object whose `data` the next value lies below.
    fn data_owner(&self) -> Option<usize> {
        let level = self.levels.last()?;
        let here = level.is_object && level.key.as_deref().is_some_and(json::is_secret_data);
        level.data_of.or(here.then(|| self.levels.len() - 1))
    }

    fn close(&mut self) -> Option<()> {
        self.at += 1;
        let level = self.levels.pop()?;
        let data = if level.kind_is_secret { level.data } else { Vec::new() };
        for range in data.into_iter().chain(level.string_data) {
            self.edits.push((range, format!("\"{SECRET_DATA_MARKER}\"")));
        }
        if let (Some(name), Some(range)) = (level.pair_name, level.pair_value) {
            self.judge(Some(&name), range);
        }
        Some(())
    }

    fn comma(&mut self) {
        self.at += 1;
        if let Some(level) = self.levels.last_mut() {
            level.awaits_key = level.is_object;
        }
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at;
        let end = string_end(self.raw.as_bytes(), start)?;
        self.at = end;
        let waits = self.levels.last().is_some_and(|level| level.awaits_key);
        if !waits {
            self.value(start..end);
            return Some(());
        }
        let key = decode(&self.raw[start..end])?.into_owned();
        if let Cow::Owned(clean) = self.redactor.text(&key) {
            self.edits.push((start..end, encode(&clean)));
        }
        if let Some(level) = self.levels.last_mut() {
            level.awaits_key = false;
            level.key = Some(key);
        }
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let start = self.at;
        let bytes = &self.raw.as_bytes()[start..];
        let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = bytes.iter().take_while(part).count();
        self.at += length;
        if length == 0 {
            return None;
        }
        self.value(start..self.at);
        Some(())
    }

    /// A string, number, bool or null in the place of a value.
    fn value(&mut self, range: Range<usize>) {
        let owner = self.data_owner();
        let is_empty = matches!(&self.raw[range.clone()], "\"\"" | "null" | "true" | "false");
        if let Some(owner) = owner
            && !is_empty
            && let Some(level) = self.levels.get_mut(owner)
        {
            // The key of the owner is still `data` or `stringData`.
            let own = level.key.as_deref() == Some("stringData");
            let list = if own { &mut level.string_data } else { &mut level.data };
            list.push(range.clone());
        }
        let key = self.levels.last().and_then(|level| level.key.clone());
        if let (Some(key), Some(level)) = (key.as_deref(), self.levels.last_mut())
            && level.is_object
        {
            let text = &self.raw[range.clone()];
            if key == "kind" {
                level.kind_is_secret = text == "\"Secret\"";
            } else if PAIR_NAMES.contains(&key) {
                level.pair_name = level.pair_name.take().or(decode(text).map(Cow::into_owned));
            } else if json::is_pair_value(key) {
                level.pair_value = Some(range.clone());
            }
        }
        self.judge(key.as_deref(), range);
    }

    fn judge(&mut self, key: Option<&str>, range: Range<usize>) {
        let raw = &self.raw[range.clone()];
        if !raw.starts_with('"') {
            let number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            let marker = key.filter(|_| number).and_then(|key| json::scalar(key, raw));
            if let Some(marker) = marker {
                self.edits.push((range, encode(&marker)));
            }
            return;
        }
        match decode(raw) {
            Some(text) => {
                if let Some(clean) = json::string(self.redactor, key, &text) {
                    self.edits.push((range, encode(&clean)));
                }
            }
            // A lone surrogate cannot be decoded; hide the string if its raw form is suspicious.
            None => {
                let inner = &raw[1..raw.len() - 1];
                if json::string(self.redactor, key, inner).is_some() {
                    self.edits.push((range, "\"[redacted:undecodable]\"".to_owned()));
                }
            }
        }
    }
}

/// Index behind the closing quote of the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn decode(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(quoted).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn encode(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
