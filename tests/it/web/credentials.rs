//! Who gets in: senders of alerts, people, programs.

use super::site::{
    Asks, Browser, NOW_MS, PASSWORD, Site, Tokens, delivery, hidden, quick_hash, send, usual,
};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use watchkeeper::approval::people::Role;
use watchkeeper::approval::{Access, People, Token, TokenKind, User, access, secrets};

fn webhook(site: &Site) -> RequestBuilder {
    site.request(Method::POST, "/webhook/alert")
        .header("content-type", "application/json")
        .body(delivery(&["DiskFull", "ServiceDown!"]).to_string())
}

#[tokio::test]
async fn webhooks_take_bearer_and_basic_credentials() {
    let site = Site::start().await;
    let accepted = json!({"status": "accepted", "count": 2});
    let hook = site.tokens.hook.clone();
    for request in [
        webhook(&site).bearer_auth(&hook),
        webhook(&site).basic_auth("alertmanager", Some(&hook)),
        webhook(&site).basic_auth("rita", Some(PASSWORD)),
        webhook(&site).basic_auth("rita", Some(PASSWORD)),
    ] {
        let answer = send(request).await;
        assert_eq!((answer.status, answer.json()), (200, accepted.clone()));
    }
    assert_eq!(site.store.delivery_backlog().await.unwrap().waiting, 4);
}

