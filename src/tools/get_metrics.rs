//! Asks Prometheus how a value went over the last minutes or hours.
//!
//! In: PromQL and a duration. Out: for each series first, least, greatest and last value with their
//! times, and all values in a row. Never: an error that looks like "no data", or no data that looks
//! like a zero.

use super::{Bounds, Deps, Done, Error, Output, Tool, told};
use crate::clients::prometheus::{Series, Table};
use crate::clock::format_ms;
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::evidence::MONITORING;
use crate::safety::permit::Permit;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::fmt::Write as _;

const QUERY_CHARS_MAX: usize = 2_000;
const DURATION_MS_MAX: i64 = 31 * 24 * 60 * 60 * 1_000;
const DURATION_MS_MIN: i64 = 60 * 1_000;
/// Enough to see a shape, few enough to read.
const POINTS: i64 = 120;
/// Steps that people know; the least is Prometheus' usual scrape interval.
const STEPS_S: [i64; 12] = [15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800];
/// Series in the data for conditions; the text has them all.
const DATA_SERIES_MAX: usize = 50;

/// The tool `get_metrics`.
pub(super) struct GetMetrics {
    spec: ToolSpec,
    deps: Deps,
}

/// The times that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
}

impl GetMetrics {
    pub(super) fn new(deps: &Deps) -> Self {
        let args = vec![
            Arg::required("query", ArgKind::Text { chars_max: QUERY_CHARS_MAX }, "PromQL"),
            Arg::with_default(
                "duration",
                ArgKind::Text { chars_max: 20 },
                json!("30m"),
                "how far back from now: 1m to 31d, e.g. 90m, 2h30m, 7d",
            ),
        ];
        let spec = ToolSpec {
            name: "get_metrics".into(),
            about: "Runs a PromQL range query up to now and summarises each series.".into(),
            effect: Effect::Read,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn query(&self, call: &Call) -> Result<Done, Error> {
        let prometheus = self.deps.prometheus.as_ref().ok_or_else(no_prometheus)?;
        let query = call.text("query").unwrap_or_default();
        let duration_ms =
            duration_ms(call.text("duration").unwrap_or("30m")).map_err(Error::Tell)?;
        let range = Range::until(self.deps.clock.now_ms(), duration_ms);
        let table = prometheus
            .query_range(query, range.from_ms, range.to_ms, range.step_ms)
            .await
            .map_err(|error| Error::Tell(error.to_string()))?;
        Ok(Done::Output(render(query, range, &table)))
    }
}

impl Tool for GetMetrics {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        MONITORING
    }

    fn canonical(&self, mut call: Call) -> Result<Call, String> {
        duration_ms(call.text("duration").unwrap_or_default())?;
        let query = call.text("query").unwrap_or_default().trim().to_owned();
        if query.is_empty() {
            return Err("'query' is empty".to_owned());
        }
        call.args.insert("query".to_owned(), Value::String(query));
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.query(permit.call()).await.map_err(told) })
    }
}

/// What to say, and to whom to turn, when there is nobody to ask.
pub(super) fn no_prometheus() -> Error {
    Error::Tell("no Prometheus is configured; set prometheus.url, or PROMETHEUS_URL".to_owned())
}

impl Range {
    /// Ends at whole steps, so that a second look gives the same points.
    fn until(now_ms: i64, duration_ms: i64) -> Self {
        let wanted_s = duration_ms / 1_000 / POINTS;
        let step_s = STEPS_S.into_iter().find(|step| *step >= wanted_s).unwrap_or(28_800);
        let step_ms = step_s * 1_000;
        let to_ms = now_ms - now_ms.rem_euclid(step_ms);
        Self { from_ms: to_ms - duration_ms, to_ms, step_ms }
    }
}

