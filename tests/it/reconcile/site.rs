//! Two real peers of Alertmanager in a cluster, a real Prometheus, and a real exporter whose metrics
//! a test writes: an alert fires for each flag that is raised. All intervals are of a second or so.

use crate::support::binary::{Home, eventually};
use crate::support::real::{Program, free_port, program};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Everything that runs. The programs end before the folder goes.
pub struct Site {
    server: Option<Program>,
    prometheus: Option<Program>,
    exporter: Option<Program>,
    peers: [Option<Program>; 2],
    client: reqwest::Client,
    pub ports: Ports,
    reader: String,
    flags: BTreeMap<&'static str, &'static str>,
    home: Home,
}

#[derive(Clone, Copy)]
pub struct Ports {
    pub server: u16,
    pub prometheus: u16,
    pub exporter: u16,
    pub peers: [u16; 2],
    pub gossip: [u16; 2],
}

const CONFIG: [&str; 2] = ["--config", "config/watchkeeper.yaml"];

impl Site {
    /// Starts everything but the server.
    pub async fn up() -> Self {
        watchkeeper::clients::http::install_tls();
        let home = Home::new();
        let ports = Ports {
            server: free_port(),
            prometheus: free_port(),
            exporter: free_port(),
            peers: [free_port(), free_port()],
            gossip: [free_port(), free_port()],
        };
        write_config(&home, ports);
        let token = async |args: &[&str]| {
            let all = [&["token", "create"], args, &CONFIG].concat();
            home.run(&all).await.ok().trim_end().to_owned()
        };
        let hook = token(&["alertmanager", "--kind", "webhook"]).await;
        home.write("webhook-token", &hook);
        let reader = token(&["reader", "--kind", "api", "--role", "viewer"]).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let flags = BTreeMap::new();
        let (server, prometheus, exporter, peers) = (None, None, None, [None, None]);
        let mut site =
            Self { server, prometheus, exporter, peers, client, ports, reader, flags, home };
        fs::create_dir(site.home.folder.join("flags")).unwrap();
        site.write_flags();
        site.start_exporter();
        for peer in 0..2 {
            site.start_peer(peer).await;
        }
        let prometheus = prometheus_command(ports.prometheus);
        site.prometheus = Some(Program::start(prometheus, &site.home.folder, "prometheus"));
        eventually("Prometheus is ready", async || site.get(ports.prometheus, "/-/ready").await)
            .await;
        site
    }

    /// Starts the server, and waits until it has polled every peer.
    pub async fn start_server(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
        command.arg("serve").args(CONFIG);
        self.server = Some(Program::start(command, &self.home.folder, "server"));
        eventually("the server is ready", async || self.get(self.ports.server, "/readyz").await)
            .await;
        self.polls(2).await;
    }

