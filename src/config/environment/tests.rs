use secrecy::ExposeSecret;

use super::*;
use crate::config::Settings;
use crate::config::parse::parse;
use crate::config::yaml::read_tree;

/// Name, base URL, model and key of every endpoint, and the warnings.
fn endpoints(yaml: &str, variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let mut root = parse("x.yaml", yaml).unwrap();
    let findings = lay_over(&mut root, &variables.iter().copied().collect(), &[]);
    assert_eq!(findings.problems, Vec::new());
    let read = read_tree::<Settings>("x.yaml", root);
    assert_eq!(read.problems, Vec::new());
    let shown = read.value.unwrap().model.endpoints.into_iter().map(|endpoint| {
        let key = endpoint.api_key.map_or("-".to_owned(), |key| key.expose_secret().to_owned());
        format!("{} {} {} {key}", endpoint.name, endpoint.base_url, endpoint.model)
    });
    (shown.collect(), findings.warnings.iter().map(Problem::to_string).collect())
}

#[test]
fn a_key_alone_enables_no_model() {
    assert_eq!(endpoints("", &[("OPENAI_API_KEY", "k")]), (vec![], vec![]));
    let keyed = [("OPENAI_API_KEY", "k"), ("OPENAI_MODEL", "m")];
    assert_eq!(endpoints("", &keyed), (vec![], vec![]));
}

#[test]
fn a_base_url_without_a_model_is_warned_about() {
    let (named, warnings) = endpoints("", &[("OPENAI_BASE_URL", "http://localhost:1/v1")]);
    assert_eq!(named, Vec::<String>::new());
    assert_eq!(
        warnings,
        ["environment variable OPENAI_BASE_URL: names no model, because OPENAI_MODEL is not set"]
    );
}

#[test]
fn variables_name_a_model_on_this_machine() {
    let variables = [
        ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1"),
        ("OPENAI_MODEL", "small"),
        ("OPENAI_API_KEY", "k"),
        ("HERMES_BASE_URL", "http://localhost:8000/v1"),
        ("HERMES_MODEL", "large"),
    ];
    let expected = vec![
        "openai http://127.0.0.1:11434/v1 small k".to_owned(),
        "hermes http://localhost:8000/v1 large -".to_owned(),
    ];
    assert_eq!(endpoints("", &variables), (expected.clone(), vec![]));
    assert_eq!(endpoints("model: { endpoints: [] }", &variables), (expected, vec![]));
}

#[test]
fn a_remote_model_from_variables_needs_a_word_in_the_configuration() {
    let variables = [("OPENAI_BASE_URL", "https://api.openai.com/v1"), ("OPENAI_MODEL", "m")];
    let (named, warnings) = endpoints("", &variables);
    assert_eq!(named, Vec::<String>::new());
    assert_eq!(
        warnings,
        ["environment variable OPENAI_BASE_URL: is not used: it names a model beyond this \
          machine \
          (write it under model.endpoints, or set model.remote_endpoints_from_environment: true)"]
    );
    let allowed = "model: { remote_endpoints_from_environment: true }";
    let expected = vec!["openai https://api.openai.com/v1 m -".to_owned()];
    assert_eq!(endpoints(allowed, &variables), (expected, vec![]));
}

#[test]
fn a_key_goes_only_to_the_host_it_is_meant_for() {
    let file = "model:\n  endpoints:\n\
                \x20   - { name: a, base_url: 'https://api.openai.com/v1', model: m }\n\
                \x20   - { name: b, base_url: 'https://elsewhere.example.org/v1', model: m }\n\
                \x20   - { name: c, base_url: 'https://h.example.org', model: m, api_key: own }\n\
                \x20   - { name: d, base_url: 'https://h.example.org/v1', model: m }\n";
    let variables = [
        ("OPENAI_API_KEY", "open"),
        ("HERMES_API_KEY", "her"),
        ("HERMES_BASE_URL", "https://h.example.org/v1"),
    ];
    let expected = vec![
        "a https://api.openai.com/v1 m open".to_owned(),
        "b https://elsewhere.example.org/v1 m -".to_owned(),
        "c https://h.example.org m own".to_owned(),
        "d https://h.example.org/v1 m her".to_owned(),
    ];
    assert_eq!(endpoints(file, &variables), (expected, vec![]));
}

#[test]
fn debug_shows_names_and_no_values() {
    let variables = [("OPENAI_API_KEY", "hunter2"), ("HOME", "/root")];
    let environment: Environment = variables.into_iter().collect();
    assert_eq!(format!("{environment:?}"), r#"{"OPENAI_API_KEY"}"#);
}
