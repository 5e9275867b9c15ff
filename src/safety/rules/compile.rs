//! From the file to rules that can be used, or to everything that is wrong with it.

use super::{Complaint, Rule, RuleFile, Rules, RulesFile, ToolRules, examples};
use crate::model::call::{canonical, sha256_hex};
use crate::model::matcher::Matcher;
use crate::model::orders::RuleSummary;
use crate::model::tool::{ArgKind, Effect, ToolSpec};
use crate::model::verdict::{Approvals, Tier};
use crate::safety::condition::{Condition, HOST_FIELDS, SERVICE_FIELDS};
use crate::safety::floor;
use crate::safety::guards::{Guards, GuardsFile};
use crate::safety::levels::{Level, Levels};
use crate::safety::limits::{LimitRule, Per, parse_duration};
use std::collections::{BTreeMap, BTreeSet};

const VERSION: u32 = 1;

/// Collects complaints under dotted paths.
#[derive(Default)]
pub(in crate::safety) struct Complaints(Vec<Complaint>);

impl Complaints {
    pub(in crate::safety) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Complaint { path: path.into(), message: message.into() });
    }
}

impl Rules {
    /// Compiles a file against the tools that exist. Rules may name tools that do not.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file. Examples are judged only when the rest
    /// makes sense, since a broken rule would fail many of them.
    pub fn compile(file: &RulesFile, specs: &[ToolSpec]) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Complaints::default();
        let text = text_of(file, &mut complaints);
        let levels = compile_levels(file, &mut complaints);
        check_defaults(file, &mut complaints);
        if file.approvals.high_risk_quorum == 0 {
            let message = "at least one person has to agree";
            complaints.add("approvals.high_risk_quorum", message);
        }
        let specs: BTreeMap<&str, &ToolSpec> =
            specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let guards = compile_guards(file, &specs, &mut complaints);
        let mut tools: BTreeMap<String, ToolRules> =
            specs.keys().map(|name| ((*name).to_owned(), ToolRules::default())).collect();
        let mut names = BTreeSet::new();
        for (at, rule) in file.rules.iter().enumerate() {
            let path = format!("rules.{at}");
            if !names.insert(rule.name.trim()) {
                complaints.add(format!("{path}.name"), "another rule has this name already");
            }
            let spec = specs.get(rule.tool.as_str()).copied();
            if let Some(compiled) = compile_rule(&path, rule, spec, &mut complaints) {
                let tool = tools.entry(rule.tool.clone()).or_default();
                if let Some(when) = &compiled.when {
                    tool.reads.add(when);
                }
                tool.rules.push(compiled);
            }
        }
        for (name, tool) in &mut tools {
            tool.effect = specs.get(name.as_str()).map(|spec| spec.effect);
            tool.refusal = floor::refused_tool(name, tool.effect);
        }
        let unknown_tools =
            tools.keys().filter(|name| !specs.contains_key(name.as_str())).cloned().collect();
        let rules = Self {
            version: sha256_hex(text.as_bytes()),
            text,
            autonomy: file.autonomy,
            summaries: file.rules.iter().map(summary_of).collect(),
            levels,
            defaults: file.defaults,
            guards,
            high_risk_quorum: file.approvals.high_risk_quorum,
            tools,
            unknown_tools,
        };
        if complaints.0.is_empty() {
            examples::check(file, &rules, &specs, &mut complaints);
        }
        if complaints.0.is_empty() { Ok(rules) } else { Err(complaints.0) }
    }
}

fn summary_of(rule: &RuleFile) -> RuleSummary {
    RuleSummary { name: rule.name.clone(), tool: rule.tool.clone(), tier: rule.tier }
}

fn text_of(file: &RulesFile, complaints: &mut Complaints) -> String {
    if file.version != VERSION {
        let message = format!("version {} is not known; write {VERSION}", file.version);
        complaints.add("version", message);
    }
    match serde_json::to_value(file) {
        Ok(value) => canonical(&value),
        Err(error) => {
            complaints.add("version", format!("the rules cannot be hashed: {error}"));
            String::new()
        }
    }
}

