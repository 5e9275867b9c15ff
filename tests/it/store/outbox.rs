//! Messages are announced once, expanded once and delivered in order until they arrive.

use super::given::{announcement, claimed, now, step};
use crate::support::engines::{for_each_engine, on_postgres, on_sqlite};
use futures::future::join_all;
use std::collections::BTreeSet;
use watchkeeper::model::ids::{IncidentId, MessageId};
use watchkeeper::model::message::Message;
use watchkeeper::store::incidents::Lease;
use watchkeeper::store::outbox::{Attempted, Backlog, Due, MaybeSent, SentBefore};
use watchkeeper::store::timeline::Head;
use watchkeeper::store::{Error, Store};

async fn announce(store: &Store, incident: Option<IncidentId>, transition: &str) -> Message {
    let announcement = announcement(incident, transition);
    store.announce(announcement.clone()).await.unwrap();
    announcement.message
}

async fn expand(store: &Store, channels: &[&str]) -> usize {
    let channels = channels.iter().map(|&channel| channel.to_owned()).collect();
    store.expand_messages(channels, 2_000).await.unwrap()
}

/// Claims everything that is due for ten seconds.
async fn claim(store: &Store, now_ms: i64) -> Vec<Due> {
    let mut all = Vec::new();
    for channel in store.waiting_channels().await.unwrap() {
        all.extend(store.claim_deliveries(&channel, 100, now_ms, now_ms + 10_000).await.unwrap());
    }
    all.sort_by_key(|due| due.message.id);
    all
}

fn due(message: &Message, channel: &str, attempts: i64) -> Due {
    Due {
        message: message.clone(),
        channel: channel.into(),
        attempts,
        maybe_sent: MaybeSent::No,
        sent_before: SentBefore::No,
    }
}

fn again(next_at_ms: i64) -> Attempted {
    Attempted::Again { next_at_ms, error: "503 \0".into(), maybe_sent: MaybeSent::No }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_known_to_whoever_tries_next() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let message = announce(&store, Some(IncidentId::new()), "one").await;
        expand(&store, &["slack"]).await;
        assert_eq!(claim(&store, 2_000).await, [due(&message, "slack", 0)]);
        let (error, maybe_sent) = ("no answer".into(), MaybeSent::Yes);
        let lost = Attempted::Again { next_at_ms: 3_000, error, maybe_sent };
        store.attempted(message.id, "slack", lost).await.unwrap();
        // Also when the next try fails for sure: the one before it may still have arrived.
        for attempts in [1, 2] {
            let wanted = Due { maybe_sent: MaybeSent::Yes, ..due(&message, "slack", attempts) };
            assert_eq!(claim(&store, 3_000).await, [wanted]);
            store.attempted(message.id, "slack", again(3_000)).await.unwrap();
        }
    })
    .await;
}

