//! Points from a path in a document to the line where it is written.
//!
//! In: a tree, before anything of it was left out. Out: [`Positions`], kept beside the value.
//! Never: a position that is guessed; without one the nearest section around is shown.

use std::collections::HashMap;

use super::problem::Problem;
use super::tree::{Kind, Node, Origin, State};

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

    /// Notes which list items are left, once reading is over.
    pub(super) fn renumber(&mut self, node: &Node) {
        if let Kind::List(items) = &node.kind
            && items.iter().any(|item| item.state == State::Dead)
        {
            let left = items.iter().enumerate().filter(|(_, item)| item.state != State::Dead);
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

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
