//! A configuration document as a tree whose every value knows where it was written.
//!
//! In: YAML text, and values that the environment or the command line lays over it. Out: [`Node`]s.
//! Never: a guess about types; that is decided when a Rust type is read from the tree
//! (`typed.rs`). Duplicate keys, unknown tags and several documents in one file are refused here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::problem::Problem;

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
    /// Found wrong, and left out of what is read from here on.
    pub dead: bool,
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
    /// Text from outside the file, whose type is whatever the reader asks for. `list` is set when
    /// the text is also a YAML list or section in brackets.
    Outside {
        text: String,
        brackets: Option<Box<Node>>,
    },
}

/// Parses one YAML document; an empty one is `Null`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Box<Problem>> {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    let parsed = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options);
    let mut root = match parsed {
        Ok(raw) => node_of(raw, None),
        Err(serde_saphyr::Error::Eof { .. }) => Node {
            path: String::new(),
            shown: String::new(),
            origin: Origin::Text { line: 1, column: 1 },
            key_origin: None,
            kind: Kind::Null,
            dead: false,
        },
        Err(error) => return Err(Box::new(syntax_problem(file, text, &error))),
    };
    root.name_paths(String::new(), String::new());
    Ok(root)
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
            dead: false,
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

    fn name_paths(&mut self, path: String, shown: String) {
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

fn syntax_problem(file: &str, text: &str, error: &serde_saphyr::Error) -> Problem {
    let at = error.location();
    let mut problem = Problem {
        line: at.map(|at| at.line()),
        column: at.map(|at| at.column()),
        ..Problem::about(file, String::new())
    };
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error.without_snippet() {
        let key = key.as_deref().unwrap_or("?");
        problem.message = format!("the key `{key}` is written twice in this section");
        return problem.hint("keep one of the two");
    }
    if let serde_saphyr::Error::MultipleDocuments { .. } = error.without_snippet() {
        problem.message = "a second document starts after the first".to_owned();
        return problem.hint("remove the line `---` and keep one document in the file");
    }
    let formatter = serde_saphyr::UserMessageFormatter;
    let said = serde_saphyr::MessageFormatter::format_message(&formatter, error.without_snippet());
    problem.message = format!("this is not valid YAML: {}", said.replace(char::is_control, " "));
    // The parser names the place where it gave up; a tab is nearly always the reason when a line
    // there is indented with one.
    let gave_up = at.map_or(0, |at| at.line());
    let tabbed = (1..).zip(text.lines()).find(|(line, text)| {
        gave_up.abs_diff(*line) <= 1 && text.trim_start_matches(' ').starts_with('\t')
    });
    if let Some((line, text)) = tabbed {
        problem.line = Some(line);
        problem.column = (1..).zip(text.chars()).find(|(_, c)| *c == '\t').map(|(at, _)| at);
        problem.message = "a tab indents this line; YAML allows only spaces there".to_owned();
        return problem.hint("replace the tab by spaces");
    }
    problem
}

/// What the YAML parser hands over, before keys and paths are joined to it.
enum Raw {
    Leaf(Kind),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node_of(raw: Spanned<Raw>, key_origin: Option<Origin>) -> Node {
    let kind = match raw.value {
        Raw::Leaf(kind) => kind,
        Raw::List(items) => Kind::List(items.into_iter().map(|raw| node_of(raw, None)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, raw)| {
                    let at = origin_of(key.defined);
                    (key.value, node_of(raw, Some(at)))
                })
                .collect(),
        ),
    };
    Node {
        origin: origin_of(raw.defined),
        key_origin,
        kind,
        ..Node::null(Origin::Text { line: 1, column: 1 })
    }
}

fn origin_of(at: Location) -> Origin {
    Origin::Text { line: at.line(), column: at.column() }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Leaf(u64::try_from(value).map_or(Kind::Signed(value), Kind::Unsigned)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Unsigned(value)))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Raw, E> {
        Err(E::custom(format!("the number {value} is too large")))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Raw, E> {
        Err(E::custom(format!("the number {value} is too large")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Text(value)))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Leaf(Kind::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::<(Spanned<String>, Spanned<Raw>)>::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let value = access.next_value()?;
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(A::Error::custom(format!("the key `{}` is written twice", key.value)));
            }
            entries.push((key, value));
        }
        Ok(Raw::Map(entries))
    }
}
