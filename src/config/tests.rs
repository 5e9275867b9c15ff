use std::collections::BTreeSet;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

const SHIPPED: &str = include_str!("../../config/watchkeeper.yaml");

/// A folder of its own that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("watchkeeper-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded<Settings>, Problems> {
        let environment = variables.iter().copied().collect();
        load(Some(&self.0.join("watchkeeper.yaml")), &environment, &[])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings_of(yaml: &str, variables: &[(&str, &str)]) -> Settings {
    match Folder::with(&[("watchkeeper.yaml", yaml)]).load(variables) {
        Ok(loaded) => loaded.value,
        Err(problems) => panic!("{problems}"),
    }
}

/// The problems without the folder in which the file happened to lie.
fn problems_of(yaml: &str, variables: &[(&str, &str)]) -> String {
    let folder = Folder::with(&[("watchkeeper.yaml", yaml)]);
    let problems = folder.load(variables).unwrap_err().to_string();
    problems.replace(&format!("{}/", folder.0.display()), "")
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    let shipped = yaml::load::<Settings>("config/watchkeeper.yaml", SHIPPED).unwrap().value;
    assert_eq!(format!("{shipped:#?}"), format!("{:#?}", Settings::default()));
    let text = format!("{:?}", Settings::default());
    let fields = text.split([' ', '{', '(']).filter_map(|word| word.strip_suffix(':'));
    let said: BTreeSet<&str> =
        SHIPPED.split([' ', '\n', '{']).filter_map(|w| w.strip_suffix(':')).collect();
    let missing: Vec<&str> = fields.filter(|field| !said.contains(field)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "every key stands in the shipped file");
}

#[test]
fn the_shipped_file_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/watchkeeper.yaml");
    let loaded = load(Some(&path), &Environment::default(), &[]).unwrap();
    assert_eq!(loaded.warnings, Vec::new());
    let inventory = path.parent().unwrap().join("inventory.yaml");
    assert_eq!(loaded.value.inventory_file, inventory);
    assert_eq!(loaded.value.sqlite_file(), PathBuf::from("data/watchkeeper.db"));
    assert_eq!(loaded.value.public_url(), "http://127.0.0.1:8080");
}

#[test]
fn options_beat_the_environment_which_beats_the_file_which_beats_shared_variables() {
    let folder = Folder::with(&[(
        "watchkeeper.yaml",
        "listen: 127.0.0.1:1\nscope: file\nprometheus: { url: 'http://file:9090' }\n",
    )]);
    let environment = [
        ("WATCHKEEPER__LISTEN", "127.0.0.1:2"),
        ("WATCHKEEPER__SCOPE", "variable"),
        ("PROMETHEUS_URL", "http://shared:9090"),
        ("ALERTMANAGER_URL", "http://a:9093/, http://b:9093"),
    ];
    let options = [("listen".to_owned(), "127.0.0.1:3".to_owned())];
    let path = folder.0.join("watchkeeper.yaml");
    let settings = load(Some(&path), &environment.into_iter().collect(), &options).unwrap().value;
    assert_eq!(settings.listen, "127.0.0.1:3");
    assert_eq!(settings.scope, "variable");
    assert_eq!(settings.prometheus.url.as_deref(), Some("http://file:9090"));
    assert_eq!(settings.alertmanager.urls, ["http://a:9093", "http://b:9093"]);
}

