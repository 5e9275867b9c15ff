//! The doubles themselves: what breaks a published rule is seen, what keeps it passes.

use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde_json::{Value, json};
use watchkeeper::clients::http::{Http, Options};

use crate::support::fake_pagerduty::Incident;
use crate::support::fake_smtp::Mail;
use crate::support::{FakeModel, FakePagerDuty, FakeSlack, FakeSmtp, Fault, ModelReply, SmtpFault};

/// Posts JSON; gives status and body.
async fn post(url: &str, body: &Value) -> (u16, String) {
    let http = Http::new("double", url, &Options::default()).unwrap();
    let request = http.post("").header("content-type", "application/json").body(body.to_string());
    let answer = http.send(request, 1024 * 1024).await.unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

#[tokio::test]
async fn slack_takes_a_message_within_its_limits() {
    let slack = FakeSlack::start().await;
    let message = json!({
        "text": "DiskFull on web1",
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": "DiskFull" } },
            section("*web1* is full"),
            { "type": "section", "fields": [{ "type": "mrkdwn", "text": "a" }] },
            { "type": "divider" },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": "incident 1" }] },
            { "type": "actions", "elements": [{
                "type": "button",
                "text": { "type": "plain_text", "text": "Decide" },
                "url": "https://watchkeeper/confirm/1",
                "style": "primary",
            }] },
        ],
    });
    assert_eq!(post(&slack.webhook_url(), &message).await, (200, "ok".to_owned()));
    assert_eq!(slack.messages(), [message]);
    assert_eq!(slack.violations(), [""; 0]);
}

#[tokio::test]
async fn slack_refuses_what_block_kit_forbids() {
    let long = |n: usize| "x".repeat(n);
    let blocks = |blocks: Vec<Value>| json!({ "text": "t", "blocks": blocks });
    let header = json!({ "type": "header", "text": { "type": "plain_text", "text": long(151) } });
    let button = json!({ "type": "actions", "elements": [{
        "type": "button",
        "text": { "type": "plain_text", "text": "a" },
        "url": format!("https://a/{}", long(3000)),
    }] });
    let field = json!({ "type": "mrkdwn", "text": "a" });
    let cases = [
        (json!({ "blocks": [section("a")] }), "text: 0 characters of text, 1 to 40000 allowed"),
        (blocks(vec![section("a"); 51]), "51 blocks"),
        (blocks(vec![header]), "blocks[0]: 151 characters of text, 1 to 150 allowed"),
        (
            blocks(vec![section(&long(3001))]),
            "blocks[0]: 3001 characters of text, 1 to 3000 allowed",
        ),
        (blocks(vec![section("")]), "blocks[0]: 0 characters of text, 1 to 3000 allowed"),
        (blocks(vec![section(&long(2900)); 5]), "the blocks hold 14500 characters"),
        (
            blocks(vec![json!({ "type": "section", "fields": vec![field; 11] })]),
            "blocks[0]: 11 fields",
        ),
        (blocks(vec![json!({ "type": "table" })]), "blocks[0]: unknown block \"table\""),
        (blocks(vec![button]), "blocks[0].url: 3010 characters of text, 1 to 3000 allowed"),
    ];
    for (message, violation) in cases {
        let slack = FakeSlack::start().await;
        assert_eq!(post(&slack.webhook_url(), &message).await.0, 400, "{violation}");
        assert_eq!(slack.violations(), [violation]);
        assert_eq!(slack.messages(), [json!(null); 0]);
    }
}

#[tokio::test]
async fn slack_fails_as_told_and_then_recovers() {
    let slack = FakeSlack::start().await;
    slack.fail_next([Fault::RateLimited("30".to_owned()), Fault::Status(503)]);
    let message = json!({ "text": "a" });
    let mut statuses = vec![];
    for _ in 0..3 {
        statuses.push(post(&slack.webhook_url(), &message).await.0);
    }
    assert_eq!(statuses, [429, 503, 200]);
    assert_eq!((slack.attempts(), slack.messages()), (3, vec![message]));
}

fn event(action: &str, dedup_key: &str) -> Value {
    json!({
        "routing_key": FakePagerDuty::ROUTING_KEY,
        "event_action": action,
        "dedup_key": dedup_key,
        "payload": { "summary": "disk full", "source": "web1", "severity": "critical" },
        "links": [{ "href": "https://watchkeeper/incidents/1", "text": "incident" }],
    })
}

#[tokio::test]
async fn pagerduty_opens_one_incident_per_key() {
    let pagerduty = FakePagerDuty::start().await;
    let url = pagerduty.enqueue_url();
    for action in ["trigger", "trigger", "acknowledge"] {
        assert_eq!(post(&url, &event(action, "a")).await.0, 202);
    }
    post(&url, &event("trigger", "b")).await;
    post(&url, &event("resolve", "b")).await;
    let open: Vec<(String, Incident)> = pagerduty.open_incidents().into_iter().collect();
    assert_eq!(open, [("a".to_owned(), Incident::Acknowledged)]);
    assert_eq!((pagerduty.opened(), pagerduty.events().len()), (2, 5));
    assert_eq!(pagerduty.violations(), [""; 0]);
}