    /// Kills it the hard way.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    pub async fn start_peer(&mut self, peer: usize) {
        let command = peer_command(self.ports, peer);
        let name = format!("alertmanager-{peer}");
        self.peers[peer] = Some(Program::start(command, &self.home.folder, &name));
        eventually("Alertmanager is ready", async || {
            self.get(self.ports.peers[peer], "/-/ready").await
        })
        .await;
    }

    /// Kills a peer, and all that it knows with it.
    pub fn lose_peer(&mut self, peer: usize) {
        self.peers[peer] = None;
        fs::remove_dir_all(self.home.folder.join(format!("data-{peer}"))).unwrap();
    }

    pub fn start_exporter(&mut self) {
        let mut command = Command::new(program("/usr/bin/prometheus-node-exporter"));
        command
            .args(["--collector.disable-defaults", "--collector.textfile"])
            .arg("--collector.textfile.directory=flags")
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.ports.exporter));
        self.exporter = Some(Program::start(command, &self.home.folder, "exporter"));
    }

    pub fn kill_exporter(&mut self) {
        self.exporter = None;
    }

    /// Lets an alert fire for each of these services, in one of the kinds of the rules.
    pub fn raise(&mut self, kind: &'static str, services: &[&'static str]) {
        self.flags.extend(services.iter().map(|service| (*service, kind)));
        self.write_flags();
    }

    pub fn lower(&mut self, services: &[&'static str]) {
        for service in services {
            self.flags.remove(service);
        }
        self.write_flags();
    }

    fn write_flags(&self) {
        let mut text = String::from("flag{service=\"none\",kind=\"none\"} 0\n");
        for (service, kind) in &self.flags {
            text.push_str(&format!("flag{{service=\"{service}\",kind=\"{kind}\"}} 1\n"));
        }
        let folder = self.home.folder.join("flags");
        // Renamed, so that no scrape reads half of it.
        fs::write(folder.join("flags.tmp"), text).unwrap();
        fs::rename(folder.join("flags.tmp"), folder.join("flags.prom")).unwrap();
    }

    /// Waits until Prometheus fires for exactly these services.
    pub async fn prometheus_fires(&self, services: &[&str]) {
        let what = format!("Prometheus fires for {services:?}");
        eventually(&what, async || {
            let answer = self.json(self.ports.prometheus, "/api/v1/alerts").await?;
            let alerts = answer["data"]["alerts"].as_array()?.iter();
            let firing = alerts.filter(|alert| alert["state"] == "firing");
            (sorted(firing.map(service_of)) == sorted(services.iter().copied())).then_some(())
        })
        .await;
    }

    /// Waits until a peer shows exactly these services.
    pub async fn peer_holds(&self, peer: usize, services: &[&str]) {
        let what = format!("peer {peer} holds {services:?}");
        eventually(&what, async || {
            let alerts = self.json(self.ports.peers[peer], "/api/v2/alerts").await?;
            let held = alerts.as_array()?.iter().map(service_of);
            (sorted(held) == sorted(services.iter().copied())).then_some(())
        })
        .await;
    }

    /// Waits until each of the incidents is in its state, and gives back all of them.
    pub async fn incidents(&self, wanted: &[(&str, &str)]) -> Vec<Value> {
        let what = format!("the incidents are {wanted:?}");
        eventually(&what, async || {
            let list = self.json(self.ports.server, "/api/v1/incidents?limit=200").await?;
            let incidents = list["incidents"].as_array()?.clone();
            let stands = |incident: &Value| {
                let title = incident["title"].as_str().unwrap_or_default();
                let (_, service) = title.split_once(": ").unwrap_or(("", title));
                let service = service.split(" on ").next().unwrap_or_default();
                format!("{service} {}", incident["state"].as_str().unwrap_or_default())
            };
            let wanted = wanted.iter().map(|(service, state)| format!("{service} {state}"));
            let found = sorted(incidents.iter().map(stands));
            (found == sorted(wanted)).then_some(incidents)
        })
        .await
    }

    /// One incident with all that is known of it.
    pub async fn incident(&self, incident: &Value) -> Value {
        let path = format!("/api/v1/incidents/{}", incident["id"].as_str().unwrap());
        self.json(self.ports.server, &path).await.unwrap()
    }

    /// Waits until the server has polled so many times more, whether a peer answered or not.
    pub async fn polls(&self, more: u64) {
        let before = self.counted("watchkeeper_reconcile_polls_total").await.unwrap_or(0);
        eventually("the server polls", async || {
            let polls = self.counted("watchkeeper_reconcile_polls_total").await?;
            // Each round asks two peers.
            (polls >= before + 2 * more).then_some(())
        })
        .await;
    }

    /// The sum of a metric of the server over all its labels.
    pub async fn counted(&self, metric: &str) -> Option<u64> {
        sum(&self.get(self.ports.server, "/metrics").await?, metric)
    }

    /// The same of a peer.
    pub async fn counted_by_peer(&self, peer: usize, metric: &str) -> Option<u64> {
        sum(&self.get(self.ports.peers[peer], "/metrics").await?, metric)
    }

    /// Silences a service at one peer, which tells the other.
    pub async fn silence(&self, service: &str, by: &str) {
        let now = chrono::Utc::now();
        let body = json!({
            "matchers": [{ "name": "service", "value": service, "isRegex": false }],
            "startsAt": now.to_rfc3339(),
            "endsAt": (now + chrono::Duration::hours(1)).to_rfc3339(),
            "createdBy": by,
            "comment": "known",
        });
        let url = format!("http://127.0.0.1:{}/api/v2/silences", self.ports.peers[0]);
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    pub async fn doctor(&self) -> String {
        self.home.run(&[&["doctor"], &CONFIG[..]].concat()).await.stdout
    }

    pub async fn json(&self, port: u16, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(port, path).await?).ok()
    }

    /// The body of a page; none while it answers anything but 200.
    async fn get(&self, port: u16, path: &str) -> Option<String> {
        let mut request = self.client.get(format!("http://127.0.0.1:{port}{path}"));
        if port == self.ports.server && path.starts_with("/api/") {
            request = request.bearer_auth(&self.reader);
        }
        let answer = request.send().await.ok()?;
        if answer.status() == 200 { answer.text().await.ok() } else { None }
    }
}