/// Prometheus' own notation: numbers with units, largest first.
fn duration_ms(text: &str) -> Result<i64, String> {
    let refuse = || format!("'duration' must be 1m to 31d, such as 30m or 2h30m, got {text:?}");
    let (mut total, mut rest, mut last_unit) = (0_i64, text, i64::MAX);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().map_err(|_| refuse())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            Some('w') => 604_800_000,
            Some(_) | None => return Err(refuse()),
        };
        if unit >= last_unit {
            return Err(refuse());
        }
        last_unit = unit;
        total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).ok_or_else(refuse)?;
        rest = &rest[digits + 1..];
    }
    if (DURATION_MS_MIN..=DURATION_MS_MAX).contains(&total) { Ok(total) } else { Err(refuse()) }
}

/// The points of one series that matter.
struct Summary {
    first: (i64, f64),
    min: (i64, f64),
    max: (i64, f64),
    last: (i64, f64),
}

impl Summary {
    fn of(series: &Series) -> Option<Self> {
        let (first, last) = (*series.points.first()?, *series.points.last()?);
        let numbers = || series.points.iter().copied().filter(|(_, value)| !value.is_nan());
        let min = numbers().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
        let max = numbers().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
        Some(Self { first, min, max, last })
    }
}

fn render(query: &str, range: Range, table: &Table<Series>) -> Output {
    let (from, to) = (format_ms(range.from_ms), format_ms(range.to_ms));
    let step_s = range.step_ms / 1_000;
    let count = table.rows.len();
    let mut text = format!("{query}\nfrom {from} to {to}, every {step_s} s: {count} series.\n");
    if count == 0 && table.left_out == 0 {
        text.push_str(
            "No series match. That is not a zero: the metric or label may not exist, or whoever \
             reports it may be gone.\n",
        );
    }
    for warning in &table.warnings {
        let _ = writeln!(text, "Prometheus warns: {warning}");
    }
    let mut data = Vec::new();
    for series in &table.rows {
        let Some(summary) = Summary::of(series) else { continue };
        series_lines(&mut text, series, &summary, range);
        if data.len() < DATA_SERIES_MAX {
            data.push(series_data(series, &summary));
        }
    }
    if table.left_out > 0 {
        let _ = writeln!(text, "{} more series are left out; narrow the query.", table.left_out);
    }
    let data = json!({
        "query": query,
        "from": from,
        "to": to,
        "step_s": step_s,
        "series_count": count + table.left_out,
        "series": data,
    });
    Output::new(text, data)
}

fn series_lines(text: &mut String, series: &Series, summary: &Summary, range: Range) {
    let labels: Vec<String> =
        series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let at = |(at_ms, value): (i64, f64)| format!("{} at {}", number(value), format_ms(at_ms));
    let _ = writeln!(
        text,
        "{{{}}}: first {}; min {}; max {}; last {}",
        labels.join(", "),
        at(summary.first),
        at(summary.min),
        at(summary.max),
        at(summary.last),
    );
    let _ = write!(text, "  values from {}:", format_ms(summary.first.0));
    let mut expected_ms = summary.first.0;
    for (at_ms, value) in &series.points {
        // A gap is a fact: nobody reported then.
        while expected_ms + range.step_ms / 2 < *at_ms {
            text.push_str(" _");
            expected_ms += range.step_ms;
        }
        let _ = write!(text, " {}", number(*value));
        expected_ms = at_ms + range.step_ms;
    }
    text.push('\n');
    if expected_ms <= range.to_ms {
        let _ = writeln!(text, "  nothing after {}", format_ms(summary.last.0));
    }
}

fn series_data(series: &Series, summary: &Summary) -> Value {
    json!({
        "labels": series.labels,
        "points": series.points.len(),
        "first": summary.first.1,
        "first_at": format_ms(summary.first.0),
        "min": summary.min.1,
        "min_at": format_ms(summary.min.0),
        "max": summary.max.1,
        "max_at": format_ms(summary.max.0),
        "last": summary.last.1,
        "last_at": format_ms(summary.last.0),
    })
}

/// Five significant digits, whole numbers whole.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    if value.fract() == 0.0 && magnitude < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.4e}");
    }
    let digits = (4 - magnitude.log10().floor() as i32).clamp(0, 8);
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
#[path = "tests/get_metrics.rs"]
mod tests;
