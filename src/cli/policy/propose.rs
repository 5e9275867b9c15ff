//! The narrowest rule that covers the calls that people approved.
//!
//! In: a group of questions, the tool. Out: a rule over the class of the target and the very bounds
//! of the arguments, with a limit as tight as what happened and with real calls as examples. Never:
//! a bound wider than what was approved.

use super::evidence::{Asked, Group};
use crate::model::call::canonical;
use crate::model::tool::{Arg, ArgKind, ToolSpec};
use crate::model::verdict::Tier;
use crate::safety::rules::{
    ExampleFile, ExampleHost, ExampleService, ExampleTargets, LimitFile, RuleFile, RulesFile,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A rule that lists more values than this is no rule.
const VALUES_MAX: usize = 10;
const EXAMPLES_MAX: usize = 3;
const DAY_MS: i64 = 86_400_000;

/// A rule with the targets that its examples name.
pub struct Proposed {
    rule: RuleFile,
    targets: ExampleTargets,
}

impl Proposed {
    /// The file with the rule in it.
    pub fn added_to(&self, file: &RulesFile) -> RulesFile {
        let mut file = file.clone();
        file.rules.push(self.rule.clone());
        file.example_targets.hosts.extend(self.targets.hosts.iter().cloned());
        file.example_targets.services.extend(self.targets.services.iter().cloned());
        file
    }

    pub fn rule_value(&self) -> Value {
        without_nothing(json!(self.rule))
    }

    pub fn targets_value(&self) -> Value {
        without_nothing(json!(self.targets))
    }
}

/// A rule for what was approved of a group.
///
/// # Errors
/// Why no condition can tell these calls from others.
pub fn propose(group: &Group, spec: &ToolSpec, file: &RulesFile) -> Result<Proposed, String> {
    let approved: Vec<&Asked> = group.approved().collect();
    let mut conditions = vec![group.class.clone()];
    let root = group.class.split('.').next().unwrap_or_default();
    conditions.push(format!("{root}.protected == false"));
    for arg in &spec.args {
        conditions.extend(bound(arg, &approved)?);
    }
    let (examples, targets) = examples(spec, &approved, file);
    let fixed = approved.iter().filter(|asked| asked.is_fixed()).count();
    let by: BTreeSet<&String> = approved.iter().flat_map(|asked| &asked.approved_by).collect();
    let by = by.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let per = per(spec);
    let limit = LimitFile { max: most_in_a_day(&approved), per, within: "24h".into() };
    let rule = RuleFile {
        name: unused_name(group, file),
        tool: group.tool.clone(),
        when: Some(conditions.join(" && ")),
        tier: Tier::Safe,
        limit: vec![limit],
        independent_sources: None,
        approvals: None,
        examples,
        reason: Some(format!(
            "approved {} times by {by}, and measured each of {fixed} times to have helped",
            approved.len()
        )),
    };
    Ok(Proposed { rule, targets })
}

/// What the approved calls say of one argument; targets are bounded by their class.
fn bound(arg: &Arg, approved: &[&Asked]) -> Result<Option<String>, String> {
    let name = &arg.name;
    let values: Vec<Option<&Value>> =
        approved.iter().map(|asked| asked.call.args.get(name)).collect();
    if matches!(arg.kind, ArgKind::Host | ArgKind::Service | ArgKind::Prose { .. }) {
        return Ok(None);
    }
    if values.iter().all(Option::is_none) {
        return Ok(Some(format!("!has(args.{name})")));
    }
    let given: Vec<&Value> = values.iter().copied().flatten().collect();
    if given.len() < values.len() {
        return Err(format!("'{name}' was given in some of the approved calls only"));
    }
    match arg.kind {
        ArgKind::Integer { .. } => {
            let numbers: Vec<i64> = given.iter().filter_map(|value| value.as_i64()).collect();
            let (least, most) = (numbers.iter().min(), numbers.iter().max());
            let (Some(least), Some(most)) = (least, most) else {
                return Err(format!("'{name}' holds no numbers"));
            };
            Ok(Some(match least == most {
                true => format!("args.{name} == {least}"),
                false => format!("args.{name} >= {least} && args.{name} <= {most}"),
            }))
        }
        ArgKind::Text { .. } | ArgKind::Choice { .. } => {
            listed(name, given.iter().copied()).map(|list| Some(format!("args.{name} in {list}")))
        }
        ArgKind::Choices { .. } | ArgKind::Paths { .. } => {
            let items = given.iter().filter_map(|value| value.as_array()).flatten();
            let list = listed(name, items)?;
            Ok(Some(format!("args.{name}.all(one, one in {list})")))
        }
        ArgKind::Host | ArgKind::Service | ArgKind::Prose { .. } => Ok(None),
        ArgKind::Object => Err(format!("'{name}' is an object, which no condition can bound")),
    }
}

/// The values as a list of a condition.
fn listed<'v>(name: &str, values: impl Iterator<Item = &'v Value>) -> Result<String, String> {
    let values: BTreeSet<String> = values.map(canonical).collect();
    if values.len() > VALUES_MAX {
        return Err(format!("'{name}' had {} values, too many to list", values.len()));
    }
    Ok(format!("[{}]", values.into_iter().collect::<Vec<_>>().join(", ")))
}

