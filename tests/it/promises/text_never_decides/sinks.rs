//! Reads everything that people are shown of an incident and finds what is active in it: a link
//! that is not ours, a mention, markup, a character that hides.

use super::planted::Scene;
use crate::support::world::Server;
use crate::web::site::{Site, usual};
use base64::Engine as _;
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;
use watchkeeper::approval::People;
use watchkeeper::config::Language;
use watchkeeper::model::case::Case;
use watchkeeper::report;
use watchkeeper::store::timeline::Stream;
use watchkeeper::tasks::Tasks;

/// Everything active in messages, mails, pages and the report.
pub async fn active(scene: &Scene, server: &Server, case: &Case) -> Vec<String> {
    let own = server.app.settings.public_url();
    let mut found = Vec::new();
    let mut say = |place: &str, active: Vec<String>| {
        found.extend(active.into_iter().map(|what| format!("{place}: {what}")));
    };
    assert!(!scene.world.slack.messages().is_empty() && !scene.smtp.mails().is_empty());
    for message in scene.world.slack.messages() {
        say("slack", in_json(&message, &own));
    }
    for event in scene.world.pagerduty.events() {
        say(
            "pagerduty",
            in_json(&event, &own).into_iter().filter(|text| not_slacks(text)).collect(),
        );
    }
    for mail in scene.smtp.mails() {
        for part in parts(&mail.data) {
            match part.trim_start().starts_with('<') {
                true => say("mail", in_html(&part, &own)),
                false => say(
                    "mail",
                    in_text(&part, &own).into_iter().filter(|text| not_slacks(text)).collect(),
                ),
            }
        }
        say("subject", in_text(&mail.header("Subject").unwrap_or_default(), &own));
    }
    let entries = server.app.store.timeline(Stream::incident(case.id)).await.unwrap();
    let built = report::build(case, &entries, None, server.app.clock.now_ms());
    // What stands between backticks is shown as it is.
    let markdown = report::markdown(&built, Language::En);
    let spans = Regex::new("`[^`\n]*`").unwrap();
    say("report", in_text(&spans.replace_all(&markdown, "`"), &own));
    let (access, tokens) = usual();
    let store = server.app.store.clone();
    let site = Site::over(store, Tasks::default(), People::of(access), tokens, |_| {}).await;
    let kim = site.sign_in("kim").await;
    let mut paths = vec![
        "/".to_owned(),
        format!("/incidents/{}", case.id),
        format!("/incidents/{}/report", case.id),
    ];
    paths.extend(case.actions.iter().map(|action| format!("/confirm/{}", action.id())));
    for path in paths {
        let page = site.page(&path, Some(&kim)).await;
        assert_eq!(page.status, 200, "{path}");
        say("page", in_html(&page.text, &own));
    }
    found
}

/// Slack's own markup is text to everybody else.
fn not_slacks(active: &str) -> bool {
    !active.starts_with('<')
}

/// What a client would make active in plain text, Markdown or Slack's markup.
pub fn in_text(text: &str, own: &str) -> Vec<String> {
    let rest = text.replace(own, "");
    static ACTIVE: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let compiled = PATTERNS.iter().map(|pattern| Regex::new(pattern).unwrap());
        compiled.collect()
    });
    const PATTERNS: [&str; 6] = [
        r"<[!@#][A-Za-z]",
        r"(?i)(^|[^\]\w])@(channel|here|everyone|all)\b",
        r"(?i)\b[a-z][a-z0-9+.-]*://",
        r"(?i)\bevil\.com",
        r"\]\((https?:)?/?/",
        r"<https?:",
    ];
    let mut found: Vec<String> = ACTIVE
        .iter()
        .filter_map(|pattern| pattern.find(&rest))
        .map(|active| {
            let end = rest.ceil_char_boundary((active.end() + 60).min(rest.len()));
            rest[active.start()..end].to_owned()
        })
        .collect();
    let hidden =
        |c: &char| matches!(u32::from(*c), 0x200b | 0x202a..=0x202e | 0xe0000..=0xe007f | 0x1b);
    found.extend(text.chars().find(hidden).map(|c| format!("{c:?}")));
    found
}

/// The same for HTML, where bare text is not active but tags and their addresses are.
fn in_html(html: &str, own: &str) -> Vec<String> {
    let address = Regex::new(
        r#"(?i)(?:href|src|action|formaction|background|poster)\s*=\s*["']?([^"'\s>]*)"#,
    );
    let ours = |at: &str| {
        at.starts_with('#') || at.starts_with(own) || (at.starts_with('/') && !at.starts_with("//"))
    };
    let addresses = address.unwrap();
    let mut found: Vec<String> = addresses
        .captures_iter(&tags(html))
        .map(|found| found[1].to_owned())
        .filter(|at| !ours(at))
        .collect();
    let bad = Regex::new(
        r"(?i)<(script|img|iframe|object|embed|svg|base|!channel|!here|@u)|\son[a-z]+\s*=",
    )
    .unwrap();
    found.extend(bad.find(&tags(html)).map(|found| found.as_str().to_owned()));
    found.extend(
        html.chars()
            .find(|c| matches!(u32::from(*c), 0x200b | 0x202a..=0x202e | 0xe0000..=0xe007f))
            .map(|c| format!("{c:?}")),
    );
    found
}

/// The tags of a page; what stands between them is text.
fn tags(html: &str) -> String {
    Regex::new(r"<[^>]*>")
        .unwrap()
        .find_iter(html)
        .map(|tag| tag.as_str().to_owned() + "\n")
        .collect()
}

/// Texts for people are judged as text, addresses of buttons as links.
fn in_json(value: &Value, own: &str) -> Vec<String> {
    match value {
        Value::String(text) => in_text(text, own),
        Value::Array(items) => items.iter().flat_map(|item| in_json(item, own)).collect(),
        Value::Object(fields) => fields.values().flat_map(|field| in_json(field, own)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The decoded bodies of a mail.
fn parts(data: &str) -> Vec<String> {
    let decoded = |body: &str| {
        let text: String = body.split("\r\n--").next().unwrap().split_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let coded = data.split("Content-Transfer-Encoding: base64").skip(1);
    let parts: Vec<String> = coded
        .filter_map(|part| part.split_once("\r\n\r\n"))
        .map(|(_, body)| decoded(body))
        .collect();
    assert!(!parts.is_empty(), "no part of the mail can be read: {data}");
    parts
}
