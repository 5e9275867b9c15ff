//! An incident as one file that needs nothing else: to be kept, sent, and replayed elsewhere.
//!
//! In: the row, the exact text of every entry, the texts that they name, rules and runbooks. Out:
//! JSON in which every text from outside is redacted once more and inert: printable ASCII, without
//! a character that a browser or a terminal would act on. Never: a secret that the redactor finds;
//! where it finds one, the entry says so, because its hash no longer fits. To export one more thing,
//! add a field that a reader may miss.

use crate::model::call::sha256_hex;
use crate::model::incident::IncidentRow;
use crate::redact::Redactor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub const FORMAT: &str = "watchkeeper-incident";
/// Raised when a reader of this version would misread the file.
pub const VERSION: u32 = 1;

/// The file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Export {
    pub format: String,
    pub version: u32,
    /// The version of the program that wrote it.
    pub program: String,
    pub exported_at_ms: i64,
    pub incident: IncidentRow,
    pub entries: Vec<Exported>,
    /// Whole outputs by their hash, as far as they are still kept.
    #[serde(default)]
    pub outputs: BTreeMap<String, Text>,
    #[serde(default)]
    pub outputs_gone: BTreeSet<String>,
    /// The safety rules that verdicts were given under, by their version, as far as they are kept.
    #[serde(default)]
    pub rules: BTreeMap<String, Text>,
    #[serde(default)]
    pub rules_gone: BTreeSet<String>,
    /// The runbooks file as it lay there when the incident was exported.
    #[serde(default)]
    pub runbooks: Option<Text>,
}

/// An entry. `body` is the text that was hashed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exported {
    pub seq: i64,
    pub at_ms: i64,
    pub kind: String,
    pub version: i64,
    pub body: String,
    pub hash: String,
    /// Something was taken out of the body, so that its hash cannot be checked.
    #[serde(default)]
    pub redacted: bool,
}

/// A text and the SHA-256 of what it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Text {
    pub sha256: String,
    pub text: String,
    #[serde(default)]
    pub redacted: bool,
}

/// The texts that entries name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Named {
    pub outputs: BTreeSet<String>,
    pub rules: BTreeSet<String>,
}

impl Named {
    /// What these entries name, also those that only a later version understands.
    pub fn by(entries: &[Exported]) -> Self {
        let mut named = Self::default();
        for entry in entries {
            let body: Value = serde_json::from_str(&entry.body).unwrap_or_default();
            let at = |pointer| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            named.outputs.extend(at("/output/hash"));
            named.rules.extend(at("/verdict/rules_version"));
        }
        named
    }
}

impl Exported {
    /// Takes out of the body what the redactor finds in it by now.
    pub fn redact(mut self, redactor: &Redactor) -> Self {
        let clean = redactor.json_text(&self.body).into_owned();
        self.redacted |= clean != self.body;
        self.body = clean;
        self
    }
}

impl Text {
    pub fn redacted(redactor: &Redactor, text: &str) -> Self {
        let clean = redactor.text(text).into_owned();
        Self { sha256: sha256_hex(text.as_bytes()), redacted: clean != text, text: clean }
    }
}

impl Export {
    /// The text of the file.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        Ok(inert(&serde_json::to_string_pretty(self)?))
    }
}

/// The same JSON in printable ASCII. Outside of its strings, JSON has none of these characters.
fn inert(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{7f}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c if c.is_ascii() => text.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_inert_and_means_the_same() {
        let value = serde_json::json!({"a": "<b>&\u{202e}é🧯\u{7f}\u{1b}\n\"\\"});
        let text = inert(&value.to_string());
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text}");
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn entries_of_later_versions_name_their_texts_as_well() {
        let entry = |body: &str| Exported {
            seq: 1,
            at_ms: 1,
            kind: "x".into(),
            version: 9,
            body: body.into(),
            hash: String::new(),
            redacted: false,
        };
        let named = Named::by(&[
            entry(r#"{"kind":"moon_landed","output":{"hash":"h1","bytes":1}}"#),
            entry(r#"{"kind":"judged","verdict":{"rules_version":"r1"}}"#),
            entry("no json"),
        ]);
        assert_eq!((named.outputs, named.rules), (["h1".into()].into(), ["r1".into()].into()));
    }
}
