//! Secrets that are recognised by where they stand: in an address, after a scheme, after a flag.
//!
//! In: the place of a literal such as `://` or `mysql`. Out: the span of the password only, so
//! that user, host and command stay readable. To add a program with a password flag add a row
//! to `COMMANDS`.

use base64::Engine as _;

use super::quote::{Quote, bare_end};
use super::scan::{Found, Span};
use super::value::{Form, is_opaque, is_stand_in};
use super::window::Window;

/// `scheme://user:password@host`: hides the password, or a lone token before `@`.
pub(super) fn url(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let scheme = window.before(start, 1).is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !scheme {
        return;
    }
    let coded = window.bytes[end - 1] == b'F' || window.bytes[end - 1] == b'f';
    let coded = coded && window.slice(start, end).contains(&b'%');
    let mut colon = None;
    let mut at_sign = None;
    let mut index = end;
    while index - end < 1024 {
        let Some(byte) = window.at(index) else { break };
        if byte == b'[' && window.has_exactly(index, b"[redacted:") {
            // The colon of a marker separates nothing.
            index = window.run(index, 64, |byte| byte != b']');
            continue;
        }
        match byte {
            b'/' | b'?' | b'#' if at_sign.is_some() || !password_slash(window, index, colon) => {
                break;
            }
            _ if byte.is_ascii_whitespace() => break,
            b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b'|' => break,
            b':' if colon.is_none() => colon = Some((index, 1)),
            b'@' => at_sign = Some(index),
            b',' if at_sign.is_some() => break,
            b'%' if coded && colon.is_none() && window.has(index, b"%3A") => {
                colon = Some((index, 3));
            }
            b'%' if coded && window.has(index, b"%40") => at_sign = Some(index),
            b'%' if coded && window.has(index, b"%2F") => break,
            _ => {}
        }
        index += 1;
    }
    let Some(at_sign) = at_sign else { return };
    match colon {
        Some((colon, width)) if colon < at_sign => {
            let password = window.slice(colon + width, at_sign);
            if !is_stand_in(password, Form::Quoted) {
                found.push(Span::new(colon + width, at_sign, "url_password"));
            }
        }
        Some(_) | None => {
            let user = window.slice(end, at_sign);
            if user.len() >= 20 && is_opaque(user) {
                found.push(Span::new(end, at_sign, "url_token"));
            }
        }
    }
}

/// A `/`, `?` or `#` may belong to an unescaped password when `:` came before and `@host` follows
/// soon, in the same word.
fn password_slash(window: &Window<'_>, index: usize, colon: Option<(usize, usize)>) -> bool {
    let Some((colon, width)) = colon else { return false };
    let port = window.slice(colon + width, index);
    if port.is_empty() || port.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let word = window.run(index + 1, 48, |byte| {
        !byte.is_ascii_whitespace()
            && !matches!(
                byte,
                b'@' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'/' | b'&' | b'=' | b'?'
            )
    });
    window.at(word) == Some(b'@')
}

/// `user:password@tcp(host:3306)/db`, the Go driver's form.
pub(super) fn dsn(window: &Window<'_>, start: usize, found: &mut Found) {
    let left = window.run_left(start, 128, |byte| {
        !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | b'=' | b'`' | b'<' | b'>')
    });
    let text = window.slice(left, start);
    // A marker means that a first pass has judged this place.
    if text.windows(10).any(|part| part == b"[redacted:")
        || text.windows(3).any(|part| part == b"://")
    {
        return;
    }
    let Some(colon) = text.iter().position(|byte| *byte == b':') else { return };
    if !is_stand_in(&text[colon + 1..], Form::Quoted) {
        found.push(Span::new(left + colon + 1, start, "url_password"));
    }
}

/// `jdbc:oracle:thin:scott/tiger@…`
pub(super) fn oracle(window: &Window<'_>, end: usize, found: &mut Found) {
    slash_password(window, end, found);
}

fn slash_password(window: &Window<'_>, from: usize, found: &mut Found) {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-');
    let slash = window.run(from, 64, name);
    if slash == from || window.at(slash) != Some(b'/') {
        return;
    }
    let to = window.run(slash + 1, 128, |byte| {
        !byte.is_ascii_whitespace() && !matches!(byte, b'@' | b'"' | b'\'' | b'\\')
    });
    let password = window.slice(slash + 1, to);
    if window.at(to) == Some(b'@') && !is_stand_in(password, Form::Quoted) {
        found.push(Span::new(slash + 1, to, "url_password"));
    }
}

