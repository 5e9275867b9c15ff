//! Puts a reading fault into words that a person can act on.
//!
//! In: a [`Fault`]. Out: a message and, where there is one, advice.
//! Never: the value of a key that may hold a secret.

use super::typed::{Cause, Fault, Found};
use crate::model::text::distance;

/// Keys whose values are never repeated in a message, by how they end.
const SECRET_ENDINGS: [&str; 9] =
    ["password", "secret", "token", "key", "webhook_url", "database_url", "hash", "user", "proxy"];

/// Says what is wrong, and what to do about it.
pub(super) fn words(fault: &Fault) -> (String, Option<String>) {
    match &fault.cause {
        Cause::UnknownKey { key, known } => (
            format!("unknown key; the keys here are {}", listed(known)),
            nearest(key, known).map(|near| format!("did you mean `{near}`?")),
        ),
        Cause::MissingKey { key } => (format!("the key `{key}` is missing"), None),
        Cause::UnknownWord { word, known } => {
            let near = closest(word, known).map(|near| format!("did you mean `{near}`?"));
            (format!("expected one of {}, found {word:?}", listed(known)), near)
        }
        Cause::Mismatch { found, expected } => {
            let secret = fault.path.as_deref().is_some_and(may_hold_a_secret);
            mismatch(found, expected, secret)
        }
        Cause::Other(message) => (message.clone(), None),
    }
}

pub(super) fn may_hold_a_secret(path: &str) -> bool {
    let key = path.rsplit('.').find(|step| step.parse::<usize>().is_err()).unwrap_or(path);
    SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending))
}

fn mismatch(found: &Found, expected: &str, secret: bool) -> (String, Option<String>) {
    let wanted = wanted(expected);
    let seen = match &found.value {
        Some(value) if !secret => format!("{} {value}", found.kind),
        Some(_) | None => found.kind.replacen("the ", "a ", 1),
    };
    let hint = match (wanted.as_str(), found.kind) {
        (_, "nothing") => Some("write a value, or remove the line"),
        ("a text" | "a path", "the number" | "a yes-or-no value") => Some("put it in quotes"),
        ("true or false", "the text") => Some("write it without quotes, in lower case"),
        (number, "the text") if number.contains("number") => {
            Some("write it in digits, without quotes and without a unit")
        }
        ("a list", _) => Some("write `[a, b]`, or one `- item` a line"),
        ("a section with keys", "the text") => {
            Some("write lines of `key: value`, with a space after the colon")
        }
        _ => None,
    };
    (format!("expected {wanted}, found {seen}"), hint.map(str::to_owned))
}

/// Serde's words for a type, as a person would say them.
fn wanted(expected: &str) -> String {
    let plain = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "path string" => "a path",
        "a sequence" => "a list",
        "a map" | "struct" => "a section with keys",
        other if other.starts_with("struct ") => "a section with keys",
        other => other,
    };
    plain.to_owned()
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// The known key that a mistake may have meant.
pub(super) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_lowercase().replace('-', "_");
    // `timeout` for `timeout_s`: the unit was left out, or a word too many was written.
    let part = |known: &&&str| key.len() >= 4 && (known.contains(&key) || key.contains(**known));
    closest(&key, known).or_else(|| known.iter().find(part).copied())
}

/// The known word that differs by a few letters.
fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let (letters, near) = known.iter().map(|known| (distance(word, known), *known)).min()?;
    let most = (word.chars().count().min(near.chars().count()) / 3).max(1);
    (letters <= most).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let known = ["listen", "public_url", "data_dir", "timeout_s"];
        assert_eq!(nearest("lsten", &known), Some("listen"));
        assert_eq!(nearest("publicurl", &known), Some("public_url"));
        assert_eq!(nearest("data-dir", &known), Some("data_dir"));
        assert_eq!(nearest("timeout", &known), Some("timeout_s"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(closest("unsafe", &["safe", "confirm"]), None);
        assert_eq!(closest("jso", &["text", "json"]), Some("json"));
    }
}
