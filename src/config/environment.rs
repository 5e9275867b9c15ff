//! Lays the environment and the command line over the configuration file.
//!
//! In: variables and options. Out: the changed tree, with each value naming where it came from.
//! Never: a value in a message. Order, weakest first: variables that other programs share
//! (`PROMETHEUS_URL`), the file, `WATCHKEEPER__SECTION__KEY`, options. The shared ones are weakest
//! because nobody set them for this program alone. To read one more, add it to `SHARED`.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;

use super::layers;
use super::network::{host_of, is_loopback_url};
use super::problem::Problem;
use super::tree::{Kind, Node, Origin};

/// What commands show to a running server. No setting: the server itself never has it.
const TOKEN: &str = "WATCHKEEPER_TOKEN";

/// Shared variables and the setting that each fills when nothing else does.
const SHARED: [(&str, &str); 5] = [
    ("PROMETHEUS_URL", "prometheus.url"),
    ("ALERTMANAGER_URL", "alertmanager.urls"),
    ("SLACK_WEBHOOK_URL", "notify.slack.webhook_url"),
    ("PAGERDUTY_ROUTING_KEY", "notify.pagerduty.routing_key"),
    ("DATABASE_URL", "store.database_url"),
];

/// Variables that name a model together.
struct ModelVariables {
    name: &'static str,
    base_url: &'static str,
    model: &'static str,
    api_key: &'static str,
    /// Whom the key is for when the base URL is not set.
    host: Option<&'static str>,
}

const MODELS: [ModelVariables; 2] = [
    ModelVariables {
        name: "openai",
        base_url: "OPENAI_BASE_URL",
        model: "OPENAI_MODEL",
        api_key: "OPENAI_API_KEY",
        host: Some("api.openai.com"),
    },
    ModelVariables {
        name: "hermes",
        base_url: "HERMES_BASE_URL",
        model: "HERMES_MODEL",
        api_key: "HERMES_API_KEY",
        host: None,
    },
];

/// The variables that this program reads; every other one is left out on the way in.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    not_unicode: Vec<String>,
}

impl Environment {
    /// The environment of this process; the only place where it is read.
    pub fn from_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => {
                    environment.values.insert(name.to_owned(), value);
                }
                Err(_) => environment.not_unicode.push(name.to_owned()),
            }
        }
        environment
    }

    /// The token with which commands talk to a running server.
    pub fn token(&self) -> Option<SecretString> {
        self.shared(TOKEN).map(|token| SecretString::from(token.trim()))
    }

    /// What a test put into [`crate::crash::VARIABLE`]: no setting, so no file can hold it.
    pub fn abort_at(&self) -> Option<&str> {
        self.values.get(crate::crash::VARIABLE).map(String::as_str)
    }

    /// A shared variable; an empty one counts as not set.
    fn shared(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let named = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let values = named.filter(|(name, _)| is_ours(name)).collect();
        Self { values, not_unicode: Vec::new() }
    }
}

