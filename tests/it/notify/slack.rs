use super::*;
use crate::support::{FakeSlack, Fault, Server, answer};
use axum::Router;
use watchkeeper::clients::http::{Http, Options};
use watchkeeper::notify::slack::{Slack, render};
use watchkeeper::notify::words::Language;

fn slack_at(url: &str, timeout_ms: u64) -> Slack {
    let options = Options { timeout_ms, ..Options::default() };
    Slack::new(Http::new("Slack", url, &options).unwrap(), Language::En)
}

fn slack(fake: &FakeSlack) -> Slack {
    slack_at(&fake.webhook_url(), 5_000)
}

/// A webhook that always answers so.
async fn answering(status: u16, body: &'static str) -> (Server, Slack) {
    let router = Router::new().fallback(move || async move { answer(status, "text/plain", body) });
    let server = Server::http(router).await;
    let slack = slack_at(&format!("http://{}/services/T/B/secret", server.addr), 5_000);
    (server, slack)
}

#[tokio::test]
async fn every_event_is_posted_within_block_kits_rules() {
    let fake = FakeSlack::start().await;
    let slack = slack(&fake);
    let messages: Vec<Message> =
        EVENTS.iter().flat_map(|&event| [message(event), huge(event)]).collect();
    for message in &messages {
        assert_eq!(send(&slack, message).await, Ok(Sent { note: None }));
        slack.send(message, AFTER_CRASH).await.unwrap();
    }
    assert_eq!(fake.violations(), [""; 0]);
    let expected: Vec<_> = messages
        .iter()
        .flat_map(|message| [Repeat::Fresh, Repeat::AfterCrash].map(|repeat| (message, repeat)))
        .map(|(message, repeat)| render(message, repeat, Language::En))
        .collect();
    assert_eq!(fake.messages(), expected);
}

#[tokio::test]
async fn a_rate_limit_is_retried_when_slack_says() {
    let fake = FakeSlack::start().await;
    fake.fail_next([Fault::RateLimited("30".to_owned()), Fault::RateLimited("86400".to_owned())]);
    let slack = slack(&fake);
    let message = message(Event::Started);
    let why = "Slack limits how often we may send (429)".to_owned();
    assert_eq!(retried(send(&slack, &message).await), (Some(30_000), why.clone()));
    assert_eq!(retried(send(&slack, &message).await), (Some(3_600_000), why));
    assert_eq!(slack.send(&message, SECOND).await, Ok(Sent { note: None }));
    // A refused message was not shown, so its retry is no repeat.
    assert_eq!(fake.messages(), [render(&message, Repeat::Fresh, Language::En)]);
}

#[tokio::test]
async fn trouble_on_slacks_side_is_retried() {
    let fake = FakeSlack::start().await;
    let slack = slack(&fake);
    for status in [500, 502, 503, 408, 302] {
        fake.fail_next([Fault::Status(status)]);
        let (after_ms, why) = retried(send(&slack, &message(Event::Started)).await);
        assert_eq!(after_ms, None);
        assert!(why.contains(&status.to_string()) && !why.contains("XXXX"), "{why}");
    }
}

#[tokio::test]
async fn a_refusal_says_how_to_mend_it() {
    let cases = [
        (400, "invalid_payload", "please report it"),
        (400, "invalid_blocks", "please report it"),
        (403, "action_prohibited", "Ask an administrator"),
        (403, "invalid_token", "Create a new incoming webhook"),
        (404, "no_service", "Create a new incoming webhook"),
        (404, "channel_not_found", "Unarchive the channel"),
        (410, "channel_is_archived", "Unarchive the channel"),
    ];
    for (status, body, mend) in cases {
        let (_server, slack) = answering(status, body).await;
        let why = refused(send(&slack, &message(Event::Started)).await);
        let start = format!("Slack refused the message ({status} {body}). ");
        assert!(why.starts_with(&start) && why.contains(mend), "{why}");
    }
}

#[tokio::test]
async fn a_login_page_in_between_is_no_delivery() {
    let (_server, slack) = answering(200, "<html>Please sign in</html>").await;
    let (_, why) = retried(send(&slack, &message(Event::Started)).await);
    assert!(why.contains("is a proxy in between?"), "{why}");
}

#[tokio::test]
async fn an_answer_that_repeats_the_address_is_redacted() {
    let (_server, slack) = answering(500, "no route /services/T/B/secret").await;
    let (_, why) = retried(send(&slack, &message(Event::Started)).await);
    assert!(!why.contains("B/secret"), "{why}");
}

#[tokio::test]
async fn nobody_listening_is_retried_as_fresh() {
    let slack = slack_at("http://127.0.0.1:1/services/T/B/secret", 5_000);
    let (after_ms, why) = retried(send(&slack, &message(Event::Started)).await);
    assert_eq!(after_ms, None);
    assert!(why.contains("http://127.0.0.1:1:") && !why.contains("secret"), "{why}");
}

#[tokio::test]
async fn a_lost_answer_marks_the_next_try_once() {
    for fault in [Fault::Hang, Fault::CutOff] {
        let fake = FakeSlack::start().await;
        fake.fail_next([fault]);
        let slack = slack_at(&fake.webhook_url(), 200);
        let message = message(Event::Started);
        retried(send(&slack, &message).await);
        slack.send(&message, SECOND).await.unwrap();
        slack.send(&message, SECOND).await.unwrap();
        let marks = [Repeat::AfterCrash, Repeat::Fresh];
        assert_eq!(
            fake.messages(),
            marks.map(|mark| render(&message, mark, Language::En)),
            "the second message was delivered, so nothing is in doubt after it"
        );
    }
}
