//! Above a rate, messages that can wait are put together; none is lost, and nothing urgent waits.

use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{Server, World};
use std::collections::BTreeSet;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::ids::{IncidentId, MessageId};
use watchkeeper::model::message::{Event, Message, Urgency};
use watchkeeper::store::step::Announcement;

const MESSAGES_MAX: u32 = 3;
const WITHIN_MS: i64 = 600_000;

async fn world(ground: &Ground) -> World {
    let mut world = World::new(ground).await;
    world.settings.notify.slack.digest.messages_max = MESSAGES_MAX;
    world
}

async fn tell(server: &Server, event: Event, severity: Severity, title: &str) -> Message {
    let urgency = match event {
        Event::Escalated => Urgency::Page,
        Event::Started
        | Event::NeedsYou
        | Event::Note
        | Event::Resolved
        | Event::Acknowledged
        | Event::Health => Urgency::Tell,
    };
    let message = Message {
        id: MessageId::new(),
        scope: "default".into(),
        incident_id: Some(IncidentId::new()),
        event,
        urgency,
        severity,
        title: title.into(),
        facts: Vec::new(),
        paragraphs: Vec::new(),
        links: Vec::new(),
        dedup_key: title.into(),
        created_at_ms: server.app.clock.now_ms(),
        channels: Vec::new(),
    };
    let announcement = Announcement { transition: "told".into(), message: message.clone() };
    server.app.store.announce(announcement).await.unwrap();
    message
}

async fn started(server: &Server, titles: std::ops::Range<u32>) -> Vec<Message> {
    let mut all = Vec::new();
    for n in titles {
        all.push(tell(server, Event::Started, Severity::Warning, &format!("title-{n}-")).await);
    }
    all
}

async fn deliver(server: &Server) {
    while server.app.outbox.deliver_due().await.unwrap() > 0 {}
}

#[tokio::test]
async fn what_is_beyond_the_rate_and_can_wait_is_told_in_one_message_that_names_it() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        let all = started(&server, 0..10).await;
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 3, "the first ones go alone");

        // Nothing urgent waits behind them, not even of the same incident.
        let same = all[9].incident_id;
        for (event, severity, title) in [
            (Event::NeedsYou, Severity::Warning, "a question"),
            (Event::Started, Severity::Critical, "a critical one"),
        ] {
            let mut message = tell(&server, event, severity, title).await;
            message.incident_id = same;
            message.id = MessageId::new();
            let announcement = Announcement { transition: title.into(), message };
            server.app.store.announce(announcement).await.unwrap();
        }
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 7);

        world.clock.advance(60_000);
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 8, "{}", world.slack_said());
        let digest = world.slack.messages().pop().unwrap().to_string();
        assert!(digest.contains("7 incidents"), "{digest}");
        for n in 0..10 {
            let named = digest.contains(&format!("title-{n}-"));
            assert_eq!(named, n >= 3, "{n}: {digest}");
        }

        // What it stands for is on record, each message once.
        let sql = "select distinct digest_id from message_delivery where state = 'digested'";
        let digests = ground.sql(sql).await;
        assert_eq!(digests.len(), 1);
        let id: MessageId = digests[0][0].parse().unwrap();
        assert!(digest.contains(&format!("/digests/{id}")), "{digest}");
        let (_, members) = server.app.store.digest("default", id).await.unwrap().unwrap();
        let members: BTreeSet<MessageId> = members.iter().map(|member| member.id).collect();
        assert_eq!(members, all[3..].iter().map(|message| message.id).collect());
        assert_eq!(server.app.store.digest("other", id).await.unwrap(), None);

        // One digest in that time; who is called upon waits a moment only.
        started(&server, 20..25).await;
        world.clock.advance(61_000);
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 8);
        tell(&server, Event::Escalated, Severity::Warning, "a call").await;
        deliver(&server).await;
        world.clock.advance(60_000);
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 9);
        let digest = world.slack.messages().pop().unwrap().to_string();
        assert!(digest.contains("1 need a person, 5 started"), "{digest}");

        // Calm: each goes alone again.
        world.clock.advance(2 * WITHIN_MS);
        started(&server, 30..32).await;
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 11);
        let waiting = "select count(*) from message_delivery where next_at_ms is not null";
        assert_eq!(ground.sql(waiting).await, [["0"]], "nothing is left behind");
        world.assert_no_violations();
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn pages_of_pagerduty_are_never_put_together() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        for n in 0..10 {
            tell(&server, Event::Escalated, Severity::Warning, &format!("call-{n}")).await;
        }
        deliver(&server).await;
        assert_eq!(world.pagerduty.opened(), 10);
        assert_eq!(world.slack.messages().len(), 3);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rate_of_zero_puts_nothing_together() {
    for_each_engine(|ground| async move {
        let mut world = world(&ground).await;
        let server = world.server().await;
        started(&server, 0..10).await;
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 3);
        server.stop().await;
        world.settings.notify.slack.digest.messages_max = 0;
        let server = world.server().await;
        world.clock.advance(60_000);
        deliver(&server).await;
        assert_eq!(world.slack.messages().len(), 10, "those that were held go alone, too");
        server.stop().await;
    })
    .await;
}