/// `Bearer …` and `Basic …` outside an authorization header.
pub(super) fn scheme(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    if !window.starts_word(start) {
        return;
    }
    let from = window.skip_blanks(end);
    let basic = window.has(start, b"basic");
    let to = window.run(from, 16 * 1024, |byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'+' | b'/' | b'=' | b'%')
            || !basic && matches!(byte, b'-' | b'_' | b'.' | b'~' | b':')
    });
    // A marker means that a first pass has judged this place.
    if window.has_exactly(to, b"[redacted:") {
        return;
    }
    let text = window.slice(from, to);
    if basic {
        if text.len() > 8 && is_basic(text) {
            found.push(Span::new(from, to, "authorization"));
        }
        return;
    }
    let long = text.len() >= 16 && is_opaque(text);
    if long {
        found.push(Span::new(from, to, "authorization"));
    }
}

/// Base64 of something with a colon in printable text.
fn is_basic(text: &[u8]) -> bool {
    let bare: Vec<u8> = text.iter().copied().take_while(|b| *b != b'=' && *b != b'%').collect();
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let whole = if bare.len() > 4096 { &bare[..4096] } else { &bare[..] };
    engine.decode(whole).is_ok_and(|decoded| {
        decoded.contains(&b':') && decoded.iter().all(|byte| !byte.is_ascii_control())
    })
}

/// A program and the flags whose argument is a password.
pub(super) struct Flags {
    pub(super) program: &'static str,
    /// The argument follows the flag after a blank.
    spaced: &'static [&'static str],
    /// The argument is glued to the flag.
    glued: &'static [&'static str],
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Password,
    /// `user:password`: the user stays.
    ColonPair,
    /// `user%password`.
    PercentPair,
    /// `user/password@db` right after the program.
    SlashPair,
}

const fn flags(
    program: &'static str,
    spaced: &'static [&'static str],
    glued: &'static [&'static str],
    shape: Shape,
) -> Flags {
    Flags { program, spaced, glued, shape }
}

pub(super) const COMMANDS: &[Flags] = &[
    flags("mysql", &[], &["-p"], Shape::Password),
    flags("mariadb", &[], &["-p"], Shape::Password),
    flags("sshpass ", &["-p"], &["-p"], Shape::Password),
    flags("redis-cli ", &["-a", "--pass"], &[], Shape::Password),
    flags("docker login", &["-p"], &[], Shape::Password),
    flags("podman login", &["-p"], &[], Shape::Password),
    flags("registry login", &["-p"], &[], Shape::Password),
    flags("az login", &["-p"], &[], Shape::Password),
    flags("mongo ", &["-p"], &[], Shape::Password),
    flags("mongosh ", &["-p"], &[], Shape::Password),
    flags("mongodump ", &["-p"], &[], Shape::Password),
    flags("ldapsearch ", &["-w"], &[], Shape::Password),
    flags("ldapmodify ", &["-w"], &[], Shape::Password),
    flags("sqlcmd ", &["-P"], &["-P"], Shape::Password),
    flags("bcp ", &["-P"], &["-P"], Shape::Password),
    flags("ipmitool ", &["-P"], &["-P"], Shape::Password),
    flags("snmpwalk ", &["-A", "-X", "-c"], &[], Shape::Password),
    flags("snmpget ", &["-A", "-X", "-c"], &[], Shape::Password),
    flags("curl ", &["-u", "--user", "-U", "--proxy-user"], &["-u", "--user="], Shape::ColonPair),
    flags("smbclient ", &["-U"], &[], Shape::PercentPair),
    flags("rpcclient ", &["-U"], &[], Shape::PercentPair),
    flags("sqlplus ", &[], &[], Shape::SlashPair),
    flags("-passin ", &["pass"], &["pass:"], Shape::Password),
    flags("-passout ", &["pass"], &["pass:"], Shape::Password),
];

