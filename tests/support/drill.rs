//! Problems of a [`World`], what a model says of them, and a server that runs by itself.

use super::world::{Server, World, alert, webhook};
use super::{FakeModel, ModelReply, ModelRequest};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use watchkeeper::approval::access::{Access, Token, TokenKind};
use watchkeeper::approval::people::{People, Role};
use watchkeeper::model::action::Answer;
use watchkeeper::model::call::sha256_hex;
use watchkeeper::model::case::Case;
use watchkeeper::model::ids::ActionId;
use watchkeeper::report;
use watchkeeper::store::actions::{Decided, Decision};
use watchkeeper::web;

/// What a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// One alert of a problem.
#[derive(Clone, Debug)]
pub struct Problem {
    pub name: &'static str,
    pub labels: Vec<(&'static str, &'static str)>,
    pub starts_at: &'static str,
}

impl Problem {
    pub fn new(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        Self { name, labels: labels.to_vec(), starts_at: "2026-03-10T10:00:00Z" }
    }

    /// The web service has stopped.
    pub fn down() -> Self {
        Self::new("ServiceDown", &[BOX, ("service", "web"), ("severity", "critical")])
    }

    /// Logs fill the disk.
    pub fn disk() -> Self {
        Self::new("DiskSpaceLow", &[BOX, ("mountpoint", "/"), ("severity", "warning")])
    }

    /// The database reports damaged pages.
    pub fn corruption() -> Self {
        Self::new("DBCorruption", &[BOX, ("service", "db"), ("severity", "critical")])
    }

    pub fn with(mut self, label: &'static str, value: &'static str) -> Self {
        self.labels.retain(|(name, _)| *name != label);
        self.labels.push((label, value));
        self
    }

    /// The same problem of another time.
    pub fn since(mut self, starts_at: &'static str) -> Self {
        self.starts_at = starts_at;
        self
    }

    pub fn alert(&self, status: &str) -> Value {
        let mut alert = alert(status, self.name, &self.labels);
        alert["startsAt"] = json!(self.starts_at);
        alert
    }

    pub fn firing(&self) -> Value {
        webhook(&[self.alert("firing")])
    }

    pub fn resolved(&self) -> Value {
        webhook(&[self.alert("resolved")])
    }

    /// Prometheus fires it, too.
    pub fn in_prometheus(&self, world: &World) {
        let mut labels = self.labels.clone();
        labels.push(("alertname", self.name));
        world.fire_in_prometheus(&labels);
    }
}

pub const BOX: (&str, &str) = ("instance", "10.2.3.4:9100");
/// Runbooks that know nothing.
pub const NO_RUNBOOKS: &str = "version: 1\nrunbooks: []\n";

impl World {
    /// Everything that Slack was told, as one text.
    pub fn slack_said(&self) -> String {
        self.slack.messages().iter().map(|message| format!("{message}\n")).collect()
    }

    /// The doubles were never asked anything that the real services would refuse.
    pub fn assert_no_violations(&self) {
        assert_eq!(self.slack.violations(), Vec::<String>::new());
        assert_eq!(self.pagerduty.violations(), Vec::<String>::new());
        assert_eq!(self.prometheus.violations(), Vec::<String>::new());
    }

    pub fn all_restarts(&self) -> usize {
        ["web", "worker", "db"].iter().map(|service| self.restarts(service)).sum()
    }

    /// Caps what the rules allow.
    pub fn set_autonomy(&self, autonomy: &str) {
        let file = self.folder.join("config/safety_rules.yaml");
        let rules = std::fs::read_to_string(&file).unwrap();
        assert_eq!(rules.matches("\nautonomy: act\n").count(), 1);
        let rules = rules.replace("\nautonomy: act\n", &format!("\nautonomy: {autonomy}\n"));
        std::fs::write(file, rules).unwrap();
    }

    /// A world in which the model is asked.
    pub fn models(&mut self, models: &[&FakeModel]) {
        self.settings.model.retries_max = 0;
        self.settings.model.endpoints = models
            .iter()
            .enumerate()
            .map(|(n, model)| {
                let name = format!("fake{n}");
                let url = model.base_url();
                watchkeeper::config::ModelEndpoint::named(&name, &url, "scripted")
            })
            .collect();
    }
}

impl Server {
    /// The word of people on an action: of as many as it takes.
    pub async fn decide(&self, id: ActionId, answer: Answer) -> Decided {
        let decided = self.decide_as("ada", id, answer).await;
        if matches!(decided, Decided::Counted { .. }) {
            return self.decide_as("bob", id, answer).await;
        }
        decided
    }

