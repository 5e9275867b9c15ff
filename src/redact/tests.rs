use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Redactor;

const PLANTED: &str = include_str!("../../tests/data/secrets/planted.txt");
const INNOCENT: &str = include_str!("../../tests/data/secrets/innocent.txt");

fn builtin() -> Redactor {
    Redactor::new([])
}

struct Planted {
    group: String,
    text: String,
    secrets: Vec<String>,
    /// What stands around the secrets.
    around: Vec<String>,
}

fn planted() -> Vec<Planted> {
    let mut group = String::new();
    let mut cases = Vec::new();
    for line in PLANTED.lines().filter(|line| !line.starts_with("# ") && !line.is_empty()) {
        if line.starts_with('[') && line.ends_with(']') && !line.contains('⟦') {
            group = line.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let line = line.replace('¦', "").replace('␤', "\n");
        let mut secrets = Vec::new();
        let mut around = Vec::new();
        for (index, part) in line.split(['⟦', '⟧']).enumerate() {
            let list = if index % 2 == 1 { &mut secrets } else { &mut around };
            list.push(part.to_owned());
        }
        let text = line.replace(['⟦', '⟧'], "");
        cases.push(Planted { group: group.clone(), text, secrets, around });
    }
    cases
}

#[test]
fn planted_secrets_are_found_at_the_published_recall() {
    let redactor = builtin();
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut exact, mut cases) = (0, 0);
    for case in planted() {
        let clean = redactor.text(&case.text);
        let counts = groups.entry(case.group.clone()).or_default();
        cases += 1;
        let mut rest: &str = &clean;
        let kept = case.around.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        });
        exact += usize::from(kept);
        if !kept {
            println!("around: {} -> {clean}", case.text);
        }
        for secret in &case.secrets {
            counts.1 += 1;
            if clean.contains(secret.as_str()) {
                println!("missed in {}: {} -> {clean}", case.group, case.text);
            } else {
                counts.0 += 1;
            }
        }
    }
    let found: usize = groups.values().map(|(found, _)| found).sum();
    let all: usize = groups.values().map(|(_, all)| all).sum();
    println!("{found} of {all}; text around kept in {exact} of {cases}; {groups:?}");
    assert!(all >= 150, "{all} secrets are planted");
    assert!(found * 100 >= all * 97, "{found} of {all} found");
    assert!(exact * 100 >= cases * 97, "{exact} of {cases} keep what is around");
}

#[test]
fn innocent_lines_stay_byte_for_byte() {
    let redactor = builtin();
    let lines: Vec<&str> = INNOCENT.lines().collect();
    assert!(lines.len() >= 200);
    let hits: Vec<String> = lines
        .iter()
        .filter(|line| redactor.text(line) != **line)
        .map(|line| redactor.text(line).into_owned())
        .collect();
    assert_eq!(hits, Vec::<String>::new());
    assert_eq!(redactor.text(INNOCENT), INNOCENT);
}

fn corpus() -> Vec<String> {
    let mut texts: Vec<String> = planted().into_iter().map(|case| case.text).collect();
    texts.push(texts.join("\n"));
    texts.push(INNOCENT.chars().take(4000).collect());
    texts
}

#[test]
fn redacting_twice_changes_nothing() {
    let redactor = builtin();
    for text in corpus() {
        let once = redactor.text(&text).into_owned();
        assert_eq!(redactor.text(&once), once, "from {text}");
        let once = redactor.json_text(&text).into_owned();
        assert_eq!(redactor.json_text(&once), once, "from {text}");
    }
}

#[test]
fn a_stream_split_anywhere_equals_the_whole_text() {
    let redactor = Redactor::new([SecretString::from("own-canary-4711/x")]);
    for case in planted() {
        let text = format!("é before {} after own-canary-4711/x end", case.text);
        let whole = redactor.text(&text);
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut stream = redactor.stream();
            let mut out = stream.push(&text[..at]);
            out.push_str(&stream.push(&text[at..]));
            out.push_str(&stream.finish());
            assert_eq!(out, whole, "split at {at} of {text}");
        }
    }
}

#[test]
fn a_stream_of_single_characters_equals_the_whole_text() {
    let redactor = builtin();
    for text in corpus() {
        let mut stream = redactor.stream();
        let mut out = String::new();
        for character in text.chars() {
            out.push_str(&stream.push(character.encode_utf8(&mut [0; 4])));
        }
        out.push_str(&stream.finish());
        assert_eq!(out, redactor.text(&text));
    }
}

