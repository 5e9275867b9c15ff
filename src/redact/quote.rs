//! Finds where a value starts and ends: quotes at any depth of escaping, and bare words.
//!
//! In: a window and the place after a separator. Out: the bytes of the value without its quotes.
//! Never: a search that runs far and then finds nothing; a value without a closing quote ends
//! with its line.

use super::window::{Window, ends_word};

/// A longer value is cut here; private keys and tokens are far below.
pub(super) const VALUE_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// A quote character behind this many backslashes: JSON inside JSON inside JSON.
    Plain { mark: u8, slashes: usize },
    /// A quote written as an entity or an escape.
    Coded(&'static [u8]),
}

const CODED: &[&[u8]] =
    &[b"&quot;", b"&#34;", b"&#39;", b"&apos;", b"%22", b"%27", b"\\u0022", b"\\u0027", b"\\x22"];

impl Quote {
    pub(super) fn at(window: &Window<'_>, index: usize) -> Option<Self> {
        let first = window.at(index)?;
        match first {
            b'"' | b'\'' | b'`' => Some(Self::Plain { mark: first, slashes: 0 }),
            b'\\' | b'&' | b'%' => {
                if let Some(coded) = CODED.iter().find(|coded| window.has(index, coded)) {
                    return Some(Self::Coded(coded));
                }
                let slashes = window.run(index, 15, |byte| byte == b'\\') - index;
                let mark = window.at(index + slashes)?;
                (slashes > 0 && matches!(mark, b'"' | b'\''))
                    .then_some(Self::Plain { mark, slashes })
            }
            _ => None,
        }
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Plain { slashes, .. } => slashes + 1,
            Self::Coded(coded) => coded.len(),
        }
    }

    /// Where the closing quote of the same depth starts, or where the value has to end without.
    pub(super) fn close(self, window: &Window<'_>, from: usize) -> usize {
        match self {
            Self::Plain { mark, slashes } => close_plain(window, from, mark, slashes),
            Self::Coded(coded) => {
                let mut index = from;
                while index - from < VALUE_BYTES_MAX {
                    match window.at(index) {
                        None => break,
                        Some(byte) if byte.is_ascii_whitespace() && coded[0] == b'%' => break,
                        Some(b'\n') => break,
                        Some(byte) if byte == coded[0] && window.has(index, coded) => break,
                        Some(_) => index += 1,
                    }
                }
                index
            }
        }
    }
}

/// A mark closes when the backslashes before it are `slashes` plus whole escaped backslashes.
fn close_plain(window: &Window<'_>, from: usize, mark: u8, slashes: usize) -> usize {
    let mut index = from;
    let mut run = 0;
    while index - from < VALUE_BYTES_MAX {
        match window.at(index) {
            None | Some(b'\n') => return index,
            Some(b'\\') => run += 1,
            Some(byte) if byte == mark => {
                if run < slashes || run % (2 * (slashes + 1)) == slashes {
                    return index - run.min(slashes);
                }
                run = 0;
            }
            Some(_) => run = 0,
        }
        index += 1;
    }
    index
}

/// End of an unquoted value.
///
/// `,` `;` `&` `)` `}` `]` `|` end it only when something else clearly begins, because passwords
/// contain them too.
pub(super) fn bare_end(window: &Window<'_>, from: usize) -> usize {
    let mut index = from;
    while index - from < VALUE_BYTES_MAX {
        let Some(byte) = window.at(index) else { break };
        if ends_word(byte) {
            break;
        }
        match byte {
            b',' | b';' | b'&' | b')' | b'}' | b']' | b'|' if index == from => break,
            b',' | b';' | b'&' | b')' | b'}' | b']' | b'|' if gives_way(window, index) => break,
            b'\\' if escape_ends(window, index) => break,
            b'%' if window.has(index, b"%26") || window.has(index, b"%22") => break,
            _ => index += 1,
        }
    }
    index
}

/// A backslash that starts a line break, a tab, a quote or a coded `&`, `"`, `'`, `<`, `>`.
fn escape_ends(window: &Window<'_>, index: usize) -> bool {
    let after = window.run(index, 15, |byte| byte == b'\\');
    match window.at(after) {
        None => false,
        Some(b'n' | b'r' | b't') => match window.at(after + 1) {
            None => true,
            Some(next) => !next.is_ascii_lowercase() || window.before(index, 1) == Some(b'\\'),
        },
        Some(b'"' | b'\'') => true,
        Some(b'u') => {
            [b"u0026", b"u0022", b"u0027", b"u003c", b"u003e"].iter().any(|c| window.has(after, *c))
        }
        Some(_) => false,
    }
}

/// Does the punctuation at `index` end the value, or belong to it?
fn gives_way(window: &Window<'_>, index: usize) -> bool {
    let byte = window.bytes[index];
    if byte == b'&' && [&b"&amp;"[..], b"&quot;", b"&#"].iter().any(|c| window.has(index, c)) {
        return true;
    }
    let Some(next) = window.at(index + 1) else { return true };
    if ends_word(next)
        || matches!(next, b',' | b';' | b'&' | b')' | b'}' | b']' | b'|' | b'\\' | b'{' | b'[')
    {
        return true;
    }
    if byte == b'&' && next == b'&' {
        return true;
    }
    let name = window.run(index + 1, 40, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' ')
    });
    name > index + 1 && (matches!(window.at(name), Some(b'=' | b':')) || window.has(name, b"%3D"))
}