/// Real calls, for as many targets as may stand in the file: its own targets of the same name could
/// be of another class.
fn examples(
    spec: &ToolSpec,
    approved: &[&Asked],
    file: &RulesFile,
) -> (Vec<ExampleFile>, ExampleTargets) {
    let known_host = |name: &str| file.example_targets.hosts.iter().any(|host| host.name == name);
    let known_service =
        |name: &str| file.example_targets.services.iter().any(|service| service.name == name);
    let (mut examples, mut targets) = (Vec::new(), ExampleTargets::default());
    let mut told = BTreeSet::new();
    for asked in approved {
        let (host, service) = (asked.host.as_ref(), asked.service.as_ref());
        let clashes = host.is_some_and(|host| known_host(&host.name))
            || service.is_some_and(|service| known_service(&service.name));
        let args = example_args(spec, &asked.call.args);
        if clashes || examples.len() == EXAMPLES_MAX || !told.insert(json!(args).to_string()) {
            continue;
        }
        if let Some(host) = host.filter(|h| !targets.hosts.iter().any(|t| t.name == h.name)) {
            targets.hosts.push(ExampleHost {
                name: host.name.clone(),
                class: host.class.clone(),
                region: host.region.clone(),
                owner: host.owner.clone(),
                protected: host.protected,
            });
        }
        if let Some(service) =
            service.filter(|s| !targets.services.iter().any(|t| t.name == s.name))
        {
            targets.services.push(ExampleService {
                name: service.name.clone(),
                unit: Some(service.unit.clone()),
                class: service.class.clone(),
                region: service.region.clone(),
                owner: service.owner.clone(),
                protected: service.protected,
            });
        }
        examples.push(ExampleFile { args, state: Value::Null, expect: Tier::Safe });
    }
    (examples, targets)
}

/// The arguments without the words of that day, which decide nothing.
fn example_args(spec: &ToolSpec, args: &Map<String, Value>) -> Map<String, Value> {
    args.iter()
        .map(|(name, value)| {
            let prose = spec.arg(name).is_some_and(|arg| matches!(arg.kind, ArgKind::Prose { .. }));
            (name.clone(), if prose { json!("as approved before") } else { value.clone() })
        })
        .collect()
}

fn per(spec: &ToolSpec) -> Vec<String> {
    let has = |kind: ArgKind| spec.args.iter().any(|arg| arg.kind == kind);
    let parts = [("host", has(ArgKind::Host)), ("service", has(ArgKind::Service))];
    parts.into_iter().filter(|(_, has)| *has).map(|(part, _)| part.to_owned()).collect()
}

/// How many of them ran on one target within a day, at most.
fn most_in_a_day(approved: &[&Asked]) -> i64 {
    let same = |a: &Asked, b: &Asked| {
        let name = |asked: &Asked| {
            let host = asked.host.as_ref().map(|host| host.name.clone());
            (host, asked.service.as_ref().map(|service| service.name.clone()))
        };
        name(a) == name(b)
    };
    let count = |from: &Asked| {
        let within = |to: &&&Asked| {
            to.ran && same(from, to) && (0..DAY_MS).contains(&(to.at_ms - from.at_ms))
        };
        approved.iter().filter(within).count()
    };
    let most = approved.iter().map(|asked| count(asked)).max().unwrap_or(1);
    i64::try_from(most).unwrap_or(i64::MAX).max(1)
}

fn unused_name(group: &Group, file: &RulesFile) -> String {
    let class = group.class.split('"').nth(1).unwrap_or_default();
    let name = format!("{} of {class}, as approved", group.tool.replace('_', " "));
    let taken = |name: &String| file.rules.iter().any(|rule| rule.name.trim() == name);
    let numbered = (2..).map(|n| format!("{name} ({n})"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

/// Keys that say nothing are left out, as people would.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, without_nothing(value)))
            .filter(|(_, value)| {
                !(value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(Map::is_empty)
                    || value == &json!(""))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
