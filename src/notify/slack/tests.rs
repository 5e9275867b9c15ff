use super::*;
use crate::model::message::Link;
use crate::notify::samples::{EVENTS, HOSTILE, filled, message};

const FOOTER: &str = "critical · shop · 2026-03-10T10:00:00Z · Incident \
                      00000000-0000-0000-0000-00000000002a";

fn plain_text(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// All text objects of a body, and the urls of its buttons.
fn texts(body: &Value) -> (Vec<String>, Vec<String>) {
    let (mut texts, mut urls, mut open) = (vec![], vec![], vec![body]);
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                assert_ne!(map.get("type"), Some(&json!("mrkdwn")));
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("text", Value::String(text)) => texts.push(text.clone()),
                        ("url", Value::String(url)) => urls.push(url.clone()),
                        _ => open.push(value),
                    }
                }
            }
            Value::Array(list) => open.extend(list),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    (texts, urls)
}

/// Slack's published limits.
fn assert_within_limits(body: &Value) {
    let blocks = body["blocks"].as_array().unwrap();
    assert!(!blocks.is_empty() && blocks.len() <= 50);
    let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
    let within = |object: &Value, max: usize| {
        assert!((1..=max).contains(&length(&object["text"])), "{object}");
    };
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => within(&block["text"], 150),
            "section" if block.get("fields").is_some() => {
                let fields = block["fields"].as_array().unwrap();
                assert!((1..=10).contains(&fields.len()));
                fields.iter().for_each(|field| within(field, 2_000));
            }
            "section" => within(&block["text"], 3_000),
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=10).contains(&elements.len()));
                elements.iter().for_each(|element| within(element, 2_000));
            }
            "actions" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=25).contains(&elements.len()));
                for button in elements {
                    within(&button["text"], 75);
                    assert!(length(&button["url"]) <= 3_000);
                }
            }
            other => panic!("unknown block {other}"),
        }
    }
    assert!((1..=4_000).contains(&length(&body["text"])));
    let all = texts(&body["blocks"]).0;
    assert!(all.iter().map(|text| text.encode_utf16().count()).sum::<usize>() <= 13_200);
}

#[test]
fn an_approval_is_a_header_facts_text_and_one_button() {
    let body = render(&message(Event::NeedsYou), Repeat::Fresh, Language::En);
    let expected = json!({
        "text": "✋ Needs you: web1 answers 502",
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [
            {"type": "header", "text": plain_text("✋ Needs you: web1 answers 502")},
            {"type": "section", "fields": [
                plain_text("Host\nweb1"),
                plain_text("Service\nnginx.service"),
            ]},
            {"type": "section", "text": plain_text("It was restarted.")},
            {"type": "section", "text": plain_text("up = 1\nfor 2m")},
            {"type": "context", "elements": [plain_text(FOOTER)]},
            {"type": "actions", "elements": [{
                "type": "button",
                "action_id": "link_0",
                "text": plain_text("Open incident"),
                "url": "https://watch.example.com/incidents/42",
                "style": "primary",
            }]},
        ],
    });
    assert_eq!(body, expected);
}

#[test]
fn every_event_has_its_own_headline() {
    let headline = |language| {
        EVENTS.map(|event| {
            let body = render(&message(event), Repeat::Fresh, language);
            assert_within_limits(&body);
            assert_eq!(body["text"], body["blocks"][0]["text"]["text"]);
            body["text"].as_str().unwrap().to_owned()
        })
    };
    let english = [
        "🔴 Investigating: web1 answers 502",
        "✋ Needs you: web1 answers 502",
        "🔴 Note: web1 answers 502",
        "✅ Resolved: web1 answers 502",
        "🚨 Escalated: web1 answers 502",
        "👤 Acknowledged: web1 answers 502",
        "🩺 Watchkeeper health: web1 answers 502",
    ];
    assert_eq!(headline(Language::En), english);
    let chinese = headline(Language::Zh);
    assert_eq!(chinese[1], "✋ 需要您处理: web1 answers 502");
    let body = render(&message(Event::Resolved), Repeat::Fresh, Language::Zh);
    assert_eq!(body["blocks"][1]["fields"][0]["text"], "主机\nweb1");
    assert_eq!(body["blocks"][5]["elements"][0]["text"]["text"], "查看事件");
}

#[test]
fn a_possible_repeat_says_so_first() {
    let body = render(&message(Event::Started), Repeat::AfterCrash, Language::En);
    assert_eq!(body["blocks"][0], context(Language::En.repeat()));
    let text = "🔴 Investigating: web1 answers 502 (May be a repeat: an earlier delivery was \
                interrupted)";
    assert_eq!(body["text"], text);
}

#[test]
fn nothing_of_a_hostile_text_is_active() {
    for text in HOSTILE {
        for event in EVENTS {
            let body = render(&filled(event, text), Repeat::Fresh, Language::En);
            assert_within_limits(&body);
            let (texts, urls) = texts(&body);
            for text in texts {
                assert!(!text.contains(['<', '>', '\r', '\0']), "{text}");
                let rest = text.replace("[@]", "");
                assert!(!rest.contains('@') && !rest.contains("://"), "{text}");
            }
            assert!(urls.iter().all(|url| url == "https://watch.example.com/1"));
        }
    }
}

#[test]
fn huge_messages_are_cut_to_the_limits_and_say_so() {
    for text in ["x".repeat(20_000), "&<>\"😀".repeat(5_000), "word @here\n".repeat(2_000)] {
        let mut message = filled(Event::Escalated, &text);
        message.facts = vec![(text.clone(), text.clone()); 30];
        message.paragraphs = vec![text.clone(); 30];
        message.links = vec![Link { label: text, url: "https://w.example/".to_owned() }; 30];
        let body = render(&message, Repeat::AfterCrash, Language::Zh);
        assert_within_limits(&body);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.contains(&context(Language::Zh.shortened())));
    }
}

#[test]
fn many_small_paragraphs_fit_too() {
    let mut message = message(Event::Note);
    message.paragraphs = vec!["one".to_owned(); 1_000];
    let body = render(&message, Repeat::Fresh, Language::En);
    assert_within_limits(&body);
    assert!(body["blocks"].as_array().unwrap().contains(&context(Language::En.shortened())));
}

#[test]
fn empty_and_invisible_texts_leave_no_empty_block() {
    for text in ["", " \n\t ", "\u{200b}\u{e0041}"] {
        let mut message = filled(Event::Note, text);
        message.incident_id = None;
        assert_within_limits(&render(&message, Repeat::Fresh, Language::En));
    }
}

#[test]
fn a_title_longer_than_a_header_is_shown_whole_below() {
    let mut message = message(Event::Started);
    message.title = "t".repeat(180);
    let body = render(&message, Repeat::Fresh, Language::En);
    assert_within_limits(&body);
    assert_eq!(body["blocks"][1]["text"]["text"], message.title);
}

#[test]
fn links_that_are_no_web_address_become_no_button() {
    let mut message = message(Event::NeedsYou);
    message.links[0].url = "javascript:alert(1)".to_owned();
    let body = render(&message, Repeat::Fresh, Language::En);
    assert_eq!(texts(&body).1, Vec::<String>::new());
}
