//! Checks what types cannot say: ranges, syntax of addresses and patterns, settings that belong
//! together.
//!
//! In: [`Settings`] with resolved paths. Out: every problem, each at the value it is about.
//! Never: a connection to anything; `doctor` does that. To check a new setting, add its line to
//! the function of its section.

mod alertmanager;
mod alive;
mod audit;
mod channels;
mod storms;

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::network::{Network, base_url};
use super::positions::Positions;
use super::problem::Problem;
use super::settings::{ClientSettings, ModelEndpoint, Settings};
use super::{files, is_loopback_url};

const WEB: [&str; 2] = ["http", "https"];
const DAY_S: u64 = 86_400;

impl Settings {
    /// Everything that is wrong with values that are of the right type.
    pub fn check(&self, positions: &Positions) -> Vec<Problem> {
        let mut checks = Checks { positions, problems: Vec::new() };
        checks.top(self);
        checks.http(self);
        checks.store_and_worker(self);
        checks.ingest(self);
        checks.storms(self);
        checks.sources(self);
        checks.model(self);
        checks.budgets(self);
        checks.approval_and_verify(self);
        checks.channels(self);
        checks.alive(self);
        checks.audit(self);
        checks.log(self);
        checks.problems
    }
}

struct Checks<'p> {
    positions: &'p Positions,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.positions.problem(path, message));
    }

    fn add_with_hint(&mut self, path: &str, message: impl Into<String>, hint: &str) {
        self.problems.push(self.positions.problem(path, message).hint(hint));
    }

    fn range<T: PartialOrd + Display>(&mut self, path: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let (least, most) = range.into_inner();
            self.add(path, format!("must be between {least} and {most}, is {value}"));
        }
    }

    /// A web address without a password in it, since addresses are logged.
    fn url(&mut self, path: &str, text: &str) {
        match base_url(text, &WEB) {
            Err(message) => self.add(path, message),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.add_with_hint(
                    path,
                    "must not hold a user or password",
                    "there are keys for credentials, and URLs are logged",
                );
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                self.add(path, "must not hold `?` or `#`");
            }
            Ok(_) => {}
        }
    }

    /// A web address that is a secret as a whole.
    fn secret_url(&mut self, path: &str, secret: Option<&SecretString>, schemes: &[&str]) {
        if let Some(Err(message)) = secret.map(|url| base_url(url.expose_secret(), schemes)) {
            self.add(path, message);
        }
    }

    fn file(&mut self, path: &str, file: Option<&PathBuf>) {
        if let Some(message) = file.and_then(|file| files::unreadable(file)) {
            self.add(path, message);
        }
    }

    fn not_empty(&mut self, path: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(path, "is empty");
        }
    }

    fn proxy(&mut self, path: &str, proxy: Option<&String>) {
        if let Some(Err(message)) = proxy.map(|proxy| base_url(proxy, &WEB)) {
            self.add(path, message);
        }
    }

    fn client(&mut self, path: &str, client: &ClientSettings) {
        self.range(&format!("{path}.timeout_s"), client.timeout_s, 1..=600);
        self.file(&format!("{path}.ca_file"), client.ca_file.as_ref());
        self.proxy(&format!("{path}.proxy"), client.proxy.as_ref());
        let bearer = client.bearer_token.is_some() || client.bearer_token_file.is_some();
        let password = client.basic_password.is_some() || client.basic_password_file.is_some();
        if bearer && (client.basic_user.is_some() || password) {
            self.add(path, "a bearer token and a basic user exclude each other");
        }
        if client.basic_user.is_some() && !password {
            self.add(
                &format!("{path}.basic_user"),
                "needs `basic_password` or `basic_password_file`",
            );
        }
        if password && client.basic_user.is_none() {
            self.add(path, "`basic_password` needs `basic_user`");
        }
    }

    fn top(&mut self, settings: &Settings) {
        if settings.listen.parse::<SocketAddr>().is_err() {
            self.add_with_hint(
                "listen",
                "must be an address and a port",
                "such as 127.0.0.1:8080 or [::1]:8080; a host name does not do",
            );
        }
        if let Some(url) = &settings.public_url {
            self.url("public_url", url);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=64).contains(&settings.scope.len()) || !settings.scope.chars().all(plain) {
            self.add("scope", "must be 1 to 64 letters, digits, `-`, `_` or `.`");
        }
        for (path, file) in [
            ("data_dir", &settings.data_dir),
            ("inventory_file", &settings.inventory_file),
            ("safety_rules_file", &settings.safety_rules_file),
            ("runbooks_file", &settings.runbooks_file),
            ("access_file", &settings.access_file),
        ] {
            if file.as_os_str().is_empty() {
                self.add(path, "is empty");
            }
        }
    }

    fn http(&mut self, settings: &Settings) {
        let http = &settings.http;
        self.file("http.tls_cert_file", http.tls_cert_file.as_ref());
        self.file("http.tls_key_file", http.tls_key_file.as_ref());
        match (&http.tls_cert_file, &http.tls_key_file) {
            (Some(_), None) => self.add("http.tls_cert_file", "needs `tls_key_file` beside it"),
            (None, Some(_)) => self.add("http.tls_key_file", "needs `tls_cert_file` beside it"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        for (index, proxy) in http.trusted_proxies.iter().enumerate() {
            if let Err(message) = proxy.parse::<Network>() {
                self.add(&format!("http.trusted_proxies.{index}"), message);
            }
        }
        self.range("http.header_timeout_ms", http.header_timeout_ms, 100..=600_000);
        self.range("http.body_timeout_ms", http.body_timeout_ms, 100..=3_600_000);
        self.range("http.idle_timeout_ms", http.idle_timeout_ms, 1_000..=3_600_000);
        self.range("http.connections_max", http.connections_max, 1..=65_535);
        self.range(
            "http.connections_per_address_max",
            http.connections_per_address_max,
            1..=65_535,
        );
        self.range(
            "http.webhook_body_bytes_max",
            http.webhook_body_bytes_max,
            65_536..=268_435_456,
        );
        self.range("http.body_bytes_max", http.body_bytes_max, 1_024..=16_777_216);
    }

    fn store_and_worker(&mut self, settings: &Settings) {
        let url = settings.store.database_url.as_ref();
        let scheme = url.and_then(|url| url.expose_secret().split_once("://"));
        let sqlite = scheme.is_some_and(|(scheme, _)| scheme.starts_with("sqlite"));
        if sqlite || url.is_some_and(|url| url.expose_secret().starts_with("sqlite:")) {
            self.add_with_hint(
                "store.database_url",
                "must start with postgres:// or postgresql://",
                "for SQLite leave it out; the file lies in data_dir",
            );
        } else {
            self.secret_url("store.database_url", url, &["postgres", "postgresql"]);
        }
        self.range("store.connections_max", settings.store.connections_max, 1..=1_000);
        self.range("worker.investigations_max", settings.worker.investigations_max, 1..=10_000);
        self.range("worker.lease_s", settings.worker.lease_s, 5..=3_600);
        self.range("worker.poll_ms", settings.worker.poll_ms, 10..=60_000);
    }

    fn ingest(&mut self, settings: &Settings) {
        let ingest = &settings.ingest;
        self.range("ingest.reopen_within_s", ingest.reopen_within_s, 0..=7 * DAY_S);
        if ingest.correlate_by.is_empty() {
            self.add_with_hint(
                "ingest.correlate_by",
                "needs at least one label",
                "without one all alerts would be a single incident",
            );
        }
        for (index, label) in ingest.correlate_by.iter().enumerate() {
            let path = format!("ingest.correlate_by.{index}");
            self.label(&path, label);
            if ingest.correlate_by[..index].contains(label) {
                self.add(&path, format!("`{label}` is listed twice"));
            }
        }
        self.label("ingest.severity_label", &ingest.severity_label);
        for (index, rule) in ingest.targets.iter().enumerate() {
            let path = format!("ingest.targets.{index}");
            self.label(&format!("{path}.label"), &rule.label);
            match regex::Regex::new(rule.pattern()) {
                Err(error) => self.add(&format!("{path}.pattern"), pattern_error(&error)),
                Ok(pattern) if pattern.captures_len() < 2 => self.add_with_hint(
                    &format!("{path}.pattern"),
                    "has no group that could be the name",
                    "put the part that is the name in brackets: ^(.+)-[0-9]+$",
                ),
                Ok(_) => {}
            }
        }
        for (index, matcher) in ingest.ignore.iter().enumerate() {
            self.not_empty(&format!("ingest.ignore.{index}"), matcher);
        }
    }

    fn label(&mut self, path: &str, label: &str) {
        let mut letters = label.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.add(path, "must be the name of a label: letters, digits and `_`");
        }
    }

    fn sources(&mut self, settings: &Settings) {
        if let Some(url) = &settings.prometheus.url {
            self.url("prometheus.url", url);
        }
        self.client("prometheus.client", &settings.prometheus.client);
        self.alertmanager(&settings.alertmanager);
    }

    fn model(&mut self, settings: &Settings) {
        let model = &settings.model;
        for (index, endpoint) in model.endpoints.iter().enumerate() {
            let path = format!("model.endpoints.{index}");
            self.endpoint(&path, endpoint);
            let twice = model.endpoints[..index].iter().any(|other| other.name == endpoint.name);
            if twice {
                self.add(&format!("{path}.name"), "another endpoint has this name");
            }
            let priced = endpoint.price_per_million_input_tokens.is_some()
                && endpoint.price_per_million_output_tokens.is_some();
            if model.budgets.money_per_day.is_some() && !priced {
                self.add_with_hint(
                    &path,
                    "needs both prices, because `budgets.money_per_day` is set",
                    "0 for a model that costs nothing",
                );
            }
        }
        self.range(
            "model.output_bytes_in_prompt_max",
            model.output_bytes_in_prompt_max,
            1_024..=1_048_576,
        );
        if let Some(temperature) = model.temperature {
            self.range("model.temperature", temperature, 0.0..=2.0);
        }
        self.range("model.retries_max", model.retries_max, 0..=10);
    }

    fn endpoint(&mut self, path: &str, endpoint: &ModelEndpoint) {
        self.not_empty(&format!("{path}.name"), &endpoint.name);
        self.not_empty(&format!("{path}.model"), &endpoint.model);
        self.url(&format!("{path}.base_url"), &endpoint.base_url);
        let in_clear = endpoint.base_url.starts_with("http:");
        if in_clear && endpoint.api_key.is_some() && public_host(&endpoint.base_url) {
            self.add(
                &format!("{path}.base_url"),
                "must be https, because a key would go over the network in clear text",
            );
        }
        self.range(&format!("{path}.timeout_s"), endpoint.timeout_s, 1..=3_600);
        self.file(&format!("{path}.ca_file"), endpoint.ca_file.as_ref());
        self.proxy(&format!("{path}.proxy"), endpoint.proxy.as_ref());
        for (key, price) in [
            ("price_per_million_input_tokens", endpoint.price_per_million_input_tokens),
            ("price_per_million_output_tokens", endpoint.price_per_million_output_tokens),
        ] {
            if let Some(price) = price {
                self.range(&format!("{path}.{key}"), price, 0.0..=1_000_000.0);
            }
        }
    }

    fn budgets(&mut self, settings: &Settings) {
        let budgets = &settings.model.budgets;
        let at = |key: &str| format!("model.budgets.{key}");
        self.range(&at("turns_per_incident"), budgets.turns_per_incident, 1..=1_000);
        self.range(&at("tokens_per_incident"), budgets.tokens_per_incident, 1_000..=1_000_000_000);
        self.range(&at("seconds_per_incident"), budgets.seconds_per_incident, 10..=DAY_S);
        self.range(&at("tokens_per_day"), budgets.tokens_per_day, 1_000..=1_000_000_000_000);
        if let Some(money) = budgets.money_per_day {
            self.range(&at("money_per_day"), money, 0.01..=1_000_000.0);
        }
    }

    fn approval_and_verify(&mut self, settings: &Settings) {
        let verify = &settings.verify;
        self.range("approval.ttl_s", settings.approval.ttl_s, 60..=7 * DAY_S);
        self.range("verify.wait_s", verify.wait_s, 0..=DAY_S);
        self.range("verify.poll_s", verify.poll_s, 1..=3_600);
        self.range("verify.timeout_s", verify.timeout_s, 1..=DAY_S);
        if verify.wait_s >= verify.timeout_s {
            self.add(
                "verify.wait_s",
                format!("must be less than `timeout_s`, which is {}", verify.timeout_s),
            );
        }
    }

    fn log(&mut self, settings: &Settings) {
        let parsed = tracing_subscriber::EnvFilter::builder().parse(&settings.log.level);
        if parsed.is_err() || settings.log.level.trim().is_empty() {
            self.add_with_hint(
                "log.level",
                "is neither a level nor a list of directives",
                "error, warn, info, debug, trace, or info,watchkeeper::ingest=debug",
            );
        }
    }
}

/// A host on the public network by its name: not this machine, no bare name, no private address.
fn public_host(url: &str) -> bool {
    let host = super::network::host_of(url).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let private = match address {
        Ok(std::net::IpAddr::V4(address)) => address.is_private() || address.is_link_local(),
        Ok(std::net::IpAddr::V6(address)) => address.is_unique_local(),
        Err(_) => !host.contains('.') || host.ends_with(".local") || host.ends_with(".internal"),
    };
    !private && !is_loopback_url(url)
}

/// One line of a regex error, which otherwise draws the pattern over several.
fn pattern_error(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    format!("is not a regular expression: {reason}")
}
