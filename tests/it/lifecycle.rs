//! What may go wrong in the life of an incident, and that somebody hears all the same.

use crate::support::drill::{BOX, NO_RUNBOOKS, Problem};
use crate::support::engines::{for_each_engine, on_sqlite};
use crate::support::world::{SCOPE, Server, World, webhook};
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use watchkeeper::agent::Thought;
use watchkeeper::agent::scripted::Scripted;
use watchkeeper::app::Instead;
use watchkeeper::incident::pager;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::conclusion::{Conclusion, Confidence};
use watchkeeper::model::ids::MessageId;
use watchkeeper::model::incident::State;
use watchkeeper::model::message::{Event, Message, Urgency};
use watchkeeper::notify::outbox::{self, Outbox};
use watchkeeper::notify::{Attempt, Before, Channel, Failure, Sent};
use watchkeeper::store::step::Announcement;
use watchkeeper::tasks::Tasks;

const MINUTE_MS: i64 = 60_000;

/// Looks once and concludes; what it measures is whether the web service is up.
const LOOK_ONLY: &str = r#"version: 1
runbooks:
  - name: service down
    match: ['alertname="ServiceDown"']
    steps:
      - { id: logs, tool: get_service_logs, args: { service: "${service}" } }
    verify: { query: 'up{service="web"}', expect: "value == 1.0" }
    conclude: { root_cause: "it came back by itself" }
"#;

async fn take_in(server: &Server, body: &Value) {
    server.post(body).await;
    while server.app.intake.take_batch().await.unwrap() > 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn people_hear_of_alerts_that_join_an_escalated_incident() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        let server = world.server().await;
        let mild = Problem::down().with("severity", "info");
        server.post(&mild.firing()).await;
        server.settle(5).await;
        assert_eq!(server.only_case().await.state(), State::Escalated);
        assert_eq!(world.pagerduty.events(), Vec::<Value>::new());

        server.post(&Problem::down().since("2026-03-10T10:20:00Z").firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.severity), (State::Escalated, Severity::Critical));
        assert_eq!(world.pagerduty.events().len(), 1);
        assert_eq!(world.slack_said().matches("More alerts fire").count(), 1);

        server.post(&Problem::down().since("2026-03-10T10:30:00Z").firing()).await;
        server.settle(5).await;
        assert_eq!(world.pagerduty.events().len(), 1, "not for each of a storm");
        server.app.clock.advance(61 * MINUTE_MS);
        server.post(&Problem::down().since("2026-03-10T11:30:00Z").firing()).await;
        server.settle(5).await;
        assert_eq!(world.pagerduty.events().len(), 2);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolved_notice_counts_although_the_incident_was_over() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(LOOK_ONLY);
        let server = world.server().await;
        let again = Problem::down().since("2026-03-10T10:10:00Z");
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.post(&Problem::down().resolved()).await;
        server.settle(5).await;

        world.break_service("web");
        server.post(&again.firing()).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.round), (State::Escalated, 2));
        server.post(&again.resolved()).await;
        server.settle(5).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_outlives_its_measured_end_is_taken_up_again() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(LOOK_ONLY);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        server.app.clock.advance(20 * MINUTE_MS);
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.app.clock.advance(20 * MINUTE_MS);
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        assert_eq!(server.incidents().await.len(), 2);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_measures_its_own_alerts_only() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.set_runbooks(LOOK_ONLY);
        world.settings.ingest.correlate_by = vec!["host".into()];
        let server = world.server().await;
        let other = Problem::new("FanStopped", &[BOX, ("severity", "warning")]);
        server.post(&webhook(&[Problem::down().alert("firing"), other.alert("firing")])).await;
        server.settle(5).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::Escalated);
        assert_eq!(case.end.unwrap().why, "unverified: Prometheus has no rule for FanStopped");
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_incident_is_paged_for_although_no_worker_is_free() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        world.set_runbooks(LOOK_ONLY);
        let server = world.server().await;
        server.post(&Problem::down().firing()).await;
        server.settle(5).await;
        server.post(&Problem::down().resolved()).await;
        server.settle(5).await;
        take_in(&server, &Problem::down().since("2026-03-10T10:10:00Z").firing()).await;
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 0);
        server.app.clock.advance(6 * MINUTE_MS);
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 1);
        while server.app.outbox.deliver_due().await.unwrap() > 0 {}
        assert_eq!(world.pagerduty.events().len(), 1);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_incident_is_paged_for_and_holds_back_no_other_page() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        take_in(&server, &Problem::down().firing()).await;
        server.app.clock.advance(1_000);
        take_in(&server, &Problem::corruption().firing()).await;
        let first = server.incidents().await.into_iter().min_by_key(|row| row.opened_at_ms);
        let first = first.unwrap().id;
        ground.sql(format!("update inbox set body = 'x' where stream_id = '{first}'")).await;
        server.app.clock.advance(6 * MINUTE_MS);
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 2);
        while server.app.outbox.deliver_due().await.unwrap() > 0 {}
        assert_eq!(world.pagerduty.events().len(), 2);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_in_one_incident_is_folded_in_parts() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        world.settings.ingest.correlate_by = vec!["alertname".into()];
        let server = world.server().await;
        let alerts: Vec<Value> = (0..620)
            .map(|n| {
                let label: &'static str = Box::leak(format!("box{n}").into_boxed_str());
                Problem::new("Storm", &[("instance", label)]).alert("firing")
            })
            .collect();
        server.post(&webhook(&alerts)).await;
        server.settle(3).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.alerts.len()), (State::Escalated, 620));
        assert!(world.slack_said().len() < 20_000);
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_goes_on_after_a_step_that_panicked() {
    on_sqlite(|ground| async move {
        let world = World::new(&ground).await;
        let panicked = AtomicBool::new(false);
        let mind = Scripted::new(move |_| {
            assert!(panicked.swap(true, Ordering::SeqCst), "the first step panics");
            let conclusion = Conclusion {
                root_cause: "none".into(),
                confidence: Confidence::Low,
                evidence: Vec::new(),
                done: String::new(),
                remaining: String::new(),
            };
            Ok(Thought { conclusion: Some(conclusion), ..Thought::default() })
        });
        let instead = Instead { mind: Some(Arc::new(mind)), ..Instead::default() };
        let server = world.server_with(instead).await;
        server.run();
        server.post(&Problem::down().firing()).await;
        // The clock of the world stands still, and a failed step waits for it.
        let clock = server.app.clock.clone();
        let cases = server
            .wait_for("an end", move |cases| {
                clock.advance(100);
                cases.iter().any(|case| case.end.is_some())
            })
            .await;
        assert_eq!(cases.len(), 1);
        server.stop().await;
    })
    .await;
}

