//! `doctor`, on a world where everything answers and on one where nothing does.

use crate::support::binary::Home;
use crate::support::{
    FakeAlertmanager, FakeModel, FakePagerDuty, FakePrometheus, FakeSlack, FakeSmtp, ModelReply,
    QueryAnswer, Server, now_ms,
};
use serde_json::{Value, json};

struct Around {
    home: Home,
    prometheus: FakePrometheus,
    alertmanager: FakeAlertmanager,
    model: FakeModel,
    slack: FakeSlack,
    pagerduty: FakePagerDuty,
    smtp: FakeSmtp,
}

const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

impl Around {
    async fn new() -> Self {
        let around = Self {
            home: Home::new(),
            prometheus: FakePrometheus::start().await,
            alertmanager: FakeAlertmanager::start().await,
            model: FakeModel::script(vec![ModelReply::text("ready")]).await,
            slack: FakeSlack::start().await,
            pagerduty: FakePagerDuty::start().await,
            smtp: FakeSmtp::start().await,
        };
        around.home.run(&["init", "--yes"]).await.ok();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds are exact in 53 bits")]
        around.prometheus.set_fn("time()", |_| QueryAnswer::Scalar(now_ms() as f64 / 1000.0));
        around.prometheus.set("count(up)", QueryAnswer::value(3.0));
        around
    }

    /// Writes the settings, with this model.
    fn configure(&self, model: &str) {
        let settings = json!({
            "prometheus": {"url": self.prometheus.url()},
            "alertmanager": {"urls": [self.alertmanager.url()]},
            "model": {"endpoints": [
                {"name": "local", "base_url": self.model.base_url(), "model": model,
                 "api_key": "hunter2-key"},
            ]},
            "notify": {
                "slack": {"webhook_url": self.slack.webhook_url()},
                "pagerduty": {"routing_key": ROUTING_KEY, "url": self.pagerduty.enqueue_url()},
                "email": {"host": self.smtp.host(), "port": self.smtp.port(), "security": "none",
                    "from": "watchkeeper@example.org", "to": ["ops@example.org"]},
            },
        });
        self.home.write("config/watchkeeper.yaml", &settings.to_string());
    }

    async fn doctor(&self, args: &[&str]) -> (Option<i32>, Value) {
        let listen = ["--set", "listen=127.0.0.1:1", "-o", "json"];
        let ran = self.home.run(&[&["doctor"], args, &listen[..]].concat()).await;
        let all = format!("{}{}", ran.stdout, ran.stderr);
        for secret in ["hunter2-key", "XXXXsecretXXXX", ROUTING_KEY] {
            assert!(!all.contains(secret), "{secret} is shown: {all}");
        }
        (ran.code, serde_json::from_str(&ran.stdout).unwrap())
    }
}

fn of<'v>(report: &'v Value, about: &str) -> Vec<&'v Value> {
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| check["about"].as_str().unwrap().starts_with(about)).collect()
}

#[tokio::test]
async fn everything_that_answers_is_well_and_no_message_is_sent() {
    let around = Around::new().await;
    around.configure("fake-1");
    let (code, report) = around.doctor(&[]).await;
    assert_eq!((code, &report["fail"]), (Some(0), &json!(0)), "{report:#}");
    for about in ["prometheus", "clock", "model local", "slack", "pagerduty", "email", "store"] {
        let found = of(&report, about);
        assert!(
            !found.is_empty() && found.iter().all(|f| f["health"] == "ok"),
            "{about}: {found:?}"
        );
    }
    let leaves = report["leaves_this_machine"].as_array().unwrap();
    assert_eq!(leaves.len(), 4);
    assert_eq!(leaves[0]["to"], "model local (fake-1)");
    assert_eq!(leaves[0]["stays_on_this_machine"], true);
    assert_eq!(around.slack.attempts() + around.pagerduty.attempts(), 0);
    assert_eq!((around.smtp.mails(), around.smtp.violations()), (vec![], vec![]));
    assert!(!around.home.folder.join("data").exists());
}

#[tokio::test]
async fn a_test_message_goes_over_every_channel_when_asked_for() {
    let around = Around::new().await;
    around.configure("fake-1");
    let (code, report) = around.doctor(&["--send-test"]).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(around.slack.messages().len(), 1);
    assert_eq!(around.smtp.mails().len(), 1);
    assert_eq!(around.pagerduty.opened(), 1);
    assert_eq!(around.pagerduty.events().len(), 2);
    let violations = [around.slack.violations(), around.pagerduty.violations()].concat();
    assert_eq!(violations, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_reached_fails_and_says_how_to_mend_it() {
    let mut around = Around::new().await;
    around.prometheus.set_fn("time()", |_| QueryAnswer::Scalar(1_000.0));
    around.configure("absent");
    let gone = around.slack.webhook_url();
    around.slack = FakeSlack::start().await;
    around.home.write(
        "config/watchkeeper.yaml",
        &around
            .home
            .read("config/watchkeeper.yaml")
            .replace(&around.alertmanager.url(), "http://127.0.0.1:1"),
    );
    assert!(around.home.read("config/watchkeeper.yaml").contains(&gone));
    let (code, report) = around.doctor(&[]).await;
    assert_eq!(code, Some(1), "{report:#}");
    for (about, mend) in
        [("clock", "run time synchronisation"), ("model local", "take one of those it offers")]
    {
        let found = of(&report, about)[0];
        assert_eq!(found["health"], "fail", "{found}");
        assert!(found["mend"].as_str().unwrap().contains(mend), "{found}");
    }
    for about in ["alertmanager http://127.0.0.1:1", "slack"] {
        let found = of(&report, about)[0];
        assert_eq!(found["health"], "fail", "{found}");
        assert!(found["said"].as_str().unwrap().contains("Check that it runs"), "{found}");
    }
    assert_eq!(of(&report, "pagerduty")[0]["health"], "ok");
}

#[tokio::test]
async fn a_wrong_configuration_is_the_only_thing_looked_at() {
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    home.write("config/watchkeeper.yaml", "lissten: 127.0.0.1:80\n");
    let ran = home.run(&["doctor"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("FAIL  configuration: config/watchkeeper.yaml:1:1: lissten"));
    assert!(ran.stdout.contains("-> did you mean `listen`?"), "{ran:?}");
}

#[tokio::test]
async fn a_model_server_without_a_list_is_asked_for_one_word() {
    let completion = json!({
        "id": "c", "object": "chat.completion", "created": 0, "model": "fake-1",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "ready"}}],
    });
    let answer = move || {
        let completion = completion.clone();
        async move { axum::Json(completion) }
    };
    let router = axum::Router::new().route("/v1/chat/completions", axum::routing::post(answer));
    let server = Server::http(router).await;
    let home = Home::new();
    home.run(&["init", "--yes"]).await.ok();
    let endpoint = json!({"name": "bare", "base_url": format!("http://{}/v1", server.addr),
        "model": "fake-1"});
    let settings = json!({"model": {"endpoints": [endpoint]}});
    home.write("config/watchkeeper.yaml", &settings.to_string());
    let ran = home.run(&["doctor", "-o", "json"]).await.json();
    let found = of(&ran, "model bare")[0];
    assert_eq!(found["said"], "reached; fake-1 answers", "{found}");
}
