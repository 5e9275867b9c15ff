//! Asks Prometheus for samples, alerts and rules.
//!
//! In: PromQL and times in milliseconds. Out: typed rows with Prometheus' own warnings. Never: an
//! empty result in place of an error; "no data" and "no answer" are different things to everyone
//! who reads this. API: <https://prometheus.io/docs/prometheus/latest/querying/api/>. To add a
//! question, add a method here and its answer's shape in `wire`.

mod rules;
mod wire;

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use super::http::{self, Answer, Http, Options};
pub use rules::{Alert, AlertState, Firing, Rule};

pub type Labels = BTreeMap<String, String>;

/// Memory for one answer; a thousand series of a thousand points are about 25 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// More rows than this answer no question about one incident.
const SERIES_MAX: usize = 1_000;
/// Prometheus' own limit for one series is 11,000.
const POINTS_MAX: usize = 200_000;
/// Proxies commonly refuse request lines beyond 2 to 8 KiB; longer queries go as a form.
const GET_QUERY_BYTES_MAX: usize = 1_500;

/// The kind of a refusal of ours: the answer is larger than we read.
pub const TOO_LARGE: &str = "too_large";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Prometheus understood that we asked and refuses: the query must change.
    #[error("Prometheus refuses the query ({kind}): {message}")]
    Rejected { kind: String, message: String },
    /// Prometheus cannot be asked.
    #[error(transparent)]
    Http(#[from] http::Error),
}

/// Rows, with what was said about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<T> {
    pub rows: Vec<T>,
    /// Prometheus' warnings and infos, and ours about rows of a kind that is not read.
    pub warnings: Vec<String>,
    /// Rows beyond the cap.
    pub left_out: usize,
}

/// One value of an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub at_ms: i64,
    pub value: f64,
}

/// One series of a range query; points are `(at_ms, value)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(i64, f64)>,
}

/// One Prometheus server.
#[derive(Debug, Clone)]
pub struct Prometheus {
    http: Http,
    timeout_ms: u64,
}

impl Prometheus {
    /// Prepares to ask the server at `base_url`, which may carry a path prefix.
    ///
    /// # Errors
    /// [`http::Error::Setup`].
    pub fn new(base_url: &str, options: &Options) -> Result<Self, http::Error> {
        let http = Http::new("Prometheus", base_url, options)?;
        Ok(Self { http, timeout_ms: options.timeout_ms })
    }

    /// Shows these credentials from the next request on.
    pub fn renew(&self, auth: http::Auth) {
        self.http.renew(auth);
    }

    /// Evaluates `expr` at one time, or at the server's own time.
    ///
    /// A scalar is one sample without labels.
    ///
    /// # Errors
    /// `Rejected`, also when the expression gives a range or a string; `Http`.
    pub async fn query(&self, expr: &str, at_ms: Option<i64>) -> Result<Table<Sample>, Error> {
        let mut form = self.form(expr);
        if let Some(at_ms) = at_ms {
            form.push(("time", seconds(at_ms)));
        }
        let answer = self.ask("api/v1/query", form).await?;
        let (data, warnings) = self.opened(&answer)?;
        wire::samples(data, warnings).map_err(|error| self.unusable(error))
    }

