//! Finds values that stand beside a secret-like name, in whatever notation.
//!
//! In: the place of a telling word (`passw`, `token`, `secret`, …). Out: the span of the value.
//! Notations: `key=value`, `key: value`, `"key":"value"` at any depth of escaping, `key => value`,
//! `--key value`, `<key>value</key>`, `key 'value'` in SQL, `name: KEY` followed by `value: …`,
//! and `login x password y` in netrc files.

use super::names::{self, Meaning};
use super::quote::{Quote, bare_end};
use super::scan::{Finding, Found, Span, Wrap};
use super::value::{self, Form};
use super::window::{Window, is_name};

/// What stands between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Equals,
    Colon,
    /// White space after a command line flag, or after a netrc word.
    Blank,
    /// A quote right after the word: `PASSWORD 'x'`.
    Quote,
    /// `<key>`.
    Element,
}

struct Place {
    separator: Separator,
    value_at: usize,
    wrap: Wrap,
}

pub(super) fn examine(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let name_start = window.run_left(start, 64, is_name);
    let seam = Some(window.seam()).filter(|seam| *seam <= start).unwrap_or(0);
    let name_start = name_start.max(seam);
    if window.slice(name_start.saturating_sub(9), name_start).ends_with(b"[redacted:") {
        return;
    }
    if window.before(name_start, 1) == Some(b':')
        && window.slice(name_start.saturating_sub(10), name_start).ends_with(b"[redacted:")
    {
        return;
    }
    let name_end = window.run(end, 48, is_name);
    let name_end = trim_right(window, end, name_end);
    let Some(place) = place(window, name_start, name_end) else { return };
    let Some(meaning) = meaning(window, name_start, name_end) else { return };
    if place.separator == Separator::Colon && is_no_name(window, name_start, name_end) {
        return;
    }
    if place.separator == Separator::Quote && meaning != Meaning::Password {
        return;
    }
    found.secret_name_seen = true;
    let after_colon = matches!(place.separator, Separator::Colon | Separator::Blank);
    match meaning {
        Meaning::Authorization => authorization(window, &place, found),
        Meaning::Cookie | Meaning::SetCookie => cookie(window, &place, meaning, found),
        Meaning::Password
        | Meaning::Pass
        | Meaning::Pwd
        | Meaning::Token
        | Meaning::Secret
        | Meaning::SecretName
        | Meaning::Key => plain(window, &place, meaning, after_colon, found),
    }
}

/// A segment of a colon-separated path (`arn:…:secret:x`), or a test runner's `PASS: x`.
fn is_no_name(window: &Window<'_>, start: usize, end: usize) -> bool {
    matches!(window.before(start, 1), Some(b':' | b'/'))
        || window.slice(start, end) == b"PASS" && window.at(end) == Some(b':')
}

/// A name does not end in punctuation: `password.` closes a sentence, `token-` is cut off.
fn trim_right(window: &Window<'_>, least: usize, mut end: usize) -> usize {
    while end > least && matches!(window.before(end, 1), Some(b'.' | b'-')) {
        end -= 1;
    }
    end
}

fn meaning(window: &Window<'_>, start: usize, end: usize) -> Option<Meaning> {
    let name = window.slice(start, end);
    // An escape such as `\n` or `%3D` may touch the name from the left.
    let name = match (window.before(start, 1), name.first()) {
        (Some(b'\\'), Some(b'n' | b'r' | b't')) => &name[1..],
        (Some(b'\\'), Some(b'u')) if name.len() > 5 => &name[5..],
        (Some(b'%'), Some(_)) if name.len() > 2 => &name[2..],
        _ => name,
    };
    if let Some(meaning) = names::meaning(name) {
        return Some(meaning);
    }
    // `API key: …` and `secret key = …`: the word before the blank belongs to the name.
    if !name.eq_ignore_ascii_case(b"key") || window.before(start, 1) != Some(b' ') {
        return None;
    }
    let word = window.run_left(start - 1, 16, |byte| byte.is_ascii_alphabetic());
    names::meaning(window.slice(word, end))
}

