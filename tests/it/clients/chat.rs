//! The chat client against a model server with every habit and fault that was seen in the wild.

use serde_json::{Value, json};
use watchkeeper::clients::chat::{Chat, Counted, Endpoint, Error, Origin, Reasoning, Reply, Usage};
use watchkeeper::clients::http::Options;

use crate::clients::NOWHERE;
use crate::support::{FakeModel, ModelReply};

fn endpoint(base_url: &str) -> Endpoint {
    Endpoint {
        name: "local".to_owned(),
        base_url: base_url.to_owned(),
        model: "fake-1".to_owned(),
        api_key: Some("sk-planted-secret".to_owned().into()),
        timeout_ms: 10_000,
        retries_max: 2,
        temperature: Some(0.2),
        reasoning: Reasoning::Dropped,
        options: Options::default(),
    }
}

fn chat(fake: &FakeModel) -> Chat {
    Chat::new(endpoint(&fake.base_url())).unwrap()
}

fn messages() -> Vec<Value> {
    vec![
        json!({ "role": "system", "content": "You are on call." }),
        json!({ "role": "user", "content": "The disk is full." }),
    ]
}

fn tools() -> Vec<Value> {
    vec![json!({
        "type": "function",
        "function": {
            "name": "get_service_logs",
            "description": "Reads the log of a service.",
            "parameters": {
                "type": "object",
                "properties": {
                    "service": { "type": "string" },
                    "lines": { "type": "integer" },
                },
                "required": ["service"],
            },
        },
    })]
}

async fn ask(chat: &Chat) -> Result<Reply, Error> {
    chat.complete(&messages(), &tools(), Some(500)).await
}

/// The error's name and the request count of a script.
async fn failure(replies: Vec<ModelReply>) -> (&'static str, String, usize) {
    let fake = FakeModel::script(replies).await;
    let error = ask(&chat(&fake)).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("planted"), "{text}");
    let kind = match error {
        Error::Unavailable { .. } => "unavailable",
        Error::Rejected { .. } => "rejected",
        Error::Malformed { .. } => "malformed",
        Error::QuotaExhausted { .. } => "quota",
        Error::ContextTooLong { .. } => "context",
    };
    assert_eq!(fake.violations(), [""; 0]);
    (kind, text, fake.count())
}

#[tokio::test]
async fn request_holds_what_was_asked_and_nothing_else() {
    let fake = FakeModel::script(vec![ModelReply::text("Done."), ModelReply::text("Done.")]).await;
    let client = chat(&fake);
    let reply = ask(&client).await.unwrap();
    assert_eq!(
        reply,
        Reply {
            text: "Done.".to_owned(),
            reasoning: None,
            calls: vec![],
            usage: Usage { input_tokens: 100, output_tokens: 10, counted: Counted::ByServer },
            finish: "stop".to_owned(),
            raw_message: json!({ "role": "assistant", "content": "Done." }),
            model: "fake-1".to_owned(),
        }
    );
    client.complete(&messages(), &[], None).await.unwrap();
    let sent = fake.requests();
    assert_eq!(
        sent[0].body,
        json!({
            "model": "fake-1",
            "messages": messages(),
            "tools": tools(),
            "stream": false,
            "temperature": 0.2,
            "max_tokens": 500,
        })
    );
    assert_eq!(
        sent[1].body,
        json!({
            "model": "fake-1",
            "messages": messages(),
            "stream": false,
            "temperature": 0.2,
        })
    );
    assert_eq!(sent[0].authorization.as_deref(), Some("Bearer sk-planted-secret"));
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test]
async fn local_model_without_a_key_gets_no_authorization() {
    let fake = FakeModel::script(vec![ModelReply::text("a")]).await;
    let keyless = Endpoint { api_key: None, ..endpoint(&format!("{}/", fake.base_url())) };
    ask(&Chat::new(keyless).unwrap()).await.unwrap();
    assert_eq!(fake.requests()[0].authorization, None);
}

