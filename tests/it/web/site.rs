//! A server on a free port with people, tokens, and whatever incidents and actions a test puts in.

pub use super::who::{Tokens, quick_hash, usual};
use axum::http::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use watchkeeper::approval::{Access, People};
use watchkeeper::clock::Clock;
use watchkeeper::config::Settings;
use watchkeeper::ingest::Ingest;
use watchkeeper::model::action::{ActionState, Proposal, Risk, Wanted};
use watchkeeper::model::alert::{Alert, Severity, Status};
use watchkeeper::model::call::Call;
use watchkeeper::model::entity::Located;
use watchkeeper::model::ids::{ActionId, IncidentId};
use watchkeeper::model::timeline::Entry;
use watchkeeper::model::verdict::{Approvals, Autonomy, Decision, Matched, Tier, VerdictRecord};
use watchkeeper::redact::Redactor;
use watchkeeper::store::actions::{self, Row};
use watchkeeper::store::db::Location;
use watchkeeper::store::incidents::{self, Opening};
use watchkeeper::store::timeline::{self, Head, Stream};
use watchkeeper::store::{Error, Store};
use watchkeeper::tasks::Tasks;
use watchkeeper::web::{self, Deps, HaltFileLook, PolicyDoor, Serving};

pub const NOW_MS: i64 = 1_790_000_000_000;
pub const PASSWORD: &str = "pass phrase of kim";
pub const SCOPE: &str = "default";

/// A running server.
pub struct Site {
    pub store: Store,
    pub clock: Clock,
    pub client: Client,
    pub base: String,
    pub tasks: Tasks,
    pub tokens: Tokens,
    folder: Option<PathBuf>,
    _serving: Serving,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the code of an error.
    pub fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// A signed-in browser.
pub struct Browser {
    pub cookie: String,
    pub csrf: String,
}

impl Site {
    /// With the usual people: kim (sre), rita (responder), vera (viewer), and tokens.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let (access, tokens) = usual();
        Self::of(People::of(access), tokens, change).await
    }

    /// With nobody configured.
    pub async fn open() -> Self {
        Self::of(People::of(Access::default()), Tokens::default(), |_| {}).await
    }

    pub async fn of(people: People, tokens: Tokens, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = std::env::temp_dir().join(format!("watchkeeper-web-{}", uuid::Uuid::now_v7()));
        let tasks = Tasks::default();
        let store = Store::open(&Location::Folder(folder.clone()), &tasks).await.unwrap();
        let mut site = Self::over(store, tasks, people, tokens, change).await;
        site.folder = Some(folder);
        site
    }

    /// Over a store that is there already.
    pub async fn over(
        store: Store,
        tasks: Tasks,
        people: People,
        tokens: Tokens,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Self::served(store, tasks, people, tokens, settings, no_orders()).await
    }

    /// Of a process with this policy and this halt file.
    pub async fn given(
        store: Store,
        tasks: Tasks,
        people: People,
        tokens: Tokens,
        given: (Arc<dyn PolicyDoor>, HaltFileLook),
    ) -> Self {
        Self::served(store, tasks, people, tokens, settings(), given).await
    }

    async fn served(
        store: Store,
        tasks: Tasks,
        people: People,
        tokens: Tokens,
        settings: Settings,
        (policy, halt_file): (Arc<dyn PolicyDoor>, HaltFileLook),
    ) -> Self {
        let scheme = if settings.http.tls_cert_file.is_some() { "https" } else { "http" };
        let clock = Clock::set_at(NOW_MS);
        let serving = web::serve(&settings, people, &tasks).await.unwrap();
        serving.ready(Deps { policy, halt_file, ..deps(&store, &clock) });
        let base = format!("{scheme}://{}", serving.address);
        let client = client();
        Self { store, clock, client, base, tasks, tokens, folder: None, _serving: serving }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// As a program, with a token or without.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.request(method, path);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        send(request).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    /// As a browser reads a page.
    pub async fn page(&self, path: &str, browser: Option<&Browser>) -> Answer {
        let mut request = self.request(Method::GET, path).header("accept", "text/html,*/*;q=0.8");
        if let Some(browser) = browser {
            request = request.header("cookie", &browser.cookie);
        }
        send(request).await
    }

    /// As a browser submits a form of one of our pages.
    pub fn form(&self, path: &str, browser: &Browser, fields: &[(&str, &str)]) -> RequestBuilder {
        self.request(Method::POST, path)
            .header("accept", "text/html,*/*;q=0.8")
            .header("cookie", &browser.cookie)
            .header("origin", &self.base)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(fields))
    }