fn place(window: &Window<'_>, start: usize, end: usize) -> Option<Place> {
    let next = window.at(end)?;
    if next == b'>' && window.before(start, 1) == Some(b'<') {
        return Some(Place { separator: Separator::Element, value_at: end + 1, wrap: Wrap::None });
    }
    let (after, wrap) = match Quote::at(window, end) {
        Some(quote) => {
            let wrap = match quote {
                Quote::Plain { mark: b'"', slashes } => Wrap::Quotes { slashes },
                Quote::Plain { .. } | Quote::Coded(_) => Wrap::None,
            };
            (end + quote.len(), wrap)
        }
        None => (end, Wrap::None),
    };
    let bracket = usize::from(window.at(after) == Some(b']'));
    let at = window.skip_blanks(after + bracket);
    if let Some((separator, length)) = separator(window, at) {
        let value_at = window.skip_blanks(at + length);
        return Some(Place { separator, value_at, wrap });
    }
    if let Some(value_at) = pair_value(window, after) {
        return Some(Place { separator: Separator::Equals, value_at, wrap: Wrap::None });
    }
    if at == after || after != end {
        return None;
    }
    if window.at(at) == Some(b'\'') {
        return Some(Place { separator: Separator::Quote, value_at: at, wrap: Wrap::None });
    }
    let flag = window.bytes.get(start) == Some(&b'-') && window.starts_word(start);
    let blank = flag || follows_login(window, start);
    (blank && window.at(at) != Some(b'-')).then_some(Place {
        separator: Separator::Blank,
        value_at: at,
        wrap: Wrap::None,
    })
}

fn separator(window: &Window<'_>, at: usize) -> Option<(Separator, usize)> {
    const SPELLINGS: &[(&[u8], Separator)] = &[
        (b"=>", Separator::Equals),
        (b":=", Separator::Equals),
        (b"::", Separator::Blank),
        (b"==", Separator::Blank),
        (b"=", Separator::Equals),
        (b":", Separator::Colon),
        (b"%3D", Separator::Equals),
        (b"%3A", Separator::Colon),
        (b"\\u003d", Separator::Equals),
        (b"\\u003a", Separator::Colon),
        (b"&#61;", Separator::Equals),
        (b"&equals;", Separator::Equals),
    ];
    if !matches!(window.at(at)?, b'=' | b':' | b'%' | b'\\' | b'&') {
        return None;
    }
    let (spelling, separator) = SPELLINGS.iter().find(|(s, _)| window.has(at, s))?;
    // `::` is a path and `==` a comparison.
    (*separator != Separator::Blank).then_some((*separator, spelling.len()))
}

/// `name: KEY` followed by `value: …`, as in container environments.
fn pair_value(window: &Window<'_>, after: usize) -> Option<usize> {
    let gap = |byte: u8| byte.is_ascii_whitespace() || byte == b',';
    let mut at = window.run(after, 80, gap);
    if window.has_exactly(at, b"\\n") {
        at = window.run(at + 2, 80, gap);
    }
    if at == after {
        return None;
    }
    at += Quote::at(window, at).map_or(0, Quote::len);
    if !window.has(at, b"value") {
        return None;
    }
    at += b"value".len();
    at += Quote::at(window, at).map_or(0, Quote::len);
    at = window.skip_blanks(at);
    matches!(window.at(at)?, b':' | b'=').then(|| window.skip_blanks(at + 1))
}

/// `login alice password …`, the netrc order.
fn follows_login(window: &Window<'_>, start: usize) -> bool {
    let blank = |byte: u8| byte.is_ascii_whitespace();
    let gap = window.run_left(start, 16, blank);
    let user = window.run_left(gap, 64, |byte| !blank(byte));
    let before = window.run_left(user, 16, blank);
    gap < start && window.slice(before.saturating_sub(5), before).eq_ignore_ascii_case(b"login")
}