#[tokio::test]
async fn pagerduty_refuses_what_its_schema_forbids() {
    let with = |pointer: &str, value: Value| {
        let mut event = event("trigger", "a");
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let cases = [
        (with("/routing_key", json!("short")), "'routing_key' is not 32 letters and digits"),
        (with("/event_action", json!("open")), "'event_action' is \"open\""),
        (with("/dedup_key", json!("k".repeat(256))), "'dedup_key' is not 1 to 255 characters"),
        (
            with("/payload/summary", json!("s".repeat(1025))),
            "'payload.summary' has 1025 characters",
        ),
        (with("/payload/source", json!("")), "'payload.source' is missing or blank"),
        (with("/payload/severity", json!("fatal")), "'payload.severity' is \"fatal\""),
        (
            with("/links/0/href", json!("javascript:alert(1)")),
            "'links' must be a list of objects with a web address in href",
        ),
    ];
    for (event, violation) in cases {
        let pagerduty = FakePagerDuty::start().await;
        let (status, body) = post(&pagerduty.enqueue_url(), &event).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["errors"]), (400, &json!([violation])));
        assert_eq!(pagerduty.violations(), [violation]);
        assert_eq!(pagerduty.opened(), 0);
    }
}

fn mailer(smtp: &FakeSmtp) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host()).port(smtp.port()).build()
}

fn mail() -> Message {
    Message::builder()
        .from("watchkeeper@example.org".parse().unwrap())
        .to("oncall@example.org".parse().unwrap())
        .subject("DiskFull on web1 磁盘")
        .message_id(Some("<1@watchkeeper>".to_owned()))
        .body("first\r\n.hidden dot\r\n".to_owned())
        .unwrap()
}

#[tokio::test]
async fn smtp_takes_mail_and_unstuffs_dots() {
    let smtp = FakeSmtp::start().await;
    mailer(&smtp).send(mail()).await.unwrap();
    let mails = smtp.mails();
    let [Mail { from, to, data }] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!(
        (from.as_str(), &to[..]),
        ("watchkeeper@example.org", &["oncall@example.org".to_owned()][..])
    );
    assert!(data.contains("\r\n\r\nfirst\r\n.hidden dot\r\n"), "{data}");
    assert_eq!(mails[0].header("message-id").as_deref(), Some("<1@watchkeeper>"));
    assert_eq!(smtp.violations(), [""; 0]);
}

#[tokio::test]
async fn smtp_fails_for_now_or_for_good_as_told() {
    let smtp = FakeSmtp::start().await;
    let faults = [
        (SmtpFault::TemporaryAtRecipient, (true, false)),
        (SmtpFault::TemporaryAtData, (true, false)),
        (SmtpFault::PermanentAtRecipient, (false, true)),
        (SmtpFault::PermanentAtData, (false, true)),
        (SmtpFault::Busy, (true, false)),
    ];
    for (fault, expected) in faults {
        smtp.fail_next([fault]);
        let error = mailer(&smtp).send(mail()).await.unwrap_err();
        assert_eq!((error.is_transient(), error.is_permanent()), expected, "{fault:?}: {error}");
    }
    assert_eq!(smtp.mails(), []);
    smtp.fail_next([SmtpFault::CutOffAfterData]);
    mailer(&smtp).send(mail()).await.unwrap_err();
    assert_eq!((smtp.mails().len(), smtp.connections()), (1, 6));
    assert_eq!(smtp.violations(), [""; 0]);
}

#[tokio::test]
async fn model_refuses_what_strict_servers_refuse() {
    let user = json!({ "role": "user", "content": "a" });
    let call = |id: &str, arguments: &str| {
        json!({ "role": "assistant", "content": null, "tool_calls": [{
            "id": id,
            "type": "function",
            "function": { "name": "f", "arguments": arguments },
        }] })
    };
    let tool = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "" });
    let schema = |parameters: Value| {
        json!({ "model": "m", "messages": [user], "tools": [{
            "type": "function",
            "function": { "name": "f", "description": "d", "parameters": parameters },
        }] })
    };
    let talk = |messages: Vec<Value>| json!({ "model": "m", "messages": messages });
    let cases = [
        (json!({ "messages": [user] }), "model is not set"),
        (talk(vec![]), "messages is empty or no list"),
        (
            talk(vec![user.clone(), json!({ "role": "system", "content": "a" }), user.clone()]),
            "messages[1]: system after the conversation began",
        ),
        (talk(vec![json!({ "role": "user", "content": " " })]), "messages[0]: content is empty"),
        (
            talk(vec![user.clone(), json!({ "role": "assistant", "content": "" }), user.clone()]),
            "messages[1]: content is empty",
        ),
        (
            talk(vec![user.clone(), call("1", "{}"), user.clone()]),
            "messages[2]: calls {\"1\"} are not answered",
        ),
        (
            talk(vec![user.clone(), call("1", "{}"), tool("1"), tool("2")]),
            "messages[3]: answers \"2\", which is not open",
        ),
        (talk(vec![user.clone(), call("1", "{"), tool("1")]), "messages[1]: arguments \"{\""),
        (
            talk(vec![user.clone(), json!({ "role": "assistant", "content": "a" })]),
            "the last message is neither the user's nor a tool's",
        ),
        (schema(json!({ "type": "string" })), "tools[0]: parameters are no object schema"),
        (
            schema(json!({ "type": "object", "properties": {}, "required": ["a"] })),
            "tools[0].parameters: \"a\" is required but no property",
        ),
        (
            schema(json!({ "type": "object", "properties": { "a": { "type": "text" } } })),
            "tools[0].parameters.a: type is \"text\"",
        ),
    ];
    for (request, violation) in cases {
        let fake = FakeModel::script(vec![ModelReply::text("a")]).await;
        let (status, _) = post(&format!("{}/chat/completions", fake.base_url()), &request).await;
        assert_eq!(status, 400, "{violation}");
        assert_eq!(fake.violations(), [format!("request 0: {violation}")]);
    }
}

#[tokio::test]
async fn request_beyond_the_script_is_a_violation() {
    let fake = FakeModel::script(vec![]).await;
    let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "a" }] });
    post(&format!("{}/chat/completions", fake.base_url()), &request).await;
    assert_eq!(fake.violations(), ["request 0: beyond the script"]);
}
