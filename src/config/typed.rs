//! Reads a Rust type from a document tree and says exactly which value did not fit.
//!
//! In: a [`Node`]. Out: the type, or a [`Fault`] that names the innermost value at fault.
//! Never: a conversion between types of the file (a quoted `"8080"` is no number). Only text from
//! the environment or the command line, which has no types of its own, takes the type asked for.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};

use super::tree::{Kind, Node, State};

/// Why a value could not be read.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub cause: Cause,
    /// Path of the innermost value that was being read.
    pub path: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Cause {
    UnknownKey { key: String, known: &'static [&'static str] },
    MissingKey { key: &'static str },
    UnknownWord { word: String, known: &'static [&'static str] },
    Mismatch { found: Found, expected: String },
    Other(String),
}

/// What stood there. The value is apart from its kind, because that of a secret is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub kind: &'static str,
    pub value: Option<String>,
}

impl Fault {
    fn new(cause: Cause) -> Self {
        Self { cause, path: None }
    }

    fn at(mut self, node: &Node) -> Self {
        self.path.get_or_insert_with(|| node.path.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.cause)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Cause::Mismatch { found: describe(found), expected: expected.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownWord { word: word.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Cause::MissingKey { key })
    }
}

fn describe(found: Unexpected<'_>) -> Found {
    let (kind, value) = match found {
        Unexpected::Bool(value) => ("a yes-or-no value", Some(value.to_string())),
        Unexpected::Unsigned(value) => ("the number", Some(value.to_string())),
        Unexpected::Signed(value) => ("the number", Some(value.to_string())),
        Unexpected::Float(value) => ("the number", Some(value.to_string())),
        Unexpected::Char(value) => ("the text", Some(format!("{value:?}"))),
        Unexpected::Str(value) => ("the text", Some(shorten(value))),
        Unexpected::Unit | Unexpected::Option => ("nothing", None),
        Unexpected::Seq => ("a list", None),
        Unexpected::Map => ("a section with keys", None),
        Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => ("something else", None),
    };
    Found { kind, value }
}

fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARS_MAX).collect();
    format!("{:?}", format!("{start}…"))
}

impl<'de> IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_list<'de, V: Visitor<'de>>(items: &'de [Node], visitor: V) -> Result<V::Value, Fault> {
    visitor.visit_seq(SeqDeserializer::new(items.iter().filter(|item| item.state != State::Dead)))
}

fn map_access<'de>(
    entries: &'de [(String, Node)],
) -> MapDeserializer<'de, impl Iterator<Item = (&'de str, &'de Node)>, Fault> {
    let alive = entries.iter().filter(|(_, node)| node.state != State::Dead);
    MapDeserializer::new(alive.map(|(key, node)| (key.as_str(), node)))
}

impl Node {
    fn visit<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Unsigned(value) => visitor.visit_u64(*value),
            Kind::Signed(value) => visitor.visit_i64(*value),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_borrowed_str(text),
            Kind::List(items) => visit_list(items, visitor),
            Kind::Map(entries) => visitor.visit_map(map_access(entries)),
            Kind::Outside { text, .. } => visitor.visit_borrowed_str(text),
        }
    }

    /// Text from outside as a number, when it is one; else as it stands, which the visitor refuses.
    fn visit_number<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        let Kind::Outside { text, .. } = &self.kind else {
            return self.visit(visitor);
        };
        let text = text.trim();
        if let Ok(value) = text.parse() {
            return visitor.visit_u64(value);
        }
        if let Ok(value) = text.parse() {
            return visitor.visit_i64(value);
        }
        match text.parse() {
            Ok(value) => visitor.visit_f64(value),
            Err(_) => visitor.visit_borrowed_str(text),
        }
    }

    fn visit_bool<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        if self.state == State::StandIn {
            return visitor.visit_bool(false);
        }
        match &self.kind {
            Kind::Outside { text, .. } => match text.trim() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                other => Err(de::Error::invalid_type(Unexpected::Str(other), &visitor)),
            },
            Kind::Null
            | Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_) => self.visit(visitor),
        }
    }

    fn visit_seq<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        if self.state == State::StandIn {
            return visit_list(&[], visitor);
        }
        let Kind::Outside { text, brackets } = &self.kind else {
            return self.visit(visitor);
        };
        match brackets {
            Some(node) => node.visit(visitor),
            None => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                visitor.visit_seq(SeqDeserializer::new(words))
            }
        }
    }

    /// A section that was left empty is one without keys, so that all its lines may be comments.
    fn visit_section<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        if self.state == State::StandIn {
            return visitor.visit_map(map_access(&[]));
        }
        match &self.kind {
            Kind::Null => visitor.visit_map(map_access(&[])),
            Kind::Outside { brackets: Some(node), .. } => node.visit(visitor),
            Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Outside { brackets: None, .. } => self.visit(visitor),
        }
    }

    fn visit_enum<'de, V: Visitor<'de>>(
        &'de self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let (State::StandIn, Some(word)) = (self.state, known.first()) {
            return visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(*word));
        }
        let expected = OneOf(known);
        let refused = |found| Err(de::Error::invalid_type(found, &expected));
        match &self.kind {
            Kind::Text(text) | Kind::Outside { text, brackets: None } => {
                visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text.as_str()))
            }
            Kind::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(map_access(entries)))
            }
            Kind::Outside { brackets: Some(node), .. } => node.visit_enum(known, visitor),
            Kind::Map(_) => refused(Unexpected::Map),
            Kind::Null => refused(Unexpected::Unit),
            Kind::Bool(value) => refused(Unexpected::Bool(*value)),
            Kind::Unsigned(value) => refused(Unexpected::Unsigned(*value)),
            Kind::Signed(value) => refused(Unexpected::Signed(*value)),
            Kind::Float(value) => refused(Unexpected::Float(*value)),
            Kind::List(_) => refused(Unexpected::Seq),
        }
    }
}

struct OneOf(&'static [&'static str]);

impl Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", self.0.join(", "))
    }
}

macro_rules! read_as {
    ($how:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$how(visitor).map_err(|fault| fault.at(self))
        })*
    };
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    read_as!(visit: deserialize_any deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_identifier deserialize_unit);
    read_as!(visit_bool: deserialize_bool);
    read_as!(visit_number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
        deserialize_f64);
    read_as!(visit_seq: deserialize_seq);
    read_as!(visit_section: deserialize_map);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Bool(_)
            | Kind::Unsigned(_)
            | Kind::Signed(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Outside { .. } => visitor.visit_some(self),
        }
        .map_err(|fault| fault.at(self))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(self))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // A list would fit a struct by position, which no file means to say.
        if let Kind::List(_) = self.kind {
            return Err(Fault::at(de::Error::invalid_type(Unexpected::Seq, &"struct"), self));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_enum(variants, visitor).map_err(|fault| fault.at(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}