fn sum(metrics: &str, metric: &str) -> Option<u64> {
    let of =
        |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values =
        metrics.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    let values: Vec<f64> = values.collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    let total = values.iter().sum::<f64>() as u64;
    (!values.is_empty()).then_some(total)
}

fn service_of(alert: &Value) -> String {
    alert["labels"]["service"].as_str().unwrap_or_default().to_owned()
}

fn sorted<T: Into<String>>(names: impl Iterator<Item = T>) -> Vec<String> {
    let mut names: Vec<String> = names.map(Into::into).collect();
    names.sort();
    names
}

fn prometheus_command(port: u16) -> Command {
    let mut command = Command::new(program("/usr/bin/prometheus"));
    command
        .arg("--config.file=prometheus.yaml")
        .arg("--storage.tsdb.path=prometheus-data")
        // What is not sent again within four of these is resolved.
        .arg("--rules.alert.resend-delay=1s")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command
}

fn peer_command(ports: Ports, peer: usize) -> Command {
    let mut command = Command::new(program("/usr/bin/prometheus-alertmanager"));
    let (own, other) = (ports.gossip[peer], ports.gossip[1 - peer]);
    command
        .arg("--config.file=alertmanager.yaml")
        .arg(format!("--storage.path=data-{peer}"))
        .arg(format!("--web.listen-address=127.0.0.1:{}", ports.peers[peer]))
        .arg(format!("--cluster.listen-address=127.0.0.1:{own}"))
        .arg(format!("--cluster.advertise-address=127.0.0.1:{own}"))
        .arg(format!("--cluster.peer=127.0.0.1:{other}"))
        .args(["--cluster.peer-timeout=1s", "--cluster.gossip-interval=100ms"])
        .args(["--cluster.pushpull-interval=1s", "--cluster.settle-timeout=2s"])
        .arg("--cluster.reconnect-interval=1s");
    command
}

fn write_config(home: &Home, ports: Ports) {
    let Ports { server, prometheus, exporter, peers: [first, second], .. } = ports;
    home.write(
        "prometheus.yaml",
        &format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n  \
             external_labels: {{ region: north }}\n\
             rule_files: [rules.yaml]\n\
             alerting:\n  alertmanagers:\n    - static_configs:\n      \
             - {{ targets: ['127.0.0.1:{first}', '127.0.0.1:{second}'] }}\n\
             scrape_configs:\n  - job_name: flags\n    static_configs:\n      \
             - {{ targets: ['127.0.0.1:{exporter}'] }}\n"
        ),
    );
    home.write(
        "rules.yaml",
        "groups:\n  - name: flags\n    rules:\n      - alert: Flag\n        expr: flag == 1\n        \
         labels: { severity: warning }\n        \
         annotations: { summary: '{{ $labels.service }} is flagged' }\n",
    );
    home.write(
        "alertmanager.yaml",
        &format!(
            "route:\n  receiver: watchkeeper\n  group_by: [alertname, service]\n  group_wait: 1s\n  \
             group_interval: 2s\n  repeat_interval: 1h\n  routes:\n    \
             - {{ receiver: others, matchers: ['kind=\"foreign\"'] }}\n\
             inhibit_rules:\n  - source_matchers: ['kind=\"root\"']\n    \
             target_matchers: ['kind=\"leaf\"']\n    equal: [alertname]\n\
             receivers:\n  - name: others\n  - name: watchkeeper\n    webhook_configs:\n      \
             - url: http://127.0.0.1:{server}/webhook/alert\n        send_resolved: true\n        \
             http_config:\n          \
             authorization: {{ type: Bearer, credentials_file: webhook-token }}\n"
        ),
    );
    fs::create_dir(home.folder.join("config")).unwrap();
    home.write(
        "config/watchkeeper.yaml",
        &format!(
            "listen: 127.0.0.1:{server}\ndata_dir: data\n\
             prometheus: {{ url: 'http://127.0.0.1:{prometheus}' }}\n\
             alertmanager:\n  urls: ['http://127.0.0.1:{first}', 'http://127.0.0.1:{second}']\n  \
             poll_s: 1\n  fill_after_s: 4\n  resolve_timeout_s: 3\n\
             worker: {{ poll_ms: 100 }}\n"
        ),
    );
    home.write("config/inventory.yaml", "hosts: []\nservices: []\n");
    home.write("config/runbooks.yaml", crate::support::drill::NO_RUNBOOKS);
    home.write("config/safety_rules.yaml", &crate::support::shipped_rules());
}