/// Hangs for ever, or tells what it was given.
enum Double {
    Hangs,
    Tells(mpsc::UnboundedSender<String>),
}

impl Channel for Double {
    fn name(&self) -> &str {
        match self {
            Self::Hangs => "hangs",
            Self::Tells(_) => "tells",
        }
    }

    fn wants(&self, _message: &Message, _before: Before) -> bool {
        true
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        _attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            match self {
                Self::Hangs => std::future::pending().await,
                Self::Tells(to) => to.send(message.title.clone()).unwrap(),
            }
            Ok(Sent::default())
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_holds_back_no_other() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let outbox = Arc::new(Outbox {
            store: server.app.store.clone(),
            clock: server.app.clock.clone(),
            channels: vec![Arc::new(Double::Hangs), Arc::new(Double::Tells(tell))],
            scope: SCOPE.into(),
            public_url: "http://127.0.0.1".into(),
            digests: Default::default(),
            give_up_after_ms: 1_000_000,
            jitter: outbox::jitter,
        });
        let tasks = Tasks::default();
        let running = tasks.spawn(outbox::run(outbox, Duration::from_millis(10), tasks.stopping()));
        for title in ["one", "two"] {
            let message = health(title);
            let announcement = Announcement { transition: title.into(), message };
            server.app.store.announce(announcement).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
            assert_eq!(heard.expect("the other channel hangs, too").unwrap(), title);
        }
        running.abort();
        server.stop().await;
    })
    .await;
}

fn health(title: &str) -> Message {
    Message {
        id: MessageId::new(),
        scope: SCOPE.into(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Page,
        severity: Severity::Critical,
        title: title.into(),
        facts: Vec::new(),
        paragraphs: Vec::new(),
        links: Vec::new(),
        dedup_key: title.into(),
        created_at_ms: 1_000,
        channels: Vec::new(),
    }
}

/// Whoever is paused for longer loses the lease, and another process takes the change for lost.
#[tokio::test]
async fn a_change_starts_only_while_the_lease_of_its_intent_is_sure() {
    on_sqlite(|ground| async move {
        let mut world = World::new(&ground).await;
        for (lease_s, start_within_ms) in [(5, 2_500), (30, 15_000), (3_600, 30_000)] {
            world.settings.worker.lease_s = lease_s;
            let server = world.server().await;
            assert_eq!(server.app.desk().policy.start_within_ms, start_within_ms, "{lease_s} s");
            server.stop().await;
        }
    })
    .await;
}
