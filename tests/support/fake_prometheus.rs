//! A Prometheus whose samples, alerts and rules a test sets.
//!
//! Answers as the HTTP API is documented, with Prometheus' own error texts. An expression that was
//! never set gives an empty vector, as a metric that does not exist does, and is listed in
//! `unknown_queries`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawForm, State};
use axum::http::{Response, Uri};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Server, Shared, answer, json_answer, now_ms};

/// What an expression gives at one time.
#[derive(Debug, Clone)]
pub enum QueryAnswer {
    /// Labels and value of each series.
    Vector(Vec<(Vec<(&'static str, String)>, f64)>),
    Scalar(f64),
    /// A vector with Prometheus' own warnings.
    Warned(Vec<(Vec<(&'static str, String)>, f64)>, Vec<&'static str>),
    /// Any `data`, as it is.
    Data(Value),
    Error {
        status: u16,
        kind: &'static str,
        message: &'static str,
    },
}

impl QueryAnswer {
    /// One series without labels.
    pub fn value(value: f64) -> Self {
        Self::Vector(vec![(vec![], value)])
    }

    pub fn empty() -> Self {
        Self::Vector(vec![])
    }
}

/// Whether it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Every address answers 503, as while it replays its log.
    NotReady,
    /// Some proxy's page in place of Prometheus.
    Html,
}

/// One query as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub method: String,
    pub path: String,
    pub parameters: BTreeMap<String, String>,
}

type Evaluate = Arc<dyn Fn(i64) -> QueryAnswer + Send + Sync>;

struct Inner {
    table: BTreeMap<String, Evaluate>,
    prefixes: BTreeMap<String, Evaluate>,
    alerts: Vec<Value>,
    rules: Vec<Value>,
    health: Health,
    queries: Vec<Query>,
    unknown: Vec<String>,
    violations: Vec<String>,
}

pub struct FakePrometheus {
    server: Server,
    inner: Shared<Inner>,
}

impl FakePrometheus {
    pub async fn start() -> Self {
        let inner = Shared::new(Inner {
            table: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            alerts: vec![],
            rules: vec![],
            health: Health::Up,
            queries: vec![],
            unknown: vec![],
            violations: vec![],
        });
        let router = Router::new()
            .route("/api/v1/query", get(query).post(query))
            .route("/api/v1/query_range", get(query_range).post(query_range))
            .route("/api/v1/alerts", get(alerts))
            .route("/api/v1/status/config", get(config))
            .route("/api/v1/rules", get(rules))
            .route("/-/ready", get(ready))
            .fallback(unknown)
            .with_state(inner.clone());
        Self { server: Server::http(router).await, inner }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    pub fn set(&self, expr: &str, answer: QueryAnswer) {
        self.set_fn(expr, move |_| answer.clone());
    }

    /// The closure takes the time of evaluation in milliseconds.
    pub fn set_fn(&self, expr: &str, at: impl Fn(i64) -> QueryAnswer + Send + Sync + 'static) {
        self.inner.lock().table.insert(expr.to_owned(), Arc::new(at));
    }

    /// For every expression that begins so and is not set itself.
    pub fn set_prefix(&self, prefix: &str, answer: QueryAnswer) {
        let evaluate: Evaluate = Arc::new(move |_| answer.clone());
        self.inner.lock().prefixes.insert(prefix.to_owned(), evaluate);
    }

    /// Adds an alert in `state`: `firing` or `pending`.
    pub fn add_alert(&self, state: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        self.inner.lock().alerts.push(json!({
            "labels": labels,
            "annotations": {},
            "state": state,
            "activeAt": "2023-11-14T22:13:20.5Z",
            "value": "1e+00",
        }));
    }

    pub fn clear_alerts(&self) {
        self.inner.lock().alerts.clear();
    }

    /// Adds an alerting rule, evaluated every 15 s.
    pub fn add_rule(&self, name: &str, expr: &str, for_seconds: f64, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        self.inner.lock().rules.push(json!({
            "state": "inactive",
            "name": name,
            "query": expr,
            "duration": for_seconds,
            "keepFiringFor": 0,
            "labels": labels,
            "annotations": {},
            "alerts": [],
            "health": "ok",
            "evaluationTime": 0.0003,
            "lastEvaluation": "2023-11-14T22:13:20.5Z",
            "type": "alerting",
        }));
    }

    pub fn set_health(&self, health: Health) {
        self.inner.lock().health = health;
    }

    pub fn queries(&self) -> Vec<Query> {
        self.inner.lock().queries.clone()
    }

    /// Expressions that were asked for and never set.
    pub fn unknown_queries(&self) -> Vec<String> {
        self.inner.lock().unknown.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }
}

type Answered = Result<Value, Response<Body>>;

/// Records the query; gives its parameters unless the server is down.
fn received(
    inner: &Shared<Inner>,
    method: &str,
    path: &str,
    form: &[u8],
) -> Result<BTreeMap<String, String>, Response<Body>> {
    let mut url = reqwest::Url::parse("http://form/").unwrap();
    url.set_query(Some(&String::from_utf8_lossy(form)));
    let parameters: BTreeMap<String, String> =
        url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let mut inner = inner.lock();
    inner.queries.push(Query {
        method: method.to_owned(),
        path: path.to_owned(),
        parameters: parameters.clone(),
    });
    match inner.health {
        Health::Up => Ok(parameters),
        Health::NotReady => Err(answer(503, "text/plain", "Service Unavailable")),
        Health::Html => Err(answer(200, "text/html", "<html>Sign in</html>")),
    }
}

async fn config() -> Response<Body> {
    let yaml = "global:\n  scrape_interval: 15s\n  external_labels:\n    cluster: one\n";
    json_answer(200, &success(&json!({ "yaml": yaml })))
}

async fn query(
    State(inner): State<Shared<Inner>>,
    method: axum::http::Method,
    RawForm(form): RawForm,
) -> Response<Body> {
    let run = || -> Answered {
        let parameters = received(&inner, method.as_str(), "/api/v1/query", &form)?;
        let at_ms = time(&inner, &parameters, "time")?.unwrap_or_else(now_ms);
        let seconds = at_ms as f64 / 1000.0;
        let answer = evaluate(&inner, &parameters)?(at_ms);
        let vector = |rows: Vec<(Vec<(&'static str, String)>, f64)>| -> Vec<Value> {
            rows.into_iter()
                .map(|(labels, value)| {
                    let metric: BTreeMap<_, _> = labels.into_iter().collect();
                    json!({ "metric": metric, "value": [seconds, number(value)] })
                })
                .collect()
        };
        Ok(match answer {
            QueryAnswer::Vector(rows) => {
                success(&json!({ "resultType": "vector", "result": vector(rows) }))
            }
            QueryAnswer::Warned(rows, warnings) => json!({
                "status": "success",
                "data": { "resultType": "vector", "result": vector(rows) },
                "warnings": warnings,
            }),
            QueryAnswer::Scalar(value) => {
                success(&json!({ "resultType": "scalar", "result": [seconds, number(value)] }))
            }
            QueryAnswer::Data(data) => success(&data),
            QueryAnswer::Error { status, kind, message } => {
                return Err(refusal(status, kind, message));
            }
        })
    };
    run().map_or_else(|response| response, |body| json_answer(200, &body))
}

async fn query_range(
    State(inner): State<Shared<Inner>>,
    method: axum::http::Method,
    RawForm(form): RawForm,
) -> Response<Body> {
    let run = || -> Answered {
        let parameters = received(&inner, method.as_str(), "/api/v1/query_range", &form)?;
        let bound = |name: &str| -> Result<i64, Response<Body>> {
            let found = time(&inner, &parameters, name)?;
            found.ok_or_else(|| {
                refusal(400, "bad_data", &format!("invalid parameter {name:?}: cannot parse \"\""))
            })
        };
        let (start, end, step) = (bound("start")?, bound("end")?, bound("step")?);
        if end < start {
            let said = "invalid parameter \"end\": end timestamp must not be before start time";
            return Err(refusal(400, "bad_data", said));
        }
        if step <= 0 {
            let said = "invalid parameter \"step\": zero or negative query resolution step widths \
                        are not accepted. Try a positive integer";
            return Err(refusal(400, "bad_data", said));
        }
        if (end - start) / step > 11_000 {
            let said = "exceeded maximum resolution of 11,000 points per timeseries. Try \
                        decreasing the query resolution (?step=XX)";
            return Err(refusal(400, "bad_data", said));
        }
        let at = evaluate(&inner, &parameters)?;
        let mut series: BTreeMap<Vec<(&'static str, String)>, Vec<Value>> = BTreeMap::new();
        for n in 0..=(end - start) / step {
            let now = start + n * step;
            let rows = match at(now) {
                QueryAnswer::Vector(rows) | QueryAnswer::Warned(rows, _) => rows,
                QueryAnswer::Scalar(value) => vec![(vec![], value)],
                QueryAnswer::Data(data) => return Ok(success(&data)),
                QueryAnswer::Error { status, kind, message } => {
                    return Err(refusal(status, kind, message));
                }
            };
            for (labels, value) in rows {
                let points = series.entry(labels).or_default();
                points.push(json!([now as f64 / 1000.0, number(value)]));
            }
        }
        let result: Vec<Value> = series
            .into_iter()
            .map(|(labels, values)| {
                let metric: BTreeMap<_, _> = labels.into_iter().collect();
                json!({ "metric": metric, "values": values })
            })
            .collect();
        Ok(success(&json!({ "resultType": "matrix", "result": result })))
    };
    run().map_or_else(|response| response, |body| json_answer(200, &body))
}

async fn alerts(State(inner): State<Shared<Inner>>) -> Response<Body> {
    let run = || -> Answered {
        received(&inner, "GET", "/api/v1/alerts", b"")?;
        Ok(success(&json!({ "alerts": inner.lock().alerts })))
    };
    run().map_or_else(|response| response, |body| json_answer(200, &body))
}

async fn rules(State(inner): State<Shared<Inner>>, RawForm(form): RawForm) -> Response<Body> {
    let run = || -> Answered {
        received(&inner, "GET", "/api/v1/rules", &form)?;
        let group = json!({
            "name": "g",
            "file": "rules.yml",
            "interval": 15,
            "rules": inner.lock().rules,
        });
        // An older server: `rule_name[]` is ignored.
        Ok(success(&json!({ "groups": [group] })))
    };
    run().map_or_else(|response| response, |body| json_answer(200, &body))
}

async fn ready(State(inner): State<Shared<Inner>>) -> Response<Body> {
    match received(&inner, "GET", "/-/ready", b"") {
        Ok(_) => answer(200, "text/plain", "Prometheus Server is Ready.\n"),
        Err(response) => response,
    }
}

async fn unknown(State(inner): State<Shared<Inner>>, uri: Uri) -> Response<Body> {
    inner.lock().violations.push(format!("{uri} is no address of the API"));
    answer(404, "text/plain", "404 page not found")
}

fn evaluate(
    inner: &Shared<Inner>,
    parameters: &BTreeMap<String, String>,
) -> Result<Evaluate, Response<Body>> {
    let expr = parameters.get("query").map(String::as_str).unwrap_or_default();
    if let Some(said) = parse_error(expr) {
        let said = format!("invalid parameter \"query\": {said}");
        return Err(refusal(400, "bad_data", &said));
    }
    let mut inner = inner.lock();
    if let Some(evaluate) = inner.table.get(expr) {
        return Ok(Arc::clone(evaluate));
    }
    let by_prefix = inner.prefixes.iter().find(|(prefix, _)| expr.starts_with(prefix.as_str()));
    if let Some((_, evaluate)) = by_prefix {
        return Ok(Arc::clone(evaluate));
    }
    inner.unknown.push(expr.to_owned());
    if expr.ends_with(']') {
        let nothing = json!({ "resultType": "matrix", "result": [] });
        return Ok(Arc::new(move |_| QueryAnswer::Data(nothing.clone())));
    }
    Ok(Arc::new(|_| QueryAnswer::empty()))
}

/// Finds what even the roughest parser would refuse: nothing at all, open quotes or brackets.
fn parse_error(expr: &str) -> Option<String> {
    if expr.trim().is_empty() {
        return Some("1:1: parse error: no expression found in input".to_owned());
    }
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for c in expr.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => open.push(c),
            (None, ')' | ']' | '}') => {
                let pair = matches!(
                    (open.pop(), c),
                    (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')
                );
                if !pair {
                    return Some(format!("parse error: unexpected {c:?}"));
                }
            }
            (None, _) => {}
        }
    }
    if quote.is_some() {
        return Some("parse error: unterminated quoted string".to_owned());
    }
    open.pop().map(|c| format!("parse error: unclosed {c:?}"))
}

/// Reads a time or a step in seconds, the form in which this client sends them.
fn time(
    inner: &Shared<Inner>,
    parameters: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<i64>, Response<Body>> {
    let Some(text) = parameters.get(name) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(seconds) => Ok(Some((seconds * 1000.0).round() as i64)),
        Err(_) => {
            inner.lock().violations.push(format!("{name}={text} is no time"));
            let said =
                format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp");
            Err(refusal(400, "bad_data", &said))
        }
    }
}

fn success(data: &Value) -> Value {
    json!({ "status": "success", "data": data })
}

fn refusal(status: u16, kind: &str, message: &str) -> Response<Body> {
    json_answer(status, &json!({ "status": "error", "errorType": kind, "error": message }))
}

/// Prometheus writes `NaN`, `+Inf` and `-Inf`.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}
