//! What delivers the outbox goes on, whatever one message, one channel or another replica does.

use crate::store::given::{SCOPE, announcement};
use crate::support::engines::{Ground, for_each_engine};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use watchkeeper::clock::Clock;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::message::Message;
use watchkeeper::notify::outbox::Outbox;
use watchkeeper::notify::{Attempt, Before, Channel, Failure, Repeat, Sent};
use watchkeeper::store::Store;

const START_MS: i64 = 1_773_136_800_000;
const DAY_MS: i64 = 86_400_000;

/// Notes what it was given; panics over one title, and is away for another.
struct Double {
    name: &'static str,
    sent: Mutex<Vec<String>>,
}

impl Double {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, sent: Mutex::default() })
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Channel for Double {
    fn name(&self) -> &str {
        self.name
    }

    fn wants(&self, _message: &Message, _sent_before: Before) -> bool {
        true
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        _attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            assert_ne!(message.title, "says panic", "a text that this channel cannot render");
            if message.title == "says away" {
                let (why, maybe_sent) = ("no network yet".to_owned(), Repeat::Fresh);
                return Err(Failure::Retry { after_ms: None, why, maybe_sent });
            }
            self.sent.lock().unwrap().push(message.title.clone());
            Ok(Sent::default())
        })
    }
}

fn outbox(store: &Store, clock: &Clock, channels: &[&Arc<Double>]) -> Outbox {
    Outbox {
        store: store.clone(),
        clock: clock.clone(),
        channels: channels.iter().map(|one| Arc::clone(one) as Arc<dyn Channel>).collect(),
        scope: SCOPE.into(),
        public_url: "https://watch.example.com".into(),
        digests: BTreeMap::new(),
        give_up_after_ms: DAY_MS,
        jitter: |_| 0,
    }
}

async fn announce(store: &Store, transition: &str) {
    store.announce(announcement(Some(IncidentId::new()), transition)).await.unwrap();
}

async fn states(ground: &Ground, channel: &str) -> Vec<String> {
    let sql = format!(
        "select state from message_delivery where channel = '{channel}' order by message_id"
    );
    ground.sql(sql).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_panics_over_one_message_is_given_the_others_and_people_hear_of_it() {
    for_each_engine(|ground| async move {
        let (store, clock) = (ground.store().await, Clock::set_at(START_MS));
        let (mail, slack) = (Double::new("mail"), Double::new("slack"));
        announce(&store, "panic").await;
        announce(&store, "calm").await;
        let outbox = outbox(&store, &clock, &[&mail, &slack]);
        for _ in 0..3 {
            outbox.deliver_due().await.unwrap();
        }
        assert_eq!(states(&ground, "mail").await[..2], ["failed", "sent"]);
        for (channel, other) in [(&mail, "slack"), (&slack, "mail")] {
            let wanted = ["says calm".to_owned(), format!("Watchkeeper cannot deliver to {other}")];
            assert_eq!(channel.sent(), wanted);
        }
    })
    .await;
}

/// While a configuration is rolled out, some replicas know a channel that others do not.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_may_still_deliver_is_not_given_up() {
    for_each_engine(|ground| async move {
        let (store, clock) = (ground.store().await, Clock::set_at(START_MS));
        let (mail, slack) = (Double::new("mail"), Double::new("slack"));
        announce(&store, "away").await;
        let (new, old) =
            (outbox(&store, &clock, &[&mail, &slack]), outbox(&store, &clock, &[&mail]));
        new.deliver_due().await.unwrap();
        clock.advance(60_000);
        old.deliver_due().await.unwrap();
        assert_eq!(states(&ground, "slack").await, ["waiting"]);
        // Nobody else knows the channel any more.
        clock.advance(600_000);
        old.deliver_due().await.unwrap();
        assert_eq!(states(&ground, "slack").await, ["failed"]);
    })
    .await;
}

/// After a long outage of ours the network may come up later than we do.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_old_already_is_tried_more_than_once() {
    for_each_engine(|ground| async move {
        let (store, clock) = (ground.store().await, Clock::set_at(START_MS));
        let mail = Double::new("mail");
        announce(&store, "away").await;
        let outbox = outbox(&store, &clock, &[&mail]);
        outbox.deliver_due().await.unwrap();
        assert_eq!(states(&ground, "mail").await, ["waiting"]);
        let mut minutes = 0;
        while states(&ground, "mail").await == ["waiting"] {
            clock.advance(60_000);
            outbox.deliver_due().await.unwrap();
            minutes += 1;
            assert!(minutes < 60, "it is never given up");
        }
        assert!(minutes > 5, "given up after {minutes} minutes");
    })
    .await;
}
