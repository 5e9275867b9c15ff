use super::*;
use crate::support::fake_pagerduty::Incident;
use crate::support::{FakePagerDuty, Fault};
use std::collections::BTreeMap;
use watchkeeper::clients::http::{Http, Options};
use watchkeeper::notify::pagerduty::{PagerDuty, render};
use watchkeeper::notify::words::Language;

fn pagerduty_at(url: &str, key: &str, timeout_ms: u64) -> PagerDuty {
    let options = Options { timeout_ms, ..Options::default() };
    PagerDuty::new(Http::new("PagerDuty", url, &options).unwrap(), key.into(), Language::En)
}

fn pagerduty(fake: &FakePagerDuty) -> PagerDuty {
    pagerduty_at(&fake.enqueue_url(), FakePagerDuty::ROUTING_KEY, 5_000)
}

#[tokio::test]
async fn every_event_is_accepted_whatever_its_size() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let messages: Vec<Message> =
        EVENTS.iter().flat_map(|&event| [message(event), huge(event)]).collect();
    for message in &messages {
        assert_eq!(send(&pagerduty, message).await, Ok(Sent { note: None }));
    }
    assert_eq!(fake.violations(), [""; 0]);
    let rendered = |m: &Message| render(m, FakePagerDuty::ROUTING_KEY, Language::En);
    assert_eq!(fake.events(), messages.iter().map(rendered).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_key_is_one_page_from_trigger_to_resolve() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let open = |state| BTreeMap::from([("key-1".to_owned(), state)]);
    for event in [Event::Started, Event::NeedsYou, Event::Escalated] {
        pagerduty.send(&message(event), AFTER_CRASH).await.unwrap();
        assert_eq!(fake.open_incidents(), open(Incident::Triggered));
    }
    send(&pagerduty, &message(Event::Acknowledged)).await.unwrap();
    assert_eq!(fake.open_incidents(), open(Incident::Acknowledged));
    send(&pagerduty, &message(Event::Resolved)).await.unwrap();
    assert_eq!((fake.open_incidents(), fake.opened()), (BTreeMap::new(), 1));
}

#[tokio::test]
async fn limits_and_trouble_are_retried() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty(&fake);
    let message = message(Event::Started);
    fake.fail_next([Fault::RateLimited("7".to_owned())]);
    let why = "PagerDuty limits how often we may send (429)".to_owned();
    assert_eq!(retried(send(&pagerduty, &message).await), (Some(7_000), why));
    for status in [500, 503, 200] {
        fake.fail_next([Fault::Status(status)]);
        let (after_ms, why) = retried(send(&pagerduty, &message).await);
        assert_eq!(after_ms, None);
        assert!(why.contains(&status.to_string()), "{why}");
    }
    assert_eq!(fake.events().len(), 0);
}

#[tokio::test]
async fn a_refused_event_lists_the_errors_without_the_key() {
    let fake = FakePagerDuty::start().await;
    let pagerduty = pagerduty_at(&fake.enqueue_url(), "too-short-a-key", 5_000);
    let expected = "PagerDuty refused the event (400). Check that routing_key is the integration \
                    key of an Events API v2 integration. It said: 'routing_key' is not 32 letters \
                    and digits";
    assert_eq!(refused(send(&pagerduty, &message(Event::Started)).await), expected);
}

#[tokio::test]
async fn an_answer_that_repeats_the_key_is_redacted() {
    let server =
        crate::support::Server::http(axum::Router::new().fallback(|body: String| async move {
            crate::support::answer(500, "text/plain", body)
        }))
        .await;
    let url = format!("http://{}", server.addr);
    let pagerduty = pagerduty_at(&url, FakePagerDuty::ROUTING_KEY, 5_000);
    let (_, why) = retried(send(&pagerduty, &message(Event::Resolved)).await);
    assert!(why.contains("[redacted]") && !why.contains("0123456789"), "{why}");
}

#[tokio::test]
async fn no_answer_is_retried() {
    let fake = FakePagerDuty::start().await;
    fake.fail_next([Fault::Hang]);
    let slow = pagerduty_at(&fake.enqueue_url(), FakePagerDuty::ROUTING_KEY, 200);
    let nowhere = pagerduty_at("http://127.0.0.1:1", FakePagerDuty::ROUTING_KEY, 5_000);
    for (channel, said) in [(slow, "within 200 ms"), (nowhere, "cannot reach PagerDuty")] {
        let (after_ms, why) = retried(send(&channel, &message(Event::Started)).await);
        assert_eq!(after_ms, None);
        assert!(why.contains(said), "{why}");
    }
}
