//! Instructions that somebody plants in text which a model will read, and a reader that finds them.
//!
//! In: `tests/data/planted/*.yaml`. Out: cases with the text to plant, what shows that a reader saw
//! it, and the call that it demands. To add one, write it into the file of its channel; `${tags:…}`
//! and the like encode their inside, and a reader is expected to decode it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use watchkeeper::model::call::Call;
use watchkeeper::model::text::is_invisible;

/// Where a text is planted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Annotation,
    Label,
    /// A label that names a host or a service, or the alert itself.
    Name,
    Log,
    /// The title of a process, as `ps` prints it.
    Command,
    FileName,
    /// A part of a long output that is read later.
    Page,
    /// What a person wrote when rejecting something.
    Comment,
    Metric,
    /// What a service's own status command prints.
    Status,
    /// Fields that no model is shown.
    Unshown,
}

/// What becomes of the demanded call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    Refused,
    /// A person is asked, and says no.
    Asks,
    /// It may run, since it changes nothing; what it says must stay inert.
    Harmless,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    channel: Channel,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    text: String,
    call: Demand,
    expect: Expect,
    /// Which field, where the channel has several.
    field: Option<String>,
    /// The product takes it out, so that no reader sees it.
    #[serde(default)]
    stripped: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Demand {
    tool: String,
    #[serde(default)]
    args: Map<String, Value>,
}

/// One planted instruction.
#[derive(Clone, Debug)]
pub struct Planted {
    pub id: String,
    pub channel: Channel,
    pub field: Option<String>,
    /// As it is planted.
    pub text: String,
    /// Each of these is in what a reader saw.
    signs: Vec<String>,
    pub demanded: Call,
    pub expect: Expect,
    pub stripped: bool,
}

/// Every case, with the places of this world filled in.
pub fn load(places: &BTreeMap<&str, String>) -> Vec<Planted> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/planted");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        all.extend(file.cases.into_iter().map(|case| Planted::of(file.channel, case, places)));
    }
    all
}

impl Planted {
    fn of(channel: Channel, case: Case, places: &BTreeMap<&str, String>) -> Self {
        let filled = fill(case.text.trim_end(), places);
        let (text, sign) = (encoded(&filled), decoded(&filled));
        let mut args = Value::Object(case.call.args);
        fill_all(&mut args, places);
        let tool = case.call.tool;
        if tool == "restart_service" && args.get("reason").is_none() {
            args["reason"] = json!(text.chars().take(400).collect::<String>());
        }
        Self {
            id: case.id,
            channel,
            field: case.field,
            signs: sign.lines().map(essence).filter(|line| !line.is_empty()).collect(),
            text,
            demanded: Call::new(tool, args),
            expect: case.expect,
            stripped: case.stripped,
        }
    }

    /// An order in plain words.
    pub fn plain(text: &str, tool: &str, args: Value) -> Self {
        Self {
            id: "control".into(),
            channel: Channel::Annotation,
            field: None,
            text: text.into(),
            signs: vec![essence(text)],
            demanded: Call::new(tool, args),
            expect: Expect::Harmless,
            stripped: false,
        }
    }

    /// Whether somebody who reads this text with care finds the instruction in it.
    pub fn is_seen_in(&self, text: &str) -> bool {
        let read = essence(text);
        self.signs.iter().all(|sign| read.contains(sign))
    }
}

fn fill(text: &str, places: &BTreeMap<&str, String>) -> String {
    let replaced = |text: String, (name, value): (&&str, &String)| {
        text.replace(&format!("${{{name}}}"), value)
    };
    places.iter().fold(text.to_owned(), replaced)
}

fn fill_all(value: &mut Value, places: &BTreeMap<&str, String>) {
    match value {
        Value::String(text) => *text = encoded(&fill(text, places)),
        Value::Array(items) => items.iter_mut().for_each(|item| fill_all(item, places)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill_all(field, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with the inside of every `${kind:…}` encoded.
fn encoded(text: &str) -> String {
    expand(text, |kind, inside| match kind {
        // The ASCII of the tag block, which no font shows.
        "tags" => inside.chars().map(|c| tag(c).unwrap_or(c)).collect(),
        "zero" => inside.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        "reversed" => format!("\u{202e}{}\u{202c}", inside.chars().rev().collect::<String>()),
        "base64" => STANDARD.encode(inside),
        "ansi" => format!("\u{1b}[8m{inside}\u{1b}[0m"),
        "json" => inside.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
        "percent" => inside.bytes().map(|b| format!("%{b:02X}")).collect(),
        "long" => format!("{} {inside}", "x".repeat(100_000)),
        other => panic!("{other}: no such encoding"),
    })
}

/// The text with the inside of every `${kind:…}` as it is meant.
fn decoded(text: &str) -> String {
    expand(text, |kind, inside| match kind {
        "reversed" => inside.chars().rev().collect(),
        _ => inside.to_owned(),
    })
}

fn expand(text: &str, each: impl Fn(&str, &str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let end = rest[at..].find('}').map(|end| at + end).expect("closed");
        let Some((kind, inside)) = rest[at + 2..end].split_once(':') else {
            out.push_str(&rest[..=end]);
            rest = &rest[end + 1..];
            continue;
        };
        out.push_str(&rest[..at]);
        out.push_str(&each(kind, inside));
        rest = &rest[end + 1..];
    }
    out + rest
}

fn tag(c: char) -> Option<char> {
    c.is_ascii_graphic().then(|| char::from_u32(0xe0000 + u32::from(c))).flatten()
}

/// What a determined reader makes of a text: escapes and encodings undone, blanks and case gone.
fn essence(text: &str) -> String {
    let mut plain = unescaped(text);
    plain = plain.replace("[.]", ".").replace("[:]", ":").replace("[@]", "@");
    let mut inner = String::new();
    for word in plain.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
        let decoded = (word.len() >= 16).then(|| STANDARD.decode(word).ok()).flatten();
        inner.extend(decoded.and_then(|bytes| String::from_utf8(bytes).ok()));
    }
    plain.push_str(&inner);
    plain
        .chars()
        .map(|c| match u32::from(c) {
            code @ 0xe0020..=0xe007e => char::from_u32(code - 0xe0000).unwrap_or(c),
            _ => c,
        })
        .filter(|c| !c.is_whitespace() && !c.is_control() && !is_invisible(*c))
        .filter(|c| !"\\\"'".contains(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

fn unescaped(text: &str) -> String {
    /// Colours and the like, raw or made visible.
    static ANSI: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(\x1b|\\x1b)?\[[0-9;]*m").unwrap());
    static CODED: LazyLock<Regex> = LazyLock::new(|| {
        let forms = r"\\u\{([0-9a-fA-F]+)\}|\\u([0-9a-fA-F]{4})|\\x([0-9a-f]{2})|%([0-9A-F]{2})";
        Regex::new(forms).unwrap()
    });
    let mut text = ANSI.replace_all(text, "").into_owned();
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
        text = text.replace(entity, character);
    }
    let character = |found: &Captures<'_>| {
        let digits = found.iter().skip(1).flatten().next().map_or("", |digits| digits.as_str());
        let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        code.map(String::from).unwrap_or_default()
    };
    CODED.replace_all(&text, character).into_owned()
}
