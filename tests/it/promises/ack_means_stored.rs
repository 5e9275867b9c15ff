//! A 2xx answer means that the delivery is committed; a 4xx one only where no retry can help.

use crate::support::drill::Problem;
use crate::support::engines::{for_each_engine, on_sqlite};
use crate::support::process::client;
use crate::support::world::{World, webhook};
use serde_json::{Value, json};
use watchkeeper::approval::access::Access;

/// A good body with one thing changed at a JSON pointer.
fn with(pointer: &str, value: Value) -> String {
    let mut body = Problem::down().firing();
    *body.pointer_mut(pointer).unwrap() = value;
    body.to_string()
}

/// A good body without one member.
fn without(pointer: &str, member: &str) -> String {
    let mut body = Problem::down().firing();
    body.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(member).unwrap();
    body.to_string()
}

/// What is posted, where it is wrong, and words that tell what was expected.
fn bad_webhooks() -> Vec<(String, &'static str, &'static str)> {
    let good = Problem::down().firing().to_string();
    let cut = "{\"version\":\"4\",\"alerts\":[{\"status\":\"fir".to_owned();
    let second_bad = {
        let mut alert = Problem::down().alert("firing");
        alert["startsAt"] = json!("soon");
        webhook(&[Problem::down().alert("firing"), alert]).to_string()
    };
    vec![
        (String::new(), "(body)", "EOF"),
        ("   ".into(), "(body)", "EOF"),
        ("null".into(), "(body)", "expected"),
        ("true".into(), "(body)", "expected"),
        ("42".into(), "(body)", "expected"),
        ("\"alerts\"".into(), "(body)", "expected"),
        ("[]".into(), "(body)", "expected"),
        ("{}".into(), "(body)", "missing field `version`"),
        ("not json".into(), "(body)", "expected"),
        ("alerts=1&version=4".into(), "(body)", "expected"),
        ("<alerts/>".into(), "(body)", "expected"),
        (cut, "alerts[0].status", "EOF"),
        (format!("{good}x"), "(body)", "more after"),
        (format!("{good}{good}"), "(body)", "more after"),
        (format!("\u{feff}{good}"), "(body)", "expected"),
        (with("/version", json!("3")), "version", "expected \"4\""),
        (with("/version", json!("")), "version", "expected \"4\""),
        (with("/version", json!(4)), "version", "expected a string"),
        (with("/version", json!(null)), "version", "expected a string"),
        (without("", "version"), "(body)", "missing field `version`"),
        (without("", "alerts"), "(body)", "missing field `alerts`"),
        (with("/alerts", json!({})), "alerts", "expected a sequence"),
        (with("/alerts", json!("x")), "alerts", "expected a sequence"),
        (with("/alerts", json!(null)), "alerts", "expected a sequence"),
        (with("/alerts", json!(["x"])), "alerts[0]", "expected struct"),
        (with("/alerts/0", json!({})), "alerts[0]", "missing field `status`"),
        (with("/alerts/0/status", json!("burning")), "alerts[0].status", "`firing` or `resolved`"),
        (with("/alerts/0/status", json!("FIRING")), "alerts[0].status", "`firing` or `resolved`"),
        (with("/alerts/0/status", json!(1)), "alerts[0].status", "expected"),
        (without("/alerts/0", "labels"), "alerts[0]", "missing field `labels`"),
        (with("/alerts/0/labels", json!({})), "alerts[0].labels", "at least one label"),
        (with("/alerts/0/labels", json!([])), "alerts[0].labels", "expected a map"),
        (with("/alerts/0/labels", json!({ "a": 1 })), "alerts[0].labels.a", "expected a string"),
        (with("/alerts/0/labels", json!({ "a": null })), "alerts[0].labels.a", "expected a string"),
        (with("/alerts/0/annotations", json!("x")), "alerts[0].annotations", "expected a map"),
        (without("/alerts/0", "startsAt"), "alerts[0]", "missing field `startsAt`"),
        (with("/alerts/0/startsAt", json!("yesterday")), "alerts[0].startsAt", "RFC 3339"),
        (with("/alerts/0/startsAt", json!(1_773_136_800)), "alerts[0].startsAt", "a string"),
        (with("/alerts/0/startsAt", json!("2026-02-30T10:00:00Z")), "alerts[0].startsAt", "RFC"),
        (with("/alerts/0/endsAt", json!("later")), "alerts[0].endsAt", "RFC 3339"),
        (with("/truncatedAlerts", json!(-1)), "truncatedAlerts", "expected u64"),
        (with("/groupKey", json!(7)), "groupKey", "expected a string"),
        (second_bad, "alerts[1].startsAt", "'soon' is not a time"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_webhook_is_told_where_and_what_and_is_kept() {
    let cases = bad_webhooks();
    assert!(cases.len() >= 30);
    for_each_engine(|ground| {
        let cases = bad_webhooks();
        async move {
            let world = World::new(&ground).await;
            let server = world.server().await;
            let base = server.listen(Access::default()).await;
            let client = client();
            for (n, (body, path, words)) in cases.into_iter().enumerate() {
                let secret = "password=Tr0ub4dor-and-3-horses";
                // A secret in a body that cannot be read is not kept either.
                let sent = if n == 8 { format!("{body} {secret}") } else { body };
                let request = client.post(format!("{base}/webhook/alert"));
                let request = request.header("content-type", "application/json").body(sent.clone());
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 400, "{sent}");
                let told: Value = answer.json().await.unwrap();
                assert_eq!(told["error"]["path"], path, "{sent}: {told}");
                let message = told["error"]["message"].as_str().unwrap();
                assert!(message.contains(words), "{sent}: {message}");
                assert!(told["error"]["hint"].as_str().unwrap().contains("version 4"), "{told}");

                let kept = server.app.store.malformed_deliveries(1_000).await.unwrap();
                assert_eq!(kept.len(), n + 1, "{sent} is not kept");
                let whole = kept.iter().any(|(_, _, body)| *body == sent);
                assert!(whole != (n == 8), "{sent}");
                assert!(kept.iter().all(|(_, _, body)| !body.contains("Tr0ub4dor")));
            }
            assert_eq!(server.incidents().await, []);
            server.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_but_valid_webhooks_are_taken() {
    let mut without_fingerprint = Problem::down().firing();
    without_fingerprint["alerts"][0].as_object_mut().unwrap().remove("fingerprint");
    let mut unknown = Problem::down().firing();
    unknown["future"] = json!({ "x": [1, 2] });
    unknown["alerts"][0]["future"] = json!(null);
    let mut none = Problem::down().firing();
    none["alerts"] = json!([]);
    let mut lean = Problem::down().firing();
    for member in ["groupKey", "truncatedAlerts", "receiver", "externalURL", "groupLabels"] {
        lean.as_object_mut().unwrap().remove(member);
    }
    let text = "磁盘 \u{1f525} \u{0} \"\\";
    let odd = with("/alerts/0/labels/severity", json!(text));
    let pods: Vec<&'static str> =
        (0..5_000).map(|n| &*Box::leak(format!("pod-{n}").into_boxed_str())).collect();
    let many: Vec<Value> =
        pods.iter().map(|pod| Problem::down().with("pod", pod).alert("firing")).collect();
    let long = with("/alerts/0/annotations/summary", json!("x".repeat(1 << 20)));
    let cases: Vec<(String, u64)> = vec![
        (without_fingerprint.to_string(), 1),
        (unknown.to_string(), 1),
        (none.to_string(), 0),
        (lean.to_string(), 1),
        (odd, 1),
        (webhook(&many).to_string(), 5_000),
        (long, 1),
        (format!("\n  {}  \n", Problem::down().resolved()), 1),
    ];
    for_each_engine(|ground| {
        let cases = cases.clone();
        async move {
            let world = World::new(&ground).await;
            let server = world.server().await;
            let base = server.listen(Access::default()).await;
            for (body, count) in cases {
                let request = client().post(format!("{base}/webhook/alert")).body(body);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 200);
                let told: Value = answer.json().await.unwrap();
                assert_eq!(told, json!({ "status": "accepted", "count": count }));
            }
            let rows = ground.sql("select count(*) from delivery where state = 'waiting'").await;
            assert_eq!(rows[0][0], "8");
            server.stop().await;
        }
    })
    .await;
}

/// Two hundred senders at once: each is told 200, or something that Alertmanager sends again.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_an_answer_is_200_or_retried_and_what_was_accepted_is_there() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let base = server.listen(Access::default()).await;
        let client = client();
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..50 {
            let (client, base) = (client.clone(), base.clone());
            senders.spawn(async move {
                let mut accepted = 0;
                for n in 0..10 {
                    let mut body = Problem::down().firing();
                    body["alerts"][0]["fingerprint"] = json!(format!("{sender:08x}{n:08x}"));
                    let sent = client.post(format!("{base}/webhook/alert")).json(&body).send();
                    let status = sent.await.unwrap().status().as_u16();
                    assert!(status == 200 || status >= 500, "{status}");
                    accepted += usize::from(status == 200);
                }
                accepted
            });
        }
        let mut accepted = 0;
        while let Some(sender) = senders.join_next().await {
            accepted += sender.unwrap();
        }
        assert!(accepted > 0);
        let rows = ground.sql("select count(*) from delivery where state = 'waiting'").await;
        assert_eq!(rows[0][0], accepted.to_string());
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_503_and_never_200() {
    on_sqlite(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let base = server.listen(Access::default()).await;
        let post =
            || client().post(format!("{base}/webhook/alert")).json(&Problem::down().firing());
        assert_eq!(post().send().await.unwrap().status().as_u16(), 200);
        ground.sql("alter table delivery rename to gone").await;
        let answer = post().send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 503);
        ground.sql("alter table gone rename to delivery").await;
        assert_eq!(post().send().await.unwrap().status().as_u16(), 200);
        server.stop().await;
    })
    .await;
}