#[test]
fn a_stream_gives_out_ordinary_lines_before_it_ends() {
    let mut stream = builtin().stream();
    let mut given = 0;
    for line in INNOCENT.lines() {
        given += stream.push(line).len() + stream.push("\n").len();
    }
    assert!(INNOCENT.len() - given < 2048, "{given} of {}", INNOCENT.len());
    assert_eq!(given + stream.finish().len(), INNOCENT.len());
}

#[test]
fn own_secrets_are_found_in_every_encoding() {
    let own = "p\"w/ä+5&<x>";
    let redactor = Redactor::new([SecretString::from(own), SecretString::from("short")]);
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    for text in [
        own.to_owned(),
        json!({ "x": own }).to_string(),
        json!({ "x": json!({ "y": own }).to_string() }).to_string(),
        "p%22w%2F%C3%A4%2B5%26%3Cx%3E".to_owned(),
        "p%22w%2f%c3%a4%2b5%26%3cx%3e".to_owned(),
        r#"p\"w/ä+5\u0026\u003cx\u003e"#.to_owned(),
        base64(own),
        base64(&format!("u:{own}")),
        base64(&format!("user:{own} and more")),
        base64(&format!("me:{own}")),
    ] {
        let clean = redactor.text(&text);
        assert!(clean.contains("[redacted:own_secret]"), "{text} -> {clean}");
        assert!(!clean.contains(own));
    }
    assert_eq!(redactor.text("a short story"), "a short story");
}

#[test]
fn the_kind_is_named_and_the_rest_stays() {
    let redactor = builtin();
    for (text, clean) in [
        ("a postgres://u:pw1@h/db b", "a postgres://u:[redacted:url_password]@h/db b"),
        (
            "x Authorization: Bearer abc.def-123 y",
            "x Authorization: Bearer [redacted:authorization] y",
        ),
        ("{\"password\":\"a\\\"b\",\"n\":1}", "{\"password\":\"[redacted:password]\",\"n\":1}"),
        ("{\"password\": 12345}", "{\"password\": \"[redacted:password]\"}"),
        ("mysql -uroot -psecret1 db", "mysql -uroot -p[redacted:password] db"),
        ("Set-Cookie: sid=abcdef; Path=/", "Set-Cookie: [redacted:cookie]; Path=/"),
    ] {
        assert_eq!(redactor.text(text), clean);
    }
}

#[test]
fn json_is_redacted_by_key_by_object_and_by_text() {
    let mut value = json!({
        "password": "a b", "token": ["first-token-1", "x"], "pin": 7, "db_password": 1234,
        "nested": { "headers": { "Authorization": "Bearer abcdef", "X": "redis://:pw@h" } },
        "env": [{ "name": "DB_PASSWORD", "value": "letmein" }, { "name": "LEVEL", "value": "info" }],
        "object": { "kind": "Secret", "data": { "a": "YQ==" }, "metadata": { "name": "data" } },
        "map": { "kind": "ConfigMap", "data": { "a": "YQ==" } },
        "enabled_password": true,
    });
    let raw = value.to_string();
    builtin().json(&mut value);
    assert_eq!(
        value,
        json!({
            "password": "[redacted:password]", "token": ["[redacted:token]", "x"], "pin": 7,
            "db_password": "[redacted:password]",
            "nested": { "headers": {
                "Authorization": "Bearer [redacted:authorization]",
                "X": "redis://:[redacted:url_password]@h",
            } },
            "env": [
                { "name": "DB_PASSWORD", "value": "[redacted:password]" },
                { "name": "LEVEL", "value": "info" },
            ],
            "object": {
                "kind": "Secret",
                "data": { "a": "[redacted:kubernetes_secret]" },
                "metadata": { "name": "data" },
            },
            "map": { "kind": "ConfigMap", "data": { "a": "YQ==" } },
            "enabled_password": true,
        })
    );
    let clean: Value = serde_json::from_str(&builtin().json_text(&raw)).unwrap();
    assert_eq!(clean, value);
}

