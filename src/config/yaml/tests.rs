use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    hosts: BTreeMap<String, Host>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    address: String,
    #[serde(default)]
    protected: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    tier: Tier,
    #[serde(default)]
    max: Option<u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tier {
    Safe,
    Confirm,
}

fn problems(text: &str) -> Vec<String> {
    let problems = load::<File>("f.yaml", text).unwrap_err();
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn a_right_file_is_read_whole() {
    let text = "version: 1\nhosts:\n  web1.example.org: { address: 192.0.2.1 }\nrules:\n";
    // An empty list is written `[]`: a list with a default must not be emptied by a slip.
    assert_eq!(
        problems(text),
        ["f.yaml:4:1: rules: expected a list, found nothing (write a value, or remove the line)"]
    );
    let text = text.replace("rules:\n", "rules:\n  - name: a\n    tier: safe\n    max: 3\n");
    let host = Host { address: "192.0.2.1".to_owned(), protected: false };
    let expected = File {
        version: 1,
        hosts: BTreeMap::from([("web1.example.org".to_owned(), host)]),
        rules: vec![Rule { name: "a".to_owned(), tier: Tier::Safe, max: Some(3) }],
    };
    assert_eq!(load::<File>("f.yaml", &text).unwrap().value, expected);
}

#[test]
fn every_mistake_is_reported_once_in_file_order() {
    let text = "\
versoin: 1
hosts:
  web1: { adress: 192.0.2.1 }
  web2: { address: 5, protected: yes }
rules:
  - name: a
    tier: unsafe
    max: -1
  - tier: safe
  - { name: b, tier: safe, colour: red }
  - nothing
";
    assert_eq!(
        problems(text),
        [
            "f.yaml:1:1: versoin: unknown key; the keys here are version, hosts, rules (did you \
             mean `version`?)",
            "f.yaml:3:11: hosts.web1.adress: unknown key; the keys here are address, protected \
             (did you mean `address`?)",
            "f.yaml:4:20: hosts.web2.address: expected a text, found the number 5 (put it in \
             quotes)",
            "f.yaml:4:34: hosts.web2.protected: expected true or false, found the text \"yes\" \
             (write it without quotes, in lower case)",
            "f.yaml:7:11: rules[0].tier: expected one of safe, confirm, found \"unsafe\"",
            "f.yaml:8:10: rules[0].max: expected a whole number from 0 to 4294967295, found the \
             number -1",
            "f.yaml:9:5: rules[1]: the key `name` is missing",
            "f.yaml:10:28: rules[2].colour: unknown key; the keys here are name, tier, max",
            "f.yaml:11:5: rules[3]: expected a section with keys, found the text \"nothing\" \
             (write lines of `key: value`, with a space after the colon)",
        ]
    );
}

#[test]
fn broken_yaml_is_one_problem_with_its_place() {
    for (text, expected) in [
        (
            "version: 1\nversion: 2\n",
            "2:1: the key `version` is written twice in this section (keep one of the two)",
        ),
        (
            "version: 1\nhosts:\n  web1:\n  \taddress: x\n",
            "4:3: a tab indents this line; YAML allows only spaces there (replace the tab by \
             spaces)",
        ),
        (
            "version: 1\n---\nversion: 2\n",
            "3:1: a second document starts after the first (remove the line `---` and keep one \
             document in the file)",
        ),
        (
            "version: !secret 1\n",
            "1:18: this is not valid YAML: unsupported tag `!secret` (put the value in quotes)",
        ),
        (
            "version: *one\n",
            "1:10: this is not valid YAML: reference to unknown value (an alias `*name` needs \
             `&name` before it; else use quotes)",
        ),
        ("{", "1:1: this is not valid YAML: unclosed bracket '{'HINT"),
        ("- version\n", "1:1: expected a section with keys, found a list"),
        ("", "1:1: the key `version` is missing"),
        (
            "version: 1\nrules: [{}]\n",
            "2:9: rules[0]: the key `name` is missing\nf.yaml:2:9: rules[0]: the key `tier` is \
             missing",
        ),
    ] {
        let look = " (look here and just before for a missing quote, bracket, colon or space)";
        let expected = format!("f.yaml:{}", expected.replace("HINT", look));
        assert_eq!(problems(text).join("\n"), expected, "{text:?}");
    }
}

#[test]
fn a_hostile_file_ends_the_reading_with_a_problem() {
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='k')
            .map(|key| {
                let before = char::from(key as u8 - 1);
                format!("{key}: &{key} [{}]\n", vec![format!("*{before}"); 10].join(","))
            })
            .collect::<String>();
    let many = format!("version: 1\nrules: [{}]\n", vec!["x"; 1_000].join(", "));
    assert_eq!(problems(&deep).len(), 1);
    assert_eq!(problems(&bomb).len(), 1);
    assert_eq!(problems(&many).len(), PROBLEMS_MAX);
}

proptest::proptest! {
    /// Pieces of YAML in any order: an answer, a place inside the text, and no panic.
    #[test]
    fn any_text_gets_an_answer(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let lines = text.lines().count() as u64 + 1;
        if let Err(problems) = load::<File>("f.yaml", &text) {
            proptest::prop_assert!(!problems.is_empty());
            for problem in problems {
                proptest::prop_assert!(problem.line.is_none_or(|line| line <= lines), "{}", problem);
            }
        }
    }
}

fn piece() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "version", "hosts", "rules", "name", "tier", "safe", "max", ":", ": ", "\n", "\n  ", "- ",
        "\n- ", "[", "]", "{", "}", ", ", "1", "-7", "\"", "'", "#", "|", ">", "&a ", "*a", "!x ",
        "<<: ", "\t", "---\n", "é", "\u{0}", "\u{feff}", "~", "null", "true", "1e999", "? ", "%",
    ])
}

#[test]
fn later_checks_point_at_their_line() {
    let text = "version: 1\nrules:\n  - { name: a, tier: safe }\n  - name: b\n    tier: safe\n";
    let positions = load::<File>("f.yaml", text).unwrap().positions;
    let shown = |path| positions.problem(path, "bad").to_string();
    assert_eq!(shown("rules.1.tier"), "f.yaml:5:11: rules[1].tier: bad");
    assert_eq!(shown("rules.1.max"), "f.yaml:4:5: rules[1].max: bad");
    assert_eq!(shown("rules"), "f.yaml:2:1: rules: bad");
    assert_eq!(shown("hosts.web1.address"), "f.yaml:1:1: hosts.web1.address: bad");
    assert_eq!(
        positions.at_key("rules.1.tier", "bad").to_string(),
        "f.yaml:5:5: rules[1].tier: bad"
    );
}

#[test]
fn what_is_left_of_a_wrong_list_keeps_its_places() {
    let text = "version: 1\nrules:\n  - { name: a }\n  - { name: b, tier: safe }\n";
    let partial = read::<File>("f.yaml", text);
    assert_eq!(partial.problems.len(), 1);
    assert_eq!(partial.value.unwrap().rules[0].name, "b");
    let problem = partial.positions.problem("rules.0.name", "bad");
    assert_eq!(problem.to_string(), "f.yaml:4:13: rules[1].name: bad");
}
