//! A configuration document as a tree whose every value knows where it was written.
//!
//! In: what `parse.rs` read, and values that the environment or the command line lays over it.
//! Out: [`Node`]s that can be found by path, changed and left out.
//! Never: a guess about types; that is decided when a Rust type is read from the tree (`typed.rs`).

use super::parse::parse;

/// Where a key or a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Text {
        line: u64,
        column: u64,
    },
    /// An environment variable or an option, by the words that name it to a person.
    Named(String),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Keys and indexes joined by dots, as in `rules.3.when`; unique in the tree.
    pub path: String,
    /// The same for people: `rules[3].when`.
    pub shown: String,
    pub origin: Origin,
    /// Where the key stands that leads here; absent for list items and the root.
    pub key_origin: Option<Origin>,
    pub kind: Kind,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    /// Found wrong, and left out of what is read from here on.
    Dead,
    /// Written by nobody; holds the place of a missing key so that reading finds what else is
    /// wrong, and is whatever the reader asks for. What holds one is never part of a result.
    StandIn,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// Text from outside the file, whose type is whatever the reader asks for. `brackets` is set
    /// when the text is also a YAML list or section in brackets.
    Outside {
        text: String,
        brackets: Option<Box<Node>>,
    },
}

impl Node {
    /// Writes `text` at a path of keys and list indexes, making sections on the way.
    ///
    /// # Errors
    /// The words that say why the path leads nowhere.
    pub fn lay_over(&mut self, path: &[&str], text: &str, origin: &str) -> Result<(), String> {
        let Some((step, rest)) = path.split_first() else {
            let (path, shown) = (self.path.clone(), self.shown.clone());
            *self = Node::outside(text, origin);
            self.name_paths(path, shown);
            return Ok(());
        };
        if matches!(self.kind, Kind::Null) {
            self.kind = Kind::Map(Vec::new());
        }
        let (path, shown) = (self.path.clone(), self.shown.clone());
        match &mut self.kind {
            Kind::Map(entries) => {
                if rest.is_empty() {
                    forget_other_source(entries, step);
                }
                let named = (join(&path, step), join(&shown, step));
                let child = entry_or_null(entries, step, named, Origin::Named(origin.to_owned()));
                child.lay_over(rest, text, origin)
            }
            Kind::List(items) => {
                let count = items.len();
                match step.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    Some(item) => item.lay_over(rest, text, origin),
                    None => Err(format!("`{shown}` has {count} items, and none is number {step}")),
                }
            }
            Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::Outside { .. } => Err(format!("`{shown}` is a value, with no keys beneath it")),
        }
    }

    pub fn null(origin: Origin) -> Self {
        Self {
            path: String::new(),
            shown: String::new(),
            origin,
            key_origin: None,
            kind: Kind::Null,
            state: State::Alive,
        }
    }

    /// Text from an environment variable or an option.
    pub fn outside(text: &str, origin: &str) -> Self {
        let named = Origin::Named(origin.to_owned());
        let kind = outside(text, origin);
        Self { key_origin: Some(named.clone()), kind, ..Self::null(named) }
    }

    /// A section that stands in no file.
    pub fn section(origin: &str, entries: Vec<(&str, Node)>) -> Self {
        let entries = entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect();
        Self { kind: Kind::Map(entries), ..Self::null(Origin::Named(origin.to_owned())) }
    }

    /// Puts a value at a path of keys; where the path crosses a value instead of a section, the
    /// tree stays as it is, since reading it reports that.
    pub fn put(&mut self, path: &[&str], kind: Kind, origin: Origin) {
        let (own_path, own_shown) = (self.path.clone(), self.shown.clone());
        let Some((step, rest)) = path.split_first() else {
            self.kind = kind;
            self.origin = origin;
            self.name_paths(own_path, own_shown);
            return;
        };
        if matches!(self.kind, Kind::Null) {
            self.kind = Kind::Map(Vec::new());
        }
        let Kind::Map(entries) = &mut self.kind else {
            return;
        };
        let named = (join(&own_path, step), join(&own_shown, step));
        entry_or_null(entries, step, named, origin.clone()).put(rest, kind, origin);
    }

    /// The node at a dotted path, dead ones included.
    pub fn find(&self, path: &str) -> Option<&Node> {
        if self.path == path {
            return Some(self);
        }
        self.children().into_iter().filter(|n| n.is_around(path)).find_map(|n| n.find(path))
    }

    pub fn find_mut(&mut self, path: &str) -> Option<&mut Node> {
        if self.path == path {
            return Some(self);
        }
        let around = self.children_mut().into_iter().filter(|node| node.is_around(path));
        around.into_iter().find_map(|node| node.find_mut(path))
    }

    /// Puts a stand-in where a key is missing; false where the node takes no keys.
    pub fn stand_in(&mut self, key: &str) -> bool {
        if matches!(self.kind, Kind::Null) {
            self.kind = Kind::Map(Vec::new());
        }
        let Kind::Map(entries) = &mut self.kind else {
            return false;
        };
        entries.retain(|(known, _)| known != key);
        let named = (join(&self.path, key), join(&self.shown, key));
        let child = entry_or_null(entries, key, named, self.origin.clone());
        child.kind = Kind::Outside { text: "0".to_owned(), brackets: None };
        child.state = State::StandIn;
        true
    }

    /// Leaves out everything that only a stand-in completes; says how many that were.
    pub fn leave_out_incomplete(&mut self) -> usize {
        let stands_in = |node: &&Node| node.state == State::StandIn;
        if self.state == State::Alive && self.children().iter().any(stands_in) {
            self.state = State::Dead;
            return 1;
        }
        self.children_mut().into_iter().map(Node::leave_out_incomplete).sum()
    }

    fn is_around(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    pub fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Map(entries) => entries.iter().map(|(_, node)| node).collect(),
            Kind::Outside { brackets, .. } => brackets.iter().flat_map(|n| n.children()).collect(),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_) => Vec::new(),
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().collect(),
            Kind::Map(entries) => entries.iter_mut().map(|(_, node)| node).collect(),
            Kind::Outside { brackets, .. } => {
                brackets.iter_mut().flat_map(|node| node.children_mut()).collect()
            }
            Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_) => Vec::new(),
        }
    }

    /// The entry of that key, dead or alive.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            Kind::Outside { brackets, .. } => brackets.as_ref().and_then(|node| node.entry(key)),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_) => None,
        }
    }

    pub fn name_paths(&mut self, path: String, shown: String) {
        match &mut self.kind {
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.name_paths(join(&path, &index.to_string()), format!("{shown}[{index}]"));
                }
            }
            Kind::Map(entries) => {
                for (key, child) in entries {
                    child.name_paths(join(&path, key), join(&shown, key));
                }
            }
            Kind::Outside { brackets: Some(node), .. } => {
                node.name_paths(path.clone(), shown.clone());
            }
            Kind::Outside { brackets: None, .. }
            | Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_) => {}
        }
        self.path = path;
        self.shown = shown;
    }

    fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        self.key_origin = Some(origin.clone());
        for child in self.children_mut() {
            child.set_origin(origin);
        }
    }
}

fn entry_or_null<'n>(
    entries: &'n mut Vec<(String, Node)>,
    key: &str,
    (path, shown): (String, String),
    origin: Origin,
) -> &'n mut Node {
    let index = entries.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        let child = Node { path, shown, key_origin: Some(origin.clone()), ..Node::null(origin) };
        entries.push((key.to_owned(), child));
        entries.len() - 1
    });
    &mut entries[index].1
}

/// `x` and `x_file` are two ways to say one thing, so the layer that comes later replaces both.
fn forget_other_source(entries: &mut Vec<(String, Node)>, key: &str) {
    let other = match key.strip_suffix("_file") {
        Some(plain) => plain.to_owned(),
        None => format!("{key}_file"),
    };
    entries.retain(|(name, _)| *name != other);
}

fn outside(text: &str, origin: &str) -> Kind {
    let bracketed = text.starts_with('[') || text.starts_with('{');
    let brackets = if bracketed { parse("", text).ok() } else { None };
    let brackets = brackets.map(|mut node| {
        node.set_origin(&Origin::Named(origin.to_owned()));
        Box::new(node)
    });
    Kind::Outside { text: text.to_owned(), brackets }
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}
