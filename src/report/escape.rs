//! Makes untrusted text inert inside Markdown.
//!
//! In: any text. Out: one line in which nothing is a link, an image, a mention, markup, HTML, the
//! end of a table cell, or invisible. Never: a decision about what to show.
//!
//! Backslashes alone are not enough: renderers look for bare addresses after they have resolved
//! escapes, so addresses and mentions are broken visibly (`https[:]//`, `[@]`, `www[.]`).

use crate::model::text::is_invisible;

/// Prose on one line, for paragraphs, list items, headings and table cells.
pub(super) fn inert(text: &str) -> String {
    let text: Vec<char> = visible(text).chars().collect();
    let mut out = String::with_capacity(text.len() + 16);
    let mut at_start = true;
    for (at, &c) in text.iter().enumerate() {
        let before = at.checked_sub(1).map(|i| text[i]);
        let after = text.get(at + 1).copied();
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' => out.push_str("&#124;"),
            '@' | '＠' | '﹫' => out.extend(["\\[", &c.to_string(), "\\]"]),
            ':' if begins_address(&text[at + 1..]) => out.push_str("\\[:\\]"),
            '.' if ends_in_www(&text[..at]) => out.push_str("\\[.\\]"),
            '\\' | '`' | '*' | '{' | '}' | '[' | ']' | '~' | '$' | '#' | '!' => {
                out.extend(['\\', c]);
            }
            // Inside a word an underscore is only itself, and metric names are full of them.
            '_' if !(is_word(before) && is_word(after)) => out.push_str("\\_"),
            // A dot before a letter may make a word look like a domain.
            '.' if is_word(before) && after.is_some_and(char::is_alphabetic) => {
                out.push_str("\\.");
            }
            // These begin a list, a rule or an underlined heading.
            '-' | '+' | '=' if at_start => out.extend(['\\', c]),
            '.' | ')' if text[..at].iter().all(char::is_ascii_digit) => out.extend(['\\', c]),
            _ => out.push(c),
        }
        at_start = false;
    }
    out
}

/// A code span on one line, in which Markdown reads nothing. Text that JSON holds in quotes keeps
/// its meaning: what a renderer could read is written as its `\u` escape.
pub(super) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('`');
    for c in text.chars() {
        let told = match c {
            '`' | '|' | '<' | '>' | '&' => true,
            '\\' | '"' => false,
            other => other.is_control() || is_invisible(other) || is_line_end(other),
        };
        if told {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// One line with single spaces and without characters that are not seen.
fn visible(text: &str) -> String {
    let spaced = text.chars().filter_map(|c| match c {
        c if c.is_whitespace() || is_line_end(c) => Some(' '),
        c if c.is_control() || is_invisible(c) => None,
        c => Some(c),
    });
    spaced.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn begins_address(rest: &[char]) -> bool {
    rest.starts_with(&['/', '/'])
}

fn ends_in_www(before: &[char]) -> bool {
    let tail: String = before.iter().rev().take(3).collect();
    tail.eq_ignore_ascii_case("www")
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_untrusted_becomes_active() {
        for (hostile, shown) in [
            ("[click](https://evil.example)", r"\[click\](https\[:\]//evil\.example)"),
            ("![x](http://a/b.png)", r"\!\[x\](http\[:\]//a/b\.png)"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("<https://a.b>", r"&lt;https\[:\]//a\.b&gt;"),
            ("www.evil.example", r"www\[.\]evil\.example"),
            ("mail a@b.example or @everyone", r"mail a\[@\]b\.example or \[@\]everyone"),
            ("# heading\n## two", r"\# heading \#\# two"),
            ("- item", r"\- item"),
            ("+ item", r"\+ item"),
            ("12. item", r"12\. item"),
            ("3) item", r"3\) item"),
            ("===", r"\==="),
            ("---", r"\---"),
            ("> quote", "&gt; quote"),
            ("a | b", "a &#124; b"),
            ("`code` ``` fence", r"\`code\` \`\`\` fence"),
            ("**b** __c__ _d_ ~~e~~", r"\*\*b\*\* \_\_c\_\_ \_d\_ \~\~e\~\~"),
            ("node_cpu_seconds 1.5", "node_cpu_seconds 1.5"),
            ("&lt;b&gt; &#64;", r"&amp;lt;b&amp;gt; &amp;\#64;"),
            (r"\[x](y)", r"\\\[x\](y)"),
            ("$x^2$ ${host}", r"\$x^2\$ \$\{host\}"),
            ("a\r\n\u{2028}\u{85}b\tc", "a b c"),
            ("\u{202e}evil\u{2066}\u{200b}\u{feff}\u{e0041}\u{7}\u{1b}[31m", r"evil\[31m"),
            ("磁盘已满：/var", "磁盘已满：/var"),
            ("", ""),
        ] {
            assert_eq!(inert(hostile), shown, "{hostile:?}");
        }
    }

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(code(r#"t(a="x")"#), r#"`t(a="x")`"#);
        assert_eq!(
            code("a`b``c|d<i>&\n\u{202e}\u{e0041}"),
            r"`a\u0060b\u0060\u0060c\u007cd\u003ci\u003e\u0026\u000a\u202e\udb40\udc41`"
        );
    }

    proptest::proptest! {
        /// What is left of the escapes holds no character that Markdown or HTML reads.
        #[test]
        fn any_text_is_inert(text in "[a-z.:/@#<>&|`*_\\[\\]()!\\\\\\-+=~$ \n\u{202e}]{0,60}") {
            let shown = inert(&text);
            proptest::prop_assert!(!shown.contains(['<', '>', '|', '\n', '\u{202e}']), "{}", shown);
            proptest::prop_assert!(!shown.contains("://"), "{}", shown);
            let mut chars = shown.chars().peekable();
            while let Some(c) = chars.next() {
                if c == '\\' {
                    chars.next();
                } else {
                    proptest::prop_assert!(!"`*[]~$".contains(c), "{:?} in {}", c, shown);
                }
            }
        }
    }
}
