//! Kubernetes Secrets in YAML and JSON text: every value of `data` and `stringData`.
//!
//! In: the places of `kind` and `data`. Out: the spans of the values; the names stay. As `data`
//! may come before `kind`, the rule looks on to the object's `kind`, but not past the next `data`,
//! so that repeated blocks cost no more than their length.

use super::quote::Quote;
use super::scan::{Found, Span};
use super::value::{Form, is_stand_in};
use super::window::{Window, is_name};

/// What the last `kind` said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Indentation of `kind: Secret` in YAML.
    yaml: Option<usize>,
    /// `"kind":"Secret"` in JSON.
    json: bool,
}

const BLOCK_BYTES_MAX: usize = 64 * 1024;
const KIND: &str = "kubernetes_secret";

/// Indentation of the key at `start`, where `- ` counts like blanks.
fn indent(window: &Window<'_>, start: usize) -> Option<usize> {
    let left = window.run_left(start, 64, |byte| byte == b' ' || byte == b'-');
    let fresh = window.before(left, 1).is_none_or(|byte| byte == b'\n');
    fresh.then_some(start - left)
}

pub(super) fn yaml_kind(window: &Window<'_>, start: usize, end: usize, state: &mut State) {
    let Some(indent) = indent(window, start) else { return };
    let at = window.skip_blanks(end);
    let secret = is_secret_word(window, at);
    state.yaml = secret.then_some(indent);
}