async fn sent(store: &Store, message: MessageId, channel: &str) {
    store.attempted(message, channel, Attempted::Sent { at_ms: 3_000 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_is_announced_and_expanded_once() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        let id = Some(lease.incident_id);
        let first = announcement(id, "started");
        let mut step = step(&lease, &Head::default());
        step.messages = vec![first.clone(), announcement(id, "started")];
        store.commit(step).await.unwrap();
        announce(&store, id, "started").await;
        let health = announce(&store, None, "health").await;
        announce(&store, None, "health").await;
        let waiting = Backlog { waiting: 2, oldest_at_ms: Some(1_000), failing: 0, failed: 0 };
        assert_eq!(store.outbox_backlog().await.unwrap(), waiting);

        let expanded = join_all((0..8).map(|_| expand(&store, &["mail", "slack"]))).await;
        assert_eq!(expanded.iter().sum::<usize>(), 2);
        assert_eq!(expand(&store, &["pagerduty"]).await, 0);
        let waiting = Backlog { waiting: 4, oldest_at_ms: Some(2_000), failing: 0, failed: 0 };
        assert_eq!(store.outbox_backlog().await.unwrap(), waiting);
        let mut all = claim(&store, 2_000).await;
        all.sort_by(|a, b| (a.message.id, &a.channel).cmp(&(b.message.id, &b.channel)));
        let wanted = [
            due(&first.message, "mail", 0),
            due(&first.message, "slack", 0),
            due(&health, "mail", 0),
            due(&health, "slack", 0),
        ];
        assert_eq!(all, wanted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_only_to_the_channels_that_it_names() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let mut announcement = announcement(None, "a");
        announcement.message.channels = vec!["mail".into(), "fax".into()];
        store.announce(announcement.clone()).await.unwrap();
        assert_eq!(expand(&store, &["mail", "slack"]).await, 1);
        assert_eq!(claim(&store, 2_000).await, [due(&announcement.message, "mail", 0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_incident_leave_a_channel_in_order() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let (a, b) = (Some(IncidentId::new()), Some(IncidentId::new()));
        let first = announce(&store, a, "one").await;
        let second = announce(&store, a, "two").await;
        let third = announce(&store, a, "three").await;
        let other = announce(&store, b, "one").await;
        assert_eq!(expand(&store, &["mail"]).await, 4);
        assert_eq!(expand(&store, &["slack"]).await, 0);
        assert_eq!(claim(&store, 2_000).await, [due(&first, "mail", 0), due(&other, "mail", 0)]);
        // While an attempt is under way, and while it waits for the next, later ones wait too.
        assert_eq!(claim(&store, 2_000).await, []);
        store.attempted(first.id, "mail", again(5_000)).await.unwrap();
        sent(&store, other.id, "mail").await;
        assert_eq!(claim(&store, 4_999).await, []);
        let failing = Backlog { waiting: 3, oldest_at_ms: Some(2_000), failing: 1, failed: 0 };
        assert_eq!(store.outbox_backlog().await.unwrap(), failing);
        assert_eq!(claim(&store, 5_000).await, [due(&first, "mail", 1)]);
        // A channel that fails for good holds nothing back for ever.
        let gave_up = Attempted::GaveUp { error: "404".into() };
        store.attempted(first.id, "mail", gave_up).await.unwrap();
        assert_eq!(claim(&store, 5_000).await, [due(&second, "mail", 0)]);
        sent(&store, second.id, "mail").await;
        let wanted = Due { sent_before: SentBefore::Yes, ..due(&third, "mail", 0) };
        assert_eq!(claim(&store, 5_000).await, [wanted]);
        store.attempted(third.id, "mail", Attempted::Skipped).await.unwrap();
        let done = Backlog { waiting: 0, oldest_at_ms: None, failing: 0, failed: 1 };
        assert_eq!(store.outbox_backlog().await.unwrap(), done);
        let rows = "select state, attempts, coalesce(sent_at_ms, 0), coalesce(error, '')
                    from message_delivery order by message_id";
        assert_eq!(
            ground.sql(rows).await,
            [
                ["failed", "2", "0", "404"],
                ["sent", "1", "3000", ""],
                ["skipped", "0", "0", ""],
                ["sent", "1", "3000", ""]
            ]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_channel_does_not_hold_back_another() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let a = Some(IncidentId::new());
        let first = announce(&store, a, "one").await;
        let second = announce(&store, a, "two").await;
        expand(&store, &["mail", "slack"]).await;
        assert_eq!(claim(&store, 2_000).await.len(), 2);
        store.attempted(first.id, "mail", again(1_000_000)).await.unwrap();
        sent(&store, first.id, "slack").await;
        let wanted = Due { sent_before: SentBefore::Yes, ..due(&second, "slack", 0) };
        assert_eq!(claim(&store, 2_000).await, [wanted]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_claim_falls_due_again_as_possibly_sent() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let message = announce(&store, None, "one").await;
        expand(&store, &["mail"]).await;
        assert_eq!(claim(&store, 2_000).await, [due(&message, "mail", 0)]);
        assert_eq!(claim(&store, 11_999).await, []);
        let maybe =
            |attempts| Due { maybe_sent: MaybeSent::Yes, ..due(&message, "mail", attempts) };
        assert_eq!(claim(&store, 12_000).await, [maybe(0)]);
        // A failure of the second attempt says nothing of the first.
        store.attempted(message.id, "mail", again(13_000)).await.unwrap();
        assert_eq!(claim(&store, 13_000).await, [maybe(1)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_answer_of_an_old_claim_never_undoes_sent() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let message = announce(&store, None, "one").await;
        expand(&store, &["mail"]).await;
        claim(&store, 2_000).await;
        claim(&store, 12_000).await;
        sent(&store, message.id, "mail").await;
        store.attempted(message.id, "mail", again(13_000)).await.unwrap();
        assert_eq!(claim(&store, 50_000).await, []);

        // Nor is a message sent again that arrived after its claim was taken for failed.
        let message = announce(&store, Some(IncidentId::new()), "one").await;
        expand(&store, &["mail"]).await;
        claim(&store, 2_000).await;
        store.attempted(message.id, "mail", again(13_000)).await.unwrap();
        sent(&store, message.id, "mail").await;
        assert_eq!(claim(&store, 50_000).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deliverers_never_get_the_same_delivery() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        for n in 0..90 {
            announce(&store, Some(IncidentId::new()), &format!("t{n}")).await;
        }
        assert_eq!(expand(&store, &["mail", "slack"]).await, 90);
        let claims = join_all((0..60).map(|n| {
            let channel = if n % 2 == 0 { "mail" } else { "slack" };
            store.claim_deliveries(channel, 5, 2_000, 60_000)
        }))
        .await;
        let all: Vec<_> = claims
            .into_iter()
            .flat_map(Result::unwrap)
            .map(|due| (due.message.id, due.channel))
            .collect();
        assert_eq!(all.len(), 180);
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 180);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_holds_nobody_back() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let strange = announce(&store, Some(IncidentId::new()), "one").await;
        let update = format!("update message set body = '{{\"v\":2}}' where id = '{}'", strange.id);
        ground.sql(update).await;
        let message = announce(&store, None, "two").await;
        assert_eq!(expand(&store, &["mail"]).await, 2);
        assert_eq!(claim(&store, 2_000).await, [due(&message, "mail", 0)]);
        sent(&store, message.id, "mail").await;
        let failing = Backlog { waiting: 1, oldest_at_ms: Some(2_000), failing: 1, failed: 0 };
        assert_eq!(store.outbox_backlog().await.unwrap(), failing);
        assert_eq!(claim(&store, 2_000).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_held_is_due_at_once_for_the_next_owner_of_the_folder() {
    on_sqlite(|ground| async move {
        let first = ground.open().await;
        let lease = claimed(&first.store, "disk").await;
        let message = announce(&first.store, Some(lease.incident_id), "started").await;
        expand(&first.store, &["slack"]).await;
        assert_eq!(claim(&first.store, 2_000).await, [due(&message, "slack", 0)]);
        // Nothing is given back: to the store, a clean close and a kill are the same.
        first.close().await;
        let store = ground.store().await;
        let maybe = Due { maybe_sent: MaybeSent::Yes, ..due(&message, "slack", 0) };
        assert_eq!(claim(&store, 2_000).await, [maybe]);
        let again = store.claim("another", 10, now(), 60_000).await.unwrap();
        let wanted = Lease { owner: "another".into(), epoch: lease.epoch + 1, ..lease.clone() };
        assert_eq!(again, [wanted]);
        let late = store.commit(step(&lease, &Head::default())).await;
        assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_frees_nothing_of_the_others() {
    on_postgres(|ground| async move {
        let store = ground.store().await;
        let lease = claimed(&store, "disk").await;
        announce(&store, Some(lease.incident_id), "started").await;
        expand(&store, &["slack"]).await;
        assert_eq!(claim(&store, 2_000).await.len(), 1);
        let other = ground.store().await;
        assert_eq!(claim(&other, 2_000).await, []);
        assert_eq!(other.claim("another", 10, now(), 60_000).await.unwrap(), []);
        store.commit(step(&lease, &Head::default())).await.unwrap();
    })
    .await;
}

/// PagerDuty would otherwise never be told of the end of what it may have opened.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_in_doubt_counts_as_sent_before() {
    for_each_engine(|ground| async move {
        let store = ground.store().await;
        let id = Some(IncidentId::new());
        let first = announce(&store, id, "one").await;
        let second = announce(&store, id, "two").await;
        expand(&store, &["pagerduty"]).await;
        claim(&store, 2_000).await;
        let (error, maybe_sent) = ("no answer".into(), MaybeSent::Yes);
        let lost = Attempted::Again { next_at_ms: 3_000, error, maybe_sent };
        store.attempted(first.id, "pagerduty", lost).await.unwrap();
        claim(&store, 3_000).await;
        let gave_up = Attempted::GaveUp { error: "503".into() };
        store.attempted(first.id, "pagerduty", gave_up).await.unwrap();
        let wanted = Due { sent_before: SentBefore::Yes, ..due(&second, "pagerduty", 0) };
        assert_eq!(claim(&store, 3_000).await, [wanted]);
    })
    .await;
}
