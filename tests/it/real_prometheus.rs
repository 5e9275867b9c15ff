//! The whole path with the real Prometheus and the real Alertmanager of Debian: a real exporter is
//! killed, its `up` crosses a real rule, the webhook arrives, the exporter is restarted by the
//! inventory's command, the alert resolves by itself, and the incident closes by measurement.

use crate::support::binary::{Home, eventually};
use crate::support::real::{Program, Watched, free_port, program};
use crate::support::{FakeModel, ModelReply, ModelRequest};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// The service as inventory and scrape configuration call it.
const SERVICE: &str = "exporter";

/// Everything that runs. It ends in this order, the folder last.
struct Site {
    _programs: [Program; 3],
    watched: Watched,
    client: reqwest::Client,
    ports: Ports,
    reader: String,
    _home: Home,
}

#[derive(Clone, Copy)]
struct Ports {
    server: u16,
    prometheus: u16,
    alertmanager: u16,
}

impl Site {
    /// Starts everything and waits until Prometheus sees the service up.
    ///
    /// `group_interval` is how long Alertmanager keeps the resolved notice back.
    async fn up(model: Option<&FakeModel>, group_interval: &str) -> Self {
        watchkeeper::clients::http::install_tls();
        let home = Home::new();
        let folder = home.folder.clone();
        let ports =
            Ports { server: free_port(), prometheus: free_port(), alertmanager: free_port() };
        let watched = Watched::start(&folder);
        write_config(&home, &watched, ports, model);
        write_alertmanager(&home, ports, group_interval);
        let config = ["--config", "config/watchkeeper.yaml"];
        let token = async |args: &[&str]| {
            let all = [&["token", "create"], args, &config].concat();
            home.run(&all).await.ok().trim_end().to_owned()
        };
        let hook = token(&["alertmanager", "--kind", "webhook"]).await;
        home.write("webhook-token", &hook);
        let reader = token(&["reader", "--kind", "api", "--role", "viewer"]).await;
        home.run(&[&["check-config"], &config[..]].concat()).await.ok();

        let alertmanager =
            Program::start(alertmanager(ports.alertmanager), &folder, "alertmanager");
        let prometheus = Program::start(prometheus(ports.prometheus), &folder, "prometheus");
        let server = Program::start(server(&config), &folder, "server");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let _programs = [server, alertmanager, prometheus];
        let site = Self { _programs, watched, client, ports, reader, _home: home };
        eventually("Alertmanager is ready", async || {
            site.get(ports.alertmanager, "/-/ready").await
        })
        .await;
        eventually("the server is ready", async || site.get(ports.server, "/readyz").await).await;
        site.sees_up(1.0).await;
        site
    }

    /// Waits until Prometheus has scraped this value.
    async fn sees_up(&self, expected: f64) {
        let query = format!("/api/v1/query?query=up%7Bservice%3D%22{SERVICE}%22%7D");
        eventually(&format!("up is {expected}"), async || {
            let answer = self.json(self.ports.prometheus, &query).await?;
            let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
            (value == expected).then_some(())
        })
        .await;
    }

