//! Asks the world whether the problem is gone.
//!
//! In: the case, its runbook, Prometheus. Out: fixed, not fixed, or nothing measured, each with the
//! words for it. Never: absence as proof. A query counts only when it returns data, so of an alert
//! rule `left > right` the left side must be there and the whole must no longer hold.

use crate::clients::prometheus::{Prometheus, Sample};
use crate::knowledge::runbooks::{self, Runbooks, Verify};
use crate::model::alert::{Alert, Labels};
use crate::model::case::Case;
use crate::model::entity::Located;
use crate::model::expr::Scope;
use crate::model::time::parse_duration_ms;
use serde_json::json;
use std::sync::Arc;

/// Each alert costs up to three queries.
const ALERTS_MAX: usize = 100;

/// Measures incidents.
pub struct Verifier {
    pub prometheus: Option<Prometheus>,
    pub runbooks: Arc<Runbooks>,
    pub wait_ms: i64,
    pub timeout_ms: i64,
}

/// One measurement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    Fixed(String),
    NotFixed(String),
    /// No source, a source that is down, or a query without data.
    Nothing(String),
}

/// What will be measured and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub by: String,
    pub for_ms: i64,
}

impl Verifier {
    /// How a case will be measured: by its runbook's query, else by the alert's own rule. It waits
    /// as long as the ranges in the query need to forget the problem.
    pub async fn plan(&self, case: &Case, located: &Located) -> Plan {
        if let Some(verify) = self.verify_of(case) {
            let query = filled(verify, case, located).unwrap_or_else(|_| verify.query.clone());
            let range_ms = verify.within_ms.unwrap_or_else(|| longest_range_ms(&query));
            return Plan { by: query, for_ms: self.bounded(range_ms) };
        }
        let Some(prometheus) = &self.prometheus else {
            return Plan { by: "resolved notice".into(), for_ms: self.wait_ms };
        };
        let mut plan = Plan { by: "resolved notice".into(), for_ms: self.wait_ms };
        for alert in case.firing().take(ALERTS_MAX) {
            if let Ok(Some(rule)) = prometheus.rule_for(&alert.labels).await {
                let needed = longest_range_ms(&rule.expr) + 2 * rule.interval_ms;
                plan = Plan { by: rule.expr, for_ms: plan.for_ms.max(self.bounded(needed)) };
            }
        }
        plan
    }

    /// Measures once.
    pub async fn measure(&self, case: &Case, located: &Located) -> Reading {
        if case.all_alerts_resolved() {
            return Reading::Fixed("every alert got its resolved notice".into());
        }
        let Some(prometheus) = &self.prometheus else {
            return Reading::Nothing(
                "no Prometheus is configured (prometheus.url); waiting for the resolved notice"
                    .into(),
            );
        };
        if let Err(error) = prometheus.health().await {
            return Reading::Nothing(format!("Prometheus is not healthy: {error}"));
        }
        let firing = case.firing().count();
        if firing > ALERTS_MAX {
            return Reading::Nothing(format!("{firing} alerts fire, too many to measure each"));
        }
        let runbook = self.runbooks.of_case(case).and_then(|r| Some((r, r.verify.as_ref()?)));
        let mut last = match runbook {
            Some((_, verify)) => by_runbook(prometheus, verify, case, located).await,
            None => Reading::Nothing("no alert is left to measure".into()),
        };
        if runbook.is_some() && !matches!(last, Reading::Fixed(_)) {
            return last;
        }
        // The runbook's query says nothing of alerts that are not its own.
        let own = |alert: &Alert| runbook.is_some_and(|(r, _)| r.fits(&alert.labels));
        for alert in case.firing().filter(|alert| !own(alert)) {
            last = by_rule(prometheus, alert).await;
            if !matches!(last, Reading::Fixed(_)) {
                return last;
            }
        }
        last
    }

    fn verify_of(&self, case: &Case) -> Option<&Verify> {
        self.runbooks.of_case(case)?.verify.as_ref()
    }

    fn bounded(&self, needed_ms: i64) -> i64 {
        needed_ms.max(self.wait_ms).min(self.timeout_ms)
    }
}

async fn by_runbook(
    prometheus: &Prometheus,
    verify: &Verify,
    case: &Case,
    located: &Located,
) -> Reading {
    let query = match filled(verify, case, located) {
        Ok(query) => query,
        Err(name) => return Reading::Nothing(format!("the query needs a {name}")),
    };
    let (rows, left_out) = match prometheus.query(&query, None).await {
        Ok(table) => (table.rows, table.left_out),
        Err(error) => return Reading::Nothing(format!("{query}: {error}")),
    };
    if rows.is_empty() {
        return Reading::Nothing(format!("{query} returns no data"));
    }
    for row in &rows {
        let value = json!(row.value);
        match verify.expect.holds(&Scope::new([("value", &value)])) {
            Ok(true) => {}
            Ok(false) => return Reading::NotFixed(said(&query, row, verify)),
            Err(error) => return Reading::Nothing(format!("{query}: {error}")),
        }
    }
    if left_out > 0 {
        return cut(&query, left_out);
    }
    Reading::Fixed(said(&query, &rows[0], verify))
}

fn said(query: &str, row: &Sample, verify: &Verify) -> String {
    format!("{query} = {}, expected {}", row.value, verify.expect.source())
}

fn filled(verify: &Verify, case: &Case, located: &Located) -> Result<String, String> {
    runbooks::text(&verify.query, &|name| runbooks::lookup(case, located, name))
}

