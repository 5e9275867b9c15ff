//! The literals that start every rule, compiled once into one automaton.
//!
//! Out: the automaton and, for each literal, its rule. Never: a literal that ordinary logs repeat
//! on every line without need, because each hit costs its rule. To add a token format extend
//! `TOKENS` in `tokens`; for names see `names`.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::places::{COMMANDS, Flags};
use super::tokens::{HASHES, TOKENS, Token, WEBHOOKS};

#[derive(Clone, Copy)]
pub(super) enum Rule {
    Name,
    Token(&'static Token),
    Jwt,
    Telegram,
    AzureClient,
    Webhook,
    Hash,
    Pem,
    PemBase64,
    Url,
    Dsn,
    Oracle,
    Scheme,
    Command(&'static Flags),
    Identified,
    Pgpass,
    QueryKey,
    YamlKind,
    YamlData,
    JsonKind,
    JsonData,
    Escape,
}

pub(super) struct Anchors {
    pub(super) automaton: AhoCorasick,
    pub(super) rules: Vec<Rule>,
    /// Length of the longest literal.
    pub(super) longest: usize,
}

const SINGLE: &[(&str, Rule)] = &[
    ("pass", Rule::Name),
    ("pwd", Rule::Name),
    ("psw", Rule::Name),
    ("secret", Rule::Name),
    ("token", Rule::Name),
    ("key", Rule::Name),
    ("cred", Rule::Name),
    ("authorization", Rule::Name),
    ("auth\"", Rule::Name),
    ("auth\\\"", Rule::Name),
    ("_auth", Rule::Name),
    ("auth=", Rule::Name),
    ("auth:", Rule::Name),
    ("cookie", Rule::Name),
    ("sessid", Rule::Name),
    ("sessionid", Rule::Name),
    ("session_id", Rule::Name),
    ("connect.sid", Rule::Name),
    ("jwt", Rule::Name),
    ("accesssignature", Rule::Name),
    ("x-amz-signature", Rule::Name),
    ("x-goog-signature", Rule::Name),
    ("sig=", Rule::QueryKey),
    ("code=", Rule::QueryKey),
    ("key=", Rule::QueryKey),
    ("eyJ", Rule::Jwt),
    (":AA", Rule::Telegram),
    ("Q~", Rule::AzureClient),
    ("-----BEGIN ", Rule::Pem),
    ("PuTTY-User-Key-File", Rule::Pem),
    ("LS0tLS1CRUdJTi", Rule::PemBase64),
    ("://", Rule::Url),
    (":\\/\\/", Rule::Url),
    (":%2F%2F", Rule::Url),
    ("%3A%2F%2F", Rule::Url),
    ("@tcp(", Rule::Dsn),
    ("@unix(", Rule::Dsn),
    ("jdbc:oracle:thin:", Rule::Oracle),
    ("bearer ", Rule::Scheme),
    ("basic ", Rule::Scheme),
    ("bearer%20", Rule::Scheme),
    ("basic%20", Rule::Scheme),
    ("identified by ", Rule::Identified),
    (":5432:", Rule::Pgpass),
    (":5433:", Rule::Pgpass),
    (":6432:", Rule::Pgpass),
    (":*:", Rule::Pgpass),
    ("kind: ", Rule::YamlKind),
    ("\ndata:", Rule::YamlData),
    (" data:", Rule::YamlData),
    ("stringdata:", Rule::YamlData),
    ("kind\"", Rule::JsonKind),
    ("kind\\\"", Rule::JsonKind),
    ("data\"", Rule::JsonData),
    ("data\\\"", Rule::JsonData),
    ("\\u00", Rule::Escape),
];

static BUILTIN: LazyLock<Anchors> = LazyLock::new(compile);

pub(super) fn builtin() -> &'static Anchors {
    &BUILTIN
}

fn compile() -> Anchors {
    let mut literals: Vec<&str> = Vec::new();
    let mut rules = Vec::new();
    let tokens = TOKENS.iter().map(|token| (token.prefix, Rule::Token(token)));
    let webhooks = WEBHOOKS.iter().map(|address| (*address, Rule::Webhook));
    let hashes = HASHES.iter().map(|start| (*start, Rule::Hash));
    let commands = COMMANDS.iter().map(|flags| (flags.program, Rule::Command(flags)));
    let single = SINGLE.iter().copied();
    for (literal, rule) in tokens.chain(webhooks).chain(hashes).chain(commands).chain(single) {
        literals.push(literal);
        rules.push(rule);
    }
    let longest = literals.iter().map(|literal| literal.len()).max().unwrap_or(1);
    #[expect(
        clippy::expect_used,
        reason = "the literals are constants of this crate, far below \
        the automaton's limits; every test compiles them"
    )]
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&literals)
        .expect("constant literals compile");
    Anchors { automaton, rules, longest }
}
