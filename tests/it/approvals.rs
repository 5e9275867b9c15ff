//! An approval is one person's answer to one exact call, once.

use crate::support::engines::for_each_engine;
use crate::web::site::{Answer, Asks, Browser, NOW_MS, Site, hidden, send, usual};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use watchkeeper::approval::People;
use watchkeeper::model::action::{ActionState, Answer as Said};
use watchkeeper::model::call::sha256_hex;
use watchkeeper::model::ids::ActionId;
use watchkeeper::model::timeline::Entry;

/// A site with one question.
async fn asked() -> (Site, ActionId) {
    let site = Site::start().await;
    let incident = site.incident("HighErrorRate").await;
    let id = site.asks(incident, Asks::default()).await;
    (site, id)
}

async fn decide(site: &Site, id: ActionId, by: &Browser, fields: &[(&str, &str)]) -> Answer {
    send(site.form(&format!("/confirm/{id}?approved=true"), by, fields)).await
}

/// What the page of an action puts into its form.
async fn fields(site: &Site, id: ActionId, by: &Browser) -> (String, String) {
    let page = site.page(&format!("/confirm/{id}"), Some(by)).await;
    assert_eq!(page.status, 200, "{}", page.text);
    (hidden(&page.text, "csrf").unwrap(), hidden(&page.text, "call_hash").unwrap())
}

#[tokio::test]
async fn a_responder_approves_by_form_once() {
    let (site, id) = asked().await;
    let rita = site.sign_in("rita").await;
    let (csrf, hash) = fields(&site, id, &rita).await;
    let sent = [("csrf", csrf.as_str()), ("call_hash", &hash), ("comment", " looks right ")];
    let answer = decide(&site, id, &rita, &sent).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, format!("/confirm/{id}").as_str())
    );
    let row = site.action(id).await;
    assert_eq!(row.state, ActionState::Approved);
    assert_eq!(row.decided_by.as_deref(), Some("rita"));
    assert_eq!(row.comment.as_deref(), Some("looks right"));
    assert_eq!(row.decided_at_ms, Some(NOW_MS));
    let told = site.told(row.incident_id).await;
    let expected = Entry::Decided {
        action_id: id,
        answer: Said::Approve,
        by: "rita".into(),
        comment: Some("looks right".into()),
        decided_at_ms: NOW_MS,
    };
    assert_eq!(told, [expected]);

    let again = decide(&site, id, &rita, &sent).await;
    assert_eq!(again.status, 409);
    assert!(again.text.contains("this action was approved by rita"), "{}", again.text);
    assert_eq!(site.told(row.incident_id).await.len(), 1);
    let page = site.page(&format!("/confirm/{id}"), Some(&rita)).await;
    assert!(page.text.contains("this action was approved by rita"));
    assert_eq!(hidden(&page.text, "call_hash"), None, "no form is left");
}