fn compile_levels(file: &RulesFile, complaints: &mut Complaints) -> Levels {
    let mut levels = Vec::new();
    for (at, level) in file.levels.iter().enumerate() {
        if level.matchers.is_empty() {
            complaints.add(
                format!("levels.{at}.match"),
                "matches nothing: list at least one matcher, e.g. alertname=\"Disk\"",
            );
        }
        let mut matchers = Vec::new();
        for (nth, text) in level.matchers.iter().enumerate() {
            match Matcher::parse(text) {
                Ok(matcher) => matchers.push(matcher),
                Err(error) => complaints.add(format!("levels.{at}.match.{nth}"), error),
            }
        }
        levels.push(Level::new(matchers, level.autonomy));
    }
    Levels::new(file.autonomy, levels)
}

fn compile_guards(
    file: &RulesFile,
    specs: &BTreeMap<&str, &ToolSpec>,
    complaints: &mut Complaints,
) -> Guards {
    let named = file.rules.iter().map(|rule| rule.tool.as_str()).collect();
    let keys = GuardsFile {
        freeze: &file.freeze,
        blast_radius: file.blast_radius.as_ref(),
        common_cause: file.common_cause.as_ref(),
        breaker: file.breaker.as_ref(),
        recurrence: file.recurrence.as_ref(),
    };
    Guards::compile(keys, specs, &named, complaints)
}

fn check_defaults(file: &RulesFile, complaints: &mut Complaints) {
    for (key, tier) in
        [("write", file.defaults.write), ("unknown_tool", file.defaults.unknown_tool)]
    {
        if tier == Tier::Safe {
            complaints.add(
                format!("defaults.{key}"),
                "a change that no rule names never runs by itself: write confirm or forbidden",
            );
        }
    }
}

fn compile_rule(
    path: &str,
    rule: &RuleFile,
    spec: Option<&ToolSpec>,
    complaints: &mut Complaints,
) -> Option<Rule> {
    for (key, text) in [("name", &rule.name), ("tool", &rule.tool)] {
        if text.trim().is_empty() {
            complaints.add(format!("{path}.{key}"), "is empty");
        }
    }
    let effect = spec.map(|spec| spec.effect);
    if let (Tier::Safe, Some(what)) = (rule.tier, floor::refused_tool(&rule.tool, effect)) {
        let message = format!("the floor refuses {what}, this rule has no effect");
        complaints.add(format!("{path}.tier"), message);
    }
    let when = match &rule.when {
        None => None,
        Some(source) => match Condition::compile(source) {
            Ok(condition) => {
                check_reads(&format!("{path}.when"), &condition, spec, complaints);
                Some(condition)
            }
            Err(error) => {
                complaints.add(format!("{path}.when"), error);
                return None;
            }
        },
    };
    let note = match (&rule.reason, &rule.when) {
        (Some(reason), _) => reason.clone(),
        (None, Some(source)) => source.clone(),
        (None, None) => "every call".to_owned(),
    };
    Some(Rule {
        name: rule.name.clone(),
        source: format!("rule: {}", rule.name),
        when,
        tier: rule.tier,
        limits: compile_limits(path, rule, spec, complaints),
        sources: compile_sources(path, rule, complaints),
        approvals: compile_approvals(path, rule, complaints),
        note,
    })
}

/// Complains about everything the condition reads that it may not, or that is never there.
fn check_reads(
    path: &str,
    condition: &Condition,
    spec: Option<&ToolSpec>,
    complaints: &mut Complaints,
) {
    let mut told = BTreeSet::new();
    for (root, field) in condition.fields() {
        if let Some(message) = wrong_read(root, field, spec)
            && told.insert(message.clone())
        {
            complaints.add(path, message);
        }
    }
}

fn wrong_read(root: &str, field: Option<&str>, spec: Option<&ToolSpec>) -> Option<String> {
    let (fields, kinds): (&[&str], &[ArgKind]) = match root {
        "args" => return wrong_argument(field, spec),
        "state" => {
            let spec = spec.filter(|spec| spec.effect != Effect::Write)?;
            return Some(format!("state is known for writes only; {} changes nothing", spec.name));
        }
        "host" => (&HOST_FIELDS, &[ArgKind::Host, ArgKind::Service]),
        _ => (&SERVICE_FIELDS, &[ArgKind::Service]),
    };
    let Some(field) = field else {
        return Some(format!("name what is read of {root}, e.g. {root}.class"));
    };
    if !fields.contains(&field) {
        return Some(format!("{root} has no '{field}'; it has {fields:?}"));
    }
    let spec = spec.filter(|spec| !spec.args.iter().any(|arg| kinds.contains(&arg.kind)))?;
    Some(format!("{} takes no {root}, so {root}.{field} is never known", spec.name))
}

