//! What rules, defaults and floor say of a call: the part of a verdict that depends on nothing but
//! the call and its target, so that examples can be judged when the file is loaded.

use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::tool::{Effect, ToolSpec};
use crate::model::verdict::{Matched, Tier};
use crate::safety::approvals::Merged;
use crate::safety::floor::{self, Own};
use crate::safety::rules::{Rule, Rules, ToolRules};
use serde_json::Value;

/// What the inventory knows of the target of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub host: Option<&'a HostFacts>,
    pub service: Option<&'a ServiceFacts>,
}

/// A call with all that a condition may read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub call: &'a Call,
    pub spec: Option<&'a ToolSpec>,
    /// `None` when nobody provides the tool: judged as a write.
    pub effect: Option<Effect>,
    pub target: Target<'a>,
    pub state: &'a Value,
}

impl Subject<'_> {
    pub(super) fn effect(&self) -> Effect {
        self.effect.unwrap_or(Effect::Write)
    }
}

/// What was found, in the order in which it was looked for.
#[derive(Debug, Default)]
pub(super) struct Weighed<'r> {
    pub reasons: Vec<Matched>,
    /// The safe rules that matched: their limits bind the call.
    pub safe: Vec<&'r Rule>,
    pub approvals: Merged,
}

impl<'r> Weighed<'r> {
    /// The strictest tier so far; forbidden when nothing was found at all.
    pub(super) fn tier(&self) -> Tier {
        self.reasons.iter().map(|reason| reason.tier).max().unwrap_or(Tier::Forbidden)
    }

    pub(super) fn push(&mut self, source: impl Into<String>, tier: Tier, note: impl Into<String>) {
        self.reasons.push(Matched { source: source.into(), tier, note: note.into() });
    }

    fn rule_matched(&mut self, rule: &'r Rule) {
        match rule.tier {
            Tier::Safe => self.safe.push(rule),
            Tier::Confirm => self.approvals.add(&rule.name, &rule.approvals),
            Tier::Forbidden => {}
        }
        self.push(rule.source.as_str(), rule.tier, rule.note.as_str());
    }
}

/// Rules, defaults and floor for a call that is to run.
pub(super) fn weigh<'r>(rules: &'r Rules, own: &Own, subject: &Subject<'_>) -> Weighed<'r> {
    let mut weighed = Weighed::default();
    let tool = rules.tool(&subject.call.tool);
    let matched = tool.is_some_and(|tool| weigh_rules(tool, subject, &mut weighed));
    if !matched {
        weigh_default(rules, subject.effect, &mut weighed);
    }
    weighed.reasons.extend(weighed.approvals.conflict());
    weigh_name(tool, subject, &mut weighed);
    match subject.effect() {
        Effect::Write => floor::weigh(subject, own, &mut weighed.reasons),
        Effect::Read | Effect::Talk => {}
    }
    weighed
}

/// The same for a look at the target of a change. A change that is refused whatever its target
/// looks like needs no look; everything else about a look is a read.
pub(super) fn weigh_look<'r>(rules: &'r Rules, subject: &Subject<'_>) -> Weighed<'r> {
    let mut weighed = Weighed::default();
    let tool = rules.tool(&subject.call.tool);
    weigh_default(rules, subject.effect.map(|_| Effect::Read), &mut weighed);
    if let Some(tool) = tool {
        let scope = tool.reads.scope(subject);
        for rule in tool.rules.iter().filter(|rule| rule.tier == Tier::Forbidden) {
            let holds = match &rule.when {
                None => true,
                Some(when) if when.reads_state() => false,
                Some(when) => when.holds(&scope).unwrap_or(true),
            };
            if holds {
                weighed.rule_matched(rule);
            }
        }
    }
    weigh_name(tool, subject, &mut weighed);
    weighed
}

/// Whether any rule matched. A safe rule whose condition fails asks, and matches nothing, so that
/// the default stays in force beside it.
fn weigh_rules<'r>(tool: &'r ToolRules, subject: &Subject<'_>, weighed: &mut Weighed<'r>) -> bool {
    let conditional = tool.rules.iter().any(|rule| rule.when.is_some());
    let scope = conditional.then(|| tool.reads.scope(subject));
    let mut matched = false;
    for rule in &tool.rules {
        let holds = match (&rule.when, &scope) {
            (Some(when), Some(scope)) => when.holds(scope),
            (Some(_), None) => Err("nothing to read".to_owned()),
            (None, _) => Ok(true),
        };
        match (holds, rule.tier) {
            (Ok(false), _) => {}
            (Ok(true), _) => {
                matched = true;
                weighed.rule_matched(rule);
            }
            (Err(error), Tier::Safe) => {
                let note = format!("the condition cannot be told: {error}");
                weighed.push(rule.source.as_str(), Tier::Confirm, note);
            }
            (Err(error), Tier::Confirm | Tier::Forbidden) => {
                matched = true;
                weighed.rule_matched(rule);
                if let Some(reason) = weighed.reasons.last_mut() {
                    reason.note = format!("the condition cannot be told, so it counts: {error}");
                }
            }
        }
    }
    matched
}

fn weigh_default(rules: &Rules, effect: Option<Effect>, weighed: &mut Weighed<'_>) {
    let (name, tier) = rules.default_tier(effect);
    let note = match effect {
        Some(_) => "no rule matches",
        None => "there is no such tool here, and no rule matches",
    };
    weighed.push(format!("default: {name}"), tier, note);
}

fn weigh_name(tool: Option<&ToolRules>, subject: &Subject<'_>, weighed: &mut Weighed<'_>) {
    let refusal = match tool {
        Some(tool) if tool.effect == subject.effect => tool.refusal,
        Some(_) | None => floor::refused_tool(&subject.call.tool, subject.effect),
    };
    if let Some(what) = refusal {
        let note = format!("{} is never done from here", subject.call.tool);
        weighed.push(format!("floor: {what}"), Tier::Forbidden, note);
    }
}