fn is_secret_word(window: &Window<'_>, at: usize) -> bool {
    let at = at + usize::from(matches!(window.at(at), Some(b'"' | b'\'')));
    window.has_exactly(at, b"Secret")
        && !window.at(at + 6).is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// `data:` or `stringData:` with an indented block below.
pub(super) fn yaml_data(
    window: &Window<'_>,
    start: usize,
    end: usize,
    state: State,
    found: &mut Found,
) {
    let own = matches!(window.bytes[start], b's' | b'S');
    let key = if own { start } else { start + 1 };
    let Some(indent) = indent(window, key) else { return };
    let line = window.run(end, 16, |byte| byte == b' ' || byte == b'\r');
    if window.at(line) != Some(b'\n') {
        return;
    }
    let mut spans = Vec::new();
    let after = block(window, line + 1, indent, &mut spans);
    if spans.is_empty() {
        return;
    }
    if own || state.yaml == Some(indent) || kind_follows(window, after, indent) {
        found.secret_name_seen = true;
        for span in spans {
            found.push(span);
        }
    }
}

/// Collects the values of a block deeper than `indent`; returns where it ends.
fn block(window: &Window<'_>, from: usize, indent: usize, spans: &mut Vec<Span>) -> usize {
    let mut at = from;
    let mut entry_indent = None;
    while at - from < BLOCK_BYTES_MAX && window.at(at).is_some() {
        let word = window.run(at, 128, |byte| byte == b' ');
        let line_end = window.run(word, BLOCK_BYTES_MAX, |byte| byte != b'\n');
        let depth = word - at;
        if word == line_end {
            at = line_end + 1;
            continue;
        }
        if depth <= indent {
            return at;
        }
        let entry = *entry_indent.get_or_insert(depth);
        if depth > entry {
            // Continued: part of a block scalar.
            push(window, word, line_end, spans);
        } else {
            let name = window.run(word, 253, |byte| is_name(byte) || matches!(byte, b'"' | b'\''));
            if window.at(name) != Some(b':') {
                return at;
            }
            let value = window.skip_blanks(name + 1);
            if !matches!(window.at(value), Some(b'|' | b'>' | b'\n')) {
                push(window, value, line_end, spans);
            }
        }
        at = line_end + 1;
    }
    at
}

fn push(window: &Window<'_>, start: usize, line_end: usize, spans: &mut Vec<Span>) {
    let (start, end) = match Quote::at(window, start) {
        Some(quote) => (start + quote.len(), quote.close(window, start + quote.len())),
        None => (start, line_end),
    };
    let end = if window.before(end, 1) == Some(b'\r') { end - 1 } else { end };
    if end > start && !is_stand_in(window.slice(start, end), Form::Quoted) {
        spans.push(Span::new(start, end, KIND));
    }
}

/// Looks for `kind: Secret` at the same indentation before the object ends.
fn kind_follows(window: &Window<'_>, from: usize, indent: usize) -> bool {
    let mut at = from;
    while at - from < BLOCK_BYTES_MAX && window.at(at).is_some() {
        let word = window.run(at, 128, |byte| byte == b' ');
        if word - at == indent {
            if window.has_exactly(word, b"kind:") {
                return is_secret_word(window, window.skip_blanks(word + 5));
            }
            if window.has_exactly(word, b"data:") || window.has_exactly(word, b"---") {
                return false;
            }
        } else if word - at < indent && window.at(word).is_some_and(|byte| byte != b'\n') {
            return false;
        }
        at = window.run(word, BLOCK_BYTES_MAX, |byte| byte != b'\n') + 1;
    }
    false
}

pub(super) fn json_kind(window: &Window<'_>, end: usize, state: &mut State, found: &mut Found) {
    let Some(value) = json_value(window, end) else { return };
    state.json =
        Quote::at(window, value).is_some_and(|quote| is_secret_word(window, value + quote.len()));
    found.secret_name_seen |= state.json;
}

/// Behind `":` and blanks.
fn json_value(window: &Window<'_>, after_quote: usize) -> Option<usize> {
    let blank = |byte: u8| byte.is_ascii_whitespace();
    let colon = window.run(after_quote, 16, blank);
    (window.at(colon)? == b':').then(|| window.run(colon + 1, 16, blank))
}

/// A flat object of strings after `"data"` or `"stringData"`.
pub(super) fn json_data(
    window: &Window<'_>,
    start: usize,
    end: usize,
    state: State,
    found: &mut Found,
) {
    let own = window.slice(start.saturating_sub(7), start).eq_ignore_ascii_case(b"\"string");
    if !own && window.before(start, 1) != Some(b'"') {
        return;
    }
    let Some(open) = json_value(window, end) else { return };
    if window.at(open) != Some(b'{') {
        return;
    }
    let gap = |byte: u8| byte.is_ascii_whitespace() || byte == b',';
    let gaps = |from: usize| {
        let mut at = window.run(from, 256, gap);
        while window.has_exactly(at, b"\\n") {
            at = window.run(at + 2, 256, gap);
        }
        at
    };
    let mut spans = Vec::new();
    let mut at = gaps(open + 1);
    while at - open < BLOCK_BYTES_MAX {
        let Some(quote) = Quote::at(window, at) else { break };
        let name_end = quote.close(window, at + quote.len());
        let Some(value) = json_value(window, name_end + quote.len()) else { return };
        let Some(quote) = Quote::at(window, value) else { return };
        let start = value + quote.len();
        let close = quote.close(window, start);
        if close > start && !is_stand_in(window.slice(start, close), Form::Quoted) {
            spans.push(Span::new(start, close, KIND));
        }
        at = gaps(close + quote.len());
    }
    if spans.is_empty() {
        return;
    }
    if own || state.json || json_kind_follows(window, at) {
        found.secret_name_seen = true;
        for span in spans {
            found.push(span);
        }
    }
}

fn json_kind_follows(window: &Window<'_>, from: usize) -> bool {
    let mut at = from;
    // `from` is where the data object closes; its parent closes at depth -1. Braces inside strings
    // are balanced in practice (an object's last applied form).
    let mut depth = 1_i32;
    while at - from < 8 * 1024 && window.at(at).is_some() {
        let byte = window.bytes[at];
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
        if matches!(byte, b'd' | b'k')
            && matches!(window.before(at, 1), Some(b'"'))
            && (window.has_exactly(at, b"data") || window.has_exactly(at, b"kind"))
        {
            let Some(quote) = Quote::at(window, at + 4) else {
                at += 1;
                continue;
            };
            let Some(value) = json_value(window, at + 4 + quote.len()) else {
                at += 1;
                continue;
            };
            if byte == b'd' {
                return false;
            }
            return Quote::at(window, value)
                .is_some_and(|quote| is_secret_word(window, value + quote.len()));
        }
        at += 1;
    }
    false
}