    /// Evaluates `expr` every `step_ms` from `start_ms` to `end_ms`, both included.
    ///
    /// # Errors
    /// `Rejected`, also for more than 11,000 steps; `Http`.
    pub async fn query_range(
        &self,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Table<Series>, Error> {
        let mut form = self.form(expr);
        form.extend([
            ("start", seconds(start_ms)),
            ("end", seconds(end_ms)),
            ("step", seconds(step_ms)),
        ]);
        let answer = self.ask("api/v1/query_range", form).await?;
        let (data, warnings) = self.opened(&answer)?;
        wire::series(data, warnings).map_err(|error| self.unusable(error))
    }

    /// Every stored sample of `selector` in the `range_ms` before `at_ms`, without a step between
    /// which something could hide.
    ///
    /// # Errors
    /// `Rejected`; `Http`.
    pub async fn samples_within(
        &self,
        selector: &str,
        range_ms: i64,
        at_ms: i64,
    ) -> Result<Table<Series>, Error> {
        let mut form = self.form(&format!("{selector}[{}ms]", range_ms.max(1)));
        form.push(("time", seconds(at_ms)));
        let answer = self.ask("api/v1/query", form).await?;
        let (data, warnings) = self.opened(&answer)?;
        wire::series(data, warnings).map_err(|error| self.unusable(error))
    }

    /// The labels that it adds to every alert it hands over.
    ///
    /// # Errors
    /// `Http`.
    pub async fn external_labels(&self) -> Result<Labels, Error> {
        let answer = self.fetch("api/v1/status/config", &[]).await?;
        let (data, _) = self.opened(&answer)?;
        wire::external_labels(data).map_err(|error| self.unusable(error))
    }

    /// The pending and firing alerts of all rules.
    ///
    /// # Errors
    /// `Http`. Just after a start Prometheus has evaluated nothing yet and the list is empty.
    pub async fn alerts(&self) -> Result<Vec<Alert>, Error> {
        let answer = self.fetch("api/v1/alerts", &[]).await?;
        let (data, _) = self.opened(&answer)?;
        rules::alerts(data).map_err(|error| self.unusable(error))
    }

    /// Whether Prometheus itself says that the alert with these labels fires.
    ///
    /// An alert matches when all its labels are among `labels`. What Alertmanager sees may carry
    /// more (`external_labels`, relabelling); those are named in the answer, since Prometheus does
    /// not vouch for them and a forged delivery could add any.
    ///
    /// # Errors
    /// `Http`: nobody knows whether it fires.
    pub async fn firing(&self, labels: &Labels) -> Result<Firing, Error> {
        Ok(rules::firing(self.alerts().await?, labels))
    }

    /// The alerting rules of that name; several may differ in labels.
    ///
    /// # Errors
    /// `Http`.
    pub async fn rules_for(&self, alertname: &str) -> Result<Vec<Rule>, Error> {
        let query = [("type", "alert".to_owned()), ("rule_name[]", alertname.to_owned())];
        let answer = self.fetch("api/v1/rules", &query).await?;
        let (data, _) = self.opened(&answer)?;
        rules::named(data, alertname).map_err(|error| self.unusable(error))
    }

    /// The rule that an alert with these labels came from: the one whose fixed labels agree.
    ///
    /// # Errors
    /// `Http`.
    pub async fn rule_for(&self, labels: &Labels) -> Result<Option<Rule>, Error> {
        let Some(alertname) = labels.get("alertname") else { return Ok(None) };
        Ok(rules::best(self.rules_for(alertname).await?, labels))
    }

    /// Whether it is up and has replayed its log (`/-/ready`).
    ///
    /// # Errors
    /// [`http::Error`], which says what to mend.
    pub async fn health(&self) -> Result<(), http::Error> {
        let answer = self.http.send(self.http.get("-/ready", &[]), 64 * 1024).await?;
        self.http.success(answer).map(|_| ())
    }

    fn form(&self, expr: &str) -> Vec<(&'static str, String)> {
        // Without it Prometheus goes on computing after we stopped waiting.
        let timeout = format!("{}ms", self.timeout_ms);
        vec![("query", expr.to_owned()), ("timeout", timeout)]
    }

    async fn ask(&self, path: &str, form: Vec<(&str, String)>) -> Result<Answer, Error> {
        let mut encoder = self.http.url(path);
        encoder.query_pairs_mut().extend_pairs(&form);
        let encoded = encoder.query().unwrap_or_default();
        if encoded.len() <= GET_QUERY_BYTES_MAX {
            return self.fetch(path, &form).await;
        }
        let request = self
            .http
            .post(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encoded.to_owned());
        self.sent(request).await
    }

    async fn fetch(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Error> {
        self.sent(self.http.get(path, query)).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Answer, Error> {
        self.http.send(request, ANSWER_BYTES_MAX).await.map_err(|error| match error {
            http::Error::TooLarge { bytes_max, .. } => Error::Rejected {
                kind: TOO_LARGE.to_owned(),
                message: format!(
                    "the answer is larger than {bytes_max} bytes; select fewer series, a shorter \
                     range or a larger step"
                ),
            },
            other @ (http::Error::Setup { .. }
            | http::Error::Unreachable { .. }
            | http::Error::Timeout { .. }
            | http::Error::Status { .. }
            | http::Error::BadAnswer { .. }) => Error::Http(other),
        })
    }

    /// Takes the data out of the envelope; Prometheus words its refusals in any status.
    fn opened<'a>(
        &self,
        answer: &'a Answer,
    ) -> Result<(&'a serde_json::value::RawValue, Vec<String>), Error> {
        match wire::open(&answer.body) {
            Ok(wire::Opened::Data { data, warnings }) if answer.is_success() => {
                Ok((data, warnings))
            }
            Ok(wire::Opened::Refused { kind, message }) if is_about_the_query(&kind) => {
                Err(Error::Rejected { kind, message })
            }
            Ok(wire::Opened::Data { .. } | wire::Opened::Refused { .. }) => {
                Err(Error::Http(self.http.refused(answer)))
            }
            Err(_) if !answer.is_success() => Err(Error::Http(self.http.refused(answer))),
            Err(error) => Err(self.unusable(wire::Unusable::Shape(error.to_string()))),
        }
    }

    fn unusable(&self, error: wire::Unusable) -> Error {
        match error {
            wire::Unusable::Kind(kind) => Error::Rejected {
                kind: "result_type".to_owned(),
                message: format!(
                    "the expression gives a {kind}; an instant vector or a scalar is needed, so \
                     leave out the range selector or wrap it in a function such as rate()"
                ),
            },
            wire::Unusable::Shape(reason) => Error::Http(self.http.bad_answer(format!(
                "it is not what Prometheus' API answers ({reason}); check that the address is \
                 Prometheus'"
            ))),
        }
    }
}

/// `unavailable` and `internal` are the server's trouble: the same query may work later.
fn is_about_the_query(kind: &str) -> bool {
    !matches!(kind, "unavailable" | "internal" | "too_many_requests")
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_seconds_with_milliseconds() {
        let cases = [(1_700_000_000_123, "1700000000.123"), (15_000, "15.000"), (5, "0.005")];
        for (ms, text) in cases {
            assert_eq!(seconds(ms), text);
        }
    }
}
