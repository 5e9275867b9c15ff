//! Tells people something that the messages of the incident do not say by themselves.
//!
//! In: words, how bad, which channel. Out: a note that the incident puts into the outbox; who gets
//! it is the route's to say. Never: a recipient, a link, a delivery from here.

use super::{Bounds, Done, Error, Note, Tool};
use crate::model::alert::Severity;
use crate::model::call::Call;
use crate::model::message::Urgency;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::Permit;
use futures::future::BoxFuture;
use serde_json::Value;

const MESSAGE_CHARS_MAX: usize = 1_000;
const DETAILS_CHARS_MAX: usize = 8_000;

/// The tool `send_notification`.
pub(super) struct SendNotification {
    spec: ToolSpec,
}

impl SendNotification {
    pub(super) fn new() -> Self {
        let channels = ["slack", "pagerduty", "email", "all"].map(str::to_owned).to_vec();
        let severities = [Severity::Info, Severity::Warning, Severity::Critical];
        let severities = severities.map(|severity| severity.as_str().to_owned()).to_vec();
        let args = vec![
            Arg::required("channel", ArgKind::Choice { of: channels }, "where to say it"),
            Arg::required(
                "severity",
                ArgKind::Choice { of: severities },
                "critical wakes the person on call",
            ),
            Arg::required(
                "message",
                ArgKind::Prose { chars_max: MESSAGE_CHARS_MAX },
                "what to say",
            ),
            Arg::optional(
                "details",
                ArgKind::Prose { chars_max: DETAILS_CHARS_MAX },
                "what it rests on",
            ),
        ];
        let spec = ToolSpec {
            name: "send_notification".into(),
            about: "Sends a message to the team. Start, approvals, escalation and end of an \
                    incident are announced anyway."
                .into(),
            effect: Effect::Talk,
            args,
        };
        Self { spec }
    }
}

impl Tool for SendNotification {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        let call = permit.call();
        let severity = Severity::from_label(call.text("severity"));
        let note = Note {
            channel: call.text("channel").unwrap_or("all").to_owned(),
            urgency: match severity {
                Severity::Critical => Urgency::Page,
                Severity::Warning | Severity::Info => Urgency::Tell,
            },
            severity,
            message: call.text("message").unwrap_or_default().to_owned(),
            details: call.text("details").map(str::to_owned),
        };
        Box::pin(async move { Ok(Done::Message(note)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, bounds};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn only_critical_words_wake_somebody() {
        let bench = Bench::new("");
        for (word, severity, urgency) in [
            ("info", Severity::Info, Urgency::Tell),
            ("warning", Severity::Warning, Urgency::Tell),
            ("critical", Severity::Critical, Urgency::Page),
        ] {
            let args = json!({ "channel": "slack", "severity": word, "message": "磁盘 full" });
            let done = bench.run_within("send_notification", args, None, bounds()).await.unwrap();
            assert_eq!(
                done,
                Done::Message(Note {
                    channel: "slack".into(),
                    urgency,
                    severity,
                    message: "磁盘 full".into(),
                    details: None,
                })
            );
        }
    }

    #[test]
    fn recipients_cannot_be_chosen() {
        let bench = Bench::new("");
        for args in [
            json!({ "channel": "sms", "severity": "info", "message": "m" }),
            json!({ "channel": "#general", "severity": "info", "message": "m" }),
            json!({ "channel": "slack", "severity": "info", "message": "m", "to": "ceo" }),
            json!({ "channel": "slack", "severity": "panic", "message": "m" }),
            json!({ "channel": "slack", "severity": "info", "message": "m".repeat(1_001) }),
        ] {
            assert!(bench.complete("send_notification", args.clone()).is_err(), "{args} was taken");
        }
    }
}
