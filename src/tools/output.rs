//! Long texts made short: what a mind sees at once, and how it reads the rest.
//!
//! In: a whole output. Out: an excerpt of head and tail with a visible marker, or a later part of
//! it. Never: a silent cut, half a character, a control character that a terminal would obey.

use super::{Output, ReadBack};
use crate::targets::process::visible;
use regex::RegexBuilder;
use serde_json::Value;
use std::fmt::Write as _;

/// The whole output of a tool is at most this long.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// A pattern from a mind must not cost more memory than this.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

impl Output {
    /// An output with harmless text of at most [`OUTPUT_BYTES_MAX`]; a cut is marked.
    pub fn new(text: impl AsRef<str>, data: Value) -> Self {
        let mut text = visible(text.as_ref().as_bytes());
        if text.len() > OUTPUT_BYTES_MAX {
            let keep = line_end(&text, OUTPUT_BYTES_MAX - 100);
            let left_out = text.len() - keep;
            text.truncate(keep);
            let _ = write!(text, "\n[… {left_out} more bytes were not kept; ask for less]");
        }
        Self { text, data }
    }
}

/// Bytes as people read them: `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Head and tail of a text that is longer than `bytes_max`, cut on line borders, with a line
/// between them that says what is left out and how to read it. The marker comes on top of the
/// bound. A shorter text comes back as it is.
pub fn excerpt(text: &str, bytes_max: usize, hash: &str) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let head_end = line_end(text, bytes_max / 2);
    let tail_start = line_start(text, text.len() - (bytes_max - bytes_max / 2)).max(head_end);
    let left_out = &text[head_end..tail_start];
    let (bytes, lines) = (left_out.len(), left_out.lines().count());
    let (head, tail) = (&text[..head_end], &text[tail_start..]);
    let newline = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    format!(
        "{head}{newline}[… {bytes} bytes in {lines} lines are left out; read_output with \
         {{\"ref\":\"{hash}\",\"offset\":{head_end}}} reads on there, \
         {{\"ref\":\"{hash}\",\"grep\":\"…\"}} finds lines]\n{tail}"
    )
}

/// The part of a stored text that was asked for, at most `bytes_max` of it, with a marker line for
/// what follows.
///
/// # Errors
/// What to ask instead: the offset lies behind the end, or the pattern is no pattern.
pub fn read_back(text: &str, ask: &ReadBack, bytes_max: usize) -> Result<String, String> {
    match &ask.grep {
        Some(pattern) => grep(text, pattern, bytes_max),
        None => part(text, ask.offset, bytes_max),
    }
}

/// Whether the text is a pattern that `grep` takes.
///
/// # Errors
/// What is wrong with it.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    compile(pattern).map(drop)
}

fn part(text: &str, offset: usize, bytes_max: usize) -> Result<String, String> {
    if offset >= text.len() {
        return Err(format!("the output has {} bytes; {offset} lies behind its end", text.len()));
    }
    let start = text.floor_char_boundary(offset);
    let rest = &text[start..];
    if rest.len() <= bytes_max {
        return Ok(rest.to_owned());
    }
    let end = line_end(rest, bytes_max);
    let shown = &rest[..end];
    let newline = if shown.ends_with('\n') { "" } else { "\n" };
    let (left, next) = (rest.len() - end, start + end);
    Ok(format!("{shown}{newline}[… {left} more bytes; go on with offset {next}]"))
}

fn grep(text: &str, pattern: &str, bytes_max: usize) -> Result<String, String> {
    let regex = compile(pattern)?;
    let (mut out, mut shown, mut found) = (String::new(), 0_usize, 0_usize);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| regex.is_match(line)) {
        found += 1;
        if out.len() + line.len() <= bytes_max {
            let _ = writeln!(out, "{}: {line}", number + 1);
            shown += 1;
        }
    }
    let lines = text.lines().count();
    if found == 0 {
        return Ok(format!("[no line of {lines} matches]"));
    }
    if shown < found {
        let _ = writeln!(out, "[… {} more lines match and are too long to show]", found - shown);
    }
    Ok(out)
}

