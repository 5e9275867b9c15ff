//! The outside world of a whole server: hosts with real processes and folders, and doubles of the
//! services around. Its counters live outside the process under test.
//!
//! A [`World`] has one machine: a service that is a file-based stand-in for a process, restarted by
//! a real command that leaves a line in a file; a folder of real log files; and a Prometheus double
//! that measures both. What Watchkeeper does to them is counted there, never asked of Watchkeeper.

use super::engines::Ground;
use super::{FakeModel, FakePagerDuty, FakePrometheus, FakeSlack, QueryAnswer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watchkeeper::app::{self, App, Instead};
use watchkeeper::clock::Clock;
use watchkeeper::config::{Settings, StoreSettings};
use watchkeeper::incident::advance::{Next, advance};
use watchkeeper::incident::pager;
use watchkeeper::ingest::{Accepted, Delivery};
use watchkeeper::model::case::Case;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::incident::IncidentRow;
use watchkeeper::store::db::Location;
use watchkeeper::store::incidents::Filter;
use watchkeeper::store::timeline::Stream;
use watchkeeper::tasks::Tasks;

pub const SCOPE: &str = "default";
/// A Tuesday morning.
pub const START_MS: i64 = 1_773_136_800_000;
/// A settled world makes no more than this many steps; more is an endless loop.
const STEPS_MAX: usize = 2_000;

/// A machine and the services around it.
pub struct World {
    pub folder: PathBuf,
    pub prometheus: FakePrometheus,
    pub slack: FakeSlack,
    pub pagerduty: FakePagerDuty,
    pub clock: Clock,
    pub settings: Settings,
}

/// A server process in the test's own process, moved step by step.
pub struct Server {
    pub app: App,
    /// What runs by itself.
    pub tasks: Tasks,
}

impl World {
    /// A fresh machine whose files lie under a folder of its own.
    pub async fn new(ground: &Ground) -> Self {
        let folder = std::env::temp_dir().join(format!("wk-world-{}", uuid::Uuid::new_v4()));
        for part in ["logs", "state", "config", "data"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let prometheus = FakePrometheus::start().await;
        let slack = FakeSlack::start().await;
        let pagerduty = FakePagerDuty::start().await;
        let mut world = Self {
            settings: Settings::default(),
            clock: Clock::set_at(START_MS),
            folder,
            prometheus,
            slack,
            pagerduty,
        };
        world.write_machine();
        world.settings = world.make_settings(ground);
        world
    }

    /// The server, as `serve` builds it, with nothing running by itself.
    pub async fn server(&self) -> Server {
        self.server_with(Instead::default()).await
    }

    pub async fn server_with(&self, instead: Instead) -> Server {
        let instead = Instead { clock: Some(self.clock.clone()), ..instead };
        let app = app::build(self.settings.clone(), instead).await.unwrap();
        Server { app, tasks: Tasks::default() }
    }

    /// The service stops; only a restart brings it back.
    pub fn break_service(&self, service: &str) {
        let _ = fs::remove_file(self.folder.join("state").join(service));
    }

    pub fn is_up(&self, service: &str) -> bool {
        self.folder.join("state").join(service).exists()
    }

    /// From now on restarts of the service fail to bring it up.
    pub fn make_unrepairable(&self, service: &str) {
        fs::write(self.folder.join("state").join(format!("{service}.broken")), "").unwrap();
    }

    /// How often the world saw a restart of the service.
    pub fn restarts(&self, service: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("restarts")).unwrap_or_default();
        log.lines().filter(|line| *line == service).count()
    }

    /// Fills the log folder with files of this age.
    pub fn add_logs(&self, count: usize, age_days: u64) {
        let now = Duration::from_millis(self.clock.now_ms().unsigned_abs());
        let age = Duration::from_secs(age_days * 86_400 + 60);
        let old = std::time::UNIX_EPOCH + now - age;
        for i in 0..count {
            let path = self.folder.join("logs").join(format!("app-{age_days}d-{i}.log"));
            fs::write(&path, vec![b'x'; 100_000]).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        }
    }

    pub fn log_files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Uses these runbooks in place of the usual ones.
    pub fn set_runbooks(&self, yaml: &str) {
        fs::write(self.folder.join("config/runbooks.yaml"), yaml).unwrap();
    }

    pub fn set_rules(&self, yaml: &str) {
        fs::write(self.folder.join("config/safety_rules.yaml"), yaml).unwrap();
    }

    /// Prometheus fires the alert too, as it must before a SAFE change.
    pub fn fire_in_prometheus(&self, labels: &[(&str, &str)]) {
        self.prometheus.add_alert("firing", labels);
    }

    /// Configures a model endpoint.
    pub fn use_model(&mut self, model: &FakeModel) {
        let url = model.base_url();
        let endpoint = watchkeeper::config::ModelEndpoint::named("fake", &url, "scripted");
        self.settings.model.endpoints = vec![endpoint];
    }

    fn write_machine(&self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let restart = "#!/bin/sh\n# restart.sh FOLDER SERVICE\necho \"$2\" >> \"$1/restarts\"\n\
             [ -e \"$1/state/$2.broken\" ] || : > \"$1/state/$2\"\n";
        let status = "#!/bin/sh\nif [ -e \"$1/state/$2\" ]; then echo active; else echo failed; exit 3; fi\n";
        write_script(&self.folder.join("restart.sh"), restart);
        write_script(&self.folder.join("status.sh"), status);
        let mut services = String::new();
        for (name, class) in [("web", "web"), ("worker", "job"), ("db", "database")] {
            fs::write(self.folder.join("state").join(name), "").unwrap();
            let log = self.folder.join(format!("{name}.log"));
            fs::write(&log, format!("2026-03-10T09:59:00Z ERROR {name}: out of memory\n")).unwrap();
            services.push_str(&format!(
                "  - name: {name}\n    aliases: [{name}-svc]\n    unit: {name}.service\n    \
                 hosts: [box1]\n    class: {class}\n    allow: [restart_service]\n    \
                 logs: {{ file: {} }}\n    commands:\n      restart: [{}, {}, {name}]\n      \
                 status: [{}, {}, {name}]\n",
                log.display(),
                at("restart.sh"),
                self.folder.display(),
                at("status.sh"),
                self.folder.display(),
            ));
        }
        let inventory = format!(
            "hosts:\n  - name: box1\n    addresses: [10.2.3.4]\n    class: server\n    \
             reach: local\n    systemd: no\n    allow: [restart_service, clean_disk_space]\n    \
             clean_roots: [{}]\nservices:\n{services}",
            at("logs"),
        );
        fs::write(self.folder.join("config/inventory.yaml"), inventory).unwrap();
        self.set_rules(&super::shipped_rules());
        self.set_runbooks(&runbooks(&at("logs")));
        for service in ["web", "worker", "db"] {
            let state = self.folder.join("state").join(service);
            self.prometheus.set_fn(&format!("up{{service=\"{service}\"}}"), move |_| {
                QueryAnswer::value(if state.exists() { 1.0 } else { 0.0 })
            });
        }
        let logs = self.folder.join("logs");
        self.prometheus.set_fn("old_log_files", move |_| {
            let count = fs::read_dir(&logs).unwrap().count();
            QueryAnswer::value(f64::from(u32::try_from(count).unwrap()))
        });
    }

    fn make_settings(&self, ground: &Ground) -> Settings {
        let config = self.folder.join("config");
        let mut settings = Settings {
            data_dir: self.folder.join("data"),
            inventory_file: config.join("inventory.yaml"),
            safety_rules_file: config.join("safety_rules.yaml"),
            runbooks_file: config.join("runbooks.yaml"),
            access_file: config.join("access.yaml"),
            ..Settings::default()
        };
        match ground.location() {
            Location::Folder(folder) => settings.data_dir = folder,
            Location::Postgres { url, .. } => {
                settings.store = StoreSettings { database_url: Some(url), ..settings.store };
            }
        }
        settings.prometheus.url = Some(self.prometheus.url());
        settings.notify.slack.webhook_url = Some(self.slack.webhook_url().into());
        settings.notify.pagerduty.routing_key = Some("0123456789abcdef0123456789abcdef".into());
        settings.notify.pagerduty.url = self.pagerduty.enqueue_url();
        settings.verify.poll_s = 0;
        settings.verify.wait_s = 5;
        settings
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Posts alerts as Alertmanager would.
    pub async fn post(&self, body: &Value) -> Accepted {
        let delivery = Delivery {
            source: "alertmanager".into(),
            scope: SCOPE.into(),
            bytes: body.to_string().into(),
        };
        self.app.ingest.receive(delivery).await.unwrap()
    }

    /// Moves everything until nothing is due: intake, incidents, pager, outbox. Where an incident
    /// waits for the clock, the clock moves by a second, at most `patience_s` of them.
    pub async fn settle(&self, patience_s: usize) {
        let mut waited = 0;
        for _ in 0..STEPS_MAX {
            if self.step().await {
                continue;
            }
            if waited == patience_s {
                return;
            }
            waited += 1;
            self.app.clock.advance(1_000);
        }
        panic!("the world does not settle");
    }

    /// One round of everything; tells whether anything happened.
    pub async fn step(&self) -> bool {
        let app = &self.app;
        let mut worked = app.intake.take_batch().await.unwrap() > 0;
        let now_ms = app.clock.now_ms();
        for lease in app.store.claim("test", 8, now_ms, 60_000).await.unwrap() {
            let mut steps = 0;
            let mut known = None;
            loop {
                let step = Box::pin(advance(&app.desk(), &lease, known)).await;
                let (next, left) = step.unwrap();
                let stored = self.case(left.case.id).await;
                assert_eq!(left.case, stored, "what is carried on is what is stored");
                known = Some(left);
                steps += 1;
                assert!(steps < STEPS_MAX, "an incident does not come to rest");
                match next {
                    Next::Again => worked = true,
                    Next::At(at_ms) if at_ms > now_ms => break,
                    Next::At(_) => break,
                    Next::WhenTold => {
                        worked = true;
                        break;
                    }
                }
            }
            app.store.release(lease).await.unwrap();
        }
        worked |= pager::sweep(&app.desk()).await.unwrap() > 0;
        worked |= app.outbox.deliver_due().await.unwrap() > 0;
        worked
    }

    pub async fn incidents(&self) -> Vec<IncidentRow> {
        let filter = Filter { state: None, at_most: 1_000 };
        self.app.store.incidents(SCOPE, filter).await.unwrap()
    }

    /// The case of the only incident.
    pub async fn only_case(&self) -> Case {
        let incidents = self.incidents().await;
        assert_eq!(incidents.len(), 1, "{incidents:?}");
        self.case(incidents[0].id).await
    }

    pub async fn case(&self, id: IncidentId) -> Case {
        let stream = Stream::incident(id);
        assert_eq!(self.app.store.verify_chain(stream.clone()).await.unwrap(), None);
        Case::fold(id, SCOPE, &self.app.store.timeline(stream).await.unwrap())
    }

    pub async fn stop(self) {
        let left = self.app.stop(&self.tasks, Duration::from_secs(20)).await;
        assert_eq!(left, 0);
    }
}

/// An alert for a webhook body.
pub fn alert(status: &str, name: &str, labels: &[(&str, &str)]) -> Value {
    let mut all: BTreeMap<&str, &str> = labels.iter().copied().collect();
    all.insert("alertname", name);
    let fingerprint = fingerprint(&all);
    let ends_at =
        if status == "resolved" { "2026-03-10T10:30:00Z" } else { "0001-01-01T00:00:00Z" };
    json!({
        "status": status,
        "labels": all,
        "annotations": { "summary": format!("{name} is {status}") },
        "startsAt": "2026-03-10T10:00:00Z",
        "endsAt": ends_at,
        "generatorURL": "http://prometheus.example.com/graph",
        "fingerprint": fingerprint,
    })
}

/// A webhook body with these alerts.
pub fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"x\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "watchkeeper",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "alerts": alerts,
    })
}