#[test]
fn json_text_finds_what_escapes_hide_and_keeps_the_layout() {
    let redactor = builtin();
    for (raw, clean) in [
        (
            r#"{ "\u0070assword" : "x1" , "n": 1.50 }"#,
            r#"{ "\u0070assword" : "[redacted:password]" , "n": 1.50 }"#,
        ),
        (r#"{"m":"p\u0061ssword=x1"}"#, r#"{"m":"password=[redacted:password]"}"#),
        (r#"{"password":"\ud800x"}"#, r#"{"password":"[redacted:undecodable]"}"#),
        (r#"{"u":"a \u003c b","z":[]}"#, r#"{"u":"a \u003c b","z":[]}"#),
    ] {
        assert_eq!(redactor.json_text(raw), clean);
    }
}

#[test]
fn ordinary_json_is_borrowed() {
    let raw =
        r#"{"status":"firing","labels":{"alertname":"HighCPU"},"generatorURL":"http://p:9090/g"}"#;
    assert!(matches!(builtin().json_text(raw), std::borrow::Cow::Borrowed(_)));
    assert!(matches!(builtin().text(raw), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn hostile_input_costs_no_more_per_byte() {
    // The sizes are chosen such that a quadratic rule would run for minutes.
    let redactor = builtin();
    for piece in [
        "password=\"",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "://a:",
        "token",
        "data:\n a: b\n",
        "\"data\":{\"a\":\"b\"}",
        "mysql ",
        "secret\\",
        "key key ",
        "Cookie: a=b; ",
        "$6$",
        "{\"data\":",
        "-----BEGIN ",
        "password: |\n  ",
        "name: PASSWORD\n",
        "a@tcp(",
        "\\",
        "key=",
        "curl -u ",
        "Authorization: Token token=",
        "LS0tLS1CRUdJTi",
        " data:\n  ",
        "pass,",
        "\\u00",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        let whole = redactor.text(&text).len();
        let mut stream = redactor.stream();
        let mut length = 0;
        for chunk in text.as_bytes().chunks(1000) {
            length += stream.push(std::str::from_utf8(chunk).unwrap()).len();
        }
        assert_eq!(length + stream.finish().len(), whole, "{piece}");
        assert!(redactor.json_text(&text).len() < text.len() * 8 + 64);
    }
}

/// Texts built from the pieces that rules look for.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "password",
        "token",
        "\"",
        "\\\"",
        "\\",
        "=",
        ": ",
        ":",
        " ",
        "\n",
        ",",
        ";",
        "&",
        "{",
        "}",
        "[",
        "]",
        "é",
        "a1B2c3D4e5",
        "hunter2",
        "://",
        "@",
        "Bearer ",
        "Authorization",
        "Cookie",
        "eyJhbGciOiJI",
        ".",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "kind: Secret\n",
        "\ndata:\n  a: YQ==\n",
        "name",
        "value",
        "AKIA",
        "0123456789ABCDEF",
        "%3D",
        "\\n",
        "'",
        "<",
        ">",
        "mysql -p",
        "secret",
        "api_key",
        "[redacted:token]",
        "own-canary",
        "/",
        "$6$",
        "Basic ",
        "|",
        "@tcp(",
        ":5432:",
        "sig=",
        "?",
        "\\u003d",
        "&quot;",
        "--password ",
        "login x ",
        "stringData:\n",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, rng_seed: RngSeed::Fixed(4711), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_stable_and_splits_anywhere(text in pieces(), cuts in prop::collection::vec(0usize..200, 0..6)) {
        let redactor = Redactor::new([SecretString::from("own-canary")]);
        let whole = redactor.text(&text).into_owned();
        prop_assert!(!whole.contains("own-canary"));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(*cut)).collect();
        cuts.sort_unstable();
        let mut stream = redactor.stream();
        let mut out = String::new();
        let mut from = 0;
        for cut in cuts {
            out.push_str(&stream.push(&text[from..cut]));
            from = cut;
        }
        out.push_str(&stream.push(&text[from..]));
        out.push_str(&stream.finish());
        prop_assert_eq!(&out, &whole);
    }

    #[test]
    fn any_text_is_unchanged_by_a_second_pass(text in pieces()) {
        let redactor = builtin();
        let once = redactor.text(&text).into_owned();
        prop_assert_eq!(redactor.text(&once).into_owned(), once);
    }

    #[test]
    fn any_json_still_parses_and_agrees_with_the_parsed_form(
        texts in prop::collection::vec(pieces(), 1..6),
        key in prop::sample::select(vec!["password", "data", "kind", "name", "x", "Authorization"]),
    ) {
        let redactor = builtin();
        let mut value = json!({ key: texts[0], "list": texts, "inner": { "token": texts[0], "value": 5 } });
        let raw = value.to_string();
        let clean = redactor.json_text(&raw);
        let parsed: Value = serde_json::from_str(&clean).unwrap();
        redactor.json(&mut value);
        prop_assert_eq!(parsed, value);
    }
}
