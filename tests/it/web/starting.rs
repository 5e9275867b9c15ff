//! Before, while and where the server listens.

use super::site::{Site, client, deps, send, settings, usual};
use serde_json::json;
use watchkeeper::approval::{Access, People};
use watchkeeper::clock::Clock;
use watchkeeper::store::Store;
use watchkeeper::store::db::Location;
use watchkeeper::tasks::Tasks;
use watchkeeper::web::{self, ServeError, may_listen};

fn nobody() -> People {
    People::of(Access::default())
}

#[tokio::test]
async fn health_is_answered_before_anything_else_is_there() {
    let tasks = Tasks::default();
    let serving = web::serve(&settings(), nobody(), &tasks).await.unwrap();
    let (client, base) = (client(), format!("http://{}", serving.address));
    let get = |path: &str| send(client.get(format!("{base}{path}")));
    for path in ["/healthz", "/-/healthy"] {
        let answer = get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
    }
    for path in ["/readyz", "/-/ready"] {
        let answer = get(path).await;
        assert_eq!(answer.status, 503);
        let opening = "still opening and migrating the database";
        assert_eq!(answer.json(), json!({"ready": false, "not_ready": {"store": opening}}));
    }
    assert_eq!(get("/metrics").await.status, 200);
    let answer = get("/api/v1/incidents").await;
    assert_eq!(answer.error(), (503, "unavailable".into()));
    assert_eq!(answer.header("retry-after"), "5");
    let webhook = client.post(format!("{base}/webhook/alert")).body("{}");
    assert_eq!(send(webhook).await.error(), (503, "unavailable".into()));

    let folder = std::env::temp_dir().join(format!("watchkeeper-web-{}", uuid::Uuid::now_v7()));
    let store = Store::open(&Location::Folder(folder.clone()), &tasks).await.unwrap();
    serving.ready(deps(&store, &Clock::system()));
    let answer = get("/readyz").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ready": true, "not_ready": {}})));
    assert_eq!(get("/api/v1/incidents").await.status, 200);
    tasks.stopping().cancel();
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_store_that_cannot_write_is_not_ready() {
    let site = Site::start().await;
    // The store has tasks of its own here, so it alone stops.
    let (tasks, own) = (Tasks::default(), Tasks::default());
    let folder = std::env::temp_dir().join(format!("watchkeeper-web-{}", uuid::Uuid::now_v7()));
    let store = Store::open(&Location::Folder(folder.clone()), &own).await.unwrap();
    let (access, tokens) = usual();
    let other = Site::over(store, tasks, People::of(access), tokens, |_| {}).await;
    assert_eq!(other.get("/readyz", "").await.status, 200);
    assert_eq!(own.shut_down(std::time::Duration::from_secs(60)).await, 0);
    let answer = other.get("/readyz", "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["not_ready"]["store_write"].is_string(), "{}", answer.text);
    let body = super::site::delivery(&["DiskFull"]);
    let webhook = other.post("/webhook/alert", &other.tokens.hook, body).await;
    assert_eq!(webhook.error(), (503, "unavailable".into()));
    assert_eq!(webhook.header("retry-after"), "5");
    assert!(!webhook.text.contains("writer"), "the cause stays in the log");
    assert_eq!(site.get("/readyz", "").await.status, 200);
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn beyond_loopback_credentials_are_required() {
    let (access, _) = usual();
    for (listen, fits) in [
        ("127.0.0.1:0", true),
        ("[::1]:0", true),
        ("0.0.0.0:0", false),
        ("[::]:0", false),
        ("192.0.2.1:0", false),
    ] {
        let mut settings = settings();
        settings.listen = listen.into();
        assert_eq!(may_listen(&settings, &nobody()).is_ok(), fits, "{listen}");
        assert_eq!(may_listen(&settings, &People::of(access.clone())), Ok(()));
    }
    let mut settings = settings();
    settings.listen = "0.0.0.0:0".into();
    let refused = web::serve(&settings, nobody(), &Tasks::default()).await.err().unwrap();
    assert!(matches!(refused, ServeError::Refused(_)));
    assert!(refused.to_string().contains("watchkeeper user add"), "{refused}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings();
    settings.listen = taken.local_addr().unwrap().to_string();
    let refused = web::serve(&settings, nobody(), &Tasks::default()).await.err().unwrap();
    assert!(matches!(refused, ServeError::Listen { .. }));
    assert!(refused.to_string().contains(&settings.listen), "{refused}");
}

#[tokio::test]
async fn with_tls_sessions_are_for_tls_alone() {
    let folder = std::env::temp_dir().join(format!("wk-tls-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let site = Site::with(|settings| {
        settings.http.tls_cert_file = Some(folder.join("cert.pem"));
        settings.http.tls_key_file = Some(folder.join("key.pem"));
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
    let answer = site.try_sign_in("rita", super::site::PASSWORD, "/").await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-watchkeeper=") && cookie.ends_with("; Secure"), "{cookie}");
    // It would turn every other service on this host to TLS as well.
    assert_eq!(answer.header("strict-transport-security"), "");
    let browser = site.sign_in("rita").await;
    assert_eq!(site.page("/", Some(&browser)).await.status, 200);
}

#[tokio::test]
async fn unfit_tls_files_are_named() {
    let mut settings = settings();
    settings.http.tls_cert_file = Some("/nonexistent/cert.pem".into());
    settings.http.tls_key_file = Some("/nonexistent/key.pem".into());
    let refused = web::serve(&settings, nobody(), &Tasks::default()).await.err().unwrap();
    assert!(matches!(refused, ServeError::Tls(_)));
    assert!(refused.to_string().contains("/nonexistent/cert.pem"), "{refused}");
}