#[test]
fn a_variable_takes_the_type_of_its_setting() {
    let settings = settings_of(
        "model:\n  endpoints:\n    - { name: a, base_url: 'https://example.org/v1/', model: m }\n",
        &[
            ("WATCHKEEPER__HTTP__CONNECTIONS_MAX", "100"),
            ("WATCHKEEPER__MODEL__TEMPERATURE", "0.5"),
            ("WATCHKEEPER__MODEL__ENDPOINTS__0__API_KEY", "00123"),
            ("WATCHKEEPER__NOTIFY__PAGERDUTY__ROUTING_KEY", "[odd]"),
            ("WATCHKEEPER__NOTIFY__PAGERDUTY__DEDUP", "alertmanager"),
            ("WATCHKEEPER__INGEST__CORRELATE_BY", "alertname,cluster"),
            ("WATCHKEEPER__HTTP__TRUSTED_PROXIES", "['10.0.0.0/8']"),
        ],
    );
    assert_eq!(settings.http.connections_max, 100);
    assert_eq!(settings.model.temperature, Some(0.5));
    let endpoint = &settings.model.endpoints[0];
    assert_eq!(endpoint.base_url, "https://example.org/v1");
    assert_eq!(endpoint.client().bearer_token.unwrap().expose_secret(), "00123");
    let pagerduty = &settings.notify.pagerduty;
    assert_eq!(pagerduty.routing_key.as_ref().unwrap().expose_secret(), "[odd]");
    assert_eq!(pagerduty.dedup, PagerdutyDedup::Alertmanager);
    assert_eq!(settings.ingest.correlate_by, ["alertname", "cluster"]);
    assert_eq!(settings.http.trusted_networks(), ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn a_wrong_variable_is_named_without_its_value() {
    let problems = problems_of(
        "listen: 127.0.0.1:1\n",
        &[
            ("WATCHKEEPER__HTPP__CONNECTIONS_MAX", "hunter2"),
            ("WATCHKEEPER__LISTEN__PORT", "1"),
            ("WATCHKEEPER__WORKER__LEASE_S", "0"),
            ("WATCHKEEPER__WORKER__", "1"),
            ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ],
    );
    assert_eq!(
        problems,
        "environment variable WATCHKEEPER__LISTEN__PORT: `listen` is a value, with no keys \
         beneath it\n\
         environment variable WATCHKEEPER__WORKER__: names no setting (such as \
         WATCHKEEPER__HTTP__CONNECTIONS_MAX)\n\
         environment variable WATCHKEEPER__HTPP__CONNECTIONS_MAX: htpp: unknown key; the keys here \
         are listen, public_url, data_dir, scope, language, inventory_file, safety_rules_file, \
         runbooks_file, access_file, http, store, ingest, worker, prometheus, alertmanager, model, \
         approval, verify, notify, audit, retention, log (did you mean `http`?)\n\
         environment variable DATABASE_URL: store.database_url: must start with postgres:// or \
         postgresql://\n\
         environment variable WATCHKEEPER__WORKER__LEASE_S: worker.lease_s: must be between 5 and \
         3600, is 0\n\
         5 problems"
    );
}

#[test]
fn secrets_are_read_from_files_and_trimmed() {
    let folder = Folder::with(&[
        (
            "watchkeeper.yaml",
            "store: { database_url_file: db.secret }\n\
             prometheus:\n  client: { basic_user: me, basic_password_file: password }\n",
        ),
        ("db.secret", "postgres://db/watchkeeper\n"),
        ("password", "  hunter2  \n"),
    ]);
    let settings = folder.load(&[]).unwrap().value;
    assert_eq!(settings.store.database_url.unwrap().expose_secret(), "postgres://db/watchkeeper");
    assert_eq!(settings.prometheus.client.basic_password.unwrap().expose_secret(), "hunter2");
}

#[test]
fn a_variable_replaces_the_secret_file_of_a_weaker_layer() {
    let settings = settings_of(
        "notify: { slack: { webhook_url_file: gone } }\n",
        &[("WATCHKEEPER__NOTIFY__SLACK__WEBHOOK_URL", "https://hooks.example.org/x")],
    );
    let url = settings.notify.slack.webhook_url.unwrap();
    assert_eq!(url.expose_secret(), "https://hooks.example.org/x");
}

#[test]
fn a_secret_in_the_file_is_warned_about_without_its_value() {
    let folder =
        Folder::with(&[("watchkeeper.yaml", "notify:\n  pagerduty:\n    routing_key: hunter2\n")]);
    let loaded = folder.load(&[("DATABASE_URL", "postgres://db/x")]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains(
        "watchkeeper.yaml:3:18: notify.pagerduty.routing_key: the secret stands in the file itself"
    ));
    assert!(!warnings[0].contains("hunter2"));
    assert!(!format!("{:?}", loaded.value).contains("hunter2"));
}

#[test]
fn a_named_file_that_is_absent_is_a_problem() {
    let absent = Path::new("/nonexistent/watchkeeper.yaml");
    let problems = load(Some(absent), &Environment::default(), &[]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/nonexistent/watchkeeper.yaml: this file does not exist (without a file named, \
         config/watchkeeper.yaml, /etc/watchkeeper/watchkeeper.yaml is tried, then defaults)\n\
         1 problem"
    );
}

#[test]
fn only_loopback_listens_without_credentials() {
    for (listen, beyond) in [
        ("127.0.0.1:8080", false),
        ("[::1]:8080", false),
        ("0.0.0.0:8080", true),
        ("[::]:8080", true),
        ("192.0.2.1:80", true),
    ] {
        let settings = Settings { listen: listen.to_owned(), ..Settings::default() };
        assert_eq!(settings.listens_beyond_loopback(), beyond, "{listen}");
    }
}