fn wrong_argument(field: Option<&str>, spec: Option<&ToolSpec>) -> Option<String> {
    let Some(field) = field else {
        return Some("name the argument that is read, e.g. args.host".to_owned());
    };
    let spec = spec?;
    match spec.arg(field).map(|arg| &arg.kind) {
        None => {
            let known: Vec<&str> = spec.args.iter().map(|arg| arg.name.as_str()).collect();
            Some(format!("{} has no argument '{field}'; it takes {known:?}", spec.name))
        }
        Some(ArgKind::Prose { .. }) => {
            Some(format!("'{field}' is prose for people; no rule may decide by it"))
        }
        Some(
            ArgKind::Host
            | ArgKind::Service
            | ArgKind::Text { .. }
            | ArgKind::Integer { .. }
            | ArgKind::Choice { .. }
            | ArgKind::Choices { .. }
            | ArgKind::Paths { .. }
            | ArgKind::Object,
        ) => None,
    }
}

fn compile_sources(path: &str, rule: &RuleFile, complaints: &mut Complaints) -> Option<u32> {
    let sources = rule.independent_sources?;
    let path = format!("{path}.independent_sources");
    if rule.tier != Tier::Safe {
        complaints.add(&*path, "only a safe rule runs without a person, who looks anyway");
    }
    if sources < 2 {
        let message = "one source is asked before every change: write 2 or more, or leave it out";
        complaints.add(path, message);
    }
    Some(sources)
}

fn compile_limits(
    path: &str,
    rule: &RuleFile,
    spec: Option<&ToolSpec>,
    complaints: &mut Complaints,
) -> Vec<LimitRule> {
    if rule.tier != Tier::Safe && !rule.limit.is_empty() {
        complaints.add(format!("{path}.limit"), "only a safe rule can be limited");
    }
    let mut limits = Vec::new();
    for (at, limit) in rule.limit.iter().enumerate() {
        let path = format!("{path}.limit.{at}");
        if limit.max < 1 {
            complaints.add(format!("{path}.max"), format!("{} is less than 1", limit.max));
        }
        let mut per = Vec::new();
        for (nth, text) in limit.per.iter().enumerate() {
            match Per::parse(text) {
                Ok(part) if per.contains(&part) => {
                    complaints.add(format!("{path}.per.{nth}"), format!("'{text}' is there twice"));
                }
                Ok(part) => {
                    if let Some(spec) = spec.filter(|spec| !has_part(spec, part)) {
                        let message = format!("{} takes no {text}", spec.name);
                        complaints.add(format!("{path}.per.{nth}"), message);
                    }
                    per.push(part);
                }
                Err(error) => complaints.add(format!("{path}.per.{nth}"), error),
            }
        }
        match parse_duration(&limit.within) {
            Ok(within_ms) => limits.push(LimitRule {
                max: limit.max,
                per,
                within_ms,
                within: limit.within.clone(),
            }),
            Err(error) => complaints.add(format!("{path}.within"), error),
        }
    }
    limits
}

fn has_part(spec: &ToolSpec, part: Per) -> bool {
    spec.args.iter().any(|arg| match part {
        Per::Host => arg.kind == ArgKind::Host,
        Per::Service => arg.kind == ArgKind::Service,
    })
}

fn compile_approvals(path: &str, rule: &RuleFile, complaints: &mut Complaints) -> Approvals {
    let Some(approvals) = &rule.approvals else { return Approvals::default() };
    if rule.tier != Tier::Confirm {
        complaints.add(format!("{path}.approvals"), "only a confirm rule asks for approvals");
    }
    if approvals.quorum == 0 {
        complaints.add(format!("{path}.approvals.quorum"), "at least one person has to agree");
    }
    for (at, role) in approvals.roles.iter().enumerate() {
        if role.trim().is_empty() {
            complaints.add(format!("{path}.approvals.roles.{at}"), "is empty");
        }
    }
    approvals.clone()
}