    /// Waits until the only incident is as it should be, and gives it back.
    async fn incident(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let list = self.json(self.ports.server, "/api/v1/incidents").await?;
            let incidents = list["incidents"].as_array()?;
            assert!(incidents.len() <= 1, "one problem, one incident: {list:#}");
            let id = incidents.first()?["id"].as_str()?;
            let one = self.json(self.ports.server, &format!("/api/v1/incidents/{id}")).await?;
            let state = one["incident"]["state"].as_str().or(one["state"].as_str());
            assert_ne!(state, Some("escalated"), "{one:#}");
            holds(&one).then_some(one)
        })
        .await
    }

    async fn json(&self, port: u16, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(port, path).await?).ok()
    }

    /// The body of a page; none while it answers anything but 200.
    async fn get(&self, port: u16, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let mut request = self.client.get(url);
        if port == self.ports.server && path.starts_with("/api/") {
            request = request.bearer_auth(&self.reader);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        assert!(!status.is_client_error(), "{path}: {status} {text}");
        (status == StatusCode::OK).then_some(text)
    }

    /// The exporter is killed; everything else happens by itself.
    async fn is_mended(&self) -> Value {
        self.watched.kill();
        self.sees_up(0.0).await;
        let resolved = self
            .incident("the incident is resolved", |one| {
                one["state"] == "resolved" || one["incident"]["state"] == "resolved"
            })
            .await;
        self.sees_up(1.0).await;
        eventually("the alert no longer fires in Prometheus", async || {
            let answer = self.json(self.ports.prometheus, "/api/v1/alerts").await?;
            (answer["data"]["alerts"] == json!([])).then_some(())
        })
        .await;
        // One notification that it fires and one that it is resolved, both taken at once.
        eventually("Alertmanager delivered the resolved notice", async || {
            let metrics = self.get(self.ports.alertmanager, "/metrics").await?;
            let value = |name: &str| {
                let start =
                    format!("alertmanager_notifications_{name}{{integration=\"webhook\"}} ");
                metrics.lines().find_map(|line| line.strip_prefix(&start))
            };
            assert_eq!(value("failed_total"), Some("0"));
            (value("total") == Some("2")).then_some(())
        })
        .await;
        assert_eq!(self.watched.restarts(), 1);
        resolved
    }

    /// The report, for the id of [`Self::is_mended`].
    async fn report(&self, id: &str) -> String {
        let path = format!("/api/v1/incidents/{id}/report");
        let report =
            eventually("the report is there", async || self.json(self.ports.server, &path).await);
        report.await.to_string()
    }
}

#[tokio::test]
async fn a_killed_service_is_restarted_by_the_runbook_and_the_alert_resolves_by_itself() {
    let site = Site::up(None, "1s").await;
    let stranger =
        site.client.post(format!("http://127.0.0.1:{}/webhook/alert", site.ports.server));
    let refused = stranger.body("{}").send().await.unwrap().status();
    assert_eq!(refused, StatusCode::UNAUTHORIZED, "Alertmanager's token is what lets it in");

    let incident = site.is_mended().await;

    let report = site.report(&id_of(&incident)).await;
    for part in ["ServiceDown", "restart_service", "had stopped", "\"name\":\"runbook\""] {
        assert!(report.contains(part), "{part} is not in the report: {report}");
    }
    // The notice and the measurement race each other here.
    let by = ["no longer == 0", "every alert got its resolved notice"];
    assert!(by.iter().any(|by| report.contains(by)), "nothing shows the end: {report}");
}

#[tokio::test]
async fn a_killed_service_is_restarted_by_a_model_and_the_alert_resolves_by_itself() {
    let model = FakeModel::respond(investigate).await;
    let site = Site::up(Some(&model), "10s").await;

    let incident = site.is_mended().await;

    assert_eq!(model.violations(), Vec::<String>::new());
    assert_eq!(model.count(), 3, "{:#?}", model.requests());
    let report = site.report(&id_of(&incident)).await;
    for part in ["ServiceDown", "restart_service", "no longer == 0", "killed from outside"] {
        assert!(report.contains(part), "{part} is not in the report: {report}");
    }
}

/// What the scripted model does: two looks at once, one change, the conclusion with its evidence.
fn investigate(request: &ModelRequest) -> ModelReply {
    let answers: Vec<&Value> =
        request.messages().iter().filter(|message| message["role"] == "tool").collect();
    match answers.len() {
        0 => {
            let briefing = request.last()["content"].to_string();
            assert!(briefing.contains("ServiceDown") && briefing.contains(SERVICE), "{briefing}");
            for tool in ["get_metrics", "get_service_logs", "restart_service", "conclude"] {
                assert!(request.tools().contains(&tool), "{tool} is not offered");
            }
            ModelReply::calls(&[
                ("get_metrics", json!({ "query": "up", "duration": "5m" })),
                ("get_service_logs", json!({ "service": SERVICE, "level": "all" })),
            ])
        }
        2 => {
            let logs = answers[1]["content"].to_string();
            assert!(logs.contains("starting"), "the log was not read: {logs}");
            ModelReply::call(
                "restart_service",
                json!({ "service": SERVICE, "host": "here", "reason": "it does not answer" }),
            )
        }
        3 => {
            let outcome = answers[2]["content"].to_string();
            assert!(outcome.contains("measured: fixed"), "it was not measured: {outcome}");
            let evidence: Vec<i64> = answers.iter().filter_map(|answer| number(answer)).collect();
            ModelReply::call(
                "conclude",
                json!({
                    "root_cause": "the exporter was killed from outside",
                    "confidence": "high",
                    "evidence": evidence,
                    "done": "restarted it once",
                }),
            )
        }
        other => panic!("{other} answers are on the table: {:#}", request.body),
    }
}

