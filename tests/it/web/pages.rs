//! Pages as browsers get them.

use super::site::{Asks, Site, hidden, usual};
use crate::support::engines::for_each_engine;
use serde_json::{Value, json};
use watchkeeper::approval::People;
use watchkeeper::model::call::Call;
use watchkeeper::model::timeline::Entry;

const HOSTILE: &str =
    "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}&lt;\u{202e}txt.exe";

#[tokio::test]
async fn hostile_text_is_shown_and_never_active() {
    let site = Site::start().await;
    let incident = site.incident(HOSTILE).await;
    let args = json!({"host": HOSTILE, "service": "a\u{200b}b", "<b>": [HOSTILE, {"x": "\n"}]});
    let asks = Asks { tool: "<i>tool".into(), args, reason: HOSTILE.into(), ..Asks::default() };
    let id = site.asks(incident, asks).await;
    let kim = site.sign_in("kim").await;
    for path in [
        "/".to_owned(),
        format!("/incidents/{incident}"),
        format!("/incidents/{incident}/report"),
        format!("/confirm/{id}"),
    ] {
        let page = site.page(&path, Some(&kim)).await;
        assert_eq!(page.status, 200, "{path}");
        for active in
            ["<script", "<img", "<i>", "<b>\"", "\u{202e}", "\u{200b}", "onerror=alert(2)>"]
        {
            assert!(!page.text.contains(active), "{path} holds {active}");
        }
        // The report writes its Markdown escaped already, which the page escapes again.
        let shown = ["&#60;script&#62;", "&#38;lt;script&#38;gt;"];
        assert!(shown.iter().any(|shown| page.text.contains(shown)), "{path}: {}", page.text);
    }
    let shown = format!("/login?next={}", "%22%3E%3Cscript%3E");
    assert!(!site.page(&shown, None).await.text.contains("<script"));
}

#[tokio::test]
async fn what_an_approver_sees_reads_back_as_the_stored_call() {
    let site = Site::start().await;
    let incident = site.incident("DiskFull").await;
    let args = json!({
        "host": HOSTILE,
        "paths": ["/var/log", "/tmp\u{0}x", "\u{feff}\u{a0}é磁\u{e0041}"],
        "n": -1.5e300,
        "deep": {"a": [null, true, ""]},
    });
    let id = site.asks(incident, Asks { args: args.clone(), ..Asks::default() }).await;
    let kim = site.sign_in("kim").await;
    let page = site.page(&format!("/confirm/{id}"), Some(&kim)).await.text;
    let table =
        page.split("<table class=\"args\">").nth(1).unwrap().split("</table>").next().unwrap();
    let mut seen = serde_json::Map::new();
    for row in table.split("<tr><th>").skip(1) {
        let (name, rest) = row.split_once("</th><td><code>").unwrap();
        let value = rest.split_once("</code>").unwrap().0;
        let value: Value = serde_json::from_str(&unescaped(value)).unwrap();
        seen.insert(unescaped(name), value);
    }
    assert_eq!(Value::Object(seen), args);
    let hash = hidden(&page, "call_hash").unwrap();
    assert_eq!(hash, Call::new("apply_config", args).hash());
}

#[tokio::test]
async fn a_call_that_was_changed_in_the_store_is_not_shown() {
    for_each_engine(|ground| async move {
        let opened = ground.open().await;
        let (access, tokens) = usual();
        let people = People::of(access);
        let site = Site::over(opened.store, opened.tasks, people, tokens, |_| {}).await;
        let incident = site.incident("DiskFull").await;
        let id = site.asks(incident, Asks::default()).await;
        let kim = site.sign_in("kim").await;
        let path = format!("/confirm/{id}");
        assert_eq!(site.page(&path, Some(&kim)).await.status, 200);
        ground.sql("update action set args = replace(args, 'web1', 'web2')").await;
        let page = site.page(&path, Some(&kim)).await;
        assert_eq!((page.status, hidden(&page.text, "call_hash")), (500, None), "{}", page.text);
    })
    .await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let site = Site::start().await;
    let kim = site.sign_in("kim").await;
    for answer in [
        site.page("/", Some(&kim)).await,
        site.page("/nowhere", Some(&kim)).await,
        site.get("/healthz", "").await,
        site.get("/api/v1/incidents", "").await,
    ] {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.header("x-request-id").is_empty());
    }
    let style = site.get("/assets/style.css", "").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
}

