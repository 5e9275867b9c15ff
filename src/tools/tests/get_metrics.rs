use super::super::testing::{Bench, NOW_MS, prometheus};
use super::*;

async fn bench(answer: fn(&str) -> (u16, Value)) -> Bench {
    Bench::with_prometheus("hosts: []", prometheus(answer).await)
}

fn matrix(result: &Value) -> (u16, Value) {
    (200, json!({ "status": "success", "data": { "resultType": "matrix", "result": result } }))
}

#[tokio::test]
async fn each_series_is_summarised_with_times_and_gaps() {
    // NOW_MS is a whole multiple of the step of 15 seconds.
    let bench = bench(|query| {
        assert_eq!(query, "up == 0");
        let at = |n: i64| (NOW_MS / 1_000 - 1_800 + n * 15) as f64;
        let values: Vec<Value> = [(0, "1"), (1, "0.25"), (4, "12345678.5"), (5, "NaN")]
            .iter()
            .map(|(n, value)| json!([at(*n), value]))
            .collect();
        matrix(&json!([{ "metric": { "job": "a\"b" }, "values": values }]))
    })
    .await;
    let output = bench.output("get_metrics", json!({ "query": " up == 0 " })).await;
    assert_eq!(
        output.text,
        "up == 0\n\
         from 2026-11-18T10:36:30Z to 2026-11-18T11:06:30Z, every 15 s: 1 series.\n\
         {job=\"a\\\"b\"}: first 1 at 2026-11-18T10:36:30Z; min 0.25 at 2026-11-18T10:36:45Z; \
         max 1.2346e7 at 2026-11-18T10:37:30Z; last NaN at 2026-11-18T10:37:45Z\n  \
         values from 2026-11-18T10:36:30Z: 1 0.25 _ _ 1.2346e7 NaN\n  \
         nothing after 2026-11-18T10:37:45Z\n"
    );
    assert_eq!(output.data["series"][0]["max"], 12_345_678.5);
    assert_eq!(output.data["series"][0]["labels"], json!({ "job": "a\"b" }));
}

#[tokio::test]
async fn no_data_is_not_a_zero() {
    let bench = bench(|_| matrix(&json!([]))).await;
    let output = bench.output("get_metrics", json!({ "query": "nothing" })).await;
    assert!(output.text.contains("No series match. That is not a zero"), "{}", output.text);
    assert_eq!((&output.data["series_count"], &output.data["series"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn an_error_of_prometheus_is_an_error() {
    let refusing = bench(|_| {
        (
            400,
            json!({ "status": "error", "errorType": "bad_data", "error": "parse error at char 3" }),
        )
    })
    .await;
    let why = refusing.told("get_metrics", json!({ "query": "up{" })).await;
    assert_eq!(why, "Prometheus refuses the query (bad_data): parse error at char 3");
    let broken = bench(|_| (503, json!({}))).await;
    let why = broken.told("get_metrics", json!({ "query": "up" })).await;
    assert!(why.contains("503"), "{why}");
}

#[tokio::test]
async fn without_a_prometheus_the_setting_is_named() {
    assert_eq!(
        Bench::new("hosts: []").told("get_metrics", json!({ "query": "up" })).await,
        "no Prometheus is configured; set prometheus.url, or PROMETHEUS_URL"
    );
}

#[test]
fn durations_are_what_prometheus_writes() {
    for (text, ms) in [
        ("1m", 60_000),
        ("90s", 90_000),
        ("2h30m", 9_000_000),
        ("1d12h", 129_600_000),
        ("31d", DURATION_MS_MAX),
    ] {
        assert_eq!(duration_ms(text), Ok(ms));
    }
    for bad in
        ["", "30", "m", "59s", "32d", "5w", "30m2h", "1h1h", "-5m", "1.5h", "9999999999999d", "1 h"]
    {
        assert!(duration_ms(bad).is_err(), "{bad:?} was taken");
    }
    let bench = Bench::new("hosts: []");
    assert!(bench.complete("get_metrics", json!({ "query": "up", "duration": "x" })).is_err());
    assert!(bench.complete("get_metrics", json!({ "query": " " })).is_err());
}

#[test]
fn steps_grow_with_the_duration() {
    let step = |text: &str| Range::until(NOW_MS, duration_ms(text).unwrap()).step_ms / 1_000;
    assert_eq!(
        ["1m", "30m", "2h", "6h", "1d", "7d", "31d"].map(step),
        [15, 15, 60, 300, 900, 7_200, 28_800]
    );
}

#[test]
fn numbers_are_short() {
    let cases = [
        (0.0, "0"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (0.123_456_789, "0.12346"),
        (99.999_99, "100"),
        (1_234.567_8, "1234.6"),
        (1e-9, "1.0000e-9"),
        (f64::INFINITY, "inf"),
        (1e12, "1000000000000"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
}
