//! The clients against doubles of their services: every answer, every failure.

mod chat;
mod doubles;

use std::collections::BTreeMap;

use serde_json::json;
use watchkeeper::clients::alertmanager::{
    self, AlertStatus, Alertmanager, Filter, Listing, NewAlert, State, Status,
};
use watchkeeper::clients::http::{Auth, Error, Http, Options};
use watchkeeper::clients::prometheus::{
    self, Alert, AlertState, Firing, Prometheus, Rule, Sample, Series, Table,
};

use crate::support::fake_prometheus::Health;
use crate::support::{
    FakeAlertmanager, FakePrometheus, FakeSlack, Fault, QueryAnswer, Server, answer,
};

const AT_MS: i64 = 1_700_000_000_500;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn prometheus_at(fake: &FakePrometheus) -> Prometheus {
    Prometheus::new(&fake.url(), &Options::default()).unwrap()
}

fn table<T>(rows: Vec<T>) -> Table<T> {
    Table { rows, warnings: vec![], left_out: 0 }
}

/// The port of tcpmux, on which nothing has listened for decades.
const NOWHERE: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn instant_query_gives_samples_of_vectors_and_scalars() {
    let fake = FakePrometheus::start().await;
    let row = |instance: &str, value| (vec![("instance", instance.to_owned())], value);
    let rows = vec![row("a", 0.5), row("b", f64::INFINITY), row("c", f64::NEG_INFINITY)];
    fake.set("disk_free", QueryAnswer::Vector(rows));
    fake.set("time()", QueryAnswer::Scalar(42.0));
    let client = prometheus_at(&fake);

    let sample =
        |pairs: &[(&str, &str)], value| Sample { labels: labels(pairs), at_ms: AT_MS, value };
    assert_eq!(
        client.query("disk_free", Some(AT_MS)).await.unwrap(),
        table(vec![
            sample(&[("instance", "a")], 0.5),
            sample(&[("instance", "b")], f64::INFINITY),
            sample(&[("instance", "c")], f64::NEG_INFINITY),
        ])
    );
    assert_eq!(client.query("time()", Some(AT_MS)).await.unwrap(), table(vec![sample(&[], 42.0)]));
    assert_eq!(client.query("no_such_metric", None).await.unwrap(), table(vec![]));
    assert_eq!(fake.unknown_queries(), ["no_such_metric"]);
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn not_a_number_is_a_value() {
    let fake = FakePrometheus::start().await;
    fake.set("0/0", QueryAnswer::value(f64::NAN));
    let found = prometheus_at(&fake).query("0/0", Some(AT_MS)).await.unwrap();
    assert_eq!(found.rows.len(), 1);
    assert!(found.rows[0].value.is_nan());
}

#[tokio::test]
async fn range_query_gives_every_step() {
    let fake = FakePrometheus::start().await;
    fake.set_fn("load", |at_ms| {
        QueryAnswer::Vector(vec![(vec![("host", "web1".to_owned())], at_ms as f64 / 1000.0)])
    });
    let found = prometheus_at(&fake).query_range("load", 10_000, 40_500, 15_000).await.unwrap();
    assert_eq!(
        found,
        table(vec![Series {
            labels: labels(&[("host", "web1")]),
            points: vec![(10_000, 10.0), (25_000, 25.0), (40_000, 40.0)],
        }])
    );
}

#[tokio::test]
async fn warnings_are_kept() {
    let fake = FakePrometheus::start().await;
    fake.set("a", QueryAnswer::Warned(vec![], vec!["metric might not be a counter"]));
    assert_eq!(
        prometheus_at(&fake).query("a", None).await.unwrap().warnings,
        ["metric might not be a counter"]
    );
}

#[tokio::test]
async fn refused_query_is_an_error_with_prometheus_own_words() {
    let fake = FakePrometheus::start().await;
    let timeout = "query timed out in expression evaluation";
    fake.set("slow", QueryAnswer::Error { status: 503, kind: "timeout", message: timeout });
    let matrix = json!({ "resultType": "matrix", "result": [] });
    fake.set("up[5m]", QueryAnswer::Data(matrix));
    let client = prometheus_at(&fake);
    let resolution = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing \
                      the query resolution (?step=XX)";
    let parse = "invalid parameter \"query\": parse error: unclosed '{'";
    let range = "the expression gives a range vector; an instant vector or a scalar is needed, so \
                 leave out the range selector or wrap it in a function such as rate()";
    let answers = [
        (client.query("up{", None).await.map(|_| ()), "bad_data", parse),
        (client.query("slow", None).await.map(|_| ()), "timeout", timeout),
        (client.query("up[5m]", None).await.map(|_| ()), "result_type", range),
        (client.query_range("up", 0, 86_400_000, 1_000).await.map(|_| ()), "bad_data", resolution),
    ];
    for (answer, expected_kind, expected) in answers {
        let Err(prometheus::Error::Rejected { kind, message }) = answer else {
            panic!("{answer:?} is no refusal")
        };
        assert_eq!((kind.as_str(), message.as_str()), (expected_kind, expected));
    }
}

#[tokio::test]
async fn long_query_goes_as_a_form() {
    let fake = FakePrometheus::start().await;
    let hosts: Vec<String> = (0..300).map(|n| format!("web{n}")).collect();
    let long = format!("up{{host=~\"{}\"}}", hosts.join("|"));
    fake.set(&long, QueryAnswer::value(1.0));
    fake.set("up", QueryAnswer::value(2.0));
    let client = prometheus_at(&fake);
    assert_eq!(client.query(&long, Some(AT_MS)).await.unwrap().rows[0].value, 1.0);
    assert_eq!(client.query("up", Some(AT_MS)).await.unwrap().rows[0].value, 2.0);
    let sent: Vec<(String, String)> =
        fake.queries().into_iter().map(|q| (q.method, q.parameters["timeout"].clone())).collect();
    let timeout = "10000ms".to_owned();
    assert_eq!(sent, [("POST".to_owned(), timeout.clone()), ("GET".to_owned(), timeout)]);
}

#[tokio::test]
async fn prometheus_says_which_alert_fires() {
    let fake = FakePrometheus::start().await;
    fake.add_alert("firing", &[("alertname", "DiskFull"), ("instance", "a:9100")]);
    fake.add_alert("pending", &[("alertname", "DiskFull"), ("instance", "b:9100")]);
    let client = prometheus_at(&fake);
    let alert = |instance: &str, state| Alert {
        labels: labels(&[("alertname", "DiskFull"), ("instance", instance)]),
        annotations: labels(&[]),
        state,
        active_since_ms: Some(AT_MS),
        value: Some(1.0),
    };
    let asked = |instance: &str| {
        labels(&[("alertname", "DiskFull"), ("instance", instance), ("cluster", "eu")])
    };

    assert_eq!(
        client.firing(&asked("a:9100")).await.unwrap(),
        Firing::Yes {
            alert: alert("a:9100", AlertState::Firing),
            unconfirmed: vec!["cluster".to_owned()],
        }
    );
    assert_eq!(
        client.firing(&asked("b:9100")).await.unwrap(),
        Firing::Pending(alert("b:9100", AlertState::Pending))
    );
    assert_eq!(client.firing(&asked("c:9100")).await.unwrap(), Firing::No);
    assert_eq!(client.alerts().await.unwrap().len(), 2);
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn rule_of_an_alert_is_found_by_name_and_labels() {
    let fake = FakePrometheus::start().await;
    fake.add_rule("DiskFull", "free < 10", 300.0, &[("severity", "warning")]);
    fake.add_rule("DiskFull", "free < 1", 0.5, &[("severity", "critical")]);
    fake.add_rule("Other", "up == 0", 60.0, &[]);
    let client = prometheus_at(&fake);
    let asked = labels(&[("alertname", "DiskFull"), ("severity", "critical"), ("host", "a")]);
    assert_eq!(
        client.rule_for(&asked).await.unwrap(),
        Some(Rule {
            name: "DiskFull".to_owned(),
            expr: "free < 1".to_owned(),
            for_ms: 500,
            keep_firing_for_ms: 0,
            interval_ms: 15_000,
            labels: labels(&[("severity", "critical")]),
            state: AlertState::Inactive,
            last_error: None,
        })
    );
    assert_eq!(client.rule_for(&labels(&[("alertname", "Gone")])).await.unwrap(), None);
    assert_eq!(client.rules_for("DiskFull").await.unwrap().len(), 2);
}

#[tokio::test]
async fn prometheus_that_cannot_answer_is_never_an_empty_result() {
    let fake = FakePrometheus::start().await;
    let client = prometheus_at(&fake);
    client.health().await.unwrap();

    fake.set_health(Health::NotReady);
    let url = fake.url();
    let unready = format!("Prometheus at {url} answered 503: Service Unavailable");
    assert_eq!(client.health().await.unwrap_err().to_string(), unready);
    assert_eq!(client.query("up", None).await.unwrap_err().to_string(), unready);
    assert_eq!(client.firing(&labels(&[])).await.unwrap_err().to_string(), unready);

    fake.set_health(Health::Html);
    assert_eq!(
        client.query("up", None).await.unwrap_err().to_string(),
        format!(
            "Prometheus at {url} gave an answer that cannot be used: it is not what Prometheus' \
             API answers (expected value at line 1 column 1); check that the address is \
             Prometheus'"
        )
    );

    let url = NOWHERE;
    let gone = Prometheus::new(url, &Options::default()).unwrap();
    assert_eq!(
        gone.query("up", None).await.unwrap_err().to_string(),
        format!(
            "cannot reach Prometheus at {url}: Connection refused (os error 111). Check that it \
             runs and listens on that address"
        )
    );
}

#[tokio::test]
async fn internal_trouble_of_prometheus_is_not_blamed_on_the_query() {
    let fake = FakePrometheus::start().await;
    let message = "TSDB not ready";
    fake.set("up", QueryAnswer::Error { status: 503, kind: "unavailable", message });
    let error = prometheus_at(&fake).query("up", None).await.unwrap_err();
    assert!(
        matches!(&error, prometheus::Error::Http(Error::Status { status: 503, .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn alertmanager_lists_what_the_filter_lets_through() {
    let fake = FakeAlertmanager::start().await;
    fake.add("f1", "watchkeeper", &[("alertname", "A"), ("severity", "critical")], &[], &[]);
    fake.add("f2", "watchkeeper", &[("alertname", "B")], &["s1"], &[]);
    fake.add("f3", "watchkeeper", &[("alertname", "C")], &[], &["f1"]);
    fake.add("f4", "somebody-else", &[("alertname", "D")], &[], &[]);
    let client = Alertmanager::new(&fake.url(), &Options::default()).unwrap();

    let ours = Filter { receiver: Some("watchkeeper".to_owned()), ..Filter::default() };
    let quiet = Filter { silenced: Listing::LeftOut, inhibited: Listing::LeftOut, ..ours.clone() };
    let critical = Filter { matchers: vec!["severity=\"critical\"".to_owned()], ..ours.clone() };
    for (filter, expected) in
        [(&ours, vec!["f1", "f2", "f3"]), (&quiet, vec!["f1"]), (&critical, vec!["f1"])]
    {
        let found = client.alerts(filter).await.unwrap();
        let found: Vec<&str> = found.iter().map(|alert| alert.fingerprint.as_str()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    assert_eq!(
        client.alerts(&quiet).await.unwrap(),
        [alertmanager::Alert {
            fingerprint: "f1".to_owned(),
            labels: labels(&[("alertname", "A"), ("severity", "critical")]),
            annotations: labels(&[("summary", "s")]),
            starts_at_ms: AT_MS,
            ends_at_ms: AT_MS + 240_000,
            generator_url: "http://prometheus/graph".to_owned(),
            receivers: vec!["watchkeeper".to_owned()],
            status: AlertStatus { state: State::Active, silenced_by: vec![], inhibited_by: vec![] },
        }]
    );
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn alertmanager_takes_a_test_alert_and_tells_its_state() {
    let fake = FakeAlertmanager::start().await;
    let client = Alertmanager::new(&fake.url(), &Options::default()).unwrap();
    let alert = NewAlert {
        labels: labels(&[("alertname", "Test")]),
        annotations: labels(&[]),
        starts_at_ms: AT_MS,
        ends_at_ms: AT_MS + 60_000,
        generator_url: "http://watchkeeper/".to_owned(),
    };
    client.push(&[alert]).await.unwrap();
    assert_eq!(
        fake.pushed(),
        [json!({
            "labels": { "alertname": "Test" },
            "annotations": {},
            "startsAt": "2023-11-14T22:13:20.500Z",
            "endsAt": "2023-11-14T22:14:20.500Z",
            "generatorURL": "http://watchkeeper/",
        })]
    );
    assert_eq!(
        client.status().await.unwrap(),
        Status {
            version: "0.27.0".to_owned(),
            cluster: "ready".to_owned(),
            up_since_ms: AT_MS,
            config_yaml: "route:\n  receiver: watchkeeper\n".to_owned(),
        }
    );
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn alertmanager_errors_say_what_happened() {
    let fake = FakeAlertmanager::start().await;
    let options = Options { timeout_ms: 200, ..Options::default() };
    let client = Alertmanager::new(&fake.url(), &options).unwrap();
    let url = fake.url();
    let bad = Filter { receiver: Some("(".to_owned()), ..Filter::default() };
    let error = client.alerts(&bad).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 400, .. }), "{error:?}");

    fake.fail_next(Fault::RateLimited("3".to_owned()));
    let error = client.alerts(&Filter::default()).await.unwrap_err();
    assert!(matches!(error, Error::Status { retry_after_ms: Some(3_000), .. }), "{error:?}");

    fake.fail_next(Fault::Hang);
    assert_eq!(
        client.alerts(&Filter::default()).await.unwrap_err().to_string(),
        format!("Alertmanager at {url} did not answer within 200 ms")
    );

    fake.fail_next(Fault::CutOff);
    let error = client.alerts(&Filter::default()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { mend, .. } if mend.starts_with("The connection broke")),
        "{error:?}"
    );
}

#[tokio::test]
async fn secret_address_never_shows_in_errors() {
    let slack = FakeSlack::start().await;
    let wrong = slack.webhook_url().replace("XXXXsecretXXXX", "YYYYsecretYYYY");
    let http = Http::new("Slack", &wrong, &Options::default()).unwrap().hiding_path();
    let sent = http.send(http.post("").body("{}"), 1024).await.unwrap();
    let origin = wrong.split("/services").next().unwrap();
    assert_eq!(
        http.success(sent).unwrap_err().to_string(),
        format!("Slack at {origin} answered 403: invalid_token")
    );
}

#[tokio::test]
async fn credentials_are_sent_and_redirects_stay_on_the_same_origin() {
    let other = Server::http(axum::Router::new().fallback(|| async { "stolen" })).await;
    let elsewhere = format!("http://{}/login?next=secret", other.addr);
    let authorized = |headers: axum::http::HeaderMap| async move {
        headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let redirect = |status: u16, to: String| {
        move || {
            let mut response = answer(status, "text/plain", "");
            response.headers_mut().insert("location", to.parse().unwrap());
            async move { response }
        }
    };
    let router = axum::Router::new()
        .route("/here", axum::routing::get(authorized))
        .route("/moved", axum::routing::get(redirect(307, "/here".to_owned())))
        .route("/login", axum::routing::get(redirect(302, "/here".to_owned())))
        .route("/away", axum::routing::get(redirect(307, elsewhere)))
        .route("/loop", axum::routing::get(redirect(308, "/loop".to_owned())));
    let server = Server::http(router).await;
    let url = format!("http://{}", server.addr);
    let auth = Auth::Bearer("t0ken".to_owned().into());
    let http = Http::new("It", &url, &Options { auth, ..Options::default() }).unwrap();
    let asked = async |path: &str| {
        let sent = http.send(http.get(path, &[]), 1024).await.unwrap();
        http.success(sent).map(|answer| String::from_utf8(answer.body).unwrap())
    };

    assert_eq!(asked("here").await.unwrap(), "Bearer t0ken");
    assert_eq!(asked("moved").await.unwrap(), "Bearer t0ken");
    let away = format!("http://{}/login", other.addr);
    for (path, status, target) in
        [("away", 307, away.as_str()), ("login", 302, "/here"), ("loop", 308, "/loop")]
    {
        assert_eq!(
            asked(path).await.unwrap_err().to_string(),
            format!(
                "It at {url} answered {status}: it redirects to {target}; configure that address \
                 instead"
            )
        );
    }
}

#[tokio::test]
async fn answer_beyond_the_cap_is_refused() {
    let server = Server::http(axum::Router::new().fallback(|| async { "x".repeat(2_000) })).await;
    let url = format!("http://{}", server.addr);
    let http = Http::new("It", &url, &Options::default()).unwrap();
    assert_eq!(http.send(http.get("", &[]), 2_000).await.unwrap().body.len(), 2_000);
    assert_eq!(
        http.send(http.get("", &[]), 1_999).await.unwrap_err().to_string(),
        format!("It at {url} sent more than 1999 bytes")
    );
}

#[tokio::test]
async fn named_proxy_is_used() {
    let proxy = Server::http(
        axum::Router::new()
            .fallback(|uri: axum::http::Uri| async move { format!("proxied {uri}") }),
    )
    .await;
    let options = Options { proxy: Some(format!("http://{}", proxy.addr)), ..Options::default() };
    let http = Http::new("It", "http://prometheus.invalid:9090/p", &options).unwrap();
    let sent = http.send(http.get("q", &[("a", "b c".to_owned())]), 1024).await.unwrap();
    assert_eq!(
        String::from_utf8(sent.body).unwrap(),
        "proxied http://prometheus.invalid:9090/p/q?a=b+c"
    );
}
