//! Messages for the tests of all channels.

use crate::model::alert::Severity;
use crate::model::ids::{IncidentId, MessageId};
use crate::model::message::{Event, Link, Message, Urgency};
use uuid::Uuid;

pub const EVENTS: [Event; 7] = [
    Event::Started,
    Event::NeedsYou,
    Event::Note,
    Event::Resolved,
    Event::Escalated,
    Event::Acknowledged,
    Event::Health,
];

pub fn message(event: Event) -> Message {
    Message {
        id: MessageId(Uuid::from_u128(7)),
        scope: "shop".to_owned(),
        incident_id: Some(IncidentId(Uuid::from_u128(42))),
        event,
        urgency: Urgency::Page,
        severity: Severity::Critical,
        title: "web1 answers 502".to_owned(),
        facts: vec![
            ("Host".to_owned(), "web1".to_owned()),
            ("Service".to_owned(), "nginx.service".to_owned()),
        ],
        paragraphs: vec!["It was restarted.".to_owned(), "up = 1\nfor 2m".to_owned()],
        links: vec![Link {
            label: "Open incident".to_owned(),
            url: "https://watch.example.com/incidents/42".to_owned(),
        }],
        dedup_key: "key-42".to_owned(),
        created_at_ms: 1_773_136_800_000,
        channels: vec![],
    }
}

/// Everything that an outsider can write, filled with one text.
pub fn filled(event: Event, text: &str) -> Message {
    Message {
        scope: text.to_owned(),
        title: text.to_owned(),
        facts: vec![(text.to_owned(), text.to_owned()); 3],
        paragraphs: vec![text.to_owned(), format!("first line\n{text}")],
        links: vec![Link { label: text.to_owned(), url: "https://watch.example.com/1".to_owned() }],
        ..message(event)
    }
}

/// Texts that some client would make active, hide or choke on.
pub const HOSTILE: [&str; 28] = [
    "<!channel> <!here> <!everyone> <!subteam^S0123>",
    "<@U012AB3CD> <#C012AB3CD|general>",
    "@here @channel @everyone",
    "<https://evil.example.net/login|Approve>",
    "<mailto:ops@evil.example.net|mail us>",
    "https://evil.example.net/?a=1&b=2",
    "HTTPS://EVIL.EXAMPLE.NET",
    "www.evil.example.net",
    "evil.support/login evil.click. EVIL.COM",
    "xn--e1aybc.xn--p1ai",
    "пример.рф 例え.テスト",
    "ops@evil.example.net",
    "user＠evil.example.net",
    "https:\u{200b}//evil.example.net",
    "ht\u{ad}tps:\u{2060}//evil.example.net",
    "*bold* _it_ ~no~ `code` ```block```",
    ":rotating_light: :white_check_mark:",
    "&lt;!channel&gt; &amp;lt;",
    "safe\u{202e}txt.exe\u{202c} \u{2066}x\u{2069}",
    "tags\u{e0041}\u{e0042}\u{e007f} and \u{feff}bom",
    "nul\0 bell\u{7} esc\u{1b}[31mred\u{1b}[0m",
    "line one\r\nBcc: all@evil.example.net\r\n\r\nbody",
    "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><a href='javascript:alert(1)'>x</a><!--",
    "--=_watchkeeper_00000000-0000-0000-0000-000000000007--\r\n.\r\nQUIT",
    "{{ $labels.x }} ${HOME} $(id) %s %n {\"a\":\"}",
    "Ünïcode \"quotes\" & <tags> 😀 磁盘空间不足",
];
