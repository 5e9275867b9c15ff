//! Makes characters visible that could make a page show something else than what is stored.

use crate::model::text::is_invisible;

/// Whether a character is shown as nothing, moves others, or ends a line.
fn hides(c: char) -> bool {
    is_invisible(c)
        || matches!(c, '\u{2028}' | '\u{2029}')
        || (c.is_control() && c != '\n' && c != '\t')
}

/// The text with hidden characters written as `\u{…}`; lines stay lines.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A JSON value as text that reads back as the same value, with nothing hidden in it.
pub fn visible_json(value: &serde_json::Value) -> String {
    let text = crate::model::call::canonical(value);
    let mut out = String::with_capacity(text.len());
    let mut units = [0_u16; 2];
    for c in text.chars() {
        // Blanks other than the plain one look like it.
        if hides(c) || (c.is_whitespace() && c != ' ') {
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hidden_characters_are_written_out() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\n"), "a\\u{202e}b\\u{200b}c\n");
        assert_eq!(visible("磁盘 é <b>"), "磁盘 é <b>");
        assert_eq!(visible("\u{1b}[31m"), "\\u{1b}[31m");
        let value = serde_json::json!("\u{e0041}x\u{a0}\u{202e}\n");
        assert_eq!(visible_json(&value), r#""\udb40\udc41x\u00a0\u202e\n""#);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_what_is_stored(text in any::<String>()) {
            let value = serde_json::Value::String(text);
            let shown = visible_json(&value);
            prop_assert!(!shown.chars().any(hides));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