#[tokio::test]
async fn calls_in_every_form_are_read_and_can_be_answered() {
    let arguments = json!({ "service": "api" });
    let name = "get_service_logs";
    let forms = [
        (ModelReply::call(name, arguments.clone()), Ok(arguments.clone()), Origin::Structured),
        (ModelReply::call_without_id(name, &arguments), Ok(arguments.clone()), Origin::Structured),
        (
            ModelReply::call_with_object(name, arguments.clone()),
            Ok(arguments.clone()),
            Origin::Structured,
        ),
        (ModelReply::call_with_raw(name, ""), Ok(json!({})), Origin::Structured),
        (
            ModelReply::call_with_raw(name, "{\"service\": api}"),
            Err("not valid JSON (expected value at line 1 column 13): {\"service\": api}"
                .to_owned()),
            Origin::Structured,
        ),
        (ModelReply::text_call(name, &arguments), Ok(arguments.clone()), Origin::Text),
    ];
    for (form, expected, origin) in forms {
        let fake = FakeModel::script(vec![form.clone(), ModelReply::text("Done.")]).await;
        let client = chat(&fake);
        let reply = ask(&client).await.unwrap();
        let call = &reply.calls[0];
        assert_eq!(
            (reply.calls.len(), call.name.as_str(), &call.arguments, call.origin),
            (1, name, &expected, origin),
            "{form:?}"
        );
        // The double refuses an echo that a strict server would refuse.
        let mut next = messages();
        next.push(reply.raw_message.clone());
        next.push(json!({ "role": "tool", "tool_call_id": call.id, "content": "no errors" }));
        let second = client.complete(&next, &tools(), None).await.unwrap();
        assert_eq!(second.text, "Done.", "{form:?}");
        assert_eq!(fake.violations(), [""; 0], "{form:?}");
    }
}

#[tokio::test]
async fn several_calls_keep_their_order() {
    let calls = [
        ("get_service_logs", json!({ "service": "a" })),
        ("get_service_logs", json!({ "service": "b" })),
    ];
    let fake = FakeModel::script(vec![ModelReply::calls(&calls)]).await;
    let reply = ask(&chat(&fake)).await.unwrap();
    let services: Vec<Value> =
        reply.calls.iter().map(|call| call.arguments.clone().unwrap()["service"].clone()).collect();
    assert_eq!(services, [json!("a"), json!("b")]);
}

#[tokio::test]
async fn passing_trouble_is_asked_again_within_bounds() {
    let busy = || ModelReply::error(503, "overloaded", "overloaded");
    let troubles = [
        vec![busy(), busy()],
        vec![ModelReply::rate_limited("0")],
        vec![ModelReply::html(502)],
        vec![ModelReply::json(408, &json!({ "detail": "slow" }))],
        vec![ModelReply::CutOff("{\"choices\":".to_owned())],
        vec![ModelReply::json(200, &json!({ "error": { "code": 503, "message": "x" } }))],
    ];
    for mut script in troubles {
        let expected = script.len() + 1;
        let shown = format!("{script:?}");
        script.push(ModelReply::text("Done."));
        let fake = FakeModel::script(script).await;
        let reply = ask(&chat(&fake)).await.unwrap();
        assert_eq!((reply.text.as_str(), fake.count()), ("Done.", expected), "{shown}");
    }
}

#[tokio::test]
async fn trouble_that_stays_makes_the_endpoint_unavailable() {
    let (kind, text, count) = failure(vec![ModelReply::html(502); 3]).await;
    assert_eq!((kind, count), ("unavailable", 3));
    assert_eq!(
        text,
        "the model endpoint local is unavailable: it answered 502: <html><h1>Bad \
         gateway</h1></html>"
    );
}

#[tokio::test]
async fn long_retry_after_is_left_to_the_caller() {
    let fake = FakeModel::script(vec![ModelReply::rate_limited("3600")]).await;
    let error = ask(&chat(&fake)).await.unwrap_err();
    let Error::Unavailable { retry_after_ms, .. } = error else { panic!("{error:?}") };
    assert_eq!((retry_after_ms, fake.count()), (Some(3_600_000), 1));
}

