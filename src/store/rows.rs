//! Many rows in one statement: how they are cut, numbered and listed.

use serde_json::Value;
use std::fmt::Write as _;

/// Cuts rows so that the prepared statements of a few sizes serve every number of rows: a few in one
/// piece, more in powers of two.
pub(super) fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    const FEW: usize = 8;
    const ROWS_MAX: usize = 64;
    let mut rest = rows;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size =
            if rest.len() <= FEW { rest.len() } else { 1 << rest.len().min(ROWS_MAX).ilog2() };
        let (chunk, after) = rest.split_at(size);
        rest = after;
        Some(chunk)
    })
}

/// `($1, $2), ($3, $4)`, for that many rows and columns.
pub(super) fn values(rows: usize, columns: usize) -> String {
    values_after(0, rows, columns)
}

/// The same with numbers that begin after `used`.
pub(super) fn values_after(used: usize, rows: usize, columns: usize) -> String {
    let mut sql = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            let _ = write!(sql, "{comma}${}", used + row * columns + column);
        }
        sql.push(')');
    }
    sql
}

/// Ids as the JSON list that a query unfolds.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items = items.into_iter().map(|item| Value::from(item.to_string()));
    Value::Array(items.collect()).to_string()
}
