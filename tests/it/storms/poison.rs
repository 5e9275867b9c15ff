//! A delivery that no transaction takes: the others go on, and people hear of it.

use super::take_in;
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine, on_postgres};
use crate::support::world::{SCOPE, Server, World, webhook};
use serde_json::Value;
use std::collections::BTreeSet;
use watchkeeper::store::Error;

/// From now on the database refuses alerts with this word in their labels. Only SQL can tell: the
/// delivery is well-formed and was acknowledged.
async fn refuse(ground: &Ground, word: &str, code: &str) {
    match ground.engine() {
        "sqlite" => {
            ground
                .sql(format!(
                    "create trigger poison before insert on alert when new.labels like '%{word}%'
                     begin select raise(abort, 'no room for it'); end"
                ))
                .await;
        }
        _ => {
            ground
                .sql(format!(
                    "create function poison() returns trigger language plpgsql as $$
                     begin
                         if new.labels like '%{word}%' then
                             raise exception 'no room for it' using errcode = '{code}';
                         end if;
                         return new;
                     end $$;
                     create trigger poison before insert on alert
                     for each row execute function poison()"
                ))
                .await;
        }
    }
}

fn alert(pod: &str, status: &str) -> Value {
    let pod: &'static str = Box::leak(pod.to_owned().into_boxed_str());
    Problem::down().with("pod", pod).alert(status)
}

/// The pods of all alerts that are known.
async fn pods(server: &Server) -> BTreeSet<String> {
    let mut pods = BTreeSet::new();
    for incident in server.incidents().await {
        for listed in server.app.store.alerts_of(incident.id).await.unwrap() {
            pods.extend(listed.alert.labels.get("pod").cloned());
        }
    }
    pods
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_only_fails_in_sql_is_set_aside_and_everything_else_goes_on() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        refuse(&ground, "poison", "P0001").await;
        for pod in ["a", "b"] {
            server.post(&webhook(&[alert(pod, "firing")])).await;
        }
        let beside = [alert("c", "firing"), alert("poison", "firing"), alert("d", "firing")];
        server.post(&webhook(&beside)).await;
        server.post(&webhook(&[alert("a", "resolved")])).await;
        for n in 0..70 {
            server.post(&webhook(&[alert(&format!("later-{n}"), "firing")])).await;
        }
        // It comes again, as Alertmanager sends whatever still fires.
        server.post(&webhook(&beside)).await;
        take_in(&server).await;

        let mut wanted: BTreeSet<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        wanted.extend((0..70).map(|n| format!("later-{n}")));
        assert_eq!(pods(&server).await, wanted);
        let store = &server.app.store;
        assert_eq!(store.delivery_backlog().await.unwrap().waiting, 0);
        let aside = store.malformed_deliveries(10).await.unwrap();
        assert_eq!(aside.len(), 2);
        for (_, problem, body) in &aside {
            assert!(problem.starts_with("alerts[1]: it cannot be taken in: "), "{problem}");
            assert!(problem.contains("no room for it"), "{problem}");
            assert!(body.contains("poison"), "the body is kept");
        }
        let incident = server.incidents().await[0].id;
        let a = store.alerts_of(incident).await.unwrap();
        let a = a.iter().find(|one| one.alert.labels["pod"] == "a").unwrap();
        assert!(a.alert.ends_at_ms.is_some(), "in the order in which they came");

        server.app.outbox.deliver_due().await.unwrap();
        let said = world.slack_said();
        assert_eq!(world.slack.messages().len(), 1, "once an hour: {said}");
        assert!(said.contains("1 alerts could not be taken in"), "{said}");
        assert!(said.contains("ServiceDown is firing"), "which one it is: {said}");
        assert_eq!(world.pagerduty.opened(), 1);
        world.assert_no_violations();
        server.stop().await;
    })
    .await;
}

/// The alert that always fires came in one delivery with an alert that cannot be taken in: the
/// pipeline works.
#[tokio::test(flavor = "multi_thread")]
async fn a_beat_beside_an_alert_that_is_set_aside_counts_once() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        refuse(&ground, "poison", "P0001").await;
        let mut watchdog = alert("none", "firing");
        watchdog["labels"] = serde_json::json!({ "alertname": "Watchdog", "severity": "none" });
        for _ in 0..2 {
            let poisoned = [watchdog.clone(), alert("poison", "firing"), alert("a", "firing")];
            server.post(&webhook(&poisoned)).await;
            take_in(&server).await;
            world.clock.advance(60_000);
        }
        let pulses = server.app.store.pulses(SCOPE).await.unwrap();
        let beats: Vec<_> = pulses.iter().map(|pulse| (&*pulse.source, pulse.beats)).collect();
        assert_eq!(beats, [("alertmanager", 2)]);
        assert_eq!(pods(&server).await, BTreeSet::from(["a".to_owned()]));
        assert_eq!(server.app.store.malformed_deliveries(10).await.unwrap().len(), 2);
        server.stop().await;
    })
    .await;
}

/// What looks like a database in trouble is not taken for a broken alert, until it goes on for long
/// while everything else is taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_not_set_aside_for_trouble_that_may_pass() {
    on_postgres(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        // As if somebody else held a lock.
        refuse(&ground, "poison", "55P03").await;
        server.post(&webhook(&[alert("poison", "firing")])).await;
        server.post(&webhook(&[alert("a", "firing")])).await;
        for _ in 0..2 {
            let taken = server.app.intake.take_batch().await;
            assert!(matches!(taken, Err(Error::Unavailable(_))), "{taken:?}");
        }
        assert_eq!(server.app.intake.take_batch().await.unwrap(), 1, "the other one");
        assert_eq!(pods(&server).await, BTreeSet::from(["a".to_owned()]));
        let store = &server.app.store;
        assert_eq!(store.malformed_deliveries(10).await.unwrap(), []);
        assert_eq!(store.delivery_backlog().await.unwrap().waiting, 1);

        ground.sql("alter table alert disable trigger poison").await;
        take_in(&server).await;
        let both = ["a", "poison"].map(str::to_owned);
        assert_eq!(pods(&server).await, BTreeSet::from(both), "it has passed");

        ground.sql("alter table alert enable trigger poison").await;
        server.post(&webhook(&[alert("poison-2", "firing")])).await;
        // It is tried all the time, as the intake does.
        for _ in 0..40 {
            let _ = server.app.intake.take_batch().await;
            world.clock.advance(20_000);
        }
        assert_eq!(store.malformed_deliveries(10).await.unwrap().len(), 1, "it does not pass");
        assert_eq!(store.delivery_backlog().await.unwrap().waiting, 0);
        server.stop().await;
    })
    .await;
}