    pub async fn try_sign_in(&self, name: &str, password: &str, next: &str) -> Answer {
        let fields = [("name", name), ("password", password), ("next", next)];
        let nobody = Browser { cookie: String::new(), csrf: String::new() };
        send(self.form("/login", &nobody, &fields)).await
    }

    /// Signs somebody in; all share one password.
    pub async fn sign_in(&self, name: &str) -> Browser {
        let answer = self.try_sign_in(name, PASSWORD, "/").await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let mut browser = Browser { cookie, csrf: String::new() };
        let page = self.page("/", Some(&browser)).await;
        browser.csrf = hidden(&page.text, "csrf").unwrap();
        browser
    }

    /// Opens an incident with an alert.
    pub async fn incident(&self, title: &str) -> IncidentId {
        let id = IncidentId::new();
        let opening = Opening {
            id,
            scope: SCOPE.into(),
            title: title.into(),
            severity: Severity::Warning,
            correlation_key: id.to_string(),
            at_ms: NOW_MS,
            page_due_at_ms: None,
            breadth: 1,
        };
        let entries = vec![
            Entry::Opened {
                title: title.into(),
                severity: Severity::Warning,
                correlation_key: id.to_string(),
                group_key: None,
                continues: None,
            },
            Entry::AlertFired { alert: alert(title), severity: Severity::Warning },
        ];
        self.store
            .write(move |conn| Box::pin(async move { incidents::open_all(conn, &[opening]).await }))
            .await
            .unwrap();
        self.append(id, entries).await;
        id
    }

    /// Puts a question to people: one call under an incident.
    pub async fn asks(&self, incident: IncidentId, asks: Asks) -> ActionId {
        let (row, entries) = asks.written(incident);
        let id = row.id;
        self.store
            .write(move |conn| Box::pin(async move { actions::insert(conn, &row).await }))
            .await
            .unwrap();
        self.append(incident, entries).await;
        id
    }

    /// Adds entries to an incident's timeline, as its worker would.
    pub async fn append(&self, id: IncidentId, entries: Vec<Entry>) {
        let entries: Vec<(i64, Entry)> = entries.into_iter().map(|entry| (NOW_MS, entry)).collect();
        let stream = Stream::incident(id);
        let known = self.store.timeline(stream.clone()).await.unwrap();
        let head = known
            .last()
            .map_or_else(Head::default, |last| Head { seq: last.seq, hash: last.hash.clone() });
        self.store
            .write(move |conn| {
                Box::pin(async move {
                    let links = timeline::chain(&stream, &head, &entries)?;
                    timeline::append(conn, &stream, &links).await
                })
            })
            .await
            .unwrap();
    }

    pub async fn action(&self, id: ActionId) -> Row {
        self.store.action(SCOPE, id).await.unwrap().unwrap()
    }

    /// Moves an action on behind everybody's back.
    pub async fn move_on(&self, id: ActionId, from: ActionState, to: ActionState) {
        let moved: Result<(), Error> = self
            .store
            .write(move |conn| Box::pin(async move { actions::move_on(conn, id, from, to).await }))
            .await;
        moved.unwrap();
    }

    /// What others brought to an incident and no worker has taken yet.
    pub async fn told(&self, id: IncidentId) -> Vec<Entry> {
        let items = self.store.inbox(Stream::incident(id)).await.unwrap();
        items.into_iter().map(|item| item.entry).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A question with everything that its page shows.
pub struct Asks {
    pub tool: String,
    pub args: Value,
    pub reason: String,
    pub roles: Vec<String>,
    pub expires_at_ms: Option<i64>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            tool: "apply_config".into(),
            args: json!({"host": "web1", "service": "nginx", "workers": 4}),
            reason: "502s since the deploy".into(),
            roles: Vec::new(),
            expires_at_ms: Some(NOW_MS + 3_600_000),
        }
    }
}

