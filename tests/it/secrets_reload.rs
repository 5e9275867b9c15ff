//! Secrets in files are read again while the server runs.

use crate::support::drill::{NO_RUNBOOKS, Problem, admin_token, conclude};
use crate::support::engines::{Ground, on_sqlite};
use crate::support::process::client;
use crate::support::world::{Server, World};
use crate::support::{FakeModel, FakePagerDuty};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use watchkeeper::app::Instead;
use watchkeeper::approval::access::Access;
use watchkeeper::config::{Environment, Source};

const FIRST: &str = "first-key-of-the-model";
const SECOND: &str = "second-key-of-the-model";
const PAGERS: &str = "abcdefabcdefabcdefabcdefabcdefab";

/// A server whose secrets lie in files, and the file that names them.
struct Kept {
    world: World,
    model: FakeModel,
    server: Server,
    config: PathBuf,
}

impl Kept {
    async fn start(ground: &Ground) -> Self {
        let mut world = World::new(ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        let model = FakeModel::respond(|request| conclude(request, "unknown")).await;
        let config = world.folder.join("config/watchkeeper.yaml");
        let text = format!(
            "data_dir: {}\nworker: {{ poll_ms: 20 }}\n\
             prometheus:\n  url: '{}'\n  client: {{ bearer_token_file: prometheus.secret }}\n\
             notify:\n  slack: {{ webhook_url_file: slack.secret }}\n  pagerduty:\n    \
             routing_key_file: pagerduty.secret\n    url: '{}'\n\
             model:\n  retries_max: 0\n  endpoints:\n    - {{ name: fake, base_url: '{}', \
             model: scripted, api_key_file: model.secret }}\n",
            ground.folder().display(),
            world.prometheus.url(),
            world.pagerduty.enqueue_url(),
            model.base_url(),
        );
        fs::write(&config, text).unwrap();
        let secret = |name: &str, text: &str| {
            fs::write(world.folder.join("config").join(format!("{name}.secret")), text).unwrap();
        };
        secret("prometheus", "first-token-of-prometheus");
        secret("slack", &world.slack.webhook_url());
        secret("pagerduty", FakePagerDuty::ROUTING_KEY);
        secret("model", FIRST);
        let none: [(&str, &str); 0] = [];
        let environment = Environment::from_iter(none);
        let (loaded, source) = Source::load(Some(&config), environment, &[]).unwrap();
        world.settings = loaded.value;
        let server =
            world.server_with(Instead { source: Some(source), ..Instead::default() }).await;
        Self { world, model, server, config }
    }

    fn secret(&self, name: &str, text: &str) {
        fs::write(self.world.folder.join("config").join(format!("{name}.secret")), text).unwrap();
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
    }

    fn keys_shown(&self) -> Vec<String> {
        let requests = self.model.requests();
        requests.into_iter().filter_map(|request| request.authorization).collect()
    }
}

#[tokio::test]
async fn what_leaves_after_a_reload_shows_the_secrets_of_now() {
    on_sqlite(|ground| async move {
        let kept = Kept::start(&ground).await;
        kept.secret("model", SECOND);
        kept.secret("pagerduty", PAGERS);
        let in_force = kept.server.app.reload.reload("the test").await.unwrap();
        assert_eq!(
            in_force.secrets_renewed,
            ["notify.pagerduty.routing_key", "model.endpoints.0.api_key"]
        );
        assert_eq!(in_force.needs_restart, Vec::<String>::new());
        kept.server.post(&Problem::down().firing()).await;
        kept.server.settle(10).await;
        let shown = kept.keys_shown();
        assert!(!shown.is_empty());
        assert!(shown.iter().all(|key| *key == format!("Bearer {SECOND}")), "{shown:?}");
        let events = kept.world.pagerduty.events();
        assert!(!events.is_empty());
        let keys: Vec<&Value> = events.iter().map(|event| &event["routing_key"]).collect();
        assert!(keys.iter().all(|key| *key == PAGERS), "{keys:?}");
        kept.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_redactor_knows_the_secret_of_now_and_those_before() {
    on_sqlite(|ground| async move {
        let kept = Kept::start(&ground).await;
        let told = format!("log: {FIRST} and {SECOND}");
        let redactor = kept.server.app.redactor.clone();
        assert!(redactor.text(&told).contains(SECOND), "nobody knows it yet");
        kept.secret("model", SECOND);
        kept.server.app.reload.reload("the test").await.unwrap();
        let said = redactor.text(&told).into_owned();
        assert!(!said.contains(FIRST) && !said.contains(SECOND), "{said}");
        kept.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_in_flight_ends_under_the_secret_that_it_began_with() {
    on_sqlite(|ground| async move {
        let kept = Kept::start(&ground).await;
        kept.model.set_latency(Duration::from_secs(2));
        kept.server.post(&Problem::down().firing()).await;
        let reloaded = async {
            while kept.model.count() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            kept.model.set_latency(Duration::ZERO);
            kept.secret("model", SECOND);
            kept.server.app.reload.reload("the test").await.unwrap();
        };
        tokio::join!(kept.server.settle(10), reloaded);
        let case = kept.server.only_case().await;
        assert_eq!(case.conclusion.unwrap().root_cause, "unknown");
        assert_eq!(kept.keys_shown()[0], format!("Bearer {FIRST}"));
        assert_eq!(kept.model.violations(), Vec::<String>::new());
        kept.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_keeps_the_last_good_one_and_is_told() {
    on_sqlite(|ground| async move {
        let kept = Kept::start(&ground).await;
        let reload = &kept.server.app.reload;
        let before = reload.in_force();
        kept.secret("model", " \n");
        kept.secret("pagerduty", PAGERS);
        fs::remove_file(kept.world.folder.join("config/prometheus.secret")).unwrap();
        let problems = reload.reload("the test").await.unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:#?}");
        assert!(problems[0].contains("prometheus.secret: No such file"), "{problems:#?}");
        assert!(problems[1].contains("model.secret is empty"), "{problems:#?}");
        assert_eq!(reload.in_force().broken.unwrap().problems, problems);
        assert_eq!(reload.in_force().config_hash, before.config_hash);
        kept.server.post(&Problem::down().firing()).await;
        kept.server.settle(10).await;
        assert_eq!(kept.keys_shown()[0], format!("Bearer {FIRST}"));
        let events = kept.world.pagerduty.events();
        assert!(events.iter().all(|event| event["routing_key"] == FakePagerDuty::ROUTING_KEY));

        kept.secret("model", SECOND);
        kept.secret("prometheus", "second-token-of-prometheus");
        let mended = reload.reload("the test").await.unwrap();
        assert_eq!((mended.secrets_renewed.len(), mended.broken), (3, None));
        kept.server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_takes_a_restart_is_named_and_no_secret_goes_to_another_address() {
    on_sqlite(|ground| async move {
        let kept = Kept::start(&ground).await;
        let reload = &kept.server.app.reload;
        let before = reload.in_force();
        kept.edit("poll_ms: 20", "poll_ms: 30, lease_s: 31");
        kept.edit(&kept.world.prometheus.url(), "http://elsewhere.example.org");
        kept.secret("prometheus", "token-of-elsewhere");
        kept.secret("model", SECOND);
        let after = reload.reload("the test").await.unwrap();
        assert_eq!(after.secrets_renewed, ["model.endpoints.0.api_key"]);
        assert_eq!(
            after.needs_restart,
            [
                "prometheus.client.bearer_token",
                "prometheus.url",
                "worker.lease_s",
                "worker.poll_ms"
            ]
        );
        assert_eq!(after.config_hash, before.config_hash, "of what is in force");
        kept.world.set_runbooks("version: 1\nrunbooks: [] # empty\n");
        let other = reload.reload("the test").await.unwrap();
        assert_ne!(other.config_hash, before.config_hash);

        let (admin, text) = admin_token();
        let base = kept.server.listen(Access { users: vec![], tokens: vec![admin] }).await;
        let answer =
            client().post(format!("{base}/-/reload")).bearer_auth(text).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["in_force"]["needs_restart"][3], "worker.poll_ms");
        let metrics = client().get(format!("{base}/metrics")).send().await.unwrap().text().await;
        let metrics = metrics.unwrap();
        let hash = format!("watchkeeper_config_info{{hash=\"{}\"}} 1", other.config_hash);
        assert!(metrics.contains(&hash), "{metrics}");
        assert!(metrics.contains("watchkeeper_config_last_reload_successful 1"), "{metrics}");
        assert!(metrics.contains("watchkeeper_config_needs_restart 4\n"), "{metrics}");
        kept.server.stop().await;
    })
    .await;
}
