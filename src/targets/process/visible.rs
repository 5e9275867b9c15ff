//! Makes what a program wrote safe to show.
//!
//! In: bytes of a host that may be hostile. Out: text in which every byte that could move a
//! cursor, hide or reorder other text is written out. Never: a loss of what was there.

use std::fmt::Write;

/// Writes control characters, invisible characters and invalid bytes as visible text.
///
/// Line feed and tab stay. `\x1b` stands for a byte, `\u{202e}` for a character.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut text, c);
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn push(text: &mut String, c: char) {
    let written = match c {
        '\n' | '\t' => {
            text.push(c);
            Ok(())
        }
        c if c.is_ascii_control() => write!(text, "\\x{:02x}", u32::from(c)),
        c if hides(c) => write!(text, "\\u{{{:x}}}", u32::from(c)),
        c => {
            text.push(c);
            Ok(())
        }
    };
    let _ = written;
}

/// C1 controls, zero-width and directional characters, line separators, tags and variation marks.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_written_out() {
        for (bytes, expected) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            (b"a\r\nb\0", "a\\x0d\nb\\x00"),
            (b"caf\xc3\xa9 \xff\xfe", "caf\u{e9} \\xff\\xfe"),
            (
                "a\u{202e}b\u{200b}\u{9b}\u{e0041}".as_bytes(),
                "a\\u{202e}b\\u{200b}\\u{9b}\\u{e0041}",
            ),
            ("磁盘".as_bytes(), "磁盘"),
        ] {
            assert_eq!(visible(bytes), expected);
        }
    }
}
