//! Log lines and how bad each of them is.
//!
//! In: the text of a log file, or the journal's JSON. Out: lines with a level. Programs that write
//! to standard output log everything as "info", so the words of a line count too. Never: a decision;
//! levels only choose what is shown.

use crate::clock::format_ms;
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;

/// How bad a line is; the order is badness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    Debug,
    /// It does not say.
    Unknown,
    Info,
    Warn,
    Error,
}

/// One line of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub level: Level,
    pub text: String,
}

/// Words beyond this are the message, not its heading.
const HEADING_CHARS: usize = 160;

#[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b(?:level|lvl|severity|loglevel)"?\s*[=:]\s*"?([a-z]+)"#).expect("constant")
});
#[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)\b(emerg|emergency|alert|crit|critical|fatal|panic|severe|error|err|traceback",
        r"|exception|warning|warn|notice|info|log|debug|trace|dbg)\b",
    ))
    .expect("constant")
});
/// `E1120 10:11:12.123456 …`, the form of klog and glog.
#[expect(clippy::expect_used, reason = "a constant pattern, compiled by a test")]
static KLOG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^([EWIFD])\d{4} \d\d:\d\d:\d\d").expect("constant"));

/// The lines of a text. A line that continues another one, such as a stack frame, has its level.
pub(super) fn of_text(text: &str) -> Vec<Line> {
    let mut before = Level::Unknown;
    let mut lines = Vec::new();
    for text in text.lines().filter(|line| !line.trim().is_empty()) {
        let continues = text.starts_with([' ', '\t']) || text.starts_with("Caused by");
        let level = if continues { before } else { of_words(text) };
        before = level;
        lines.push(Line { level, text: text.to_owned() });
    }
    lines
}

/// The lines of `journalctl --output=json`, one object a line; the number of objects that could not
/// be read comes with them.
pub(super) fn of_journal(json: &str) -> (Vec<Line>, usize) {
    let (mut lines, mut unread) = (Vec::new(), 0);
    for object in json.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<Value>(object).ok().and_then(|entry| of_entry(&entry)) {
            Some(line) => lines.push(line),
            None => unread += 1,
        }
    }
    (lines, unread)
}

fn of_entry(entry: &Value) -> Option<Line> {
    let message = match entry.get("MESSAGE")? {
        Value::String(text) => text.clone(),
        // Bytes that are not UTF-8 come as a list of numbers.
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> =
                bytes.iter().map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes?).into_owned()
        }
        Value::Null => "(a message that the journal does not show)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    let priority = field("PRIORITY").and_then(|p| p.parse::<u8>().ok());
    let level = match priority {
        Some(0..=3) => Level::Error,
        Some(4) => Level::Warn,
        Some(7) => Level::Debug,
        Some(_) | None => of_words(&message).max(Level::Info),
    };
    let at_ms = field("__REALTIME_TIMESTAMP").and_then(|us| us.parse::<i64>().ok())? / 1000;
    let by = field("SYSLOG_IDENTIFIER").unwrap_or("-");
    let pid = field("_PID").map(|pid| format!("[{pid}]")).unwrap_or_default();
    Some(Line { level, text: format!("{} {by}{pid}: {message}", format_ms(at_ms)) })
}

fn of_words(line: &str) -> Level {
    let heading = line.char_indices().nth(HEADING_CHARS).map_or(line, |(end, _)| &line[..end]);
    if let Some(found) = NAMED.captures(line).and_then(|found| found.get(1)) {
        let level = of_word(found.as_str());
        if level != Level::Unknown {
            return level;
        }
    }
    if let Some(found) = KLOG.captures(heading).and_then(|found| found.get(1)) {
        return match found.as_str() {
            "E" | "F" => Level::Error,
            "W" => Level::Warn,
            "D" => Level::Debug,
            _ => Level::Info,
        };
    }
    WORD.find(heading).map_or(Level::Unknown, |word| of_word(word.as_str()))
}

fn of_word(word: &str) -> Level {
    match word.to_ascii_lowercase().as_str() {
        "emerg" | "emergency" | "alert" | "crit" | "critical" | "fatal" | "panic" | "severe"
        | "error" | "err" | "traceback" | "exception" => Level::Error,
        "warning" | "warn" => Level::Warn,
        "notice" | "info" | "log" | "information" => Level::Info,
        "debug" | "trace" | "dbg" => Level::Debug,
        _ => Level::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_the_usual_spellings() {
        for (line, level) in [
            ("2026/11/16 03:00:00 [error] 12#12: *1 connect() failed", Level::Error),
            (r#"{"ts":1,"level":"warn","msg":"error budget low"}"#, Level::Warn),
            ("ts=1 level=info msg=\"0 errors\"", Level::Info),
            ("E1116 03:00:00.000000       1 main.go:1] boom", Level::Error),
            ("I1116 03:00:00.000000       1 main.go:1] error rate ok", Level::Info),
            ("2026-11-16 03:00:00 UTC [1] FATAL:  too many connections", Level::Error),
            ("2026-11-16 03:00:00 UTC [1] LOG:  checkpoint error recovery", Level::Info),
            ("INFO handled 3 requests, last error none", Level::Info),
            ("Traceback (most recent call last):", Level::Error),
            ("DEBUG x", Level::Debug),
            ("GET /index.html 200", Level::Unknown),
            ("terrors and warnings-to-come", Level::Unknown),
        ] {
            assert_eq!(of_words(line), level, "{line}");
        }
    }

    #[test]
    fn continuation_lines_share_the_level_of_the_line_before() {
        let text = "ERROR boom\n    at main.rs:1\nCaused by: x\n\nhello\n";
        let levels: Vec<Level> = of_text(text).into_iter().map(|line| line.level).collect();
        assert_eq!(levels, [Level::Error, Level::Error, Level::Error, Level::Unknown]);
    }

    #[test]
    fn journal_entries_carry_time_program_and_the_worse_of_priority_and_words() {
        let json = concat!(
            r#"{"__REALTIME_TIMESTAMP":"1763262000000000","PRIORITY":"6","MESSAGE":"ERROR no db","#,
            r#""SYSLOG_IDENTIFIER":"app","_PID":"7"}"#,
            "\n",
            r#"{"__REALTIME_TIMESTAMP":"1763262001000000","PRIORITY":"3","MESSAGE":[104,105,255]}"#,
            "\n",
            r#"{"__REALTIME_TIMESTAMP":"1763262001000000","PRIORITY":"6","MESSAGE":"started"}"#,
            "\n{broken\n",
        );
        let line = |level, text: &str| Line { level, text: text.to_owned() };
        assert_eq!(
            of_journal(json),
            (
                vec![
                    line(Level::Error, "2025-11-16T03:00:00Z app[7]: ERROR no db"),
                    line(Level::Error, "2025-11-16T03:00:01Z -: hi\u{fffd}"),
                    line(Level::Info, "2025-11-16T03:00:01Z -: started"),
                ],
                1
            )
        );
    }
}