#[tokio::test]
async fn a_token_of_a_responder_decides_and_the_comment_is_kept() {
    let (site, id) = asked().await;
    let path = format!("/confirm/{id}?approved=false");
    let answer = site.post(&path, &site.tokens.responder, json!({"comment": "not now"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let said = answer.json();
    assert_eq!(
        json!([said["id"], said["state"], said["decided_by"], said["comment"], said["args"]]),
        json!([id, "rejected", "bot", "not now", {"host": "web1", "service": "nginx", "workers": 4}])
    );
    assert_eq!(site.action(id).await.state, ActionState::Rejected);
}

#[tokio::test]
async fn reading_never_decides() {
    let (site, id) = asked().await;
    let rita = site.sign_in("rita").await;
    let path = format!("/confirm/{id}?approved=true");
    for method in [Method::GET, Method::HEAD] {
        let request = site.request(method.clone(), &path).header("cookie", &rita.cookie);
        assert_eq!(send(request.header("purpose", "prefetch")).await.status, 200);
        let request = site.request(method, &path).bearer_auth(&site.tokens.sre);
        assert_eq!(send(request).await.status, 200);
    }
    for method in [Method::PUT, Method::PATCH, Method::OPTIONS, Method::DELETE] {
        let request = site.request(method, &path).bearer_auth(&site.tokens.sre);
        assert_eq!(send(request).await.error(), (405, "method_not_allowed".into()));
    }
    let api = site.get(&format!("/api/v1/actions/{id}/approve"), &site.tokens.sre).await;
    assert_eq!(api.status, 405);
    assert_eq!(site.action(id).await.state, ActionState::Awaiting);
}

#[tokio::test]
async fn a_form_from_elsewhere_is_refused() {
    let (site, id) = asked().await;
    let (rita, kim) = (site.sign_in("rita").await, site.sign_in("kim").await);
    let (csrf, hash) = fields(&site, id, &rita).await;
    let whole = [("csrf", csrf.as_str()), ("call_hash", &hash)];

    let none = decide(&site, id, &rita, &[("call_hash", &hash)]).await;
    let wrong = decide(&site, id, &rita, &[("csrf", "x"), ("call_hash", &hash)]).await;
    let of_another = decide(&site, id, &kim, &whole).await;
    for answer in [none, wrong, of_another] {
        assert_eq!(answer.status, 403);
        assert!(answer.text.contains("does not belong to this session"), "{}", answer.text);
    }
    let path = format!("/confirm/{id}?approved=true");
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let mut request = site.form(&path, &rita, &whole).build().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().remove("accept");
        let response = site.client.execute(request).await.unwrap();
        assert_eq!(response.status(), 403);
        assert!(response.text().await.unwrap().contains("foreign_origin"), "{origin}");
    }
    let other_site = site.form(&path, &rita, &whole).header("sec-fetch-site", "cross-site");
    assert_eq!(send(other_site).await.status, 403);
    let signed_out = Browser { cookie: String::new(), csrf: String::new() };
    assert_eq!(decide(&site, id, &signed_out, &whole).await.status, 401);
    let no_hash = decide(&site, id, &rita, &[("csrf", &csrf)]).await;
    assert_eq!(no_hash.status, 400);
    let neither = send(site.form(&format!("/confirm/{id}"), &rita, &whole)).await;
    assert_eq!(neither.status, 400);
    assert_eq!(site.action(id).await.state, ActionState::Awaiting);
}

#[tokio::test]
async fn a_call_that_is_not_the_one_shown_is_refused() {
    let (site, id) = asked().await;
    let rita = site.sign_in("rita").await;
    let other = sha256_hex(b"another call");
    let answer = decide(&site, id, &rita, &[("csrf", &rita.csrf), ("call_hash", &other)]).await;
    assert_eq!(answer.status, 409);
    assert!(answer.text.contains("not the one that was shown"), "{}", answer.text);
    let path = format!("/api/v1/actions/{id}/approve");
    let answer = site.post(&path, &site.tokens.sre, json!({"call_hash": other})).await;
    assert_eq!(answer.error(), (409, "changed".into()));
    assert_eq!(site.action(id).await.state, ActionState::Awaiting);
}

#[tokio::test]
async fn roles_bar_those_who_may_not_decide() {
    let site = Site::start().await;
    let incident = site.incident("HighErrorRate").await;
    let id = site.asks(incident, Asks { roles: vec!["sre".into()], ..Asks::default() }).await;
    let path = format!("/api/v1/actions/{id}/approve");
    for (token, words) in [
        (&site.tokens.viewer, "the role viewer may look and not decide; a responder may"),
        (
            &site.tokens.responder,
            "the rules ask for one of these roles here: sre; yours is responder",
        ),
    ] {
        let answer = site.post(&path, token, json!({})).await;
        assert_eq!(answer.error(), (403, "not_allowed".into()));
        assert_eq!(answer.json()["error"]["message"], words);
    }
    for name in ["vera", "rita"] {
        let browser = site.sign_in(name).await;
        let page = site.page(&format!("/confirm/{id}"), Some(&browser)).await;
        assert_eq!((page.status, hidden(&page.text, "call_hash")), (200, None), "{name}");
        let hash = site.action(id).await.call_hash;
        let sent = [("csrf", browser.csrf.as_str()), ("call_hash", &hash)];
        assert_eq!(decide(&site, id, &browser, &sent).await.status, 403);
    }
    assert_eq!(site.post(&path, &site.tokens.hook, json!({})).await.error().1, "wrong_token");
    assert_eq!(site.post(&path, "", json!({})).await.error(), (401, "sign_in".into()));
    assert_eq!(site.post(&path, &site.tokens.sre, json!({})).await.status, 200);
}

#[tokio::test]
async fn expired_rejected_and_superseded_are_told_apart() {
    let site = Site::start().await;
    let incident = site.incident("HighErrorRate").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(site.asks(incident, Asks::default()).await);
    }
    let approve = |id: ActionId| format!("/api/v1/actions/{id}/approve");
    let reject = format!("/api/v1/actions/{}/reject", ids[0]);
    assert_eq!(site.post(&reject, &site.tokens.sre, json!({})).await.status, 200);
    site.move_on(ids[1], ActionState::Awaiting, ActionState::Superseded).await;
    site.move_on(ids[2], ActionState::Awaiting, ActionState::Expired).await;
    site.move_on(ids[3], ActionState::Awaiting, ActionState::Intended).await;
    site.clock.advance(3_600_000);
    let rita = site.sign_in("rita").await;
    let said = [
        (ids[0], 409, "already_decided", "rejected", "this action was rejected by robot"),
        (ids[1], 409, "superseded", "", "the request was superseded"),
        (ids[2], 410, "expired", "", "nobody answered in time, so the request expired"),
        (ids[3], 409, "already_decided", "intended", "this action was let through"),
        // Nothing has marked this one yet; the clock alone says so.
        (ids[4], 410, "expired", "", "nobody answered in time, so the request expired"),
    ];
    for (id, status, code, state, words) in said {
        let answer = site.post(&approve(id), &site.tokens.sre, json!({})).await;
        assert_eq!(answer.error(), (status, code.into()));
        let error = &answer.json()["error"];
        assert_eq!(error["state"].as_str().unwrap_or_default(), state);
        assert!(error["message"].as_str().unwrap().starts_with(words), "{error}");
        let page = site.page(&format!("/confirm/{id}"), Some(&rita)).await;
        assert!(page.text.contains(words), "{}", page.text);
        assert_eq!(hidden(&page.text, "call_hash"), None);
    }
    assert_eq!(site.told(incident).await.len(), 1, "only the rejection reached the incident");
}

#[tokio::test]
async fn an_action_that_is_not_there_is_not_found() {
    let (site, _) = asked().await;
    for id in [ActionId::new().to_string(), "nonsense".into()] {
        for path in
            [format!("/api/v1/actions/{id}/approve"), format!("/confirm/{id}?approved=true")]
        {
            let answer = site.post(&path, &site.tokens.sre, json!({})).await;
            assert_eq!(answer.error(), (404, "not_found".into()), "{path}");
        }
        assert_eq!(site.get(&format!("/confirm/{id}"), &site.tokens.sre).await.status, 404);
    }
}

#[tokio::test]
async fn the_page_shows_the_stored_call_and_why() {
    let (site, id) = asked().await;
    let rita = site.sign_in("rita").await;
    let page = site.page(&format!("/confirm/{id}"), Some(&rita)).await.text;
    for part in [
        "apply_config",
        "nginx @ web1",
        "<tr><th>host</th><td><code>&#34;web1&#34;</code></td></tr>",
        "<tr><th>workers</th><td><code>4</code></td></tr>",
        "502s since the deploy",
        "medium",
        "rule: change nginx",
        "a person looks at every new configuration",
        "+worker_processes 4;",
        "Put the old file back",
        "(60 min)",
        "rules-7",
        &site.action(id).await.call_hash,
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
}

#[tokio::test]
async fn without_users_decisions_are_refused_with_advice() {
    let site = Site::open().await;
    let incident = site.incident("HighErrorRate").await;
    let id = site.asks(incident, Asks::default()).await;
    let page = site.page(&format!("/confirm/{id}"), None).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("watchkeeper user add"), "{}", page.text);
    let nobody = Browser { cookie: String::new(), csrf: String::new() };
    let refused = decide(&site, id, &nobody, &[]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("watchkeeper user add"), "{}", refused.text);
    let api = site.post(&format!("/api/v1/actions/{id}/approve"), "", json!({})).await;
    assert_eq!(api.error(), (403, "nobody_configured".into()));
    assert_eq!(site.action(id).await.state, ActionState::Awaiting);
}

#[tokio::test]
async fn many_answers_at_once_become_one_decision() {
    for_each_engine(|ground| async move {
        let opened = ground.open().await;
        let (access, tokens) = usual();
        let people = People::of(access);
        let site =
            Site::over(opened.store.clone(), opened.tasks.clone(), people, tokens, |_| {}).await;
        let incident = site.incident("HighErrorRate").await;
        let id = site.asks(incident, Asks::default()).await;
        let site = &site;
        let calls = (0..300).map(|n| async move {
            let answer = if n % 2 == 0 { "approve" } else { "reject" };
            let path = format!("/api/v1/actions/{id}/{answer}");
            site.post(&path, &site.tokens.sre, json!({})).await
        });
        let answers = join_all(calls).await;
        let winners = answers.iter().filter(|answer| answer.status == 200).count();
        let late =
            answers.iter().filter(|a| a.status == 409).all(|a| a.error().1 == "already_decided");
        assert_eq!((winners, answers.len()), (1, 300));
        assert!(late && answers.iter().all(|a| matches!(a.status, 200 | 409)));
        assert_eq!(site.told(incident).await.len(), 1);
    })
    .await;
}