/// Reads the value: its span without quotes, its form.
fn read(window: &Window<'_>, place: &Place, after_colon: bool) -> (usize, usize, Form) {
    let mut at = place.value_at;
    if place.separator == Separator::Element {
        let end = window.run(at, 4096, |byte| !matches!(byte, b'<' | b'\n'));
        return (at, end, Form::Quoted);
    }
    if window.at(at) == Some(b'[')
        && (Quote::at(window, at + 1).is_some() || !window.has(at, b"[redacted"))
    {
        at += 1;
    }
    // Python's b'…', r'…', u'…'.
    if matches!(window.at(at), Some(b'b' | b'r' | b'u'))
        && matches!(window.at(at + 1), Some(b'\'' | b'"'))
    {
        at += 1;
    }
    if let Some(quote) = Quote::at(window, at) {
        let start = at + quote.len();
        return (start, quote.close(window, start), Form::Quoted);
    }
    if matches!(window.at(at), Some(b'|' | b'>'))
        && let Some((start, end)) = block(window, at)
    {
        return (start, end, Form::Quoted);
    }
    let end = bare_end(window, at);
    let next = window.skip_blanks(end);
    let more = next > end && window.at(next).is_some_and(|byte| byte.is_ascii_alphabetic());
    let form = if after_colon && more { Form::Prose } else { Form::Bare };
    (at, end, form)
}

/// First line of a YAML block scalar and those indented like it.
fn block(window: &Window<'_>, at: usize) -> Option<(usize, usize)> {
    let head = window.run(at + 1, 3, |byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'));
    if window.at(head)? != b'\n' {
        return None;
    }
    let start = window.run(head + 1, 64, |byte| byte == b' ');
    let indent = start - head - 1;
    if indent == 0 {
        return None;
    }
    let line = |from: usize| window.run(from, 4096, |byte| byte != b'\n');
    let mut end = line(start);
    while end - start < super::quote::VALUE_BYTES_MAX
        && window.at(end) == Some(b'\n')
        && window.run(end + 1, indent, |byte| byte == b' ') == end + 1 + indent
    {
        end = line(end + 1 + indent);
    }
    Some((start, end))
}

fn plain(
    window: &Window<'_>,
    place: &Place,
    meaning: Meaning,
    after_colon: bool,
    found: &mut Found,
) {
    let (start, mut end, form) = read(window, place, after_colon);
    if place.separator == Separator::Colon && form == Form::Bare && ends_sentence(window, end) {
        end -= 1;
    }
    let text = window.slice(start, end);
    // `token=Bearer …` and `x-api-key: Token …` carry a scheme as well.
    if let Some(skip) = scheme(text) {
        if !value::is_stand_in(&text[skip..], Form::Bare) {
            found.push(Span::new(start + skip, end, meaning.kind()));
        }
        return;
    }
    if !value::is_secret(meaning, text, form) {
        return;
    }
    let number = form != Form::Quoted
        && text.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
    let wrap = if number && place.separator == Separator::Colon { place.wrap } else { Wrap::None };
    found.push(Span { wrap, ..Span::new(start, end.max(start), meaning.kind()) });
}

fn ends_sentence(window: &Window<'_>, end: usize) -> bool {
    window.before(end, 1) == Some(b'.') && window.before(end, 2).is_some_and(|b| b != b'.')
}

const SCHEMES: &[&str] = &[
    "bearer",
    "basic",
    "token",
    "digest",
    "negotiate",
    "ntlm",
    "apikey",
    "geniekey",
    "splunk",
    "sharedkey",
    "aws4-hmac-sha256",
    "hmac",
    "key",
    "bot",
    "jwt",
    "ssws",
    "discogs",
];

/// Length of an authentication scheme and its blank at the start of a value.
fn scheme(value: &[u8]) -> Option<usize> {
    let blank = value.iter().take(20).position(|byte| *byte == b' ')?;
    let known = SCHEMES.iter().any(|s| value[..blank].eq_ignore_ascii_case(s.as_bytes()));
    let rest = value.get(blank + 1..)?;
    (known && rest.len() >= 4).then_some(blank + 1)
}

fn authorization(window: &Window<'_>, place: &Place, found: &mut Found) {
    let (start, end, form) = read(window, place, true);
    let kind = Meaning::Authorization.kind();
    if form == Form::Quoted {
        let text = window.slice(start, end);
        if let Some(skip) = scheme(text) {
            if !value::is_stand_in(&text[skip..], Form::Bare) {
                found.push(Span::new(start + skip, end, kind));
            }
        } else if value::is_secret(Meaning::Authorization, text, form) && !text.contains(&b' ') {
            found.push(Span::new(start, end, kind));
        }
        return;
    }
    let word = window.slice(start, end);
    if !SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes())) {
        if value::is_secret(Meaning::Authorization, word, form) && value::is_opaque(word) {
            found.push(Span::new(start, end, kind));
        }
        return;
    }
    let from = window.skip_blanks(end);
    let mut to = bare_end(window, from);
    // Parameter lists: Digest username=…, AWS4-HMAC-SHA256 Credential=…, Token token=….
    let listed = window.slice(from, to).iter().take(24).any(|byte| *byte == b'=')
        && word.len() != b"basic".len()
        && !word.eq_ignore_ascii_case(b"bearer");
    if listed {
        to = window.run(from, 2048, |byte| !matches!(byte, b'\n' | b'\r' | b'\'' | b'\\'));
    }
    let text = window.slice(from, to);
    if from > end && text.len() >= 4 && !value::is_stand_in(text, Form::Bare) {
        found.push(Span::new(from, to, kind));
    }
}

