use super::*;
use crate::clients::http::Options;
use crate::notify::samples::{EVENTS, HOSTILE, filled, message};

fn channel() -> PagerDuty {
    let http = Http::new("PagerDuty", "http://127.0.0.1:9", &Options::default()).unwrap();
    PagerDuty::new(http, "the-routing-key".into(), Language::En)
}

#[test]
fn a_trigger_carries_the_incident() {
    let event = render(&message(Event::Escalated), "rk", Language::En);
    let expected = json!({
        "routing_key": "rk",
        "event_action": "trigger",
        "dedup_key": "key-42",
        "client": "Watchkeeper",
        "client_url": "https://watch.example.com/incidents/42",
        "links": [{"href": "https://watch.example.com/incidents/42", "text": "Open incident"}],
        "payload": {
            "summary": "Escalated: web1 answers 502",
            "source": "web1",
            "severity": "critical",
            "timestamp": "2026-03-10T10:00:00Z",
            "component": "nginx.service",
            "group": "shop",
            "custom_details": {
                "Severity": "critical",
                "Incident": "00000000-0000-0000-0000-00000000002a",
                "Host": "web1",
                "Service": "nginx.service",
                "Text": "It was restarted.\n\nup = 1\nfor 2m",
            },
        },
    });
    assert_eq!(event, expected);
}

#[test]
fn resolve_and_acknowledge_carry_the_key_alone() {
    for (event, action) in [(Event::Resolved, "resolve"), (Event::Acknowledged, "acknowledge")] {
        let body = render(&message(event), "rk", Language::En);
        let expected = json!({"routing_key": "rk", "event_action": action, "dedup_key": "key-42"});
        assert_eq!(body, expected);
    }
}

#[test]
fn only_pages_are_wanted_and_only_what_was_triggered_ends() {
    let channel = channel();
    for event in EVENTS {
        let mut message = message(event);
        let ends = matches!(event, Event::Resolved | Event::Acknowledged);
        assert_eq!(channel.wants(&message, Before::Nothing), !ends, "{event:?}");
        assert!(channel.wants(&message, Before::Something), "{event:?}");
        message.urgency = Urgency::Tell;
        assert!(!channel.wants(&message, Before::Nothing), "{event:?}");
        assert_eq!(channel.wants(&message, Before::Something), ends, "{event:?}");
        message.channels = vec!["slack".to_owned()];
        assert!(!channel.wants(&message, Before::Something), "{event:?}");
    }
}

#[test]
fn a_key_that_pagerduty_refuses_is_replaced_by_one_that_stays_the_same() {
    let key = |key: &str| {
        let mut message = message(Event::Started);
        message.dedup_key = key.to_owned();
        dedup_key(&message)
    };
    assert_eq!(key(&"k".repeat(255)), "k".repeat(255));
    assert_eq!(key(&"k".repeat(256)), alertmanager_dedup_key(&"k".repeat(256)));
    assert_eq!(key(""), "watchkeeper-00000000-0000-0000-0000-00000000002a");
}

#[test]
fn alertmanagers_own_key_is_the_hex_sha256_of_the_group_key() {
    // printf '%s' '{}:{alertname="DiskSpaceLow"}' | sha256sum
    assert_eq!(
        alertmanager_dedup_key("{}:{alertname=\"DiskSpaceLow\"}"),
        "48915ab43c2b5e44cfd078eeb1df083ec67f64e540648010f20eb2070eb43b9f"
    );
}

#[test]
fn a_warning_that_pages_is_an_error_as_warnings_wake_nobody() {
    let severities = [Severity::Critical, Severity::Warning, Severity::Info];
    assert_eq!(severities.map(severity), ["critical", "error", "error"]);
}

#[test]
fn huge_and_hostile_messages_stay_within_the_limits() {
    let huge = ["\"😀\\".repeat(20_000), "@here \n".repeat(20_000)];
    for text in HOSTILE.map(str::to_owned).into_iter().chain(huge) {
        let mut message = filled(Event::Escalated, &text);
        message.facts = (0..60).map(|n| (format!("{n}{text}"), text.clone())).collect();
        message.dedup_key = text;
        let event = render(&message, "rk", Language::Zh);
        assert!(event.to_string().len() < 512 * 1024);
        assert!(event["dedup_key"].as_str().unwrap().len() <= 255);
        let payload = &event["payload"];
        assert!(payload["summary"].as_str().unwrap().chars().count() <= 1_024);
        assert!(!payload.to_string().contains("://"));
        assert!(!payload["source"].as_str().unwrap().is_empty());
    }
}
