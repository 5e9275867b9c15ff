//! Reads the table's short notation for flags, values and positional words.
//!
//! In: `-n=int(1..100)`, `--since:time`, `-b?signed(-9..0)`, `list+`. Out: typed descriptions.
//! Never: a default for what it does not understand; a typing error in the table is a load error.

use std::collections::BTreeMap;

use super::kind::Kind;
use super::shapes::Shape;
use crate::safety::paths::Access;

/// Named lists and kinds that the table's files share.
#[derive(Debug, Default, Clone)]
pub struct Names {
    pub lists: BTreeMap<String, Vec<String>>,
}

/// Whether a flag takes a value, and where that stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Takes {
    Nothing,
    /// `=`: attached or as the next word.
    Value(Kind),
    /// `:`: as the next word only.
    Next(Kind),
    /// `~`: attached with `=` only.
    Attached(Kind),
    /// `[=kind]`: attached if at all.
    MaybeAttached(Kind),
    /// `?`: attached, or the next word when that has the shape.
    Maybe(Kind),
}

/// One place for positional words.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    pub kind: Kind,
    pub min: usize,
    pub max: usize,
}

/// Reads a list of flags, separated by blanks.
pub fn flags(text: &str, names: &Names) -> Result<BTreeMap<String, Takes>, String> {
    let mut flags = BTreeMap::new();
    for token in text.split_whitespace() {
        let (name, takes) = flag(token, names)?;
        if flags.insert(name.clone(), takes).is_some() {
            return Err(format!("flag {name} is listed twice"));
        }
    }
    Ok(flags)
}

fn flag(token: &str, names: &Names) -> Result<(String, Takes), String> {
    if let Some((name, rest)) = token.split_once("[=") {
        let inner = rest.strip_suffix(']').ok_or_else(|| format!("{token}: no closing ]"))?;
        return Ok((name.to_owned(), Takes::MaybeAttached(kind(inner, names)?)));
    }
    let Some(at) = token.find(['=', ':', '~', '?']) else {
        return Ok((token.to_owned(), Takes::Nothing));
    };
    let (name, rest) = token.split_at(at);
    let kind = kind(&rest[1..], names)?;
    let takes = match &rest[..1] {
        "=" => Takes::Value(kind),
        ":" => Takes::Next(kind),
        "~" => Takes::Attached(kind),
        _ => Takes::Maybe(kind),
    };
    Ok((name.to_owned(), takes))
}

/// Reads alternatives of positional words: slots separated by blanks, alternatives by ` | `.
pub fn slots(text: &str, names: &Names) -> Result<Vec<Vec<Slot>>, String> {
    let mut all = vec![Vec::new()];
    for token in text.split_whitespace() {
        if token == "|" {
            all.push(Vec::new());
        } else if let Some(last) = all.last_mut() {
            last.push(slot(token, names)?);
        }
    }
    Ok(all)
}

fn slot(token: &str, names: &Names) -> Result<Slot, String> {
    let (text, min, max) = match token.as_bytes().last() {
        Some(b'?') => (&token[..token.len() - 1], 0, 1),
        Some(b'*') => (&token[..token.len() - 1], 0, 32),
        Some(b'+') => (&token[..token.len() - 1], 1, 32),
        _ => (token, 1, 1),
    };
    Ok(Slot { kind: kind(text, names)?, min, max })
}

/// Reads one kind.
pub fn kind(text: &str, names: &Names) -> Result<Kind, String> {
    let parts = split_outside(text);
    if parts.len() > 1 {
        let kinds: Result<Vec<Kind>, String> = parts.iter().map(|p| kind(p, names)).collect();
        return Ok(Kind::Any(kinds?));
    }
    match text.split_once('(') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| format!("{text}: no closing )"))?;
            with_list(name, inner, names)
        }
        None => simple(text),
    }
}

/// Splits at `|` outside parentheses.
fn split_outside(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == '|' && depth == 0
    })
    .collect()
}

fn with_list(name: &str, inner: &str, names: &Names) -> Result<Kind, String> {
    let bad = || format!("{name}({inner}): not understood");
    let list = || -> Result<Vec<String>, String> {
        let mut items = Vec::new();
        for item in inner.split('|') {
            match item.strip_prefix('@') {
                Some(list) => items.extend(names.lists.get(list).ok_or_else(bad)?.iter().cloned()),
                None => items.push(item.to_owned()),
            }
        }
        Ok(items)
    };
    let range = || inner.split_once("..").ok_or_else(bad);
    Ok(match name {
        "int" => {
            let (min, max) = range()?;
            Kind::Int(min.parse().map_err(|_| bad())?, max.parse().map_err(|_| bad())?)
        }
        "signed" => {
            let (min, max) = range()?;
            Kind::Signed(min.parse().map_err(|_| bad())?, max.parse().map_err(|_| bad())?)
        }
        "num" => {
            let (min, max) = range()?;
            Kind::Number(min.parse().map_err(|_| bad())?, max.parse().map_err(|_| bad())?)
        }
        "one" => Kind::OneOf(list()?),
        "many" => Kind::Many(list()?),
        "sorted" => Kind::Sorted(list()?),
        "word" => Kind::Word(inner.to_owned()),
        "named" => Kind::Named(inner.to_owned()),
        "words" => Kind::Words(inner.to_owned()),
        _ => return Err(bad()),
    })
}

fn simple(name: &str) -> Result<Kind, String> {
    Ok(match name {
        "read" => Kind::Path(Access::Read),
        "tree" => Kind::Path(Access::ReadTree),
        "list" => Kind::Path(Access::List),
        "cert" => Kind::Path(Access::Certificate),
        "device" => Kind::Device,
        "time" => Kind::Time,
        "duration" => Kind::Duration,
        "unit" => Kind::Unit,
        "unitglob" => Kind::UnitGlob,
        "host" => Kind::Host,
        "loopback" => Kind::Loopback,
        "server" => Kind::Server,
        "text" => Kind::Text,
        "pattern" => Kind::Pattern,
        "filter" => Kind::Filter,
        "age" => Kind::Age,
        "size" => Kind::Size,
        "mode" => Kind::Mode,
        "journalmatch" => Kind::JournalMatch,
        "dateformat" => Kind::DateFormat,
        "resource" => Kind::Resource,
        "resourceoutput" => Kind::ResourceOutput,
        "endpoint" => Kind::Endpoint,
        "hostport" => Kind::HostPort,
        "sedprint" => Kind::Shape(Shape::SedPrint),
        "awkprint" => Kind::Shape(Shape::AwkPrint),
        "jqpath" => Kind::Shape(Shape::JqPath),
        "healthurl" => Kind::Shape(Shape::HealthUrl),
        "curlformat" => Kind::Shape(Shape::CurlFormat),
        "showline" => Kind::Shape(Shape::ShowLine),
        // 2^22, the most that Linux numbers (`PID_MAX_LIMIT` in `linux/threads.h`).
        "pid" => Kind::Int(1, 4_194_304),
        "port" => Kind::Int(1, 65_535),
        "name" => Kind::Word("_.-".to_owned()),
        "names" => Kind::Words("_.-".to_owned()),
        "ifname" => Kind::Word("_.:@-".to_owned()),
        other => return Err(format!("{other}: no such kind of value")),
    })
}
