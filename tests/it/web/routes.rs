//! What each route answers, for good requests and bad ones.

use super::site::{Asks, NOW_MS, SCOPE, Site, delivery, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::timeline::Entry;
use watchkeeper::store::schedules::{Asking, Ended, Look};
use watchkeeper::web::ROUTES;

#[tokio::test]
async fn the_openapi_document_lists_every_route() {
    let site = Site::start().await;
    let document = site.get("/api/v1/openapi.json", "").await.json();
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            listed.insert((method.clone(), path.clone()));
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            assert!(!operation["responses"].as_object().unwrap().is_empty());
        }
    }
    let routed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(listed, routed);
}

#[tokio::test]
async fn every_route_answers_only_with_statuses_that_the_document_names() {
    let site = Site::start().await;
    let document = site.get("/api/v1/openapi.json", "").await.json();
    let incident = site.incident("HighErrorRate").await;
    let action = site.asks(incident, Asks::default()).await;
    for (method, path) in ROUTES {
        let id = if path.contains("action") || path.contains("confirm") {
            action.to_string()
        } else {
            incident.to_string()
        };
        let unknown = IncidentId::new().to_string();
        for id in [id, "nonsense".to_owned(), "%ff".to_owned(), unknown] {
            for token in ["", &site.tokens.viewer, &site.tokens.sre, &site.tokens.hook] {
                let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let answer = site.call(verb, &path.replace("{id}", &id), token, None).await;
                let known = &document["paths"][path][method]["responses"];
                let status = answer.status.to_string();
                // A webhook token has no business anywhere else.
                let foreign = token == site.tokens.hook && answer.status == 403;
                assert!(
                    !known[&status].is_null() || foreign,
                    "{method} {path} {token}: {status} {}",
                    answer.text
                );
            }
        }
    }
}

