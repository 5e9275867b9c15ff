//! Layers the environment and the command line, setting by setting, with the crate `config`.
//!
//! In: variables `WATCHKEEPER__SECTION__KEY` and options. Out: one [`Said`] for each setting that
//! they name, in the order in which they are laid over the file.
//! Never: a conversion of a value (a secret may look like a number), a section made of a name. Names
//! stay flat (`http__connections_max`) while they are layered, because the crate replaces a list or
//! a value of the file without a word when a nested name crosses it; `tree.rs` reports that.

use std::collections::BTreeMap;

use ::config::{Config, ConfigError, Environment, Map, Value, ValueKind};

use super::problem::Problem;

const PREFIX: &str = "WATCHKEEPER";
const SEPARATOR: &str = "__";

/// A value from outside the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Keys and list indexes.
    pub steps: Vec<String>,
    pub text: String,
    /// The words that name the variable or the option to a person.
    pub origin: String,
}

/// Whether the variable is one of those that name a setting. The crate would take any case.
pub(super) fn is_setting(variable: &str) -> bool {
    variable.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// What variables and options say; an option beats the variable for the same setting.
///
/// Settings of the environment come first, so that an option for a whole section replaces what
/// variables say about its keys. Names that name no setting are problems and left out.
pub(super) fn layer(
    variables: &BTreeMap<String, String>,
    options: &[(String, String)],
) -> (Vec<Said>, Vec<Problem>) {
    let mut problems = Vec::new();
    let variables = named_variables(variables, &mut problems);
    let options = named_options(options, &mut problems);
    match build(&variables, &options) {
        Ok(values) => (told(values, &variables, &options), problems),
        Err(error) => {
            problems.push(Problem::about("environment and options", error.to_string()));
            (Vec::new(), problems)
        }
    }
}

/// A variable or an option as it was given.
struct Given {
    name: String,
    text: String,
    origin: String,
}

/// By flat name.
type Named = BTreeMap<String, Given>;

fn named_variables(all: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Named {
    let mut named = Named::new();
    for (name, text) in all.iter().filter(|(name, _)| is_setting(name)) {
        // Two spellings of one name are one setting, of which the crate would take either.
        let flat = name[PREFIX.len() + SEPARATOR.len()..].to_lowercase();
        let origin = format!("environment variable {name}");
        let given = Given { name: name.clone(), text: text.clone(), origin };
        add(&mut named, flat, given, problems);
    }
    named
}

fn named_options(all: &[(String, String)], problems: &mut Vec<Problem>) -> Named {
    let mut named = Named::new();
    for (path, text) in all {
        let origin = format!("option for {path}");
        let given = Given { name: path.clone(), text: text.clone(), origin };
        add(&mut named, path.replace('.', SEPARATOR), given, problems);
    }
    named
}

fn add(named: &mut Named, flat: String, given: Given, problems: &mut Vec<Problem>) {
    let is_key = |step: &str| {
        !step.is_empty() && step.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if flat.split(SEPARATOR).all(is_key) {
        named.insert(flat, given);
    } else {
        let problem = Problem::about(&given.origin, "names no setting");
        problems.push(problem.hint("such as WATCHKEEPER__HTTP__CONNECTIONS_MAX"));
    }
}

/// The values by flat name, those of options over those of variables.
fn build(variables: &Named, options: &Named) -> Result<Map<String, Value>, ConfigError> {
    let source: Map<String, String> =
        variables.values().map(|given| (given.name.clone(), given.text.clone())).collect();
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .try_parsing(false)
        .source(Some(source));
    let mut layers = Config::builder().add_source(environment);
    for (flat, given) in options {
        let text = ValueKind::String(given.text.clone());
        layers = layers.set_override(flat, Value::new(Some(&given.origin), text))?;
    }
    layers.build()?.cache.into_table()
}

fn told(values: Map<String, Value>, variables: &Named, options: &Named) -> Vec<Said> {
    let values: BTreeMap<String, Value> = values.into_iter().collect();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (flat, value) in values {
        let option = options.get(&flat).filter(|given| value.origin() == Some(&given.origin));
        let Some(given) = option.or_else(|| variables.get(&flat)) else { continue };
        let Ok(text) = value.into_string() else { continue };
        let steps = flat.split(SEPARATOR).map(str::to_owned).collect();
        let layer = if option.is_some() { &mut last } else { &mut first };
        layer.push(Said { steps, text, origin: given.origin.clone() });
    }
    first.append(&mut last);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(variables: &[(&str, &str)], options: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = variables.iter().map(owned).collect();
        let options: Vec<_> = options.iter().map(owned).collect();
        let (said, problems) = layer(&variables, &options);
        let said =
            said.iter().map(|s| format!("{} = {} ({})", s.steps.join("."), s.text, s.origin));
        said.chain(problems.iter().map(Problem::to_string)).collect()
    }

    #[test]
    fn an_option_beats_the_variable_for_the_same_setting_only() {
        assert_eq!(
            layered(
                &[
                    ("WATCHKEEPER__HTTP__CONNECTIONS_MAX", "00123"),
                    ("WATCHKEEPER__LISTEN", "variable"),
                    ("WATCHKEEPER__MODEL__ENDPOINTS__0__API_KEY", "true"),
                ],
                &[("listen", "option"), ("http", "{}"), ("listen", "later option")],
            ),
            [
                "http.connections_max = 00123 (environment variable \
                 WATCHKEEPER__HTTP__CONNECTIONS_MAX)",
                "model.endpoints.0.api_key = true (environment variable \
                 WATCHKEEPER__MODEL__ENDPOINTS__0__API_KEY)",
                "http = {} (option for http)",
                "listen = later option (option for listen)",
            ]
        );
    }

    #[test]
    fn a_section_comes_before_its_keys_whatever_the_order_of_the_crate() {
        for _ in 0..20 {
            assert_eq!(
                layered(&[("WATCHKEEPER__A", "1"), ("WATCHKEEPER__A__B", "2")], &[]),
                [
                    "a = 1 (environment variable WATCHKEEPER__A)",
                    "a.b = 2 (environment variable WATCHKEEPER__A__B)",
                ]
            );
        }
    }

    #[test]
    fn names_that_name_no_setting_are_told_and_foreign_ones_passed_over() {
        let hint = "names no setting (such as WATCHKEEPER__HTTP__CONNECTIONS_MAX)";
        assert_eq!(
            layered(
                &[
                    ("WATCHKEEPER__", "x"),
                    ("WATCHKEEPER__A.B", "x"),
                    ("WATCHKEEPER__A__", "x"),
                    ("WATCHKEEPER_LISTEN", "x"),
                    ("watchkeeper__listen", "x"),
                ],
                &[("a..b", "x"), ("a[0]", "x"), ("", "x")],
            ),
            [
                format!("environment variable WATCHKEEPER__: {hint}"),
                format!("environment variable WATCHKEEPER__A.B: {hint}"),
                format!("environment variable WATCHKEEPER__A__: {hint}"),
                format!("option for a..b: {hint}"),
                format!("option for a[0]: {hint}"),
                format!("option for : {hint}"),
            ]
        );
    }
}
