//! The product's own secrets, found byte for byte in every form they take on the way.
//!
//! In: the values from the configuration. Out: an automaton over the value itself and its JSON,
//! percent, HTML and base64 forms (at each of the three offsets, so that `user:value` in base64
//! is found as well). Never: values shorter than six characters, which ordinary text contains.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::scan::Span;
use super::window::Reach;

const CHARS_MIN: usize = 6;

pub(super) struct Exact {
    automaton: AhoCorasick,
    longest: usize,
}

impl Exact {
    /// Nothing when no value is long enough.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut all = BTreeSet::new();
        for value in values {
            for value in [value, value.trim()] {
                if value.chars().count() >= CHARS_MIN {
                    forms(value, &mut all);
                }
            }
        }
        let longest = all.iter().map(Vec::len).max()?;
        let automaton =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&all).ok()?;
        Some(Self { automaton, longest })
    }

    /// Adds findings from `at` on; returns up to where the answer is final.
    pub(super) fn walk(
        &self,
        bytes: &[u8],
        at: usize,
        reach: Reach,
        spans: &mut Vec<Span>,
    ) -> usize {
        let mut at = at;
        // From here on a longer form may be cut off.
        let open = bytes.len().saturating_sub(self.longest - 1);
        while at < bytes.len() {
            let input = aho_corasick::Input::new(bytes).range(at..bytes.len());
            match self.automaton.find(input) {
                Some(hit) if reach == Reach::Open && hit.start() >= open => return at.max(open),
                Some(hit) => {
                    spans.push(Span::new(hit.start(), hit.end(), "own_secret"));
                    at = hit.end();
                }
                None if reach == Reach::Whole => return bytes.len(),
                None => return at.max(open),
            }
        }
        at
    }
}

fn forms(value: &str, all: &mut BTreeSet<Vec<u8>>) {
    all.insert(value.as_bytes().to_vec());
    let json = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let once = json(value);
    let go = once.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let twice = json(&once);
    let debug = format!("{value:?}");
    let html = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let texts = [
        once.replace('/', "\\/"),
        json(&go),
        go,
        twice,
        once,
        debug[1..debug.len() - 1].to_owned(),
        html.replace('\'', "&#39;"),
        html.replace('\'', "&#x27;"),
    ];
    all.extend(texts.into_iter().map(String::into_bytes));
    for kept in [&b"-_.~"[..], b"-_.~/", b"-_.~!*'()", b"-_.*"] {
        let upper = percent(value, kept);
        for text in [lower_hex(&upper), upper] {
            all.insert(text.replace("%20", "+").into_bytes());
            all.insert(text.into_bytes());
        }
    }
    for offset in 0..3 {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(value.as_bytes());
        // Only characters that the value alone decides.
        let skip = (offset * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            let core = &text[skip..end.min(text.len())];
            all.insert(core.replace('+', "%2B").replace('/', "%2F").into_bytes());
            all.insert(core.as_bytes().to_vec());
        }
    }
}

fn percent(value: &str, kept: &[u8]) -> String {
    let mut text = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The same with `%2f` in place of `%2F`.
fn lower_hex(percent: &str) -> String {
    let mut digits: usize = 0;
    percent
        .chars()
        .map(|letter| {
            if letter == '%' {
                digits = 2;
                return letter;
            }
            let lowered = if digits > 0 { letter.to_ascii_lowercase() } else { letter };
            digits = digits.saturating_sub(1);
            lowered
        })
        .collect()
}
