//! What people answered, gathered by tool and class of target.
//!
//! In: the recorded past. Out: groups of questions that only the silence of the rules put to people,
//! each with what speaks for and against a rule. Never: a question that another reason asked, since
//! a rule would not answer that one.

use super::judge::Judge;
use super::past::{Event, Past};
use crate::model::action::{Action, ActionState};
use crate::model::call::Call;
use crate::model::entity::{HostFacts, ServiceFacts};
use crate::model::ids::{ActionId, IncidentId};
use crate::model::timeline::Finding;
use crate::model::verdict::{Tier, VerdictRecord};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A question that was put to people.
pub struct Asked {
    pub incident: IncidentId,
    pub action: ActionId,
    pub call: Call,
    pub at_ms: i64,
    pub state: ActionState,
    pub approved_by: Vec<String>,
    pub ran: bool,
    pub verified: Option<Finding>,
    pub host: Option<HostFacts>,
    pub service: Option<ServiceFacts>,
}

impl Asked {
    pub fn is_approved(&self) -> bool {
        !self.approved_by.is_empty() && !self.is_rejected()
    }

    pub fn is_rejected(&self) -> bool {
        self.state == ActionState::Rejected
    }

    pub fn is_fixed(&self) -> bool {
        self.ran && self.verified == Some(Finding::Fixed)
    }
}

/// The questions about one tool on targets of one class.
pub struct Group {
    pub tool: String,
    /// `service.class` or `host.class`, with its value, as a condition reads it.
    pub class: String,
    pub asked: Vec<Asked>,
}

impl Group {
    pub fn approved(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| asked.is_approved())
    }

    /// Whether people's answers speak for a rule.
    ///
    /// # Errors
    /// What speaks against it.
    pub fn speaks_for_a_rule(&self, enough: usize) -> Result<(), String> {
        let count = |what: &dyn Fn(&Asked) -> bool| self.asked.iter().filter(|a| what(a)).count();
        let kept = |asked: &Asked| {
            let service = asked.service.as_ref();
            let database = service.is_some_and(|service| service.class == "database");
            let protected = service.is_some_and(|service| service.protected)
                || asked.host.as_ref().is_some_and(|host| host.protected);
            database || protected
        };
        if self.asked.iter().any(kept) {
            return Err("databases and protected targets stay with people".into());
        }
        match count(&Asked::is_rejected) {
            0 => {}
            rejected => return Err(format!("people rejected it {rejected} times")),
        }
        let badly = count(&|asked| asked.ran && !asked.is_fixed());
        if badly > 0 {
            return Err(format!("it ran {badly} times without being measured to have helped"));
        }
        let fixed = count(&Asked::is_fixed);
        if fixed < enough {
            return Err(format!("{fixed} approved runs, {enough} are wanted (--approvals)"));
        }
        Ok(())
    }

    /// The evidence for programs.
    pub fn evidence(&self) -> Value {
        let by: BTreeSet<&String> =
            self.asked.iter().flat_map(|asked| &asked.approved_by).collect();
        let count = |what: fn(&Asked) -> bool| self.asked.iter().filter(|a| what(a)).count();
        json!({
            "asked": self.asked.len(),
            "approved": count(Asked::is_approved),
            "approved_by": by,
            "rejected": count(Asked::is_rejected),
            "fixed": count(Asked::is_fixed),
            "actions": self.asked.iter().map(|asked| json!({
                "action": asked.action, "incident": asked.incident, "call": asked.call,
                "state": asked.state, "verified": asked.verified,
            })).collect::<Vec<Value>>(),
        })
    }
}

/// Every group that was asked about since `from_ms`.
pub fn groups(past: &Past, judge: &Judge, from_ms: i64) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let verdicts = first_questions(past);
    for case in &past.cases {
        for action in case.actions.iter().filter(|action| action.proposed_at_ms >= from_ms) {
            let silent = verdicts.get(&action.id()).is_some_and(|verdict| is_silence(verdict));
            let Some(asked) = silent.then(|| asked(case.id, action, judge)) else { continue };
            let Some(class) = class_of(&asked) else { continue };
            let tool = asked.call.tool.clone();
            let group = groups.entry((tool.clone(), class.clone())).or_insert_with(|| Group {
                tool,
                class,
                asked: Vec::new(),
            });
            group.asked.push(asked);
        }
    }
    groups.into_values().collect()
}

/// The first verdict of each action: why people were asked.
fn first_questions(past: &Past) -> BTreeMap<ActionId, &VerdictRecord> {
    let mut first = BTreeMap::new();
    for (_, event) in &past.events {
        if let Event::Judged(recorded) = event
            && let Some(action) = recorded.action
        {
            first.entry(action).or_insert(&recorded.verdict);
        }
    }
    first
}

/// Whether nothing asked but the default for changes that no rule matches.
fn is_silence(verdict: &VerdictRecord) -> bool {
    let mut reasons = verdict.matched.iter().filter(|matched| matched.tier > Tier::Safe).peekable();
    reasons.peek().is_some()
        && reasons
            .all(|matched| matched.tier == Tier::Confirm && matched.source == "default: write")
}

fn asked(incident: IncidentId, action: &Action, judge: &Judge) -> Asked {
    let call = action.proposal.call.clone();
    let (host, service) = judge.targets(&call);
    let mut approved_by = action.approved_by.clone();
    let last = action.decided_by.iter().flat_map(|by| by.split(", ")).map(str::to_owned);
    approved_by.extend(last.filter(|_| action.state != ActionState::Rejected));
    approved_by.sort();
    approved_by.dedup();
    Asked {
        incident,
        action: action.id(),
        call,
        at_ms: action.proposed_at_ms,
        state: action.state,
        approved_by,
        ran: action.intended_at_ms.is_some(),
        verified: action.verified,
        host,
        service,
    }
}

/// The class of the target, as a condition. Targets that are gone or have no class cannot be told
/// from others by a rule.
fn class_of(asked: &Asked) -> Option<String> {
    let (root, class) = match (&asked.service, &asked.host) {
        (Some(service), _) => ("service", service.class.as_str()),
        (None, Some(host)) => ("host", host.class.as_str()),
        (None, None) => return None,
    };
    (!class.is_empty()).then(|| format!("{root}.class == {}", json!(class)))
}
