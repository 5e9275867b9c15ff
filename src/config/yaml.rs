//! Loads a YAML file into a Rust type and reports everything that is wrong with it at once.
//!
//! In: the name of a file and its text. Out: [`Loaded`], the value with the place of every key, or
//! all [`Problem`]s in file order, each with line and column.
//! Never: the first mistake only, an unknown key passed over, a quoted number taken for a number.
//! How: the type is read from the tree; each value that does not fit is noted, left out, and the
//! reading begins again. Use `deny_unknown_fields`, and neither `flatten` nor `untagged`: those
//! hide from serde which value was at fault.

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;

use super::explain;
use super::problem::Problem;
use super::tree::{self, Kind, Node, Origin};
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
    match tree::parse(file, text) {
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
                value = Some(read);
                break;
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
    }
    if problems.is_empty() && value.is_none() {
        problems.push(Problem::about(file, "cannot be read"));
    }
    positions.renumber(&root);
    sort(&mut problems);
    Partial { value, positions, problems }
}

/// Into the order of the file; findings that have no place in it come last.
pub(super) fn sort(problems: &mut [Problem]) {
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

/// Whether a key is missing only because it was misspelt, or was found wrong and left out.
fn follows(root: &Node, meant: &HashSet<String>, fault: &Fault) -> bool {
    let Cause::MissingKey { key } = &fault.cause else {
        return false;
    };
    let path = fault.path.as_deref().unwrap_or_default();
    let written = root.find(path).and_then(|node| node.entry(key));
    meant.contains(&joined(path, key)) || written.is_some_and(|node| node.dead)
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

/// Marks the node at fault; false when there is none left to mark.
fn leave_out(root: &mut Node, fault: &Fault) -> bool {
    let path = fault.path.as_deref().unwrap_or_default();
    let path = match &fault.cause {
        Cause::UnknownKey { key, .. } => joined(path, key),
        Cause::MissingKey { .. }
        | Cause::UnknownWord { .. }
        | Cause::Mismatch { .. }
        | Cause::Other(_) => path.to_owned(),
    };
    match root.find_mut(&path) {
        Some(node) if !path.is_empty() && !node.dead => {
            node.dead = true;
            true
        }
        Some(_) | None => false,
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Where every key and value of a document stands.
#[derive(Debug, Clone)]
pub struct Positions {
    file: String,
    places: HashMap<String, Place>,
    /// For lists of which items were left out: the index in the file of each that is left.
    left: HashMap<String, Vec<usize>>,
}

#[derive(Debug, Clone)]
struct Place {
    shown: String,
    value: Origin,
    key: Option<Origin>,
    scalar: bool,
}

impl Positions {
    pub(super) fn of(file: &str, root: &Node) -> Self {
        let mut positions =
            Self { file: file.to_owned(), places: HashMap::new(), left: HashMap::new() };
        positions.add(root);
        positions
    }

    fn add(&mut self, node: &Node) {
        let place = Place {
            shown: node.shown.clone(),
            value: node.origin.clone(),
            key: node.key_origin.clone(),
            scalar: !matches!(node.kind, Kind::Null | Kind::List(_) | Kind::Map(_)),
        };
        self.places.insert(node.path.clone(), place);
        for child in node.children() {
            self.add(child);
        }
    }

    fn renumber(&mut self, node: &Node) {
        if let Kind::List(items) = &node.kind
            && items.iter().any(|item| item.dead)
        {
            let left = items.iter().enumerate().filter(|(_, item)| !item.dead);
            self.left.insert(node.path.clone(), left.map(|(index, _)| index).collect());
        }
        for child in node.children() {
            self.renumber(child);
        }
    }

    /// A path in the value as a path in the file.
    fn in_file(&self, path: &str) -> String {
        let mut whole = String::new();
        for step in path.split('.') {
            let index = self.left.get(&whole).zip(step.parse::<usize>().ok());
            let moved = index.and_then(|(left, index)| left.get(index));
            let step = moved.map_or_else(|| step.to_owned(), usize::to_string);
            whole = joined(&whole, &step);
        }
        whole
    }

    /// The name of the file as the caller gave it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A finding about the value at `path`: keys and list indexes joined by dots, `rules.3.when`.
    ///
    /// It points at the value, or for a section at its key. What the file does not mention is
    /// looked for in the nearest section around it that is there.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        self.pointing(path, message.into(), |place| match &place.key {
            Some(key) if !place.scalar => key,
            Some(_) | None => &place.value,
        })
    }

    /// A finding about the key at the end of `path` itself.
    pub fn at_key(&self, path: &str, message: impl Into<String>) -> Problem {
        self.pointing(path, message.into(), |place| place.key.as_ref().unwrap_or(&place.value))
    }

    /// Whether the file, or what was laid over it, says anything about `path`.
    pub fn mentions(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    fn pointing(&self, path: &str, message: String, at: fn(&Place) -> &Origin) -> Problem {
        let path = &self.in_file(path);
        let mut known = path.as_str();
        let place = loop {
            if let Some(place) = self.places.get(known) {
                break Some(place);
            }
            if known.is_empty() {
                break None;
            }
            known = known.rfind('.').map_or("", |dot| &known[..dot]);
        };
        let around = place.map_or("", |place| place.shown.as_str());
        let rest = path[known.len()..].trim_start_matches('.');
        let mut problem = Problem::about(&self.file, message);
        problem.path = shown(around, rest);
        match place.map(at) {
            Some(Origin::Text { line, column }) => {
                problem.line = Some(*line);
                problem.column = Some(*column);
            }
            Some(Origin::Named(name)) => problem.file.clone_from(name),
            None => {}
        }
        problem
    }
}

fn shown(around: &str, rest: &str) -> String {
    let steps = rest.split('.').filter(|step| !step.is_empty());
    steps.fold(around.to_owned(), |shown, step| {
        if step.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{shown}[{step}]")
        } else {
            joined(&shown, step)
        }
    })
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
