//! The bytes a rule may look at, and the memory of having looked past their end.
//!
//! In: a buffer and whether it is the whole text. Out: bytes, runs and literal comparisons.
//! Never: reading past the end without noting it, because a stream must then wait for more text
//! before it may trust the rule's answer.

use std::cell::Cell;

/// How far left of an anchor a rule may read; a stream keeps this much of what it already gave out.
pub(super) const LEFT_BYTES: usize = 256;

pub(super) struct Window<'a> {
    pub(super) bytes: &'a [u8],
    reach: Reach,
    short: Cell<bool>,
    /// Where the last finding ended: a word may start there, as it does behind the marker that a
    /// second pass sees.
    seam: Cell<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The text ends where the buffer ends.
    Whole,
    /// More text may follow.
    Open,
}

impl<'a> Window<'a> {
    pub(super) fn new(text: &'a str, reach: Reach) -> Self {
        Self { bytes: text.as_bytes(), reach, short: Cell::new(false), seam: Cell::new(0) }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.reach == Reach::Whole
    }

    /// Says whether a rule asked for bytes that have not arrived, and forgets it.
    pub(super) fn take_short(&self) -> bool {
        self.short.replace(false)
    }

    pub(super) fn seam(&self) -> usize {
        self.seam.get()
    }

    pub(super) fn set_seam(&self, index: usize) {
        self.seam.set(index);
    }

    pub(super) fn at(&self, index: usize) -> Option<u8> {
        let byte = self.bytes.get(index).copied();
        if byte.is_none() && self.reach == Reach::Open {
            self.short.set(true);
        }
        byte
    }

    /// The byte `back` places left of `index`, within the permitted look-behind.
    pub(super) fn before(&self, index: usize, back: usize) -> Option<u8> {
        assert!(back <= LEFT_BYTES);
        index.checked_sub(back).and_then(|at| self.bytes.get(at).copied())
    }

    /// Compares ignoring ASCII case.
    pub(super) fn has(&self, index: usize, literal: &[u8]) -> bool {
        literal.iter().enumerate().all(|(offset, wanted)| {
            self.at(index + offset).is_some_and(|byte| byte.eq_ignore_ascii_case(wanted))
        })
    }

    pub(super) fn has_exactly(&self, index: usize, literal: &[u8]) -> bool {
        literal
            .iter()
            .enumerate()
            .all(|(offset, wanted)| self.at(index + offset).is_some_and(|byte| byte == *wanted))
    }

    /// End of the run of accepted bytes that starts at `from`, at most `max` long.
    pub(super) fn run(&self, from: usize, max: usize, accept: impl Fn(u8) -> bool) -> usize {
        let mut index = from;
        while index - from < max && self.at(index).is_some_and(&accept) {
            index += 1;
        }
        index
    }

    /// Start of the run of accepted bytes that ends at `to`, at most `max` long.
    pub(super) fn run_left(&self, to: usize, max: usize, accept: impl Fn(u8) -> bool) -> usize {
        let mut index = to;
        while to - index < max && self.before(index, 1).is_some_and(&accept) {
            index -= 1;
        }
        index
    }

    pub(super) fn skip_blanks(&self, from: usize) -> usize {
        self.run(from, 64, |byte| byte == b' ' || byte == b'\t')
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default()
    }

    /// True where a word may start: not inside an identifier, or just after an escape such as
    /// `\n` or `%3D` whose last letter only looks like one.
    pub(super) fn starts_word(&self, index: usize) -> bool {
        let Some(previous) = self.before(index, 1) else { return true };
        if index == self.seam() {
            return true;
        }
        if !previous.is_ascii_alphanumeric() && previous != b'_' {
            return true;
        }
        match self.before(index, 2) {
            Some(b'\\') => return matches!(previous, b'n' | b'r' | b't'),
            Some(byte) if !byte.is_ascii_hexdigit() => return false,
            Some(_) | None => {}
        }
        let escaped = previous.is_ascii_hexdigit();
        match self.before(index, 3) {
            Some(b'%') => escaped,
            Some(_) | None => {
                let unicode = self.slice(index.saturating_sub(6), index);
                escaped && unicode.len() == 6 && unicode.starts_with(b"\\u")
            }
        }
    }
}

/// Bytes that names of settings are made of.
pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Bytes that end an unquoted word whatever surrounds it.
pub(super) fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>')
}
