//! The mind that follows a runbook step by step. It needs no model, and it is what takes over when
//! every model is down or the budget is spent.
//!
//! In: the case, the runbooks and the folders that may be cleaned. Out: the next step as a call,
//! or the conclusion. Where it stands follows from the answers on the timeline, so it goes on after
//! a crash where it was.

use super::{Asked, Error, Mind, Thought, View};
use crate::knowledge::runbooks::{self, OnFailure, Runbook, Runbooks, Step};
use crate::model::case::{CallAnswer, Case};
use crate::model::conclusion::{Conclusion, Confidence};
use crate::model::expr::Scope;
use crate::model::timeline::Success;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The name on the timeline.
pub const NAME: &str = "runbook";

/// Follows the first runbook that matches.
pub struct Follower {
    runbooks: Arc<Runbooks>,
    clean_roots: CleanRoots,
}

/// The folders that the inventory lets be cleaned on a host.
pub type CleanRoots = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

impl Follower {
    pub fn new(runbooks: Arc<Runbooks>, clean_roots: CleanRoots) -> Self {
        Self { runbooks, clean_roots }
    }
}

impl Mind for Follower {
    fn name(&self) -> &'static str {
        NAME
    }

    fn next<'a>(&'a self, view: View<'a>) -> BoxFuture<'a, Result<Thought, Error>> {
        Box::pin(async move {
            let host = view.located.hosts.first();
            let clean_roots = host.map(|host| (self.clean_roots)(host)).unwrap_or_default();
            Ok(next(&self.runbooks, view, &clean_roots))
        })
    }
}

fn next(runbooks: &Runbooks, view: View<'_>, clean_roots: &[String]) -> Thought {
    let Some(runbook) = runbooks.of_case(view.case) else {
        return conclude(Conclusion {
            root_cause: "not investigated: no runbook matches this alert".into(),
            confidence: Confidence::Low,
            evidence: Vec::new(),
            done: "nothing".into(),
            remaining: "write a runbook for it, or configure a model".into(),
        });
    };
    let lookup = |name: &str| runbooks::lookup(view.case, view.located, name);
    let mut told = Told::default();
    for step in &runbook.steps {
        if let Some(answer) = answer_of(view.case, runbook, step) {
            told.add(step, answer);
            if answer.outcome != Success::Ok && step.on_failure == OnFailure::Stop {
                let why = format!("step '{}' {}: {}", step.id, word(answer.outcome), answer.text);
                return conclude(told.conclusion(runbook, Some(why), &lookup));
            }
            continue;
        }
        match told.wants(step, view, &lookup) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(why) => {
                let why = format!("the condition of step '{}' cannot be judged: {why}", step.id);
                return conclude(told.conclusion(runbook, Some(why), &lookup));
            }
        }
        return match step.arguments(&lookup, clean_roots) {
            Ok(args) => Thought {
                said: format!("Runbook '{}', step '{}'.", runbook.name, step.id),
                calls: vec![Asked {
                    id: call_id(view.case, runbook, step),
                    tool: step.tool.clone(),
                    args: Ok(args),
                }],
                by: NAME.into(),
                ..Thought::default()
            },
            Err(name) => {
                let why = format!("step '{}' needs a {name}, and none is known", step.id);
                conclude(told.conclusion(runbook, Some(why), &lookup))
            }
        };
    }
    conclude(told.conclusion(runbook, None, &lookup))
}

fn conclude(conclusion: Conclusion) -> Thought {
    Thought {
        said: String::new(),
        conclusion: Some(conclusion),
        by: NAME.into(),
        ..Thought::default()
    }
}

/// The same step of the same round has the same id, however often the process restarts. An alert
/// that joins may bring another runbook, whose steps may be called the same.
fn call_id(case: &Case, runbook: &Runbook, step: &Step) -> String {
    format!("r{}_{}_{}", case.round, runbook.name, step.id)
}

fn answer_of<'a>(case: &'a Case, runbook: &Runbook, step: &Step) -> Option<&'a CallAnswer> {
    let id = call_id(case, runbook, step);
    case.current_turns()
        .flat_map(|turn| &turn.calls)
        .find(|call| call.request.id == id)
        .and_then(|call| call.answer.as_ref())
}

fn word(outcome: Success) -> &'static str {
    match outcome {
        Success::Ok => "ok",
        Success::Failed => "failed",
        Success::Refused => "refused",
    }
}

/// What the steps so far have given.
#[derive(Default)]
struct Told {
    steps: Map<String, Value>,
    evidence: Vec<i64>,
    done: Vec<String>,
}

