//! The pulse of the pipeline, and what asks for a poll.

use super::{MINUTE_MS, said, world};
use crate::support::drill::{Problem, sre_token};
use crate::support::engines::for_each_engine;
use crate::support::world::{Server, alert, webhook};
use serde_json::json;
use std::time::Duration;
use watchkeeper::approval::access::Access;
use watchkeeper::ingest::{Delivery, Rejected};

async fn beat(server: &Server) {
    server.post(&webhook(&[alert("firing", "Watchdog", &[("severity", "none")])])).await;
    assert_eq!(server.app.intake.take_batch().await.unwrap(), 1);
}

async fn watch(server: &Server) {
    server.app.reconciler.watch_pulses().await.unwrap();
    server.settle(0).await;
}

#[tokio::test]
async fn the_pulse_opens_no_incident_and_its_absence_and_return_are_told_once() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 0).await;
        let server = world.server().await;
        for _ in 0..3 {
            world.clock.advance(5 * MINUTE_MS);
            beat(&server).await;
        }
        watch(&server).await;
        assert_eq!(server.incidents().await, []);
        world.clock.advance(15 * MINUTE_MS);
        watch(&server).await;
        assert_eq!(said(&world, "The alert pipeline is silent"), 0, "not later than its deadline");

        world.clock.advance(1_000);
        for _ in 0..3 {
            watch(&server).await;
            world.clock.advance(30 * MINUTE_MS);
        }
        assert_eq!(said(&world, "The alert pipeline is silent"), 1);
        assert_eq!(world.pagerduty.opened(), 1);
        assert_eq!(said(&world, "works again"), 0);

        beat(&server).await;
        for _ in 0..3 {
            watch(&server).await;
        }
        assert_eq!(said(&world, "works again"), 1);
        assert!(world.pagerduty.open_incidents().is_empty());
        assert_eq!(server.incidents().await, []);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_pulse_that_comes_seldom_or_never_is_missed_only_where_it_is_expected() {
    for (expected, reports) in [(false, 0), (true, 1)] {
        for_each_engine(|ground| async move {
            let (mut world, _peers) = world(&ground, 0).await;
            world.settings.alertmanager.watchdog.expected = expected;
            let server = world.server().await;
            watch(&server).await;
            world.clock.advance(16 * MINUTE_MS);
            watch(&server).await;
            assert_eq!(said(&world, "The alert pipeline is silent"), reports);
            // Every four hours, as Alertmanager repeats by default.
            for _ in 0..4 {
                world.clock.advance(240 * MINUTE_MS);
                beat(&server).await;
                watch(&server).await;
            }
            world.clock.advance(60 * MINUTE_MS);
            watch(&server).await;
            let again = said(&world, "The alert pipeline is silent");
            assert_eq!(again > reports, expected, "{again}");
            server.stop().await;
        })
        .await;
    }
}

/// Whether somebody asked for a poll.
async fn asked(server: &Server) -> bool {
    let missed = server.app.ingest.missed();
    tokio::time::timeout(Duration::from_millis(50), missed.notified()).await.is_ok()
}

#[tokio::test]
async fn a_cut_a_refused_and_an_unreadable_delivery_ask_for_a_poll() {
    for_each_engine(|ground| async move {
        let (world, _peers) = world(&ground, 0).await;
        let server = world.server().await;
        server.post(&Problem::disk().firing()).await;
        server.app.intake.take_batch().await.unwrap();
        assert!(!asked(&server).await, "nothing was left out");

        let mut cut = Problem::disk().firing();
        cut["truncatedAlerts"] = json!(7);
        server.post(&cut).await;
        server.app.intake.take_batch().await.unwrap();
        assert!(asked(&server).await, "alerts were left out");

        let unreadable = Delivery {
            source: "alertmanager".into(),
            scope: "default".into(),
            bytes: "{\"version\": 4}".into(),
        };
        let refused = server.app.ingest.receive(unreadable).await;
        assert!(matches!(refused, Err(Rejected::Malformed(_))));
        assert!(asked(&server).await, "it is kept, and given up by its sender");

        let access = Access { tokens: vec![sre_token().0], ..Access::default() };
        let url = server.listen(access).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let stranger = client.post(format!("{url}/webhook/alert")).body("{}").send().await;
        assert_eq!(stranger.unwrap().status(), 401);
        assert!(asked(&server).await, "it may have been Alertmanager with a wrong token");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_for_long_is_reported_once() {
    for_each_engine(|ground| async move {
        let (mut world, peers) = world(&ground, 1).await;
        world.settings.alertmanager.urls.push("http://127.0.0.1:1".into());
        let server = world.server().await;
        for minute in 0..10 {
            assert_eq!(server.poll().await.answered, 1);
            server.settle(0).await;
            let reports = said(&world, "Alertmanager cannot be asked");
            assert_eq!(reports, usize::from(minute >= 5), "after {minute} minutes");
        }
        server.stop().await;
        assert_eq!(peers[0].violations(), Vec::<String>::new());
    })
    .await;
}
