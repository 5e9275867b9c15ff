//! What an old backup brings back is told as what it is: late for nothing, and perhaps told before.

use super::{note, order, restored, taken};
use crate::support::drill::{NO_RUNBOOKS, Problem};
use crate::support::engines::for_each_engine;
use crate::support::world::{SCOPE, World};
use watchkeeper::incident::pager;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::ids::IncidentId;
use watchkeeper::model::message::Event;
use watchkeeper::store::restore::Replace;

/// The time since the backup is nobody's delay, and what was known of peers and processes is stale.
#[tokio::test]
async fn an_old_backup_pages_for_nothing_at_once_and_trusts_no_old_poll() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        let due = "select page_due_at_ms from incident where page_due_at_ms is not null";
        let due_at_ms: i64 = ground.sql(due).await[0][0].parse().unwrap();
        let store = &server.app.store;
        store.note_peer(SCOPE, "am1", Some("refused".into()), 1).await.unwrap();
        store.pulse("box:1", 1).await.unwrap();
        let doubt = "insert into alert_doubt (scope, source, fingerprint, starts_at_ms, missed,
                         missed_since_ms, missing_told, silence)
                     values ('default', 'a', 'new', 1, 1, 1, 0, null), ('default', 'a', 'told', 1, 2, 1, 1, null)";
        ground.sql(doubt).await;
        let (file, _) = taken(&ground, &world, "copy").await;
        server.stop().await;
        let days_ms = 3 * 86_400_000;
        world.clock.advance(days_ms);

        restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();
        let server = world.server().await;
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 0, "nobody is late yet");
        assert_eq!(ground.sql(due).await, [[(due_at_ms + days_ms).to_string()]]);
        let left_ms = due_at_ms + days_ms - world.clock.now_ms();
        world.clock.advance(left_ms);
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 1, "but it is not forgotten");
        assert_eq!(server.app.store.alertmanager_peers(SCOPE).await.unwrap(), []);
        assert_eq!(ground.sql("select process from pulse").await, Vec::<Vec<String>>::new());
        let doubts = "select fingerprint, missed from alert_doubt order by fingerprint";
        assert_eq!(ground.sql(doubts).await, [["new", "0"], ["told", "2"]]);
        server.stop().await;
    })
    .await;
}

/// A digest of what may have been told before says so.
#[tokio::test]
async fn what_was_held_for_a_digest_at_the_backup_may_be_a_repeat() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.settings.notify.slack.digest.messages_max = 1;
        let server = world.server().await;
        for n in 0..3 {
            let mut one = note(&world, &format!("note {n}"));
            one.message.severity = Severity::Warning;
            one.message.event = Event::Started;
            one.message.incident_id = Some(IncidentId::new());
            server.app.store.announce(one).await.unwrap();
        }
        while server.app.outbox.deliver_due().await.unwrap() > 0 {}
        assert_eq!(world.slack.messages().len(), 1, "the others are held");
        let (file, _) = taken(&ground, &world, "copy").await;
        server.stop().await;
        world.clock.advance(86_400_000);

        restored(&ground, &order(&world, &file, Replace::Aside)).await.unwrap();
        let server = world.server().await;
        while server.app.outbox.deliver_due().await.unwrap() > 0 {}
        let said: Vec<String> = world.slack.messages()[1..].iter().map(|m| m.to_string()).collect();
        let digest: Vec<_> = said.iter().filter(|text| text.contains("note 1")).collect();
        assert_eq!(digest.len(), 1, "{said:?}");
        assert!(
            digest[0].contains("note 2") && digest[0].contains("May be a repeat"),
            "{digest:?}"
        );
        server.stop().await;
    })
    .await;
}
