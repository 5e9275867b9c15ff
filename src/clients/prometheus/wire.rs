//! The shapes in which Prometheus answers queries.
//!
//! In: a body. Out: rows, capped, with warnings; NaN and infinities are values like any other.
//! Never: a row made up for one that cannot be read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Labels, POINTS_MAX, SERIES_MAX, Sample, Series, Table};

/// Why an answer holds no rows.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A result of a kind that the question does not allow.
    Kind(&'static str),
    /// Not the documented shape.
    Shape(String),
}

impl From<serde_json::Error> for Unusable {
    fn from(error: serde_json::Error) -> Self {
        Self::Shape(error.to_string())
    }
}

/// What the envelope holds.
pub(super) enum Opened<'a> {
    Data { data: &'a RawValue, warnings: Vec<String> },
    Refused { kind: String, message: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    status: Status,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

pub(super) fn open(body: &[u8]) -> Result<Opened<'_>, serde_json::Error> {
    let mut envelope: Envelope<'_> = serde_json::from_slice(body)?;
    match (envelope.status, envelope.data) {
        (Status::Error, _) => {
            Ok(Opened::Refused { kind: envelope.error_type, message: envelope.error })
        }
        (Status::Success, Some(data)) => {
            envelope.warnings.append(&mut envelope.infos);
            Ok(Opened::Data { data, warnings: envelope.warnings })
        }
        (Status::Success, None) => Err(serde::de::Error::missing_field("data")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    result_type: Kind,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Vector,
    Scalar,
    Matrix,
    String,
}

/// `[seconds, "value"]`.
#[derive(Deserialize)]
struct Point(f64, String);

impl Point {
    fn read(self) -> Result<(i64, f64), Unusable> {
        // Rust reads NaN, +Inf and -Inf as Prometheus writes them.
        let value = self
            .1
            .parse()
            .map_err(|_| Unusable::Shape(format!("the value {:?} is not a number", self.1)))?;
        Ok(((self.0 * 1000.0).round() as i64, value))
    }
}

#[derive(Deserialize)]
struct VectorRow {
    metric: Labels,
    /// Absent for native histograms, which come as `histogram`.
    value: Option<Point>,
}

#[derive(Deserialize)]
struct MatrixRow {
    metric: Labels,
    values: Option<Vec<Point>>,
}

pub(super) fn samples(data: &RawValue, warnings: Vec<String>) -> Result<Table<Sample>, Unusable> {
    let outcome: Outcome<'_> = serde_json::from_str(data.get())?;
    let raw: Vec<VectorRow> = match outcome.result_type {
        Kind::Vector => serde_json::from_str(outcome.result.get())?,
        Kind::Scalar => {
            let point = serde_json::from_str(outcome.result.get())?;
            vec![VectorRow { metric: Labels::new(), value: Some(point) }]
        }
        Kind::Matrix => return Err(Unusable::Kind("range vector")),
        Kind::String => return Err(Unusable::Kind("string")),
    };
    let left_out = raw.len().saturating_sub(SERIES_MAX);
    let mut table = Table { rows: Vec::new(), warnings, left_out };
    let mut histograms = 0_usize;
    for row in raw.into_iter().take(SERIES_MAX) {
        let Some(point) = row.value else {
            histograms += 1;
            continue;
        };
        let (at_ms, value) = point.read()?;
        table.rows.push(Sample { labels: row.metric, at_ms, value });
    }
    note_histograms(&mut table.warnings, histograms);
    Ok(table)
}

pub(super) fn series(data: &RawValue, warnings: Vec<String>) -> Result<Table<Series>, Unusable> {
    let outcome: Outcome<'_> = serde_json::from_str(data.get())?;
    let raw: Vec<MatrixRow> = match outcome.result_type {
        Kind::Matrix => serde_json::from_str(outcome.result.get())?,
        Kind::Vector | Kind::Scalar | Kind::String => {
            return Err(Unusable::Shape("a range query gave no range vector".to_owned()));
        }
    };
    let mut table = Table { rows: Vec::new(), warnings, left_out: 0 };
    let (mut histograms, mut points) = (0_usize, 0_usize);
    for row in raw {
        let Some(values) = row.values else {
            histograms += 1;
            continue;
        };
        points += values.len();
        if table.rows.len() == SERIES_MAX || points > POINTS_MAX {
            table.left_out += 1;
            continue;
        }
        let points = values.into_iter().map(Point::read).collect::<Result<_, _>>()?;
        table.rows.push(Series { labels: row.metric, points });
    }
    note_histograms(&mut table.warnings, histograms);
    Ok(table)
}

#[derive(Deserialize)]
struct Configured {
    yaml: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    global: Global,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Global {
    external_labels: Labels,
}

pub(super) fn external_labels(data: &RawValue) -> Result<Labels, Unusable> {
    let configured: Configured = serde_json::from_str(data.get())?;
    let config: Config = serde_saphyr::from_str(&configured.yaml)
        .map_err(|error| Unusable::Shape(error.to_string()))?;
    Ok(config.global.external_labels)
}

fn note_histograms(warnings: &mut Vec<String>, count: usize) {
    if count > 0 {
        warnings.push(format!(
            "{count} native histograms are left out; reduce them with histogram_quantile(), \
             histogram_count() or histogram_sum()"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn raw(data: &Value) -> Box<RawValue> {
        to_raw_value(data).unwrap()
    }

    fn rows(count: usize) -> Vec<Value> {
        (0..count)
            .map(|n| json!({ "metric": { "n": n.to_string() }, "value": [1.5, "1"] }))
            .collect()
    }

    #[test]
    fn rows_beyond_the_cap_are_counted() {
        let data = raw(&json!({ "resultType": "vector", "result": rows(SERIES_MAX + 3) }));
        let table = samples(&data, vec![]).unwrap();
        assert_eq!((table.rows.len(), table.left_out), (SERIES_MAX, 3));
    }

    #[test]
    fn series_beyond_the_point_cap_are_counted() {
        let values: Vec<Value> = (0..11_000).map(|n| json!([n, "1"])).collect();
        let row = json!({ "metric": {}, "values": values });
        let data = raw(&json!({ "resultType": "matrix", "result": vec![row; 20] }));
        let table = series(&data, vec![]).unwrap();
        assert_eq!((table.rows.len(), table.left_out), (18, 2));
    }

    #[test]
    fn native_histograms_are_named_not_dropped_in_silence() {
        let histogram = json!({ "count": "1", "sum": "2", "buckets": [] });
        let data = raw(&json!({
            "resultType": "vector",
            "result": [{ "metric": { "job": "a" }, "histogram": [1.5, histogram] }],
        }));
        let table = samples(&data, vec!["slow".to_owned()]).unwrap();
        assert_eq!(
            table,
            Table {
                rows: vec![],
                warnings: vec![
                    "slow".to_owned(),
                    "1 native histograms are left out; reduce them with histogram_quantile(), \
                     histogram_count() or histogram_sum()"
                        .to_owned(),
                ],
                left_out: 0,
            }
        );
    }

    #[test]
    fn value_that_is_no_number_is_an_error() {
        let data = raw(&json!({
            "resultType": "vector",
            "result": [{ "metric": {}, "value": [1.5, "many"] }],
        }));
        let Err(Unusable::Shape(reason)) = samples(&data, vec![]) else { panic!("was read") };
        assert_eq!(reason, "the value \"many\" is not a number");
    }
}