impl fmt::Debug for Environment {
    /// Names only: the values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

fn is_ours(name: &str) -> bool {
    let of_a_model = |m: &ModelVariables| [m.base_url, m.model, m.api_key].contains(&name);
    layers::is_setting(name)
        || name == TOKEN
        || name == crate::crash::VARIABLE
        || SHARED.iter().any(|(shared, _)| *shared == name)
        || MODELS.iter().any(of_a_model)
}

/// What came of laying one source over another.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Lays variables and options over the tree of the file.
pub(super) fn lay_over(
    root: &mut Node,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Findings {
    let mut findings = Findings::default();
    for name in &environment.not_unicode {
        findings.problems.push(Problem::about(&variable(name), "the value is not valid UTF-8"));
    }
    let (all, problems) = layers::layer(&environment.values, overrides);
    for said in all {
        let steps: Vec<&str> = said.steps.iter().map(String::as_str).collect();
        lay_one(root, &steps, &said.text, &said.origin, &mut findings);
    }
    findings.problems.extend(problems);
    for (name, path) in SHARED {
        if let Some(value) = environment.shared(name)
            && !is_said(root, path)
        {
            let steps: Vec<&str> = path.split('.').collect();
            lay_one(root, &steps, value, &variable(name), &mut findings);
        }
    }
    name_models(root, environment, &mut findings);
    give_keys(root, environment, &mut findings);
    findings
}

fn lay_one(root: &mut Node, steps: &[&str], value: &str, origin: &str, findings: &mut Findings) {
    if let Err(message) = root.lay_over(steps, value, origin) {
        findings.problems.push(Problem::about(origin, message));
    }
}

fn variable(name: &str) -> String {
    format!("environment variable {name}")
}

fn is_said(root: &Node, path: &str) -> bool {
    let said = |path: &str| root.find(path).is_some_and(|node| !matches!(node.kind, Kind::Null));
    said(path) || said(&format!("{path}_file"))
}

/// Adds the endpoints that variables name, when the file names none.
///
/// A base URL beyond this machine may have been set for another program, and using it would send
/// logs of production there; so it needs a word in the configuration.
fn name_models(root: &mut Node, environment: &Environment, findings: &mut Findings) {
    const ALLOWED: &str = "model.remote_endpoints_from_environment";
    let endpoints = root.find("model.endpoints");
    if endpoints.is_some_and(|node| !node.children().is_empty()) {
        return;
    }
    let remote_allowed = root.find(ALLOWED).is_some_and(|node| match &node.kind {
        Kind::Bool(value) => *value,
        Kind::Outside { text, .. } => text == "true",
        Kind::Null
        | Kind::Unsigned(_)
        | Kind::Signed(_)
        | Kind::Float(_)
        | Kind::Text(_)
        | Kind::List(_)
        | Kind::Map(_) => false,
    });
    let mut found = Vec::new();
    for variables in &MODELS {
        let Some(base_url) = environment.shared(variables.base_url) else {
            continue;
        };
        let Some(model) = environment.shared(variables.model) else {
            let said = format!("names no model, because {} is not set", variables.model);
            findings.warnings.push(Problem::about(&variable(variables.base_url), said));
            continue;
        };
        if !is_loopback_url(base_url) && !remote_allowed {
            let said = "is not used: it names a model beyond this machine";
            let warning = Problem::about(&variable(variables.base_url), said);
            let hint = format!("write it under model.endpoints, or set {ALLOWED}: true");
            findings.warnings.push(warning.hint(hint));
            continue;
        }
        let named = |text: &str, from: &str| Node::outside(text, &variable(from));
        found.push(Node::section(
            &variable(variables.base_url),
            vec![
                ("name", named(variables.name, variables.base_url)),
                ("base_url", named(base_url, variables.base_url)),
                ("model", named(model, variables.model)),
            ],
        ));
    }
    if !found.is_empty() {
        root.put(
            &["model", "endpoints"],
            Kind::List(found),
            Origin::Named(variable(MODELS[0].base_url)),
        );
    }
}

/// Gives each named endpoint without a key the one that is meant for its host, and no other.
fn give_keys(root: &mut Node, environment: &Environment, findings: &mut Findings) {
    let endpoints = root.find("model.endpoints").map_or(Vec::new(), |node| node.children());
    let mut given = Vec::new();
    for endpoint in endpoints {
        let Some(Kind::Text(url) | Kind::Outside { text: url, .. }) =
            endpoint.entry("base_url").map(|node| &node.kind)
        else {
            continue;
        };
        let host = host_of(url);
        if host.is_none() || is_said(root, &format!("{}.api_key", endpoint.path)) {
            continue;
        }
        let fitting = MODELS.iter().find_map(|variables| {
            let of_variable = environment.shared(variables.base_url).and_then(host_of);
            let meant = of_variable.or(variables.host.map(str::to_owned));
            let key = environment.shared(variables.api_key)?;
            (meant == host).then(|| (variables.api_key, key.to_owned()))
        });
        given.extend(fitting.map(|(name, key)| (format!("{}.api_key", endpoint.path), name, key)));
    }
    for (path, name, key) in given {
        let steps: Vec<&str> = path.split('.').collect();
        lay_one(root, &steps, &key, &variable(name), findings);
    }
}

#[cfg(test)]
#[path = "environment/tests.rs"]
mod tests;
