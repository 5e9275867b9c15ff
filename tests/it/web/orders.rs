//! Halts, holds and quarantine over HTTP: who may, what is answered, what is refused.

use super::files::Files;
use super::site::{NOW_MS, Site, send};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use watchkeeper::approval::People;
use watchkeeper::model::orders::{FileHalt, PolicySummary, RuleSummary};
use watchkeeper::model::verdict::{Autonomy, Tier};
use watchkeeper::store::Store;
use watchkeeper::store::db::Location;
use watchkeeper::tasks::Tasks;

const HOLDS: &str = "/api/v1/holds";
const POLICY: &str = "/api/v1/policy";
const QUARANTINE: &str = "/api/v1/policy/quarantine";

/// A site whose process has two rules, and the halt file that `file` names.
async fn site(file: Option<&'static str>) -> Site {
    let rule = |name: &str, tier| RuleSummary { name: name.into(), tool: "restart".into(), tier };
    let policy = PolicySummary {
        rules_version: "r1".into(),
        autonomy: Autonomy::Act,
        rules: vec![rule("restart one service", Tier::Safe), rule("ask first", Tier::Confirm)],
    };
    let found = file.map(|reason| FileHalt { path: "/data/HALT".into(), reason: reason.into() });
    let files = Arc::new(Files { rules: policy });
    let folder = std::env::temp_dir().join(format!("watchkeeper-web-{}", uuid::Uuid::now_v7()));
    let tasks = Tasks::default();
    let store = Store::open(&Location::Folder(folder), &tasks).await.unwrap();
    let (access, tokens) = super::site::usual();
    Site::given(store, tasks, People::of(access), tokens, (files, Arc::new(move || found.clone())))
        .await
}

#[tokio::test]
async fn a_hold_is_made_by_a_responder_and_ended_by_an_sre() {
    let site = site(None).await;
    let tokens = site.tokens.clone();
    let body = json!({"match": "host=~\"db.*\", class=database", "for": "2h", "reason": "restore"});
    let refused = site.post(HOLDS, &tokens.viewer, body.clone()).await;
    assert_eq!(refused.error(), (403, "not_allowed".into()));
    assert_eq!(site.get(HOLDS, &tokens.viewer).await.json(), json!({"holds": []}));
    let made = site.post(HOLDS, &tokens.responder, body).await.json();
    let hold = &made["hold"];
    assert_eq!(hold["matchers"], json!(["host=~\"db.*\"", "class=database"]));
    assert_eq!((&hold["by"], &hold["reason"]), (&json!("bot"), &json!("restore")));
    assert_eq!(hold["until_ms"], NOW_MS + 7_200_000);
    assert_eq!(site.get(HOLDS, &tokens.viewer).await.json(), json!({"holds": [hold]}));

    let path = format!("{HOLDS}/{}", hold["id"].as_str().unwrap());
    let end = |token: &str| send(site.request(Method::DELETE, &path).bearer_auth(token));
    assert_eq!(end(&tokens.responder).await.error(), (403, "not_allowed".into()));
    assert_eq!(end(&tokens.sre).await.json(), json!({"removed": hold}));
    assert_eq!(end(&tokens.sre).await.error(), (404, "not_found".into()));
    let past = site.get(&format!("{HOLDS}?all=true"), &tokens.viewer).await.json();
    assert_eq!(past["holds"][0]["removed_by"], "robot");
    assert_eq!(past["holds"][0]["in_force"], false);
}

#[tokio::test]
async fn a_secret_across_the_cut_of_a_reason_is_not_kept_by_half() {
    let site = site(None).await;
    let token = format!("ghp_{}", "a1B2c3".repeat(6));
    let reason = format!("{}{token} and more", "a ".repeat(240));
    let body = json!({"match": "host=a", "for": "2h", "reason": reason});
    let made = site.post(HOLDS, &site.tokens.responder, body).await.json();
    let kept = made["hold"]["reason"].as_str().unwrap();
    assert_eq!(kept.chars().count(), 500);
    assert!(kept.contains("[redacted") && !kept.contains("ghp_"), "{kept}");
}

