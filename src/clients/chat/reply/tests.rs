use super::*;

fn asked() -> Asked<'static> {
    Asked { messages: &[], tools: &[], reasoning: Reasoning::Dropped }
}

fn read_message(message: &Value) -> Reply {
    read(&json!({ "choices": [{ "message": message }] }), &asked()).unwrap()
}

#[test]
fn whole_reply_is_read() {
    let body = json!({
        "model": "m-1",
        "choices": [{
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "I look.",
                "reasoning_content": "hm",
                "tool_calls": [{
                    "id": "a",
                    "type": "function",
                    "extra_content": { "signature": "s" },
                    "function": { "name": "get_logs", "arguments": "{\"n\":1}" },
                }],
            },
        }],
        "usage": { "prompt_tokens": 12, "completion_tokens": 3.0 },
    });
    let echo = Asked { reasoning: Reasoning::Echoed, ..asked() };
    assert_eq!(
        read(&body, &echo).unwrap(),
        Reply {
            text: "I look.".to_owned(),
            reasoning: Some("hm".to_owned()),
            calls: vec![ToolCall {
                id: "a".to_owned(),
                name: "get_logs".to_owned(),
                arguments: Ok(json!({ "n": 1 })),
                origin: Origin::Structured,
            }],
            usage: Usage { input_tokens: 12, output_tokens: 3, counted: Counted::ByServer },
            finish: "tool_calls".to_owned(),
            raw_message: json!({
                "role": "assistant",
                "content": "I look.",
                "reasoning_content": "hm",
                "tool_calls": [{
                    "id": "a",
                    "type": "function",
                    "extra_content": { "signature": "s" },
                    "function": { "name": "get_logs", "arguments": "{\"n\":1}" },
                }],
            }),
            model: "m-1".to_owned(),
        }
    );
}

#[test]
fn arguments_come_in_many_forms() {
    let cases = [
        (json!({ "a": 1 }), Ok(json!({ "a": 1 }))),
        (json!("{\"a\":1}"), Ok(json!({ "a": 1 }))),
        (json!("\"{\\\"a\\\":1}\""), Ok(json!({ "a": 1 }))),
        (json!(""), Ok(json!({}))),
        (json!("null"), Ok(json!({}))),
        (json!(null), Ok(json!({}))),
        (json!("[1]"), Err("not a JSON object: [1]".to_owned())),
        (
            json!("{\"a\":"),
            Err("not valid JSON (EOF while parsing a value at line 1 column 5): {\"a\":".to_owned()),
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(arguments_of(&given), expected, "{given}");
    }
}

#[test]
fn missing_and_repeated_ids_become_unique_and_the_echo_agrees() {
    let function = json!({ "name": "functions.get logs", "arguments": "{\"a\":" });
    let reply = read_message(&json!({
        "tool_calls": [
            { "function": function },
            { "id": "", "function": function },
            { "id": "x", "function": function },
            { "id": "x", "function": function },
        ],
    }));
    let ids: Vec<&str> = reply.calls.iter().map(|call| call.id.as_str()).collect();
    let distinct: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!((distinct.len(), ids[2]), (4, "x"));
    let echoed: Vec<&str> = reply.raw_message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    assert_eq!(echoed, ids);
    let first = &reply.raw_message["tool_calls"][0]["function"];
    assert_eq!(first["name"], "functions_get_logs");
    let arguments: Value = serde_json::from_str(first["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "unreadable": reply.calls[0].arguments.clone().unwrap_err() }));
}

#[test]
fn thinking_is_kept_apart_from_the_text() {
    let cases = [
        ("<think>a</think>\n\nb", Some("a"), "b"),
        ("a\n</think>b", Some("a"), "b"),
        ("<think>cut off", Some("cut off"), ""),
        ("no thought", None, "no thought"),
    ];
    for (content, reasoning, text) in cases {
        let reply = read_message(&json!({ "content": content }));
        assert_eq!(
            (reply.reasoning.as_deref(), reply.text.as_str()),
            (reasoning, text),
            "{content}"
        );
    }
}

#[test]
fn call_inside_a_thought_is_not_a_call() {
    let tools = [json!({ "type": "function", "function": { "name": "restart" } })];
    let content =
        "<think>\n<tool_call>{\"name\":\"restart\",\"arguments\":{}}</tool_call>\n</think>No.";
    let body = json!({ "choices": [{ "message": { "content": content } }] });
    let reply = read(&body, &Asked { tools: &tools, ..asked() }).unwrap();
    assert_eq!((reply.text.as_str(), reply.calls), ("No.", vec![]));
}

#[test]
fn call_written_as_text_is_echoed_as_a_structured_one() {
    let tools = [json!({ "type": "function", "function": { "name": "restart" } })];
    let content = "<tool_call>{\"name\":\"restart\",\"arguments\":{\"a\":1}}</tool_call>";
    let body = json!({ "choices": [{ "message": { "content": content } }] });
    let reply = read(&body, &Asked { tools: &tools, ..asked() }).unwrap();
    assert_eq!(reply.calls[0].origin, Origin::Text);
    assert_eq!(
        reply.raw_message,
        json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "id": reply.calls[0].id,
                "type": "function",
                "function": { "name": "restart", "arguments": "{\"a\":1}" },
            }],
        })
    );
}

#[test]
fn odd_content_is_read() {
    let cases = [
        (json!({ "content": [{ "type": "text", "text": "a" }, { "text": "b" }] }), "ab"),
        (json!({ "content": null, "refusal": "I cannot" }), "I cannot"),
        (json!({}), ""),
    ];
    for (message, text) in cases {
        assert_eq!(read_message(&message).text, text, "{message}");
    }
    assert_eq!(read_message(&json!({})).raw_message["content"], "(no text)");
}

#[test]
fn older_function_call_is_a_call() {
    let reply = read_message(&json!({ "function_call": { "name": "restart", "arguments": "{}" } }));
    assert_eq!(reply.calls[0].name, "restart");
    assert_eq!(reply.raw_message["tool_calls"][0]["function"]["name"], "restart");
}

#[test]
fn uncounted_usage_is_estimated() {
    let messages = [json!("twelve chars")];
    let body = json!({ "choices": [{ "message": { "content": "磁盘空间" } }], "usage": null });
    let reply = read(&body, &Asked { messages: &messages, ..asked() }).unwrap();
    // 14 ASCII characters in; 33 and 4 Chinese ones out.
    assert_eq!(
        reply.usage,
        Usage { input_tokens: 3, output_tokens: 12, counted: Counted::Estimated }
    );
}

#[test]
fn answer_without_a_message_is_refused() {
    let cases = [
        (json!({ "choices": [] }), "it holds no choice"),
        (json!({}), "it holds no choice"),
        (json!([]), "it holds no choice"),
        (json!({ "choices": [{ "text": "a" }] }), "its first choice holds no message"),
    ];
    for (body, reason) in cases {
        assert_eq!(read(&body, &asked()).unwrap_err(), reason, "{body}");
    }
}