#[tokio::test]
async fn webhooks_without_valid_credentials_are_told_how_to_get_them() {
    let site = Site::start().await;
    for request in [
        webhook(&site),
        webhook(&site).bearer_auth("wk_nonsense"),
        webhook(&site).basic_auth("rita", Some("wrong")),
        webhook(&site).basic_auth("nobody", Some(PASSWORD)),
        webhook(&site).basic_auth("vera", Some(PASSWORD)),
        webhook(&site).header("authorization", "Digest x"),
        webhook(&site).header("authorization", "Basic ###"),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.error(), (401, "credentials".into()));
        let schemes: Vec<&str> = answer
            .headers
            .get_all("www-authenticate")
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect();
        assert_eq!(schemes, ["Bearer realm=\"watchkeeper\"", "Basic realm=\"watchkeeper\""]);
        let hint = answer.json()["error"]["hint"].to_string();
        assert!(hint.contains("watchkeeper token create"), "{hint}");
    }
    let answer = send(webhook(&site).bearer_auth(&site.tokens.sre)).await;
    assert_eq!(answer.error(), (403, "wrong_token".into()));
    assert_eq!(site.store.delivery_backlog().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn with_nobody_configured_only_this_machine_brings_alerts() {
    let site = Site::open().await;
    assert_eq!(send(webhook(&site)).await.status, 200);
    for (name, value, status) in [
        ("x-forwarded-for", "192.0.2.1", 401),
        ("forwarded", "for=192.0.2.1", 401),
        ("host", "rebound.example:8080", 401),
        ("origin", "https://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        assert_eq!(send(webhook(&site).header(name, value)).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn the_source_of_alerts_is_that_of_the_token() {
    let new = secrets::new_token();
    let token = Token {
        name: "berlin".into(),
        kind: TokenKind::Webhook,
        hash: new.hash,
        role: None,
        source: Some("berlin-am".into()),
    };
    let people = People::of(Access { users: Vec::new(), tokens: vec![token] });
    let site = Site::of(people, Tokens::default(), |_| {}).await;
    assert_eq!(send(webhook(&site).bearer_auth(new.shown_once)).await.status, 200);
    let rows = site
        .store
        .write(|conn| {
            Box::pin(async move { watchkeeper::store::deliveries::waiting(conn, 10).await })
        })
        .await
        .unwrap();
    let sources: Vec<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    assert_eq!(sources, ["berlin-am"]);
}

#[tokio::test]
async fn everything_but_health_needs_a_known_visitor() {
    let site = Site::start().await;
    for path in ["/api/v1/incidents", "/api/v1/actions", "/api/v1/halt"] {
        let answer = site.get(path, "").await;
        assert_eq!(answer.error(), (401, "sign_in".into()), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"watchkeeper\"");
        assert_eq!(site.get(path, "wk_nonsense").await.status, 401);
        assert_eq!(site.get(path, &site.tokens.hook).await.error(), (403, "wrong_token".into()));
        assert_eq!(site.get(path, &site.tokens.viewer).await.status, 200);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/login", "/api/v1/openapi.json"] {
        assert_eq!(site.get(path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn with_nobody_configured_only_this_machine_reads() {
    let site = Site::open().await;
    assert_eq!(site.page("/", None).await.status, 200);
    assert_eq!(site.get("/api/v1/incidents", "").await.status, 200);
    for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("host", "rebound.example")] {
        let request = site.request(Method::GET, "/api/v1/incidents").header(name, value);
        assert_eq!(send(request).await.status, 401, "{name}");
    }
    let halt = site.post("/api/v1/halt", "", json!({})).await;
    assert_eq!(halt.error(), (403, "nobody_configured".into()));
}

#[tokio::test]
async fn a_signed_out_visitor_signs_in_and_comes_back() {
    let site = Site::start().await;
    let incident = site.incident("HighErrorRate").await;
    let id = site.asks(incident, Asks::default()).await;
    let sent_away = site.page(&format!("/confirm/{id}?x=1"), None).await;
    let login = format!("/login?next=/confirm/{id}%3Fx%3D1");
    assert_eq!((sent_away.status, sent_away.header("location")), (303, login.as_str()));
    let form = site.page(&login, None).await;
    let next = hidden(&form.text, "next").unwrap();
    assert_eq!(next, format!("/confirm/{id}?x=1"));
    let back = site.try_sign_in("rita", PASSWORD, &next).await;
    assert_eq!((back.status, back.header("location")), (303, next.as_str()));
    let cookie = back.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{cookie}");
    let elsewhere = site.try_sign_in("rita", PASSWORD, "//evil.example/").await;
    assert_eq!(elsewhere.header("location"), "/");
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_then_limited() {
    let site = Site::start().await;
    for (name, password) in [("rita", "wrong"), ("nobody", PASSWORD), ("", "")] {
        let answer = site.try_sign_in(name, password, "/").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""));
        assert!(answer.text.contains("do not fit"), "{}", answer.text);
    }
    assert_eq!(site.try_sign_in("rita", PASSWORD, "/").await.status, 303);
    for _ in 0..10 {
        assert_eq!(site.try_sign_in("rita", "wrong", "/").await.status, 401);
    }
    let limited = site.try_sign_in("rita", PASSWORD, "/").await;
    assert_eq!(limited.status, 429);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    // Machines are never told 429, and those with a token are not touched.
    assert_eq!(send(webhook(&site).bearer_auth(&site.tokens.hook)).await.status, 200);
    assert_eq!(send(webhook(&site).basic_auth("kim", Some(PASSWORD))).await.status, 503);
}

#[tokio::test]
async fn a_sign_in_by_a_page_of_another_site_is_refused() {
    let site = Site::start().await;
    let request = site
        .request(Method::POST, "/login")
        .header("origin", "https://evil.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("name=rita&password=pass+phrase+of+kim");
    assert_eq!(send(request).await.error(), (403, "foreign_origin".into()));
}

#[tokio::test]
async fn sessions_end_by_sign_out_and_by_time() {
    let site = Site::start().await;
    let (rita, kim) = (site.sign_in("rita").await, site.sign_in("kim").await);
    let without = send(site.form("/logout", &rita, &[])).await;
    assert_eq!(without.status, 403);
    let out = send(site.form("/logout", &rita, &[("csrf", &rita.csrf)])).await;
    assert_eq!((out.status, out.header("location")), (303, "/login"));
    assert!(out.header("set-cookie").starts_with("watchkeeper=; "));
    assert_eq!(site.page("/", Some(&rita)).await.status, 303);
    assert_eq!(site.page("/", Some(&kim)).await.status, 200);
    site.clock.advance(12 * 3600 * 1000);
    assert_eq!(site.page("/", Some(&kim)).await.status, 303);
    let forged = Browser { cookie: "watchkeeper=forged".into(), csrf: String::new() };
    assert_eq!(site.page("/", Some(&forged)).await.status, 303);
    assert!(site.clock.now_ms() > NOW_MS);
}

#[tokio::test]
async fn a_session_does_not_outlive_its_user_or_their_password() {
    let folder = std::env::temp_dir().join(format!("access-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("access.yaml");
    let user = |name: &str, password: &str| User {
        name: name.into(),
        role: Role::Responder,
        password_hash: quick_hash(password),
    };
    let write = |users: Vec<User>| {
        let _ = std::fs::remove_file(&file);
        users.into_iter().for_each(|user| access::add_user(&file, user).unwrap());
    };
    write(vec![user("rita", PASSWORD), user("kim", PASSWORD)]);
    let people = People::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
    let site = Site::of(people, Tokens::default(), |_| {}).await;
    let (rita, kim) = (site.sign_in("rita").await, site.sign_in("kim").await);
    write(vec![user("kim", "another")]);
    // The file is looked at once a second; the first answer afterwards counts.
    let mut looked = 0;
    while site.page("/", Some(&rita)).await.status == 200 && looked < 10_000 {
        looked += 1;
    }
    assert_eq!(site.page("/", Some(&rita)).await.status, 303, "removed");
    assert_eq!(site.page("/", Some(&kim)).await.status, 303, "other password");
    // A file that broke changes nothing.
    std::fs::write(&file, "users: nonsense").unwrap();
    assert_eq!(site.try_sign_in("kim", "another", "/").await.status, 303);
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn a_signed_in_person_may_use_the_api_with_the_csrf_header() {
    let site = Site::start().await;
    let kim = site.sign_in("kim").await;
    let halt = |csrf: Option<&str>| {
        let request = site.request(Method::POST, "/api/v1/halt").header("cookie", &kim.cookie);
        csrf.map_or(request.try_clone().unwrap(), |csrf| request.header("x-csrf-token", csrf))
    };
    assert_eq!(send(halt(None)).await.error(), (403, "csrf".into()));
    assert_eq!(send(halt(Some("wrong"))).await.error(), (403, "csrf".into()));
    assert_eq!(send(halt(Some(&kim.csrf))).await.status, 200);
    let page = site.page("/", Some(&kim)).await;
    assert!(page.text.contains("All changes are halted by kim"), "{}", page.text);
}

#[tokio::test]
async fn credentials_meant_for_a_proxy_do_not_disturb_a_session() {
    let site = Site::start().await;
    let kim = site.sign_in("kim").await;
    let request = site.request(Method::GET, "/").header("cookie", &kim.cookie);
    assert_eq!(send(request.basic_auth("office", Some("wifi"))).await.status, 200);
    let request = site.request(Method::GET, "/").basic_auth("kim", Some(PASSWORD));
    assert_eq!(send(request).await.error(), (401, "sign_in".into()), "not a way to sign in here");
}

#[tokio::test]
async fn no_answer_holds_a_secret() {
    let site = Site::start().await;
    let incident = site.incident("HighErrorRate").await;
    let id = site.asks(incident, Asks::default()).await;
    let kim = site.sign_in("kim").await;
    let (access, _) = usual();
    let session = kim.cookie.split_once('=').unwrap().1.to_owned();
    let mut secrets: Vec<String> = access.users.into_iter().map(|u| u.password_hash).collect();
    let t = &site.tokens;
    secrets.extend([&t.hook, &t.viewer, &t.responder, &t.sre, &session].map(Clone::clone));
    secrets.push(PASSWORD.into());
    let paths = watchkeeper::web::ROUTES.iter().filter(|(method, _)| *method == "get");
    for (_, path) in paths {
        let of = if path.starts_with("/confirm") || path.contains("actions") {
            id.to_string()
        } else {
            incident.to_string()
        };
        let answer = site.page(&path.replace("{id}", &of), Some(&kim)).await;
        // The site has sent no digest that could be shown.
        let wanted = if path.contains("digests") { 404 } else { 200 };
        assert_eq!(answer.status, wanted, "{path}");
        let all = format!("{:?}{}", answer.headers, answer.text);
        for secret in &secrets {
            assert!(!all.contains(secret.as_str()), "{path} shows a secret");
        }
    }
}
