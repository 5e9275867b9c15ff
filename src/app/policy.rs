//! The files that say what Watchkeeper knows and may do: inventory, safety rules, runbooks.
//!
//! In: their paths. Out: all of them compiled, or everything that is wrong in any of them. Never: a
//! start with broken or missing rules.

use crate::config::{Loaded, Positions, Problem, Problems, Settings, yaml};
use crate::knowledge::runbooks::{self, Runbooks};
use crate::model::tool::ToolSpec;
use crate::safety::rules::{Rules, RulesFile};
use crate::targets::inventory::{Catalogue, InventoryFile};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;

/// What the files say, compiled.
#[derive(Clone)]
pub struct Policy {
    pub inventory: Arc<Catalogue>,
    pub rules: Arc<Rules>,
    pub runbooks: Arc<Runbooks>,
}

/// Loads all three files. `specs` are the tools that exist.
///
/// # Errors
/// Every problem of every file.
pub fn load(settings: &Settings, specs: &[ToolSpec]) -> Result<Policy, Problems> {
    let mut problems = Vec::new();
    let inventory = inventory(&settings.inventory_file, specs, &mut problems);
    let rules = rules(&settings.safety_rules_file, specs, &mut problems);
    let runbooks = runbooks(&settings.runbooks_file, specs, &mut problems);
    match (inventory, rules, runbooks) {
        (Some(inventory), Some(rules), Some(runbooks)) if problems.is_empty() => Ok(Policy {
            inventory: Arc::new(inventory),
            rules: Arc::new(rules),
            runbooks: Arc::new(runbooks),
        }),
        _ => Err(Problems(problems)),
    }
}

/// Loads the inventory alone.
pub fn inventory(
    path: &Path,
    specs: &[ToolSpec],
    problems: &mut Vec<Problem>,
) -> Option<Catalogue> {
    let (file, positions) = read::<InventoryFile>(path, problems)?;
    match Catalogue::new(file) {
        Ok(catalogue) => {
            for (path, tool) in catalogue.grants() {
                if !specs.is_empty() && !specs.iter().any(|spec| spec.name == tool) {
                    let message = format!("there is no tool '{tool}' to allow");
                    problems.push(positions.problem(&path, message));
                }
            }
            Some(catalogue)
        }
        Err(complaints) => {
            for complaint in complaints {
                problems.push(positions.problem(&complaint.path, complaint.message));
            }
            None
        }
    }
}

fn rules(path: &Path, specs: &[ToolSpec], problems: &mut Vec<Problem>) -> Option<Rules> {
    let (file, positions) = read::<RulesFile>(path, problems)?;
    match Rules::compile(&file, specs) {
        Ok(rules) => Some(rules),
        Err(complaints) => {
            for complaint in complaints {
                problems.push(positions.problem(&complaint.path, complaint.message));
            }
            None
        }
    }
}

fn runbooks(path: &Path, specs: &[ToolSpec], problems: &mut Vec<Problem>) -> Option<Runbooks> {
    let (name, text) = text(path, problems)?;
    match runbooks::load(&name, &text, specs) {
        Ok(runbooks) => Some(runbooks),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path, problems: &mut Vec<Problem>) -> Option<(T, Positions)> {
    let (name, text) = text(path, problems)?;
    match yaml::load::<T>(&name, &text) {
        Ok(Loaded { value, positions, .. }) => Some((value, positions)),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

/// The file's name in messages, and what stands in it.
fn text(path: &Path, problems: &mut Vec<Problem>) -> Option<(String, String)> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Some((name, text)),
        Err(error) => {
            let problem = Problem::about(&name, format!("cannot be read: {error}"));
            problems.push(problem.hint("`watchkeeper init` writes one to start from"));
            None
        }
    }
}