#[tokio::test]
async fn errors_are_pages_for_browsers_and_json_for_programs() {
    let site = Site::start().await;
    let kim = site.sign_in("kim").await;
    let page = site.page("/nowhere", Some(&kim)).await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    assert!(page.text.contains(page.header("x-request-id")));
    assert_eq!(site.get("/nowhere", "").await.error(), (404, "not_found".into()));
    let own =
        site.request(reqwest::Method::GET, "/nowhere").header("x-request-id", "from-the-proxy_1");
    assert_eq!(super::site::send(own).await.header("x-request-id"), "from-the-proxy_1");
    let odd = site.request(reqwest::Method::GET, "/nowhere").header("x-request-id", "a b<c>");
    assert_ne!(super::site::send(odd).await.header("x-request-id"), "a b<c>");
}

#[tokio::test]
async fn the_list_shows_what_waits_for_a_decision() {
    let site = Site::start().await;
    let incident = site.incident("DiskFull").await;
    let id = site.asks(incident, Asks::default()).await;
    let vera = site.sign_in("vera").await;
    let page = site.page("/", Some(&vera)).await.text;
    assert!(page.contains(&format!("/confirm/{id}")) && page.contains("Waiting for a decision"));
    assert!(page.contains(&format!("/incidents/{incident}")) && page.contains("vera (viewer)"));
    let one = site.page(&format!("/incidents/{incident}"), Some(&vera)).await.text;
    assert!(!one.contains("I take this incident"), "a viewer may only look");
    let rita = site.sign_in("rita").await;
    let one = site.page(&format!("/incidents/{incident}"), Some(&rita)).await.text;
    site.append(incident, vec![Entry::Escalated { why: "not fixed".into() }]).await;
    let escalated = site.page(&format!("/incidents/{incident}"), Some(&rita)).await.text;
    assert!(escalated.contains("I take this incident") && escalated.contains("not fixed"));
    site.append(incident, vec![Entry::Resolved { by: "a resolved notice".into() }]).await;
    let resolved = site.page(&format!("/incidents/{incident}"), Some(&rita)).await.text;
    assert!(!resolved.contains("I take this incident"));
    for part in ["I take this incident", "rule: change nginx", "DiskFull!", "alert fired", "#2"] {
        assert!(one.contains(part), "{part} is missing in {one}");
    }
}

#[tokio::test]
async fn pages_speak_the_configured_language() {
    let site = Site::with(|settings| settings.language = watchkeeper::config::Language::Zh).await;
    let page = site.page("/login", None).await.text;
    assert!(page.contains("<html lang=\"zh\">") && page.contains("登录"), "{page}");
}

fn unescaped(html: &str) -> String {
    let marks = [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    marks.iter().fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[tokio::test]
async fn a_storm_does_not_make_an_endless_page() {
    let site = Site::start().await;
    let id = site.incident("DiskFull").await;
    let taken = |n: i64| Entry::Acknowledged { by: format!("p{n}") };
    site.append(id, (0..1_500).map(taken).collect()).await;
    let kim = site.sign_in("kim").await;
    let page = site.page(&format!("/incidents/{id}"), Some(&kim)).await.text;
    assert_eq!(page.matches("<li id=").count(), 1_000);
    assert!(page.contains("+ 502: ") && page.contains("p1499 took") && !page.contains("p5 took"));
}
