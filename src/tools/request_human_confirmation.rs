//! Asks a person to decide one exact call.
//!
//! In: the call, what it would do, why, how risky, how to take it back. Out: a proposal; the
//! incident completes the inner call, judges it and waits for the decision. Never: a way around
//! the rules; a forbidden call stays forbidden.

use super::{Bounds, Done, Error, Request, Tool};
use crate::model::action::Risk;
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::Permit;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

const NAME: &str = "request_human_confirmation";
const PROSE_CHARS_MAX: usize = 2_000;

/// The tool `request_human_confirmation`.
pub(super) struct RequestHumanConfirmation {
    spec: ToolSpec,
}

impl RequestHumanConfirmation {
    pub(super) fn new() -> Self {
        let prose = ArgKind::Prose { chars_max: PROSE_CHARS_MAX };
        let risks = [Risk::Low, Risk::Medium, Risk::High].map(|risk| risk.as_str().to_owned());
        let args = vec![
            Arg::required("tool", ArgKind::Text { chars_max: 100 }, "the tool to be run"),
            Arg::required("args", ArgKind::Object, "its exact arguments"),
            Arg::required("action_description", prose.clone(), "what it would do, for a person"),
            Arg::required("reason", prose.clone(), "why it should be done"),
            Arg::required(
                "risk_level",
                ArgKind::Choice { of: risks.to_vec() },
                "how bad it would be if it went wrong",
            ),
            Arg::optional("rollback_plan", prose, "how it would be taken back"),
        ];
        let spec = ToolSpec {
            name: NAME.into(),
            about: "Asks a person to approve one exact call of a tool. What is named here is what \
                    runs after the approval, unchanged."
                .into(),
            effect: Effect::Talk,
            args,
        };
        Self { spec }
    }
}

impl Tool for RequestHumanConfirmation {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        if call.text("tool") == Some(NAME) {
            return Err("'tool' must name the action itself, not the question".to_owned());
        }
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        let call = permit.call();
        let text = |name: &str| call.text(name).unwrap_or_default().to_owned();
        let args = call.args.get("args").and_then(Value::as_object).cloned();
        let request = Request {
            call: Call { tool: text("tool"), args: args.unwrap_or_else(Map::new) },
            description: text("action_description"),
            reason: text("reason"),
            risk: match call.text("risk_level") {
                Some("low") => Risk::Low,
                Some("medium") => Risk::Medium,
                Some(_) | None => Risk::High,
            },
            rollback: call.text("rollback_plan").map(str::to_owned),
        };
        Box::pin(async move { Ok(Done::Proposal(request)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, bounds};
    use super::*;
    use serde_json::json;

    fn args() -> Value {
        json!({
            "tool": "restart_service",
            "args": { "service": "shop", "reason": "r" },
            "action_description": "restart the shop",
            "reason": "it hangs",
            "risk_level": "medium",
        })
    }

    #[tokio::test]
    async fn the_exact_call_is_proposed() {
        let bench = Bench::new("");
        let done = bench.run_within(NAME, args(), None, bounds()).await.unwrap();
        assert_eq!(
            done,
            Done::Proposal(Request {
                call: Call::new("restart_service", json!({ "service": "shop", "reason": "r" })),
                description: "restart the shop".into(),
                reason: "it hangs".into(),
                risk: Risk::Medium,
                rollback: None,
            })
        );
    }

    #[test]
    fn a_request_must_name_an_action() {
        let bench = Bench::new("");
        for (key, value) in [
            ("tool", json!(NAME)),
            ("args", json!("service=shop")),
            ("risk_level", json!("none")),
            ("action_description", json!("")),
            ("approver", json!("me")),
        ] {
            let mut args = args();
            args[key] = value;
            assert!(bench.complete(NAME, args).is_err(), "a wrong {key} was taken");
        }
    }
}