#[tokio::test]
async fn incidents_are_listed_newest_first_and_filtered() {
    let site = Site::start().await;
    let (older, newer) = (site.incident("DiskFull").await, site.incident("ServiceDown").await);
    let viewer = &site.tokens.viewer;
    let ids = |answer: Value| -> Vec<String> {
        let rows = answer["incidents"].as_array().unwrap().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let list = site.get("/api/v1/incidents", viewer).await.json();
    assert_eq!(ids(list), [newer.to_string(), older.to_string()]);
    let one = site.get("/api/v1/incidents?limit=1&state=open", viewer).await.json();
    assert_eq!((ids(one.clone()), &one["next_before"]), (vec![newer.to_string()], &json!(newer)));
    let rest = format!("/api/v1/incidents?limit=1&state=open&before={newer}");
    let rest = site.get(&rest, viewer).await.json();
    assert_eq!((ids(rest.clone()), &rest["next_before"]), (vec![older.to_string()], &json!(null)));
    let page = site.page("/?limit=1&state=open", Some(&site.sign_in("vera").await)).await;
    assert!(page.text.contains(&format!("?state=open&#38;before={newer}")), "{}", page.text);
    let none = site.get("/api/v1/incidents?state=resolved", viewer).await.json();
    assert_eq!(none, json!({"incidents": [], "next_before": null}));
    for (query, path) in [
        ("state=closed", "state"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("before=x", "before"),
    ] {
        let answer = site.get(&format!("/api/v1/incidents?{query}"), viewer).await;
        assert_eq!(answer.error(), (400, "invalid".into()));
        assert_eq!(answer.json()["error"]["path"], path);
    }
    assert_eq!(site.get("/api/v1/actions?state=closed", viewer).await.status, 400);
}

#[tokio::test]
async fn an_incident_is_told_with_its_timeline_and_report() {
    let site = Site::start().await;
    let id = site.incident("DiskFull").await;
    let viewer = &site.tokens.viewer;
    let one = site.get(&format!("/api/v1/incidents/{id}"), viewer).await.json();
    assert_eq!(one["incident"]["title"], "DiskFull");
    assert_eq!(one["alerts"][0]["alert"]["labels"], json!({"alertname": "DiskFull"}));
    assert!(one["url"].as_str().unwrap().ends_with(&format!("/incidents/{id}")));
    let timeline = site.get(&format!("/api/v1/incidents/{id}/timeline"), viewer).await.json();
    let kinds: Vec<&str> = timeline["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["entry"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["opened", "alert_fired"]);
    let report = site.get(&format!("/api/v1/incidents/{id}/report"), viewer).await;
    assert_eq!(report.json()["title"], "DiskFull");
    let same = site.get(&format!("/incidents/{id}/report.json"), viewer).await;
    assert_eq!(same.json(), report.json());
    let markdown = site.get(&format!("/incidents/{id}/report.md"), viewer).await;
    assert_eq!(markdown.header("content-type"), "text/plain; charset=utf-8");
    assert!(markdown.text.contains("DiskFull"));
    let page =
        site.page(&format!("/incidents/{id}/report"), Some(&site.sign_in("vera").await)).await;
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn a_named_person_takes_an_incident_once() {
    let site = Site::start().await;
    let id = site.incident("DiskFull").await;
    let path = format!("/api/v1/incidents/{id}/acknowledge");
    let answer = site.post(&path, &site.tokens.viewer, json!({})).await;
    assert_eq!(answer.error(), (403, "not_allowed".into()));
    let answer = site.post(&path, &site.tokens.responder, json!({})).await;
    assert_eq!(answer.json(), json!({"status": "acknowledged", "by": "bot"}));
    assert_eq!(site.told(id).await, [Entry::Acknowledged { by: "bot".into() }]);
    site.append(id, vec![Entry::Acknowledged { by: "rita".into() }]).await;
    let rita = site.sign_in("rita").await;
    let form = format!("/incidents/{id}/acknowledge");
    let again = send(site.form(&form, &rita, &[("csrf", &rita.csrf)])).await;
    assert_eq!(
        (again.status, again.header("location")),
        (303, format!("/incidents/{id}").as_str())
    );
    assert_eq!(site.told(id).await.len(), 1, "she had it already");
    assert_eq!(send(site.form(&form, &rita, &[])).await.status, 403);
}

#[tokio::test]
async fn halt_is_easy_and_resuming_takes_an_sre() {
    let site = Site::start().await;
    let path = "/api/v1/halt";
    let running = json!({"halted": false, "in_flight": []});
    assert_eq!(site.get(path, &site.tokens.viewer).await.json(), running);
    assert_eq!(site.post(path, &site.tokens.viewer, json!({})).await.status, 403);
    let halted = json!({
        "halted": true, "by": "bot", "reason": "deploy", "at_ms": NOW_MS, "in_flight": [],
    });
    let reason = json!({"reason": " deploy "});
    assert_eq!(site.post(path, &site.tokens.responder, reason).await.json(), halted);
    assert_eq!(site.get(path, &site.tokens.viewer).await.json(), halted);
    let resume = |token: &str| site.request(Method::DELETE, path).bearer_auth(token);
    assert_eq!(send(resume(&site.tokens.responder)).await.error(), (403, "not_allowed".into()));
    assert_eq!(send(resume(&site.tokens.sre)).await.json(), running);
}

#[tokio::test]
async fn an_unreadable_webhook_is_answered_with_path_and_hint_and_kept() {
    let site = Site::start().await;
    let mut body = delivery(&["DiskFull"]);
    body["alerts"][0]["startsAt"] = json!("yesterday");
    let answer = site.post("/webhook/alert", &site.tokens.hook, body).await;
    assert_eq!(answer.error(), (400, "invalid".into()));
    let error = &answer.json()["error"];
    assert_eq!(error["path"], "alerts[0].startsAt");
    assert!(error["hint"].as_str().unwrap().contains("version 4"), "{error}");
    assert_eq!(error["id"], answer.header("x-request-id"));
    let kept = site.store.malformed_deliveries(10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].2.contains("yesterday"));
}

#[tokio::test]
async fn small_bodies_are_forms_or_json() {
    let site = Site::start().await;
    let incident = site.incident("DiskFull").await;
    let id = site.asks(incident, Asks::default()).await;
    let path = format!("/api/v1/actions/{id}/approve");
    let send_as = |kind: &str, body: &str| {
        let request = site.request(Method::POST, &path).bearer_auth(&site.tokens.sre);
        send(request.header("content-type", kind).body(body.to_owned()))
    };
    for (kind, body, path) in [
        ("text/plain", "x", "Content-Type"),
        ("application/json", "{\"comment\": 5}", "comment"),
        ("application/json", "{", "?"),
    ] {
        let answer = send_as(kind, body).await;
        assert_eq!(answer.error(), (400, "invalid".into()), "{body}");
        assert_eq!(answer.json()["error"]["path"], path);
    }
    let large = "x".repeat(70_000);
    let answer = send_as("application/x-www-form-urlencoded", &large).await;
    assert_eq!(answer.error(), (413, "too_large".into()));
    let form = send_as("application/x-www-form-urlencoded", "comment=so+be+it").await;
    assert_eq!(form.json()["comment"], "so be it");
}

#[tokio::test]
async fn metrics_name_what_the_shipped_alerts_watch() {
    let site = Site::start().await;
    let incident = site.incident("DiskFull").await;
    site.asks(incident, Asks::default()).await;
    let answer = site.post("/webhook/alert", &site.tokens.hook, delivery(&["DiskFull"])).await;
    assert_eq!(answer.status, 200);
    site.store.expect_pulse(SCOPE, "alertmanager", 0).await.unwrap();
    site.store.note_peer(SCOPE, "alertmanager-1", None, 0).await.unwrap();
    let asking = Asking {
        job: "retention".into(),
        owner: "a".into(),
        now_ms: NOW_MS,
        every_ms: 60_000,
        lease_ms: 60_000,
    };
    let Look::Ours(turn) = site.store.take_turn(asking).await.unwrap() else {
        panic!("it is nobody else's turn")
    };
    let failed = Ended::Failed("the disk is full".into());
    site.store.end_turn(turn, NOW_MS, 60_000, failed).await.unwrap();
    site.clock.advance(90_000);
    let text = site.get("/metrics", "").await.text;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is missing in {text}")).split(' ').nth(1).unwrap()
    };
    assert_eq!(value("watchkeeper_oldest_unprocessed_delivery_seconds"), "90");
    assert_eq!(value("watchkeeper_incidents{state=\"open\"}"), "1");
    assert_eq!(value("watchkeeper_pending_approvals"), "1");
    assert_eq!(value("watchkeeper_pending_approval_oldest_seconds"), "90");
    assert_eq!(value("watchkeeper_halted"), "0");
    let rules = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/prometheus/watchkeeper.rules.yaml"),
    )
    .unwrap();
    let names = regex::Regex::new("watchkeeper_[a-z_]+").unwrap();
    // The process sets these for itself; a site is only its pages.
    let by_the_process = [
        ("watchkeeper_healthy", include_str!("../../../src/app/pulse.rs")),
        ("watchkeeper_deliveries_total", include_str!("../../../src/ingest/mod.rs")),
    ];
    for name in names.find_iter(&rules).map(|name| name.as_str()) {
        let set_elsewhere = by_the_process
            .iter()
            .any(|(of, source)| *of == name && source.contains(&format!("!(\"{name}\"")));
        assert!(set_elsewhere || text.contains(&format!("\n{name}")), "{name}");
    }
    assert_eq!(value("watchkeeper_schedule_failing{task=\"retention\"}"), "1");
}