impl Asks {
    fn written(self, incident_id: IncidentId) -> (Row, Vec<Entry>) {
        let call = Call::new(self.tool, self.args);
        let action_id = ActionId::new();
        let row = Row {
            id: action_id,
            scope: SCOPE.into(),
            incident_id,
            state: ActionState::Awaiting,
            tool: call.tool.clone(),
            args: call.canonical_args(),
            call_hash: call.hash(),
            tier: "confirm".into(),
            risk: "medium".into(),
            reason: self.reason.clone(),
            description: "More workers".into(),
            rollback: Some("Put the old file back".into()),
            preview: Some("-worker_processes 2;\n+worker_processes 4;".into()),
            rules_version: "rules-7".into(),
            roles: self.roles.clone(),
            quorum: 1,
            approved_by: Vec::new(),
            proposed_at_ms: NOW_MS,
            expires_at_ms: self.expires_at_ms,
            decided_by: None,
            decided_at_ms: None,
            comment: None,
        };
        let verdict = VerdictRecord {
            tier: Tier::Confirm,
            decision: Decision::Ask,
            autonomy: Autonomy::Act,
            matched: vec![Matched {
                source: "rule: change nginx".into(),
                tier: Tier::Confirm,
                note: "a person looks at every new configuration".into(),
            }],
            limits: Vec::new(),
            approvals: Approvals { quorum: 1, roles: self.roles },
            rules_version: "rules-7".into(),
            call_hash: call.hash(),
            would: None,
            risk: None,
            origins: Vec::new(),
        };
        let proposal = Proposal {
            action_id,
            call_id: "call-1".into(),
            call,
            reason: self.reason,
            description: "More workers".into(),
            risk: Risk::Medium,
            rollback: Some("Put the old file back".into()),
            wants_person: Wanted::Rules,
        };
        let entries = vec![
            Entry::Proposed { proposal },
            Entry::ActionJudged { action_id, verdict, basis: None },
            Entry::ApprovalOpened { action_id, expires_at_ms: NOW_MS + 3_600_000 },
        ];
        (row, entries)
    }
}

/// A policy without rules, and no halt file.
fn no_orders() -> (Arc<dyn PolicyDoor>, HaltFileLook) {
    (Arc::new(super::files::Files::default()), Arc::new(|| None))
}

pub fn settings() -> Settings {
    Settings { listen: "127.0.0.1:0".into(), ..Settings::default() }
}

pub fn deps(store: &Store, clock: &Clock) -> Deps {
    let redactor = Redactor::new([]);
    let (policy, halt_file) = no_orders();
    Deps {
        store: store.clone(),
        clock: clock.clone(),
        ingest: Ingest::new(store.clone(), clock.clone(), redactor.clone()),
        redactor,
        due: Arc::new(Notify::new()),
        locate: Arc::new(|_| Located { hosts: vec![], services: vec![], missing: vec![] }),
        policy,
        halt_file,
        trouble: Arc::new(|| None),
        metrics: None,
    }
}

/// Follows no redirect, trusts any certificate, waits long enough for a slow machine.
pub fn client() -> Client {
    watchkeeper::clients::http::install_tls();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// Alertmanager's body with one alert for each name.
pub fn delivery(names: &[&str]) -> Value {
    let alerts: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "status": "firing",
                "labels": {"alertname": name, "instance": "web1:9100", "severity": "warning"},
                "annotations": {"summary": format!("{name} on web1")},
                "startsAt": "2026-09-21T14:13:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus/graph",
                "fingerprint": format!("{:016x}", name.len()),
            })
        })
        .collect();
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "watchkeeper",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": alerts,
    })
}

fn alert(title: &str) -> Alert {
    Alert {
        source: "alertmanager".into(),
        fingerprint: "00000000000000aa".into(),
        status: Status::Firing,
        labels: [("alertname".to_owned(), title.to_owned())].into(),
        annotations: [("summary".to_owned(), format!("{title}!"))].into(),
        starts_at_ms: NOW_MS - 60_000,
        ends_at_ms: None,
        generator_url: String::new(),
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |out, byte| {
            if byte.is_ascii_alphanumeric() {
                out + &char::from(byte).to_string()
            } else {
                out + &format!("%{byte:02X}")
            }
        })
    };
    let pairs: Vec<String> =
        fields.iter().map(|(k, v)| format!("{}={}", escaped(k), escaped(v))).collect();
    pairs.join("&")
}

/// The value of a hidden field of a page.
pub fn hidden(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next()?.to_owned())
}
