//! Makes untrusted text safe to show.
//!
//! In: any text. Out: text without control, bidirectional or invisible characters, in which nothing
//! becomes a link, a mention or markup. Never: I/O, a decision about what to show.
//!
//! Clients turn bare addresses into links by themselves, in plain text too, so escaping markup is
//! not enough. Links and mentions are broken visibly (`https[:]//db[.]corp[.]com`, `[@]here`): an
//! invisible character would hide in what people copy into a shell. A dot is broken before every
//! word that could be a top-level domain; `PLAIN_ENDINGS` keeps common file and unit names whole.

use crate::model::text::is_invisible;
use std::borrow::Cow;

/// Endings that operators read often and that are no top-level domain (IANA's root zone).
const PLAIN_ENDINGS: [&str; 32] = [
    "bak",
    "cfg",
    "cluster",
    "conf",
    "crt",
    "csv",
    "err",
    "example",
    "gz",
    "html",
    "ini",
    "internal",
    "json",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "log",
    "mount",
    "out",
    "pem",
    "pid",
    "scope",
    "service",
    "slice",
    "sock",
    "socket",
    "svc",
    "tar",
    "timer",
    "toml",
    "yaml",
];

/// More than any channel shows of one text; the rest is not even read, as it may be endless.
const TEXT_CHARS_MAX: usize = 60_000;
/// The same for text on one line.
const LINE_CHARS_MAX: usize = 4_000;

/// Text of several lines: no control characters but newlines, no invisible ones, at most one empty
/// line in a row.
pub fn plain(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let unix = head(text, TEXT_CHARS_MAX).replace("\r\n", "\n");
    for line in unix.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        let visible: String = line.chars().filter_map(visible).collect();
        let visible = visible.trim_end();
        let after_empty = lines.last().is_none_or(String::is_empty);
        if !(visible.trim().is_empty() && after_empty) {
            lines.push(visible.to_owned());
        }
    }
    lines.join("\n").trim_end().to_owned()
}

/// The same on one line, with single spaces.
pub fn one_line(text: &str) -> String {
    plain(&head(text, LINE_CHARS_MAX)).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// [`plain`] text in which no client finds a link or a mention.
pub fn inert(text: &str) -> String {
    let text: Vec<char> = plain(text).chars().collect();
    let mut out = String::with_capacity(text.len() + 16);
    for (at, &c) in text.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|i| text.get(i)).copied();
        let rest = &text[at + 1..];
        let breaks = match c {
            '@' | '＠' | '﹫' => true,
            ':' => rest.starts_with(&['/', '/']),
            '.' => before.is_some_and(in_name) && (begins_domain(rest) || after_www(&text[..at])),
            _ => false,
        };
        if breaks {
            out.extend(['[', c, ']']);
        } else {
            out.push(c);
        }
    }
    out
}

/// [`inert`] text on one line.
pub fn inert_line(text: &str) -> String {
    inert(&one_line(text))
}

/// At most `chars_max` characters, the last an ellipsis where something was cut.
pub fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", before_half_name(&kept))
}

/// Escapes already inert text for Slack (`&`, `<`, `>`, as its formatting reference asks) and cuts
/// it to `units_max`, counted after escaping in UTF-16 units: never less than Slack counts.
pub fn slack(inert: &str, units_max: usize) -> String {
    let (mut out, mut used) = (String::with_capacity(inert.len()), 0);
    // Where the text ends if the next character does not fit any more.
    let mut cut_at = 0;
    for c in inert.chars() {
        let mut buffer = [0; 4];
        let escaped = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => c.encode_utf8(&mut buffer),
        };
        let units = escaped.encode_utf16().count();
        if used + units > units_max {
            out.truncate(cut_at);
            out.truncate(before_half_name(&out).len());
            if units_max > 0 {
                out.push('…');
            }
            return out;
        }
        out.push_str(escaped);
        used += units;
        if used < units_max {
            cut_at = out.len();
        }
    }
    out
}

/// Escapes already inert text for HTML, in text and in quoted attributes.
pub fn html(inert: &str) -> String {
    let mut out = String::with_capacity(inert.len());
    for c in inert.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// An address that may become active: http or https with a host, normalised, at most `bytes_max`.
pub fn link(url: &str, bytes_max: usize) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    // A name before the host is how a link shows one place and leads to another.
    let honest = url.username().is_empty() && url.password().is_none();
    let text = String::from(url).replace('\'', "%27").replace('|', "%7C");
    let quiet = !text.contains(['"', '<', '>', '`']);
    (web && honest && quiet && text.len() <= bytes_max).then_some(text)
}

/// Drops a last word that follows a dot: half of a harmless ending may be a domain (`.se` of
/// `.service`).
fn before_half_name(kept: &str) -> &str {
    match kept.rsplit_once('.') {
        Some((before, half)) if half.chars().all(char::is_alphanumeric) => before.trim_end(),
        Some(_) | None => kept.trim_end(),
    }
}

fn head(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => Cow::Owned(format!("{}…", before_half_name(&text[..at]))),
        None => Cow::Borrowed(text),
    }
}

fn visible(c: char) -> Option<char> {
    match c {
        '\t' | '\u{b}' | '\u{c}' => Some(' '),
        c if c.is_control() || is_invisible(c) => None,
        c => Some(c),
    }
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || !c.is_ascii()
}

/// Whether the word after a dot could end a host name: letters, or an encoded name.
fn begins_domain(rest: &[char]) -> bool {
    let Some(first) = rest.first() else { return false };
    if !first.is_ascii() {
        return first.is_alphabetic();
    }
    let word: String = rest.iter().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let encoded = word.eq_ignore_ascii_case("xn") && rest[2..].starts_with(&['-', '-']);
    let letters = word.len() >= 2 && word.chars().all(|c| c.is_ascii_alphabetic());
    let known = PLAIN_ENDINGS.iter().any(|ending| word.eq_ignore_ascii_case(ending));
    encoded || (letters && !known)
}

fn after_www(before: &[char]) -> bool {
    let tail: String = before.iter().rev().take(3).collect();
    tail.eq_ignore_ascii_case("www")
}

#[cfg(test)]
mod tests;