impl Told {
    fn add(&mut self, step: &Step, answer: &CallAnswer) {
        let outcome = word(answer.outcome);
        self.done.push(format!("{} {outcome} (#{})", step.id, answer.seq));
        if answer.outcome == Success::Ok {
            self.evidence.push(answer.seq);
        }
        self.steps.insert(
            step.id.clone(),
            json!({
                "ok": answer.outcome == Success::Ok,
                "outcome": outcome,
                "data": answer.data,
            }),
        );
    }

    fn wants(
        &self,
        step: &Step,
        view: View<'_>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<bool, String> {
        let Some(when) = &step.when else { return Ok(true) };
        let steps = Value::Object(self.steps.clone());
        let labels = view.case.lead().map_or(Value::Null, |lead| json!(lead.labels));
        let [severity, host, service] =
            ["severity", "host", "service"].map(|name| json!(lookup(name).unwrap_or_default()));
        when.holds(&Scope::new([
            ("steps", &steps),
            ("labels", &labels),
            ("severity", &severity),
            ("host", &host),
            ("service", &service),
        ]))
    }

    fn conclusion(
        self,
        runbook: &Runbook,
        stopped: Option<String>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Conclusion {
        // A sentence about a host that nobody knows would be an invention.
        let fill = |text: &str| runbooks::text(text, lookup).ok().filter(|text| !text.is_empty());
        let root_cause = fill(&runbook.conclude.root_cause).unwrap_or_else(|| {
            format!("runbook '{}' was followed; it names no cause", runbook.name)
        });
        let confidence = match (&stopped, runbook.conclude.confidence) {
            (Some(_), _) => Confidence::Low,
            (None, Some(confidence)) => confidence,
            (None, None) => Confidence::Medium,
        };
        Conclusion {
            root_cause,
            confidence,
            evidence: self.evidence,
            done: format!("runbook '{}': {}", runbook.name, self.done.join(", ")),
            remaining: stopped.or_else(|| fill(&runbook.conclude.remaining)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;
    use crate::model::alert::{Alert, Severity, Status};
    use crate::model::entity::Located;
    use crate::model::ids::IncidentId;
    use crate::model::timeline::{Entry, Stored};

    const CLEAN: &str = "\
version: 1
runbooks:
  - name: disk
    match: [alertname=\"Full\"]
    steps:
      - { id: clean, tool: clean, args: { host: \"${host}\", paths: [\"${clean_roots}\"] } }
    conclude: { root_cause: \"${host} ran full\" }
";

    fn case() -> Case {
        let mut case = Case::new(IncidentId::new(), "default");
        let alert = Alert {
            source: "alertmanager".into(),
            fingerprint: "f".into(),
            status: Status::Firing,
            labels: [("alertname".to_owned(), "Full".to_owned())].into(),
            annotations: Default::default(),
            starts_at_ms: 0,
            ends_at_ms: None,
            generator_url: String::new(),
        };
        let entry = Entry::AlertFired { alert, severity: Severity::Warning };
        case.apply(&Stored { seq: 1, at_ms: 0, entry, hash: String::new() });
        case
    }

    #[test]
    fn the_folders_that_may_be_cleaned_come_from_the_inventory_of_the_host() {
        let file = yaml::load("runbooks.yaml", CLEAN).unwrap().value;
        let runbooks = Runbooks::compile(file, &[]).unwrap();
        let (case, located) =
            (case(), Located { hosts: vec!["web1".into()], ..Located::default() });
        let view = View { case: &case, located: &located, tools: &[], now_ms: 0 };
        let asked = next(&runbooks, view, &["/srv/web1/log".to_owned()]).calls;
        let args = json!({ "host": "web1", "paths": ["/srv/web1/log"] });
        assert_eq!(asked[0].args.clone().map(Value::Object), Ok(args));
        let none = next(&runbooks, view, &[]).conclusion.unwrap();
        assert_eq!(none.remaining, "step 'clean' needs a clean_roots, and none is known");
        assert_eq!(none.root_cause, "web1 ran full");
    }

    #[test]
    fn a_cause_is_not_named_with_blanks_in_it() {
        let file = yaml::load("runbooks.yaml", CLEAN).unwrap().value;
        let runbooks = Runbooks::compile(file, &[]).unwrap();
        let (case, located) = (case(), Located::default());
        let view = View { case: &case, located: &located, tools: &[], now_ms: 0 };
        let conclusion = next(&runbooks, view, &[]).conclusion.unwrap();
        assert_eq!(conclusion.root_cause, "runbook 'disk' was followed; it names no cause");
        assert_eq!(conclusion.remaining, "step 'clean' needs a host, and none is known");
    }
}
