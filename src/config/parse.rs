//! Parses YAML into a tree with positions.
//!
//! In: text. Out: a [`Node`], or the one problem at which parsing stopped.
//! Never: a value that is written twice, an unknown tag, a second document, or an expansion of
//! aliases without bound; the parser refuses these.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::problem::Problem;
use super::tree::{Kind, Node, Origin};

/// Parses one YAML document; an empty one is `Null`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Box<Problem>> {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    let parsed = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options);
    let mut root = match parsed {
        Ok(raw) => node_of(raw, None),
        Err(serde_saphyr::Error::Eof { .. }) => Node::null(Origin::Text { line: 1, column: 1 }),
        Err(error) => return Err(Box::new(syntax_problem(file, text, &error))),
    };
    root.name_paths(String::new(), String::new());
    Ok(root)
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
    if let serde_saphyr::Error::Unexpected { expected: "string scalar", .. } =
        error.without_snippet()
    {
        problem.message = "a list or a section stands where a key must be".to_owned();
        return problem.hint("a text that begins with `{` or `[` needs quotes");
    }
    if let serde_saphyr::Error::UnsupportedTag { .. } = error.without_snippet() {
        return problem.hint("put the value in quotes");
    }
    if let serde_saphyr::Error::UnknownAnchor { .. } = error.without_snippet() {
        return problem.hint("an alias `*name` needs `&name` before it; else use quotes");
    }
    problem.hint("look here and just before for a missing quote, bracket, colon or space")
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
