//! How results are written: a table for people, JSON or YAML for programs.
//!
//! In: one value. Out: text on standard output. Never: a control character of somebody else's text
//! on a person's terminal; a panic because the reader of a pipe has gone.

use super::Output;
use crate::web::visible;
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Prints a result in the form that was asked for; `table` makes the one for people.
pub fn show(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<()> {
    let text = match output {
        Output::Table => visible(&table(value)),
        Output::Json => serde_json::to_string_pretty(value)?,
        Output::Yaml => serde_saphyr::to_string(value).context("cannot write YAML")?,
    };
    out(&text)
}

/// Writes text and a line end to standard output.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
    match written {
        // As with `| head`: whoever read has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Rows under their titles, each column as wide as its widest cell.
pub fn columns(titles: &[&str], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = titles.iter().map(|&title| title.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(&titles)
        .chain(rows)
        .map(|row| row.iter().map(|cell| one_line(cell)).collect())
        .collect();
    let wide = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(wide).collect();
    let written = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths);
        let padded: Vec<String> = cells.map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    });
    written.collect::<Vec<_>>().join("\n")
}

/// A text on one line, hidden characters written out.
pub fn one_line(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A field as people read it: texts without quotes, nothing as `-`.
pub fn field(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => one_line(text),
        Some(other) => one_line(&other.to_string()),
    }
}

/// A time field as people read it.
pub fn time(value: &Value, pointer: &str) -> String {
    let at_ms = value.pointer(pointer).and_then(Value::as_i64);
    at_ms.map_or_else(|| "-".to_owned(), crate::clock::format_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["1".into(), "磁盘 full".into()], vec!["100".into(), "a\n\u{1b}b".into()]];
        assert_eq!(columns(&["ID", "TITLE"], &rows), "ID   TITLE\n1    磁盘 full\n100  a \\u{1b}b");
    }

    #[test]
    fn fields_are_read_by_their_place() {
        let value = json!({"a": {"b": "x\ty"}, "n": 7, "at_ms": 0, "none": null});
        assert_eq!(field(&value, "/a/b"), "x y");
        assert_eq!(field(&value, "/n"), "7");
        assert_eq!(field(&value, "/none"), "-");
        assert_eq!(time(&value, "/at_ms"), "1970-01-01T00:00:00Z");
        assert_eq!(time(&value, "/gone"), "-");
    }
}
