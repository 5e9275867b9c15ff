//! Reads the configuration again while the process runs.
//!
//! In: where it was read from at the start. Out: the settings in force with the secrets of now, and
//! the names of everything else that changed, which takes a restart. Never: a secret in the place
//! of another one's; a new secret for a service whose address changed with it.

use super::explain::may_hold_a_secret;
use super::files::{Secret, secrets};
use super::tree::{Kind, Node};
use super::{Environment, Loaded, Problems, Settings, read};
use crate::model::call::sha256_hex;
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was written for each setting, by its path; a secret is there by its hash.
pub(super) type Values = BTreeMap<String, String>;

/// Where the configuration was read from, and what it said.
pub struct Source {
    path: Option<PathBuf>,
    environment: Environment,
    overrides: Vec<(String, String)>,
    values: Values,
}

/// What changed since.
#[derive(Debug, Clone)]
pub struct Again {
    /// Those in force, with the secrets of now.
    pub settings: Settings,
    /// The secrets that are other ones now.
    pub renewed: Vec<String>,
    /// Settings that changed and are in force only after a restart.
    pub needs_restart: Vec<String>,
}

impl Source {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(
        path: Option<&Path>,
        environment: Environment,
        overrides: &[(String, String)],
    ) -> Result<(Loaded<Settings>, Self), Problems> {
        let (loaded, values) = read(path, &environment, overrides)?;
        let (path, overrides) = (path.map(Path::to_owned), overrides.to_vec());
        Ok((loaded, Self { path, environment, overrides, values }))
    }

    /// SHA-256 of what was said at the start, secrets left out: whoever reads it cannot guess them.
    pub fn hash(&self) -> String {
        let open = self.values.iter().filter(|(path, _)| !may_hold_a_secret(path));
        let lines: Vec<String> = open.map(|(path, value)| format!("{path}={value}\n")).collect();
        sha256_hex(lines.concat().as_bytes())
    }

    /// Reads it again.
    ///
    /// # Errors
    /// Everything that is wrong with it by now, secrets that cannot be read among it.
    pub fn again(&self, in_force: &Settings) -> Result<Again, Problems> {
        let (loaded, values) = read(self.path.as_deref(), &self.environment, &self.overrides)?;
        let mut fresh = loaded.value;
        let read: BTreeMap<String, SecretString> = secrets(&mut fresh)
            .into_iter()
            .filter_map(|secret| Some((secret.path, secret.value.clone()?)))
            .collect();
        let changed = changed(&self.values, &values);
        let moved: BTreeSet<&str> =
            changed.iter().filter(|p| !is_secret(p)).map(|p| owner(p)).collect();
        let mut settings = in_force.clone();
        let (mut renewed, mut needs_restart) = (Vec::new(), BTreeSet::new());
        for Secret { path, value, .. } in secrets(&mut settings) {
            match (value.as_ref(), read.get(&path)) {
                (None, None) => {}
                (Some(old), Some(new)) if old.expose_secret() == new.expose_secret() => {}
                (Some(_), Some(new)) if renewable(&path) && !moved.contains(owner(&path)) => {
                    *value = Some(new.clone());
                    renewed.push(path);
                }
                (Some(_) | None, Some(_) | None) => {
                    needs_restart.insert(path);
                }
            }
        }
        needs_restart.extend(changed.into_iter().filter(|path| !is_secret(path)));
        Ok(Again { settings, renewed, needs_restart: needs_restart.into_iter().collect() })
    }
}

/// Those that stand in clients which can be exchanged. The others are part of an open database, of
/// a chain of checkpoints, or of what watches over the process.
const RENEWABLE: [&str; 6] = [
    "prometheus.client.",
    "alertmanager.client.",
    "notify.slack.",
    "notify.pagerduty.",
    "notify.email.",
    "model.endpoints.",
];

fn renewable(path: &str) -> bool {
    RENEWABLE.iter().any(|section| path.starts_with(section))
}

/// The service that a setting belongs to.
fn owner(path: &str) -> &str {
    let depth = if path.starts_with("notify.") { 2 } else { 1 };
    path.match_indices('.').nth(depth - 1).map_or(path, |(at, _)| &path[..at])
}

fn is_secret(path: &str) -> bool {
    may_hold_a_secret(path.strip_suffix("_file").unwrap_or(path))
}

fn changed(before: &Values, after: &Values) -> BTreeSet<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Every value of the tree.
pub(super) fn values(root: &Node) -> Values {
    let mut all = Values::new();
    gather(root, &mut all);
    all
}

fn gather(node: &Node, all: &mut Values) {
    let text = match &node.kind {
        Kind::Null => return,
        Kind::List(items) if items.is_empty() => "[]".to_owned(),
        Kind::Map(_) | Kind::List(_) | Kind::Outside { brackets: Some(_), .. } => {
            node.children().into_iter().for_each(|child| gather(child, all));
            return;
        }
        Kind::Bool(value) => value.to_string(),
        Kind::Unsigned(value) => value.to_string(),
        Kind::Signed(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Text(text) | Kind::Outside { text, brackets: None } => text.clone(),
    };
    let secret = may_hold_a_secret(&node.path);
    all.insert(node.path.clone(), if secret { sha256_hex(text.as_bytes()) } else { text });
}
