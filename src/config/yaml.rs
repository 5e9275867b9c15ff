//! Loads a YAML file into a Rust type and reports everything that is wrong with it at once.
//!
//! In: the name of a file and its text. Out: [`Loaded`], the value with the place of every key, or
//! all [`Problem`]s in file order, each with line and column.
//! Never: the first mistake only, an unknown key passed over, a quoted number taken for a number.
//! How: the type is read from the tree; each value that does not fit is noted, left out, and the
//! reading begins again. Use `deny_unknown_fields`, and neither `flatten` nor `untagged`: those
//! hide from serde which value was at fault.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::explain;
use super::parse::parse;
use super::positions::{Positions, joined};
use super::problem::Problem;
use super::tree::{Node, Origin, State};
use super::typed::{Cause, Fault};

/// Past this many findings a file is of another kind, and reading on only adds noise.
const PROBLEMS_MAX: usize = 100;

/// A value read from a file, and where its parts stand there.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    pub value: T,
    pub positions: Positions,
    /// Findings that keep nobody from starting.
    pub warnings: Vec<Problem>,
}

/// What could be read of a file that may have problems; lets further checks run on the rest.
#[derive(Debug, Clone)]
pub struct Partial<T> {
    /// Absent when too much is wrong for a value.
    pub value: Option<T>,
    pub positions: Positions,
    pub problems: Vec<Problem>,
}

/// Reads `text`; `file` is only its name in messages.
///
/// # Errors
/// Every problem of the file, in its order, never an empty list.
pub fn load<T: DeserializeOwned>(file: &str, text: &str) -> Result<Loaded<T>, Vec<Problem>> {
    let Partial { value, positions, problems } = read(file, text);
    match value {
        Some(value) if problems.is_empty() => Ok(Loaded { value, positions, warnings: Vec::new() }),
        Some(_) | None => Err(problems),
    }
}

/// Reads what can be read of `text`: values that do not fit are reported and take their default,
/// and list items and entries that cannot do without them are left out.
pub fn read<T: DeserializeOwned>(file: &str, text: &str) -> Partial<T> {
    match parse(file, text) {
        Ok(root) => read_tree(file, root),
        Err(problem) => Partial {
            value: None,
            positions: Positions::of(file, &Node::null(Origin::Text { line: 1, column: 1 })),
            problems: vec![*problem],
        },
    }
}

pub(super) fn read_tree<T: DeserializeOwned>(file: &str, mut root: Node) -> Partial<T> {
    let mut positions = Positions::of(file, &root);
    let mut problems = Vec::new();
    let mut value = None;
    // Keys that a misspelt one stands for: one mistake, one finding.
    let mut meant = HashSet::new();
    while problems.len() < PROBLEMS_MAX {
        match T::deserialize(&root) {
            Ok(read) => {
                if root.leave_out_incomplete() == 0 {
                    value = Some(read);
                    break;
                }
            }
            Err(fault) => {
                meant.extend(meant_key(&fault));
                if !follows(&root, &meant, &fault) {
                    problems.push(finding(&positions, &fault));
                }
                if !leave_out(&mut root, &fault) {
                    break;
                }
            }
        }
        if root.state == State::Dead {
            break;
        }
    }
    if problems.is_empty() && value.is_none() {
        problems.push(Problem::about(file, "cannot be read"));
    }
    positions.renumber(&root);
    sort(&mut problems);
    Partial { value, positions, problems }
}

/// Adds what further checks found, in the order of the file. A value that did not fit took its
/// default; what follows from the default is no finding.
pub fn join(mut problems: Vec<Problem>, further: Vec<Problem>) -> Vec<Problem> {
    let known: Vec<String> = problems.iter().map(|problem| problem.path.clone()).collect();
    let follows =
        |problem: &Problem| known.iter().any(|known| is_at_or_under(&problem.path, known));
    problems.extend(further.into_iter().filter(|problem| !follows(problem)));
    sort(&mut problems);
    problems
}

fn is_at_or_under(path: &str, known: &str) -> bool {
    let rest = path.strip_prefix(known).filter(|_| !known.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Into the order of the file; findings that have no place in it come last.
fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| {
        (problem.line.is_none(), problem.line, problem.column, problem.path.clone())
    });
}

/// The path of the key that an unknown one was probably meant to be.
fn meant_key(fault: &Fault) -> Option<String> {
    let Cause::UnknownKey { key, known } = &fault.cause else {
        return None;
    };
    let path = fault.path.as_deref().unwrap_or_default();
    explain::nearest(key, known).map(|near| joined(path, near))
}

/// Whether a fault is only the consequence of another: the key is missing because it was misspelt
/// or left out, or the value stands in for one that is missing.
fn follows(root: &Node, meant: &HashSet<String>, fault: &Fault) -> bool {
    let path = fault.path.as_deref().unwrap_or_default();
    let around = root.find(path);
    if around.is_some_and(|node| node.state == State::StandIn) {
        return true;
    }
    let Cause::MissingKey { key } = &fault.cause else {
        return false;
    };
    let written = around.and_then(|node| node.entry(key));
    meant.contains(&joined(path, key)) || written.is_some_and(|node| node.state == State::Dead)
}

fn finding(positions: &Positions, fault: &Fault) -> Problem {
    let path = fault.path.as_deref().unwrap_or_default();
    let (message, hint) = explain::words(fault);
    let problem = match &fault.cause {
        Cause::UnknownKey { key, .. } => positions.at_key(&joined(path, key), message),
        Cause::MissingKey { .. }
        | Cause::UnknownWord { .. }
        | Cause::Mismatch { .. }
        | Cause::Other(_) => positions.problem(path, message),
    };
    Problem { hint, ..problem }
}

/// Changes the tree so that the next reading gets past this fault; false where nothing can.
fn leave_out(root: &mut Node, fault: &Fault) -> bool {
    let path = fault.path.as_deref().unwrap_or_default();
    if root.find(path).is_some_and(|node| node.state == State::StandIn) {
        return root.leave_out_incomplete() > 0;
    }
    let path = match &fault.cause {
        Cause::MissingKey { key } => {
            if root.find_mut(path).is_some_and(|node| node.stand_in(key)) {
                return true;
            }
            path.to_owned()
        }
        Cause::UnknownKey { key, .. } => joined(path, key),
        Cause::UnknownWord { .. } | Cause::Mismatch { .. } | Cause::Other(_) => path.to_owned(),
    };
    match root.find_mut(&path) {
        Some(node) if node.state == State::Alive => {
            node.state = State::Dead;
            true
        }
        Some(_) | None => false,
    }
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