async fn by_rule(prometheus: &Prometheus, alert: &Alert) -> Reading {
    let rule = match prometheus.rule_for(&alert.labels).await {
        Ok(Some(rule)) => rule,
        Ok(None) => {
            return Reading::Nothing(format!("Prometheus has no rule for {}", alert.name()));
        }
        Err(error) => return Reading::Nothing(error.to_string()),
    };
    let (whole, left_out) = match prometheus.query(&rule.expr, None).await {
        Ok(table) => (matching(table.rows, &alert.labels), table.left_out),
        Err(error) => return Reading::Nothing(format!("{}: {error}", rule.expr)),
    };
    if let Some(row) = whole.first() {
        return Reading::NotFixed(format!("{} still holds: {}", rule.expr, row.value));
    }
    if left_out > 0 {
        return cut(&rule.expr, left_out);
    }
    let Some((left, comparison)) = split_comparison(&rule.expr) else {
        return Reading::Nothing(format!(
            "{} returns nothing, which proves nothing; give the runbook a verify query",
            rule.expr
        ));
    };
    match prometheus.query(left, None).await {
        Ok(table) => match matching(table.rows, &alert.labels).first() {
            Some(row) => Reading::Fixed(format!("{left} = {}, no longer {comparison}", row.value)),
            None => Reading::Nothing(format!("{left} returns no data")),
        },
        Err(error) => Reading::Nothing(format!("{left}: {error}")),
    }
}

/// What was not read may still say that the problem is there.
fn cut(query: &str, left_out: usize) -> Reading {
    Reading::Nothing(format!("{query} returns {left_out} rows more than are read"))
}

/// The rows that can be about this alert: every label that both carry is the same.
fn matching(rows: Vec<Sample>, labels: &Labels) -> Vec<Sample> {
    rows.into_iter()
        .filter(|row| {
            row.labels
                .iter()
                .filter(|(name, _)| *name != "__name__" && *name != "alertname")
                .all(|(name, value)| labels.get(name).is_none_or(|own| own == value))
        })
        .collect()
}

/// The longest `[range]` of an expression, in milliseconds; 0 without any.
fn longest_range_ms(expr: &str) -> i64 {
    expr.split('[')
        .skip(1)
        .filter_map(|rest| {
            let range = rest.split_once(']')?.0;
            parse_duration_ms(range.split(':').next()?).ok()
        })
        .max()
        .unwrap_or(0)
}

/// Splits `left op number` at its one top-level comparison. Anything with set operators or several
/// comparisons is left alone.
fn split_comparison(expr: &str) -> Option<(&str, &str)> {
    let bytes = expr.as_bytes();
    let mut depth = 0_i32;
    let mut quote: Option<u8> = None;
    let mut found: Option<usize> = None;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if let Some(open) = quote {
            match byte {
                b'\\' if open != b'`' => at += 1,
                _ if byte == open => quote = None,
                _ => {}
            }
            at += 1;
            continue;
        }
        match byte {
            b'"' | b'\'' | b'`' => quote = Some(byte),
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth -= 1,
            b'#' => return None,
            b'<' | b'>' | b'=' | b'!' if depth == 0 => {
                if found.replace(at).is_some() {
                    return None;
                }
                // The second character of `>=`, `==`, `!=`.
                at += usize::from(bytes.get(at + 1) == Some(&b'='));
            }
            _ => {
                if depth == 0 && starts_set_operator(expr, at) {
                    return None;
                }
            }
        }
        at += 1;
    }
    let at = found?;
    let (left, comparison) = (expr[..at].trim(), expr[at..].trim());
    let right = comparison.trim_start_matches(['<', '>', '=', '!']).trim();
    let right = right.strip_prefix("bool").map_or(right, str::trim);
    // A metric on the right may have vanished, and then the whole holds no longer either.
    (!left.is_empty() && right.parse::<f64>().is_ok()).then_some((left, comparison))
}

fn starts_set_operator(expr: &str, at: usize) -> bool {
    let before = expr[..at].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
        return false;
    }
    let Some(rest) = expr.get(at..) else { return false };
    ["and", "or", "unless"].iter().any(|word| {
        rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_top_level_comparison_is_split() {
        for (expr, expected) in [
            ("up == 0", Some(("up", "== 0"))),
            ("up{job!=\"x\"} == 0", Some(("up{job!=\"x\"}", "== 0"))),
            ("(a / b) * 100 < bool 10", Some(("(a / b) * 100", "< bool 10"))),
            ("rate(x[5m]) >= 0.5", Some(("rate(x[5m])", ">= 0.5"))),
            ("a > 1 and b > 2", None),
            ("a > 1 > 2", None),
            ("a > b", None),
            ("a > on(host) group_left limit", None),
            ("a unless on(x) b", None),
            ("absent(up)", None),
            ("x{l=\"> and <\"} > 1", Some(("x{l=\"> and <\"}", "> 1"))),
            ("brand_total > 1", Some(("brand_total", "> 1"))),
        ] {
            assert_eq!(split_comparison(expr), expected, "{expr}");
        }
    }

    #[test]
    fn the_longest_range_sets_the_patience() {
        assert_eq!(longest_range_ms("rate(a[5m]) / rate(b[1h:1m]) > 1"), 3_600_000);
        assert_eq!(longest_range_ms("up == 0"), 0);
    }
}
