//! The channels against doubles of their services: every answer, every failure.

mod email;
mod outbox;
mod pagerduty;
mod slack;

use watchkeeper::model::alert::Severity;
use watchkeeper::model::ids::{IncidentId, MessageId};
use watchkeeper::model::message::{Event, Link, Message, Urgency};
use watchkeeper::notify::{Attempt, Channel, Failure, Repeat, Sent};

use crate::support::Server;

const FIRST: Attempt = Attempt { number: 1, maybe_sent: Repeat::Fresh };
const SECOND: Attempt = Attempt { number: 2, maybe_sent: Repeat::Fresh };
const AFTER_CRASH: Attempt = Attempt { number: 2, maybe_sent: Repeat::AfterCrash };

const EVENTS: [Event; 7] = [
    Event::Started,
    Event::NeedsYou,
    Event::Note,
    Event::Escalated,
    Event::Acknowledged,
    Event::Resolved,
    Event::Health,
];

fn message(event: Event) -> Message {
    Message {
        id: MessageId::new(),
        scope: "shop".to_owned(),
        incident_id: Some(IncidentId::new()),
        event,
        urgency: Urgency::Page,
        severity: Severity::Critical,
        title: "<!channel> web1 answers 502, see https://evil.example.net".to_owned(),
        facts: vec![("Host".to_owned(), "web1".to_owned())],
        paragraphs: vec!["*@here* `rm -rf /`\r\n\0<b>磁盘空间不足</b> 😀".to_owned()],
        links: vec![Link {
            label: "Open incident".to_owned(),
            url: "https://watch.example.com/incidents/1".to_owned(),
        }],
        dedup_key: "key-1".to_owned(),
        created_at_ms: 1_773_136_800_000,
        channels: vec![],
    }
}

/// The largest message that anybody could make.
fn huge(event: Event) -> Message {
    let text = "<&@😀\" https://evil.example.net\n".repeat(200);
    Message {
        scope: text.clone(),
        title: text.clone(),
        facts: (0..60).map(|n| (format!("{n} {text}"), text.clone())).collect(),
        paragraphs: vec![text.clone(); 30],
        links: vec![Link { label: text.clone(), url: "https://watch.example.com/".to_owned() }; 30],
        dedup_key: text,
        ..message(event)
    }
}

async fn send(channel: &dyn Channel, message: &Message) -> Result<Sent, Failure> {
    channel.send(message, FIRST).await
}

/// What the failure says, having checked that it is to be tried again.
fn retried(outcome: Result<Sent, Failure>) -> (Option<u64>, String) {
    match outcome {
        Err(Failure::Retry { after_ms, why, .. }) => (after_ms, why),
        other => panic!("expected a retry, got {other:?}"),
    }
}

fn refused(outcome: Result<Sent, Failure>) -> String {
    match outcome {
        Err(Failure::Permanent { why }) => why,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Takes connections and says nothing.
async fn silent() -> Server {
    Server::start(|listener| async move {
        let mut sockets = vec![];
        while let Ok((socket, _)) = listener.accept().await {
            sockets.push(socket);
        }
    })
    .await
}
