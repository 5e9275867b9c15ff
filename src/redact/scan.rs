//! Walks a text once: an Aho-Corasick pass over telling literals, then the rule of each literal.
//!
//! In: a window and where the last walk stopped. Out: spans to hide, in order, and how far the
//! answer is final. Rules read at most a bounded stretch to the left, hide nothing further left
//! than `SPAN_LEFT_BYTES`, and what they read far to the right they hide, which keeps the walk
//! linear. To add a rule: a literal in `anchors`, an arm in `examine`.

use super::anchors::{self, Rule};
use super::window::Window;
use super::{keyed, manifest, places, tokens};

/// How far left of its literal a rule may hide text (`user:pass@tcp(…`).
pub(super) const SPAN_LEFT_BYTES: usize = 160;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: &'static str,
    pub(super) wrap: Wrap,
}

impl Span {
    pub(super) fn new(start: usize, end: usize, kind: &'static str) -> Self {
        Self { start, end, kind, wrap: Wrap::None }
    }
}

/// Quotes to put around the marker where a JSON number stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    None,
    Quotes { slashes: usize },
}

/// A secret that starts at `start` of a value and ends with it.
pub(super) struct Finding {
    pub(super) start: usize,
    pub(super) kind: &'static str,
}

/// What rules hand back.
#[derive(Default)]
pub(super) struct Found {
    pub(super) spans: Vec<Span>,
    /// A secret-like name or a sign of a secret object was seen, whatever its value.
    pub(super) secret_name_seen: bool,
}

impl Found {
    pub(super) fn push(&mut self, span: Span) {
        if span.end > span.start {
            self.spans.push(span);
        }
    }
}

/// Where a walk stands.
#[derive(Default, Clone, Copy)]
pub(super) struct Progress {
    pub(super) at: usize,
    /// Where the last finding ended.
    pub(super) seam: usize,
    pub(super) manifest: manifest::State,
}

/// Walks on; afterwards everything before `progress.at` is decided.
pub(super) fn walk(window: &Window<'_>, progress: &mut Progress, found: &mut Found) {
    let anchors = anchors::builtin();
    window.set_seam(progress.seam);
    let length = window.bytes.len();
    // From here on a longer literal may be cut off.
    let open = length.saturating_sub(anchors.longest - 1);
    while progress.at < length {
        let input = aho_corasick::Input::new(window.bytes).range(progress.at..length);
        let Some(hit) = anchors.automaton.find(input) else {
            progress.at = if window.is_whole() { length } else { progress.at.max(open) };
            return;
        };
        if !window.is_whole() && hit.start() >= open {
            progress.at = progress.at.max(open);
            return;
        }
        let before = found.spans.len();
        let state = progress.manifest;
        let rule = anchors.rules[hit.pattern().as_usize()];
        examine(rule, window, hit.start(), hit.end(), &mut progress.manifest, found);
        if window.take_short() {
            found.spans.truncate(before);
            progress.manifest = state;
            progress.at = hit.start();
            return;
        }
        let reached = found.spans[before..].iter().map(|span| span.end).max();
        if let Some(reached) = reached {
            progress.seam = reached;
            window.set_seam(reached);
        }
        // A literal that led to nothing must not swallow one that starts within it.
        progress.at = reached.unwrap_or(0).max(hit.start() + 1);
    }
}

fn examine(
    rule: Rule,
    window: &Window<'_>,
    start: usize,
    end: usize,
    state: &mut manifest::State,
    found: &mut Found,
) {
    match rule {
        Rule::Name => keyed::examine(window, start, end, found),
        Rule::Token(token) => tokens::prefixed(window, start, token, found),
        Rule::Jwt => tokens::jwt(window, start, found),
        Rule::Telegram => tokens::telegram(window, start, found),
        Rule::AzureClient => tokens::azure_client(window, start, found),
        Rule::Webhook => tokens::webhook(window, start, end, found),
        Rule::Hash => tokens::hash(window, start, end, found),
        Rule::Pem => tokens::pem(window, start, end, found),
        Rule::PemBase64 => tokens::pem_base64(window, start, found),
        Rule::Url => places::url(window, start, end, found),
        Rule::Dsn => places::dsn(window, start, found),
        Rule::Oracle => places::oracle(window, end, found),
        Rule::Scheme => places::scheme(window, start, end, found),
        Rule::Command(flags) => places::command(window, start, end, flags, found),
        Rule::Identified => places::identified(window, end, found),
        Rule::Pgpass => places::pgpass(window, start, end, found),
        Rule::QueryKey => places::query(window, start, end, found),
        Rule::YamlKind => manifest::yaml_kind(window, start, end, state),
        Rule::YamlData => manifest::yaml_data(window, start, end, *state, found),
        Rule::JsonKind => manifest::json_kind(window, end, state, found),
        Rule::JsonData => manifest::json_data(window, start, end, *state, found),
        Rule::Escape => {
            let hex = window.slice(end, end + 2);
            // Go writes `<`, `>` and `&` this way; other ASCII hides something.
            let common = [&b"3c"[..], b"3e", b"26", b"3C", b"3E"].contains(&hex);
            found.secret_name_seen |= !common;
        }
    }
}

/// Merges touching findings of both layers; overlapping ones become one.
pub(super) fn merge(spans: &mut Vec<Span>) {
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end), span.kind));
    spans.dedup_by(|next, kept| {
        let overlaps = next.start < kept.end;
        if overlaps {
            kept.end = kept.end.max(next.end);
        }
        overlaps
    });
}

/// Writes `text[from..to]` with its spans replaced. Spans are merged and lie within.
pub(super) fn write(text: &str, from: usize, to: usize, spans: &[Span], out: &mut String) {
    let mut at = from;
    for span in spans {
        let start = text.floor_char_boundary(span.start).max(at);
        let end = text.ceil_char_boundary(span.end);
        out.push_str(&text[at..start]);
        let quote = match span.wrap {
            Wrap::None => String::new(),
            Wrap::Quotes { slashes } => format!("{}\"", "\\".repeat(slashes)),
        };
        for part in [quote.as_str(), "[redacted:", span.kind, "]", quote.as_str()] {
            out.push_str(part);
        }
        at = end.max(start);
    }
    out.push_str(&text[at..to.max(at)]);
}