fn fingerprint(labels: &BTreeMap<&str, &str>) -> String {
    let text = format!("{labels:?}");
    watchkeeper::model::call::sha256_hex(text.as_bytes())[..16].to_owned()
}

/// Runbooks for the world's machine.
fn runbooks(logs: &str) -> String {
    format!(
        r#"version: 1
runbooks:
  - name: disk space
    match: ['alertname="DiskSpaceLow"']
    steps:
      - {{ id: look, tool: check_system_resources, args: {{ host: "${{host}}", check_types: [disk] }} }}
      - id: clean
        tool: clean_disk_space
        args: {{ host: "${{host}}", paths: ["{logs}"], min_age_days: 7 }}
        when: steps.look.ok
    verify: {{ query: "old_log_files", expect: "value < 4.0" }}
    conclude: {{ root_cause: "old logs filled ${{host}}" }}
  - name: service down
    match: ['alertname="ServiceDown"']
    steps:
      - {{ id: logs, tool: get_service_logs, args: {{ service: "${{service}}", level: error }} }}
      - id: restart
        tool: restart_service
        args: {{ service: "${{service}}", host: "${{host}}", reason: "the alert says it is down" }}
      - id: tell
        tool: send_notification
        args: {{ channel: slack, severity: info, message: "${{service}} was restarted" }}
    verify: {{ query: 'up{{service="${{service}}"}}', expect: "value == 1.0" }}
    conclude: {{ root_cause: "${{service}} had stopped" }}
  - name: database corruption
    match: ['alertname="DBCorruption"']
    steps:
      - {{ id: logs, tool: get_service_logs, args: {{ service: "${{service}}" }} }}
      - id: ask
        tool: request_human_confirmation
        args:
          tool: restart_service
          args: {{ service: "${{service}}", host: "${{host}}", reason: "recover" }}
          action_description: "restart the database once"
          reason: "pages are unreadable"
          risk_level: high
    conclude: {{ root_cause: "the database reports corruption", remaining: "restore from a backup" }}
"#
    )
}

fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
