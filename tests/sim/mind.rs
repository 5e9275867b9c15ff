//! A mind that does anything: looks, proposals of every kind, nonsense, silence.

use crate::world::{Outside, SERVICES};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use watchkeeper::agent::{Asked, Error, Mind, Thought, View};
use watchkeeper::model::conclusion::{Conclusion, Confidence};
use watchkeeper::model::timeline::Usage;

pub struct Whim(pub Outside);

impl Mind for Whim {
    /// Under this name its budget counts.
    fn name(&self) -> &str {
        "model"
    }

    fn next<'a>(&'a self, view: View<'a>) -> BoxFuture<'a, Result<Thought, Error>> {
        Box::pin(async move {
            self.0.board.outside("mind").await;
            let turns = view.case.current_turns().count();
            let wish = self.0.board.below(100 + 25 * turns);
            if wish < 5 {
                return Err(Error::Down("the model does not answer".into()));
            }
            let service = view.located.services.first().cloned().unwrap_or_else(|| "web".into());
            let mut thought = Thought {
                said: "thinking".into(),
                usage: Usage { input_tokens: 10, output_tokens: 5, cost_micros: 1 },
                by: "sim".into(),
                ..Thought::default()
            };
            let calls = match wish {
                5..20 => vec![("get_service_logs", json!({ "service": service }))],
                20..28 => vec![
                    ("get_service_logs", json!({ "service": service })),
                    ("get_service_logs", json!({ "service": SERVICES[wish % 3] })),
                ],
                28..66 => vec![("restart_service", self.restart(&service))],
                66..70 => vec![
                    ("get_service_logs", json!({ "service": service })),
                    ("restart_service", self.restart(&service)),
                ],
                70..73 => vec![("restart_service", self.restart(SERVICES[wish % 3]))],
                73..78 => vec![("request_human_confirmation", self.confirm(&service))],
                78..81 => vec![
                    ("restart_service", self.restart(&service)),
                    ("restart_service", self.restart(&service)),
                ],
                81..84 => {
                    let note = json!({ "channel": "slack", "severity": "info", "message": "hm" });
                    vec![("send_notification", note)]
                }
                84 => vec![("drop_table", json!({}))],
                85 => vec![("restart_service", json!({ "service": "sshd", "reason": "why not" }))],
                86 => vec![("restart_service", json!({ "unit": 5 }))],
                _ => Vec::new(),
            };
            let number = view.case.turns.len();
            thought.calls =
                calls.into_iter().enumerate().map(|(i, call)| asked(number, i, call)).collect();
            if thought.calls.is_empty() {
                thought.conclusion = Some(Conclusion {
                    root_cause: "out of memory".into(),
                    confidence: Confidence::Low,
                    evidence: Vec::new(),
                    done: String::new(),
                    remaining: String::new(),
                });
            }
            Ok(thought)
        })
    }
}

impl Whim {
    /// Words do not make another change of it, so the reason can name the proposal.
    fn restart(&self, service: &str) -> Value {
        let mut world = self.0.world();
        world.proposals += 1;
        json!({ "service": service, "reason": format!("proposal {}", world.proposals) })
    }

    fn confirm(&self, service: &str) -> Value {
        json!({
            "tool": "restart_service",
            "args": self.restart(service),
            "action_description": "restart it",
            "reason": "it is down",
            "risk_level": "low",
        })
    }
}

fn asked(turn: usize, place: usize, (tool, args): (&str, Value)) -> Asked {
    let args: Map<String, Value> = args.as_object().cloned().unwrap_or_default();
    Asked { id: format!("t{turn}_{place}"), tool: tool.to_owned(), args: Ok(args) }
}
