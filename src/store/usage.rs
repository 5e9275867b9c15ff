//! What models cost, a row for each UTC day, so that daily budgets survive a restart.

use super::Error;
use super::db::{Conn, Store, db, values_after};
use crate::model::timeline::Usage;
use sqlx::AssertSqlSafe;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The total of one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Day {
    pub tokens: i64,
    pub cost_micros: i64,
}

/// The total as a commit left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    day: i64,
    total: Day,
}

impl Used {
    pub(super) fn new(at_ms: i64, tokens: i64, cost_micros: i64) -> Self {
        Self { day: day(at_ms), total: Day { tokens, cost_micros } }
    }

    /// The total, unless it is another day's.
    pub fn on(self, at_ms: i64) -> Option<Day> {
        (self.day == day(at_ms)).then_some(self.total)
    }
}

impl Store {
    /// What was used on the UTC day of `at_ms`.
    pub async fn usage_of_day(&self, scope: &str, at_ms: i64) -> Result<Day, Error> {
        let scope = scope.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let found: Option<(i64, i64)> = db!(conn, c => sqlx::query_as(
                    "select tokens, cost_micros from usage_day where scope = $1 and day = $2"
                ).bind(scope).bind(day(at_ms)).fetch_optional(&mut **c).await)?;
                Ok(found
                    .map_or_else(Day::default, |(tokens, cost_micros)| Day { tokens, cost_micros }))
            })
        })
        .await
    }
}

/// Adds to the total of a day; its four values are numbered after `used`.
pub(super) fn add_sql(used: usize) -> String {
    format!(
        "insert into usage_day (scope, day, tokens, cost_micros) values {}
         on conflict (scope, day) do update
         set tokens = usage_day.tokens + excluded.tokens,
             cost_micros = usage_day.cost_micros + excluded.cost_micros
         returning tokens, cost_micros",
        values_after(used, 1, 4)
    )
}

/// The number under which a day's total stands.
pub(super) fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// Adds to the total of the day of `at_ms`; returns what it is by then.
pub async fn add(
    conn: &mut Conn<'_>,
    scope: &str,
    at_ms: i64,
    usage: Usage,
) -> Result<Used, Error> {
    let (tokens, cost_micros) = db!(conn, c => sqlx::query_as(AssertSqlSafe(add_sql(0)))
        .bind(scope)
        .bind(day(at_ms))
        .bind(usage.tokens())
        .bind(usage.cost_micros)
        .fetch_one(&mut **c).await)?;
    Ok(Used::new(at_ms, tokens, cost_micros))
}