/// `a=1; b=2` up to where the pairs end; for `Set-Cookie` the first pair only.
fn cookie(window: &Window<'_>, place: &Place, meaning: Meaning, found: &mut Found) {
    let (start, end, form) = read(window, place, true);
    let kind = meaning.kind();
    if form == Form::Quoted {
        if value::is_secret(meaning, window.slice(start, end), form) {
            found.push(Span::new(start, end, kind));
        }
        return;
    }
    let mut last = start;
    let mut at = start;
    while at - start < super::quote::VALUE_BYTES_MAX {
        let name = window.run(at, 128, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'$' | b'!')
        });
        if name == at || window.at(name) != Some(b'=') {
            break;
        }
        last = window.run(name + 1, 8192, |byte| {
            !byte.is_ascii_whitespace() && !matches!(byte, b';' | b'"' | b'\'' | b'\\' | b'<')
        });
        if meaning == Meaning::SetCookie || !window.has_exactly(last, b"; ") {
            break;
        }
        at = last + 2;
    }
    let text = window.slice(start, last);
    let value = text.iter().position(|byte| *byte == b'=').map_or(text, |at| &text[at + 1..]);
    if last > start && value.len() >= 4 && !value::is_stand_in(value, Form::Bare) {
        found.push(Span::new(start, last, kind));
    } else if value::is_opaque(window.slice(start, end)) && end - start >= 16 {
        found.push(Span::new(start, end, kind));
    }
}

/// What has to be hidden of a JSON string or number under this name.
pub(super) fn finding(name: &str, value: &str) -> Option<Finding> {
    let meaning = names::meaning(name.as_bytes())?;
    let start = scheme(value.as_bytes()).unwrap_or(0);
    let text = &value.as_bytes()[start..];
    let secret = if start > 0 {
        !value::is_stand_in(text, Form::Bare)
    } else {
        value::is_secret(meaning, text, Form::Quoted)
    };
    secret.then_some(Finding { start, kind: meaning.kind() })
}
