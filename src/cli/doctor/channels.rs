//! The ways to reach people: connected to, and written to only when asked.

use super::{ANSWER_WITHIN_MS, Finding};
use crate::app::outside::{self, options};
use crate::clients::http::{Http, Options};
use crate::clock::Clock;
use crate::config::{ClientSettings, Settings};
use crate::model::alert::Severity;
use crate::model::ids::MessageId;
use crate::model::message::{Event, Message, Urgency};
use crate::notify::{Attempt, Channel, Repeat};
use secrecy::ExposeSecret;
use std::sync::Arc;

pub async fn look(settings: &Settings, send_test: bool) -> Vec<Finding> {
    let notify = &settings.notify;
    let mut found = Vec::new();
    if let Some(url) = &notify.slack.webhook_url {
        let hook = "create a new incoming webhook if it was taken from a browser's address";
        found.push(connect("slack", url.expose_secret(), &notify.slack.client, hook).await);
    }
    if notify.pagerduty.routing_key.is_some() {
        let pagerduty = &notify.pagerduty;
        found.push(connect("pagerduty", &pagerduty.url, &pagerduty.client, "").await);
    }
    if notify.email.host.is_some() {
        found.push(email(settings).await);
    }
    if found.is_empty() {
        let said = "none configured: nobody is told of anything";
        let mend = "set notify.slack, notify.pagerduty or notify.email";
        return vec![Finding::warn("channels", said, mend)];
    }
    if let Some(url) = &notify.heartbeat.url {
        let client = &notify.heartbeat.client;
        found.push(connect("heartbeat", url.expose_secret(), client, "").await);
    }
    if send_test {
        match outside::channels(settings) {
            Ok(channels) => {
                for channel in channels {
                    found.push(send(channel).await);
                }
            }
            Err(error) => found.push(Finding::fail("channels", format!("{error:#}"), "")),
        }
    }
    found
}

/// Asks the channel's host for its front page: name, network, proxy and TLS are tried, and the
/// address that posts is not.
async fn connect(about: &str, url: &str, client: &ClientSettings, mend: &str) -> Finding {
    let options = options(client);
    let options = Options { timeout_ms: options.timeout_ms.min(ANSWER_WITHIN_MS), ..options };
    let front = match reqwest::Url::parse(url) {
        Ok(url) => url.origin().ascii_serialization(),
        // The text itself is a secret, and the parser's error could repeat it.
        Err(_) => return Finding::fail(about, "its address is not a URL", mend),
    };
    let http = match Http::new(about, &front, &options) {
        Ok(http) => http,
        Err(error) => return Finding::fail(about, error.to_string(), ""),
    };
    // Without the credentials that `Http::send` would add.
    match http.client().get(http.url("")).send().await {
        Ok(_) => Finding::ok(about, format!("{front} is reached; no message was sent")),
        Err(error) => Finding::fail(about, http.failed(error).to_string(), ""),
    }
}

async fn email(settings: &Settings) -> Finding {
    const ABOUT: &str = "email";
    let email = match outside::email(settings) {
        Ok(Some(email)) => email,
        Ok(None) => return Finding::fail(ABOUT, "no sender", "set notify.email.from"),
        Err(error) => return Finding::fail(ABOUT, format!("{error:#}"), ""),
    };
    match email.reach().await {
        Ok(()) => {
            let server = settings.notify.email.host.as_deref().unwrap_or_default();
            Finding::ok(ABOUT, format!("{server} takes our connection; no message was sent"))
        }
        Err(failure) => {
            let mend = "check host, port, security, user and password of notify.email";
            Finding::fail(ABOUT, failure.to_string(), mend)
        }
    }
}

async fn send(channel: Arc<dyn Channel>) -> Finding {
    let about = format!("{} test message", channel.name());
    let attempt = Attempt { number: 1, maybe_sent: Repeat::Fresh };
    let mut message = test_message();
    if let Err(failure) = channel.send(&message, attempt).await {
        return Finding::fail(&about, failure.to_string(), "");
    }
    if channel.name() == "pagerduty" {
        message.event = Event::Resolved;
        message.id = MessageId::new();
        if let Err(failure) = channel.send(&message, attempt).await {
            let mend = "resolve the test incident in PagerDuty by hand";
            return Finding::warn(&about, failure.to_string(), mend);
        }
    }
    Finding::ok(&about, "sent; look whether it arrived")
}

fn test_message() -> Message {
    let id = MessageId::new();
    Message {
        id,
        scope: "test".to_owned(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Page,
        severity: Severity::Info,
        title: "Test message from `watchkeeper doctor --send-test`".to_owned(),
        facts: Vec::new(),
        paragraphs: vec!["Nothing is wrong. Somebody checks that messages arrive.".to_owned()],
        links: Vec::new(),
        dedup_key: format!("watchkeeper-test-{id}"),
        created_at_ms: Clock::system().now_ms(),
        channels: Vec::new(),
    }
}
