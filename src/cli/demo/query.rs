//! The small part of PromQL that the demo's monitor evaluates: a metric, label matchers for
//! equality, and one comparison with a number.
//!
//! In: text and samples. Out: the samples that it selects. Never: an empty result for an expression
//! that is not understood; that is an error, as it is with Prometheus.

use crate::model::alert::Labels;
use regex::Regex;

/// One measured value.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub metric: String,
    pub labels: Labels,
    pub value: f64,
}

/// A parsed expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    metric: String,
    matchers: Labels,
    comparison: Option<(Comparison, f64)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const WHOLE: &str =
    r"^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*(?:(==|!=|<=|>=|<|>)\s*(\S+)\s*)?$";
const MATCHER: &str = r#"^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"([^"\\]*)"\s*(?:,|$)"#;

impl Query {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let complaint = || format!("the demo's monitor does not understand: {text}");
        let whole = Regex::new(WHOLE).map_err(|error| error.to_string())?;
        let parts = whole.captures(text).ok_or_else(complaint)?;
        let matchers = match parts.get(2) {
            Some(inside) => matchers(inside.as_str()).ok_or_else(complaint)?,
            None => Labels::new(),
        };
        let comparison = match (parts.get(3), parts.get(4)) {
            (Some(sign), Some(number)) => {
                let number = number.as_str().parse().map_err(|_| complaint())?;
                Some((Comparison::of(sign.as_str()).ok_or_else(complaint)?, number))
            }
            (Some(_), None) | (None, _) => None,
        };
        Ok(Self { metric: parts[1].to_owned(), matchers, comparison })
    }

    /// The samples that it selects.
    pub fn select<'a>(&self, samples: &'a [Sample]) -> Vec<&'a Sample> {
        samples
            .iter()
            .filter(|sample| sample.metric == self.metric)
            .filter(|sample| {
                self.matchers.iter().all(|(name, value)| sample.labels.get(name) == Some(value))
            })
            .filter(|sample| {
                self.comparison.is_none_or(|(sign, number)| sign.holds(sample.value, number))
            })
            .collect()
    }
}

impl Comparison {
    fn of(sign: &str) -> Option<Self> {
        match sign {
            "==" => Some(Self::Equal),
            "!=" => Some(Self::NotEqual),
            "<" => Some(Self::Less),
            "<=" => Some(Self::LessOrEqual),
            ">" => Some(Self::Greater),
            ">=" => Some(Self::GreaterOrEqual),
            _ => None,
        }
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

fn matchers(mut text: &str) -> Option<Labels> {
    let matcher = Regex::new(MATCHER).ok()?;
    let mut found = Labels::new();
    while !text.trim().is_empty() {
        let one = matcher.captures(text)?;
        found.insert(one[1].to_owned(), one[2].to_owned());
        text = &text[one[0].len()..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(service: &str, value: f64) -> Sample {
        let labels = Labels::from([("service".to_owned(), service.to_owned())]);
        Sample { metric: "up".to_owned(), labels, value }
    }

    #[test]
    fn matchers_and_comparison_select_samples() {
        let samples = [up("a", 0.0), up("b", 1.0)];
        let select = |text: &str| {
            let query = Query::parse(text).unwrap();
            query.select(&samples).into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(select("up == 0"), [up("a", 0.0)]);
        assert_eq!(select("up"), samples);
        assert_eq!(select("up{service=\"b\"}"), [up("b", 1.0)]);
        assert_eq!(select("up{ service = \"b\", } > 1e3"), []);
        assert_eq!(select("down"), []);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in ["", "up +", "rate(up[5m])", "up{a=~\"b\"}", "up == zero", "up == 0 and down"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