fn compile(pattern: &str) -> Result<regex::Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX * 16)
        .build()
        .map_err(|error| format!("'grep' is no regular expression: {error}"))
}

/// The end of the last whole line at or before `at`; inside a line longer than that, a character.
fn line_end(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    text[..at].rfind('\n').map_or(at, |newline| newline + 1)
}

/// The start of the first whole line at or after `at`; inside a last, longer line, a character.
fn line_start(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    match text[at..].find('\n') {
        Some(newline) if at + newline + 1 < text.len() => at + newline + 1,
        Some(_) | None => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(offset: usize, grep: Option<&str>) -> ReadBack {
        ReadBack { hash: "h".into(), offset, grep: grep.map(str::to_owned) }
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_610_612_736, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "16384.0 PiB"]);
    }

    #[test]
    fn short_texts_stay_whole() {
        assert_eq!(excerpt("a\nb\n", 4, "h"), "a\nb\n");
    }

    #[test]
    fn long_texts_show_both_ends_and_how_to_read_the_middle() {
        let text: String = (0..10).map(|n| format!("line {n}\n")).collect();
        assert_eq!(
            excerpt(&text, 30, "abc"),
            "line 0\nline 1\n[… 42 bytes in 6 lines are left out; read_output with \
             {\"ref\":\"abc\",\"offset\":14} reads on there, \
             {\"ref\":\"abc\",\"grep\":\"…\"} finds lines]\nline 8\nline 9\n"
        );
        assert_eq!(
            read_back(&text, &ask(14, None), 20),
            Ok("line 2\nline 3\n[… 42 more bytes; go on with offset 28]".to_owned())
        );
        assert_eq!(read_back(&text, &ask(63, None), 20), Ok("line 9\n".to_owned()));
    }

    #[test]
    fn no_cut_falls_inside_a_character() {
        let text = "磁盘空间不足".repeat(50);
        for bytes_max in 0..40 {
            let short = excerpt(&text, bytes_max, "h");
            assert!(short.contains("left out"), "{bytes_max}: {short}");
            assert!(read_back(&text, &ask(bytes_max, None), 10).is_ok());
        }
    }

    #[test]
    fn grep_numbers_lines_and_says_when_none_matches() {
        let text = "ok\nerror: disk\nok\nerror: net\n";
        let found = read_back(text, &ask(0, Some("err.r")), 1000);
        assert_eq!(found, Ok("2: error: disk\n4: error: net\n".to_owned()));
        assert_eq!(
            read_back(text, &ask(0, Some("panic")), 1000),
            Ok("[no line of 4 matches]".to_owned())
        );
        assert_eq!(
            read_back(text, &ask(0, Some("error")), 12),
            Ok("2: error: disk\n[… 1 more lines match and are too long to show]\n".to_owned())
        );
    }

    #[test]
    fn questions_that_lead_nowhere_are_refused() {
        assert_eq!(
            read_back("abc", &ask(3, None), 10),
            Err("the output has 3 bytes; 3 lies behind its end".to_owned())
        );
        assert!(read_back("abc", &ask(0, Some("(")), 10).is_err());
        assert!(check_pattern("(a{1000}){1000}").is_err());
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        let hostile = "a\u{1b}[31mred\n\tb\u{202e}c";
        let output = Output::new(hostile, Value::Null);
        assert_eq!(output.text, "a\\x1b[31mred\n\tb\\u{202e}c");
        assert_eq!(Output::new(&output.text, Value::Null), output);
    }

    #[test]
    fn whole_outputs_end_at_a_mebibyte_with_a_mark() {
        let text = "0123456\n".repeat(200_000);
        let output = Output::new(&text, Value::Null);
        assert!(output.text.len() <= OUTPUT_BYTES_MAX);
        assert!(output.text.ends_with("more bytes were not kept; ask for less]"));
    }
}