#[tokio::test]
async fn hopeless_requests_are_sent_once() {
    let long = "This model's maximum context length is 8192 tokens";
    let cases = [
        (ModelReply::error(429, "insufficient_quota", "pay"), "quota"),
        (ModelReply::error(402, "unknown_error", "Insufficient Balance"), "quota"),
        (ModelReply::error(400, "context_length_exceeded", "x"), "context"),
        (ModelReply::error(500, "server_error", long), "context"),
        (ModelReply::error(401, "invalid_api_key", "wrong key"), "rejected"),
        (ModelReply::json(404, &json!({ "error": "model 'fake-1' not found" })), "rejected"),
        (ModelReply::html(403), "rejected"),
        (ModelReply::html(200), "malformed"),
        (ModelReply::invalid_json(), "malformed"),
        (ModelReply::json(200, &json!({ "choices": [] })), "malformed"),
        (ModelReply::json(200, &json!([])), "malformed"),
        (ModelReply::large(10_000_000), "malformed"),
    ];
    for (reply, expected) in cases {
        let shown: String = format!("{reply:?}").chars().take(200).collect();
        let (kind, text, count) = failure(vec![reply]).await;
        assert_eq!((kind, count), (expected, 1), "{shown}: {text}");
    }
}

#[tokio::test]
async fn key_that_the_server_repeats_is_kept_out_of_the_error() {
    let reply = ModelReply::error(401, "invalid_api_key", "Incorrect key: sk-planted-secret.");
    let (_, text, _) = failure(vec![reply]).await;
    assert_eq!(
        text,
        "the model endpoint local refuses the request (401): Incorrect key: [redacted]."
    );
}

#[tokio::test]
async fn silent_server_is_given_up_once_at_the_time_limit() {
    let fake = FakeModel::respond(|_| ModelReply::Hang).await;
    let hasty = Endpoint { timeout_ms: 150, ..endpoint(&fake.base_url()) };
    let error = ask(&Chat::new(hasty).unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model endpoint local is unavailable: no reply within 150 ms"
    );
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn time_limit_includes_the_retries() {
    let fake = FakeModel::respond(|_| ModelReply::rate_limited("1")).await;
    let hasty = Endpoint { timeout_ms: 900, retries_max: 50, ..endpoint(&fake.base_url()) };
    let error = ask(&Chat::new(hasty).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { retry_after_ms: Some(1_000), .. }), "{error:?}");
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn absent_server_is_unavailable_and_the_error_says_what_to_mend() {
    let absent = Endpoint { retries_max: 1, ..endpoint(&format!("{NOWHERE}/v1")) };
    let error = ask(&Chat::new(absent).unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the model endpoint local is unavailable: cannot reach local at {NOWHERE}/v1: Connection \
             refused (os error 111). Check that it runs and listens on that address"
        )
    );
}

#[tokio::test]
async fn name_of_the_token_limit_is_learned_from_the_refusal() {
    let fake = FakeModel::respond(|request| {
        if request.body.get("max_tokens").is_some() {
            let said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                        'max_completion_tokens' instead.";
            return ModelReply::error(400, "unsupported_parameter", said);
        }
        ModelReply::text("Done.")
    })
    .await;
    let client = chat(&fake);
    assert_eq!(ask(&client).await.unwrap().text, "Done.");
    assert_eq!(ask(&client).await.unwrap().text, "Done.");
    let limits: Vec<Value> =
        fake.requests().iter().map(|r| r.body["max_completion_tokens"].clone()).collect();
    assert_eq!(limits, [json!(null), json!(500), json!(500)]);
}

#[tokio::test]
async fn reasoning_is_echoed_only_where_the_model_wants_it() {
    let message = json!({ "role": "assistant", "content": "a", "reasoning_content": "thought" });
    for (reasoning, echoed) in
        [(Reasoning::Dropped, json!(null)), (Reasoning::Echoed, json!("thought"))]
    {
        let fake = FakeModel::script(vec![ModelReply::Message(message.clone())]).await;
        let thinking = Endpoint { reasoning, ..endpoint(&fake.base_url()) };
        let reply = ask(&Chat::new(thinking).unwrap()).await.unwrap();
        assert_eq!(reply.reasoning.as_deref(), Some("thought"));
        assert_eq!(reply.raw_message["reasoning_content"], echoed);
    }
}

#[test]
fn key_is_not_in_the_debug_form() {
    let mut keyed = endpoint("http://me:planted@127.0.0.1:9/v1");
    keyed.options.proxy = Some("http://me:planted@127.0.0.1:9".to_owned());
    let shown = format!("{keyed:?} {:?} {:?}", keyed.options, Chat::new(keyed.clone()).unwrap());
    assert!(!shown.contains("planted"), "{shown}");
}