/// The #number that a tool's answer carries.
fn number(answer: &Value) -> Option<i64> {
    let (_, after) = answer["content"].as_str()?.split_once('#')?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn id_of(incident: &Value) -> String {
    let id = incident["id"].as_str().or(incident["incident"]["id"].as_str());
    id.unwrap().to_owned()
}

fn prometheus(port: u16) -> Command {
    let mut command = Command::new(program("/usr/bin/prometheus"));
    command
        .arg("--config.file=prometheus.yaml")
        .arg("--storage.tsdb.path=prometheus-data")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command
}

fn alertmanager(port: u16) -> Command {
    let mut command = Command::new(program("/usr/bin/prometheus-alertmanager"));
    command
        .arg("--config.file=alertmanager.yaml")
        .arg("--storage.path=alertmanager-data")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        // A single one needs no cluster, whose port would be open to all.
        .arg("--cluster.listen-address=");
    command
}

fn server(config: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
    command.arg("serve").args(config);
    command
}

fn write_config(home: &Home, watched: &Watched, ports: Ports, model: Option<&FakeModel>) {
    let Ports { server, prometheus, alertmanager } = ports;
    let (script, port) = (watched.script.display(), watched.port);
    home.write(
        "prometheus.yaml",
        &format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yaml]\n\
             alerting:\n  alertmanagers:\n    - static_configs:\n      \
             - {{ targets: ['127.0.0.1:{alertmanager}'] }}\n\
             scrape_configs:\n  - job_name: {SERVICE}\n    static_configs:\n      \
             - {{ targets: ['127.0.0.1:{port}'], labels: {{ service: {SERVICE} }} }}\n"
        ),
    );
    home.write(
        "rules.yaml",
        "groups:\n  - name: services\n    rules:\n      - alert: ServiceDown\n        \
         expr: up == 0\n        for: 1s\n        labels: { severity: critical }\n        \
         annotations: { summary: '{{ $labels.service }} does not answer' }\n",
    );
    std::fs::create_dir(home.folder.join("config")).unwrap();
    let model = model.map_or("[]".to_owned(), |model| {
        format!("[{{ name: fake, base_url: {}, model: fake-1 }}]", model.base_url())
    });
    home.write(
        "config/watchkeeper.yaml",
        &format!(
            "listen: 127.0.0.1:{server}\ndata_dir: data\n\
             prometheus: {{ url: 'http://127.0.0.1:{prometheus}' }}\n\
             alertmanager: {{ urls: ['http://127.0.0.1:{alertmanager}'] }}\n\
             worker: {{ poll_ms: 100 }}\n\
             verify: {{ wait_s: 30, poll_s: 1, timeout_s: 120 }}\n\
             model: {{ endpoints: {model} }}\n"
        ),
    );
    home.write(
        "config/inventory.yaml",
        &format!(
            "hosts:\n  - name: here\n    addresses: [127.0.0.1]\n    class: server\n    \
             reach: local\n    systemd: no\n\
             services:\n  - name: {SERVICE}\n    hosts: [here]\n    class: exporter\n    \
             allow: [restart_service]\n    logs: {{ file: {} }}\n    commands:\n      \
             restart: [/bin/sh, {script}, restart]\n      status: [/bin/sh, {script}, status]\n",
            watched.log().display(),
        ),
    );
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    std::fs::copy(shipped.join("runbooks.yaml"), home.folder.join("config/runbooks.yaml")).unwrap();
    home.write("config/safety_rules.yaml", &crate::support::shipped_rules());
}

fn write_alertmanager(home: &Home, ports: Ports, group_interval: &str) {
    let server = ports.server;
    home.write(
        "alertmanager.yaml",
        &format!(
            "route: {{ receiver: watchkeeper, group_by: [alertname, service], group_wait: 1s, \
             group_interval: {group_interval}, repeat_interval: 1h }}\n\
             receivers:\n  - name: watchkeeper\n    webhook_configs:\n      \
             - url: http://127.0.0.1:{server}/webhook/alert\n        send_resolved: true\n        \
             http_config:\n          \
             authorization: {{ type: Bearer, credentials_file: webhook-token }}\n"
        ),
    );
}