    /// The word of the person of this name.
    pub async fn decide_as(&self, by: &str, id: ActionId, answer: Answer) -> Decided {
        let decision = Decision {
            action_id: id,
            answer,
            by: by.into(),
            comment: None,
            at_ms: self.app.clock.now_ms(),
        };
        self.app.store.decide(decision).await.unwrap()
    }

    /// These people approve one after the other; the last one's word is enough.
    pub async fn approve_by(&self, id: ActionId, people: &[&str]) {
        for (nth, by) in people.iter().enumerate() {
            let decided = self.decide_as(by, id, Answer::Approve).await;
            let last = nth + 1 == people.len();
            assert_eq!(decided == Decided::Recorded, last, "{by}: {decided:?}");
        }
    }

    /// Lets the workers of the product run by themselves from now on.
    pub fn run(&self) {
        self.app.start(&self.tasks);
    }

    /// Serves HTTP; returns the base URL.
    pub async fn listen(&self, access: Access) -> String {
        let mut settings = self.app.settings.clone();
        settings.listen = "127.0.0.1:0".into();
        let serving = web::serve(&settings, People::of(access), &self.tasks).await.unwrap();
        serving.ready(web::Deps {
            store: self.app.store.clone(),
            clock: self.app.clock.clone(),
            ingest: self.app.ingest.clone(),
            redactor: self.app.redactor.clone(),
            due: Arc::clone(&self.app.due),
            locate: self.app.locate(),
            policy: self.app.reload.clone(),
            halt_file: self.app.halt_file(),
            trouble: self.app.trouble(),
            metrics: None,
        });
        format!("http://{}", serving.address)
    }

    /// Waits until the cases of all incidents fit; for a server that runs by itself.
    pub async fn wait_for(&self, what: &str, fits: impl Fn(&[Case]) -> bool) -> Vec<Case> {
        self.wait(what, 0, fits).await
    }

    /// The same while the world's clock goes on, for incidents that wait for a moment.
    pub async fn wait_as_time_passes(
        &self,
        what: &str,
        fits: impl Fn(&[Case]) -> bool,
    ) -> Vec<Case> {
        self.wait(what, 20, fits).await
    }

    async fn wait(&self, what: &str, passes_ms: i64, fits: impl Fn(&[Case]) -> bool) -> Vec<Case> {
        let began = Instant::now();
        loop {
            let mut cases = Vec::new();
            for row in self.incidents().await {
                cases.push(self.case(row.id).await);
            }
            if fits(&cases) {
                return cases;
            }
            let states: Vec<_> = cases.iter().map(Case::state).collect();
            assert!(began.elapsed() < PATIENCE, "never: {what}; {states:?}");
            sleep(POLL).await;
            self.app.clock.advance(passes_ms);
        }
    }
}

/// An API token of an SRE, and the text to send.
pub fn sre_token() -> (Token, &'static str) {
    let text = "wk_0123456789abcdef0123456789abcdef";
    (token_of("ada", text), text)
}

/// The same of a second one.
pub fn second_token() -> (Token, &'static str) {
    let text = "wk_00112233445566778899aabbccddeeff";
    (token_of("bob", text), text)
}

/// The same of an admin.
pub fn admin_token() -> (Token, &'static str) {
    let text = "wk_fedcba9876543210fedcba9876543210";
    (Token { role: Some(Role::Admin), ..token_of("root", text) }, text)
}

/// The API token of one of several SREs.
pub fn token_of(name: &str, text: &str) -> Token {
    Token {
        name: name.to_owned(),
        kind: TokenKind::Api,
        hash: sha256_hex(text.as_bytes()),
        role: Some(Role::Sre),
        source: None,
    }
}

/// How many answers the model has given in this conversation.
pub fn turn(request: &ModelRequest) -> usize {
    request.messages().iter().filter(|message| message["role"] == "assistant").count()
}

/// The numbers of the results that went well.
pub fn evidence(request: &ModelRequest) -> Vec<i64> {
    let number = |message: &Value| {
        let (number, rest) = message["content"].as_str()?.strip_prefix('#')?.split_once(' ')?;
        rest.starts_with("ok").then(|| number.parse().unwrap())
    };
    request.messages().iter().filter(|m| m["role"] == "tool").filter_map(number).collect()
}

/// The last answer of a tool.
pub fn last_answer(request: &ModelRequest) -> &str {
    request.last()["content"].as_str().unwrap_or_default()
}

pub fn conclude(request: &ModelRequest, cause: &str) -> ModelReply {
    let args = json!({
        "root_cause": cause,
        "confidence": "high",
        "evidence": evidence(request),
        "remaining": "look why",
    });
    ModelReply::call("conclude", args)
}