/// Looks for the flags of one command within its line.
pub(super) fn command(
    window: &Window<'_>,
    start: usize,
    end: usize,
    flags: &Flags,
    found: &mut Found,
) {
    if flags.shape == Shape::SlashPair {
        let from = window.skip_blanks(end);
        slash_password(window, from, found);
        return;
    }
    let direct = flags.program.starts_with('-');
    if !window.starts_word(start) && !direct {
        return;
    }
    // A literal that ends in a blank has taken the one before the first flag.
    let mut at = if window.bytes[end - 1] == b' ' { end - 1 } else { end };
    let limit = at + 256;
    while at < limit {
        let Some(byte) = window.at(at) else { return };
        if matches!(byte, b'\n' | b'|' | b';') {
            return;
        }
        if byte == b' '
            && let Some(value) = argument(window, at + 1, flags)
        {
            hide_argument(window, value, flags.shape, found);
            return;
        }
        at += 1;
    }
}

/// Where the argument starts if one of the flags stands at `at`.
fn argument(window: &Window<'_>, at: usize, flags: &Flags) -> Option<usize> {
    for flag in flags.spaced {
        let after = at + flag.len();
        if window.has_exactly(at, flag.as_bytes()) && window.at(after) == Some(b' ') {
            let value = window.skip_blanks(after);
            return (window.at(value)? != b'-').then_some(value);
        }
    }
    for flag in flags.glued {
        let after = at + flag.len();
        if window.has_exactly(at, flag.as_bytes())
            && !window.at(after)?.is_ascii_whitespace()
            && window.at(after)? != b'='
        {
            return Some(after);
        }
    }
    None
}

fn hide_argument(window: &Window<'_>, at: usize, shape: Shape, found: &mut Found) {
    let (start, end) = match Quote::at(window, at) {
        Some(quote) => (at + quote.len(), quote.close(window, at + quote.len())),
        None => (at, bare_end(window, at)),
    };
    let text = window.slice(start, end);
    let mark = match shape {
        Shape::Password | Shape::SlashPair => None,
        Shape::ColonPair => Some(b':'),
        Shape::PercentPair => Some(b'%'),
    };
    let skip = match mark {
        None => 0,
        Some(mark) => match text.iter().position(|byte| *byte == mark) {
            Some(at) => at + 1,
            None => return,
        },
    };
    if !is_stand_in(text.get(skip..).unwrap_or_default(), Form::Quoted) {
        found.push(Span::new(start + skip, end, "password"));
    }
}

/// SQL: `IDENTIFIED BY 'x'`, `IDENTIFIED BY PASSWORD '*…'`.
pub(super) fn identified(window: &Window<'_>, end: usize, found: &mut Found) {
    let at = window.skip_blanks(end);
    let at = if window.has(at, b"password ") { at + b"password ".len() } else { at };
    let Some(quote) = Quote::at(window, at) else { return };
    let start = at + quote.len();
    let close = quote.close(window, start);
    if !is_stand_in(window.slice(start, close), Form::Quoted) {
        found.push(Span::new(start, close, "password"));
    }
}

/// `host:port:database:user:password` on a line of its own.
pub(super) fn pgpass(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let field = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*' | b'$' | b'@')
    };
    // `*:*:db:user:password` meets this rule at its first colon.
    let host = window.run_left(start, 128, field);
    let line_start = match window.before(host, 1) {
        None => true,
        Some(byte) => byte == b'\n' || byte == b'\r' || byte == b'"' || byte == b'\'',
    };
    if host == start || !line_start {
        return;
    }
    let database = window.run(end, 64, field);
    if database == end || window.at(database) != Some(b':') {
        return;
    }
    let user = window.run(database + 1, 64, field);
    if user == database + 1 || window.at(user) != Some(b':') {
        return;
    }
    let to = window
        .run(user + 1, 256, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\''));
    if !is_stand_in(window.slice(user + 1, to), Form::Quoted) {
        found.push(Span::new(user + 1, to, "password"));
    }
}

/// `?sig=`, `&key=`, `&code=` in an address: a long random value.
pub(super) fn query(window: &Window<'_>, start: usize, end: usize, found: &mut Found) {
    let in_query = matches!(window.before(start, 1), Some(b'?' | b'&' | b';'))
        || window.slice(start.saturating_sub(6), start).eq_ignore_ascii_case(b"\\u0026")
        || window.slice(start.saturating_sub(3), start).eq_ignore_ascii_case(b"%26");
    if !in_query {
        super::keyed::examine(window, start, end - 1, found);
        return;
    }
    let to = window.run(end, 1024, |byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'%' | b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'~')
    });
    let text = window.slice(end, to);
    if text.len() >= 20 && is_opaque(text) {
        found.push(Span::new(end, to, "url_signature"));
    }
}