#[tokio::test]
async fn a_hold_that_makes_no_sense_is_refused_with_the_field() {
    let site = site(None).await;
    let cases = [
        (json!({"for": "2h"}), "match", "has no operator"),
        (json!({"match": "host", "for": "2h"}), "match", "has no operator"),
        (json!({"match": "host=~\"(\"", "for": "2h"}), "match", "not a regular expression"),
        (json!({"match": "host=a"}), "for", "not a duration"),
        (json!({"match": "host=a", "for": "2 hours"}), "for", "not a duration"),
        (json!({"match": "host=a", "for": "0s"}), "for", "between 1s and 366d"),
        (json!({"match": "host=a", "for": "9y"}), "for", "between 1s and 366d"),
        (json!({"match": "a=b,".repeat(21), "for": "1h"}), "match", "at most 20 matchers"),
    ];
    for (body, path, said) in cases {
        let answer = site.post(HOLDS, &site.tokens.responder, body.clone()).await;
        assert_eq!(answer.error(), (400, "invalid".into()), "{body}");
        let error = &answer.json()["error"];
        assert_eq!(error["path"], path, "{body}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
    assert_eq!(site.get(HOLDS, &site.tokens.sre).await.json(), json!({"holds": []}));
    assert_eq!(site.get(&format!("{HOLDS}?all=no"), &site.tokens.sre).await.status, 400);
}

#[tokio::test]
async fn a_rule_is_put_in_quarantine_by_its_name() {
    let site = site(None).await;
    let tokens = site.tokens.clone();
    let of = |state: Value, n: usize| state["rules"][n]["quarantine"].clone();
    let state = site.get(POLICY, &tokens.viewer).await.json();
    assert_eq!((&state["rules_version"], &state["autonomy"]), (&json!("r1"), &json!("act")));
    assert_eq!(of(state, 0), Value::Null);

    let order = json!({"rule": "restart one service", "reason": "twice wrong"});
    let refused = site.post(QUARANTINE, &tokens.viewer, order.clone()).await;
    assert_eq!(refused.error(), (403, "not_allowed".into()));
    let unknown = site.post(QUARANTINE, &tokens.sre, json!({"rule": "restart one servce"})).await;
    assert_eq!(unknown.error(), (400, "invalid".into()));
    let hint = unknown.json()["error"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("did you mean 'restart one service'?"), "{hint}");

    let state = site.post(QUARANTINE, &tokens.responder, order).await.json();
    let wanted = json!({
        "rule": "restart one service", "reason": "twice wrong", "by": "bot", "at_ms": NOW_MS,
    });
    assert_eq!(of(state.clone(), 0), wanted);
    assert_eq!(of(state, 1), Value::Null);
    let path = format!("{QUARANTINE}?rule=restart%20one%20service");
    let lift = |token: &str| send(site.request(Method::DELETE, &path).bearer_auth(token));
    assert_eq!(lift(&tokens.responder).await.error(), (403, "not_allowed".into()));
    assert_eq!(of(lift(&tokens.sre).await.json(), 0), Value::Null);
    assert_eq!(lift(&tokens.sre).await.error(), (400, "invalid".into()));

    let timeline = site.get("/api/v1/system/timeline?after=0&limit=9", &tokens.viewer).await.json();
    let words: Vec<&str> = timeline["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["words"].as_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "bot put rule 'restart one service' in quarantine: twice wrong",
            "robot lifted the quarantine of 'restart one service'"
        ]
    );
    let last = site.get("/api/v1/system/timeline?limit=1", &tokens.viewer).await.json();
    assert_eq!(last["entries"][0]["seq"], 2);
    assert_eq!(site.get("/api/v1/system/timeline?after=x", &tokens.viewer).await.status, 400);
}

#[tokio::test]
async fn a_halt_file_is_told_everywhere_and_resuming_does_not_lift_it() {
    let site = site(Some("disk swap <b>")).await;
    let tokens = site.tokens.clone();
    let file = json!({"path": "/data/HALT", "reason": "disk swap <b>"});
    let state = site.get("/api/v1/halt", &tokens.viewer).await.json();
    assert_eq!(state, json!({"halted": true, "in_flight": [], "file": file}));
    let resumed = send(site.request(Method::DELETE, "/api/v1/halt").bearer_auth(&tokens.sre)).await;
    assert_eq!(resumed.json(), state);
    let ready = site.get("/readyz", "").await;
    assert_eq!(ready.status, 200);
    assert!(ready.json()["halt_file"].is_string() && !ready.text.contains("disk swap"));
    assert!(site.get("/metrics", "").await.text.contains("\nwatchkeeper_halt_file 1\n"));
    let page = site.page("/", Some(&site.sign_in("vera").await)).await.text;
    assert!(page.contains("/data/HALT: disk swap &#60;b&#62;"), "{page}");
}

#[tokio::test]
async fn the_page_of_orders_halts_and_resumes_by_form() {
    let site = site(None).await;
    let (kim, rita) = (site.sign_in("kim").await, site.sign_in("rita").await);
    let hold = json!({"match": "host=db1", "for": "1h", "reason": "<i>restore</i>"});
    assert_eq!(site.post(HOLDS, &site.tokens.sre, hold).await.status, 200);
    let refused = send(site.form("/halt", &rita, &[("csrf", "wrong")])).await;
    assert_eq!(refused.status, 403);
    let fields = [("csrf", rita.csrf.as_str()), ("reason", "deploy night")];
    let done = send(site.form("/halt", &rita, &fields)).await;
    assert_eq!((done.status, done.header("location")), (303, "/orders"));
    let page = site.page("/orders", Some(&rita)).await.text;
    assert!(page.contains("All changes are halted by rita") && page.contains(": deploy night"));
    assert!(page.contains("host=db1") && page.contains("&#60;i&#62;restore"), "{page}");
    assert!(!page.contains("action=\"/resume\""), "{page}");
    let refused = send(site.form("/resume", &rita, &[("csrf", &rita.csrf)])).await;
    assert_eq!(refused.status, 403);
    assert!(site.page("/orders", Some(&kim)).await.text.contains("action=\"/resume\""));
    let done = send(site.form("/resume", &kim, &[("csrf", &kim.csrf)])).await;
    assert_eq!(done.status, 303);
    assert!(!site.page("/orders", Some(&kim)).await.text.contains("halted by"));
    let vera = site.sign_in("vera").await;
    assert!(!site.page("/orders", Some(&vera)).await.text.contains("action=\"/halt\""));
}
