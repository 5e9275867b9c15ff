//! Alerts of different keys that share labels, in one incident; and nothing is looser for it.

use super::{alerts_by_title, of_namespace, take_in};
use crate::support::drill::Problem;
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::World;
use watchkeeper::config::JoinRule;
use watchkeeper::model::action::ActionState;
use watchkeeper::model::alert::Severity;
use watchkeeper::model::incident::State;

fn by(labels: &[&str]) -> JoinRule {
    JoinRule {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        within_s: 300,
        alerts_max: 100,
        targets_max: 10,
    }
}

async fn world(ground: &Ground, rules: Vec<JoinRule>) -> World {
    let mut world = World::new(ground).await;
    world.settings.ingest.join = rules;
    world
}

fn counts<const N: usize>(wanted: [(&str, i64); N]) -> std::collections::BTreeMap<String, i64> {
    wanted.into_iter().map(|(title, alerts)| (title.to_owned(), alerts)).collect()
}

#[tokio::test]
async fn alerts_of_different_keys_are_different_incidents_unless_a_rule_says_otherwise() {
    for_each_engine(|ground| async move {
        let world = world(&ground, Vec::new()).await;
        let server = world.server().await;
        server.post(&of_namespace("ServiceDown", "web", "shop").firing()).await;
        server.post(&of_namespace("QueueBacklog", "worker", "shop").firing()).await;
        take_in(&server).await;
        let wanted = [("QueueBacklog: worker on box1", 1), ("ServiceDown: web on box1", 1)];
        assert_eq!(alerts_by_title(&server).await, counts(wanted));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn alerts_that_share_labels_join_within_the_time_and_their_kind_follows_them() {
    for_each_engine(|ground| async move {
        let world = world(&ground, vec![by(&["cluster", "namespace"])]).await;
        let server = world.server().await;
        server.post(&of_namespace("ServiceDown", "web", "shop").firing()).await;
        // In the same transaction as the one after it.
        server.post(&of_namespace("QueueBacklog", "worker", "shop").firing()).await;
        server.post(&of_namespace("ServiceDown", "db", "bank").firing()).await;
        let unplaced = Problem::down().with("cluster", "c1").with("service", "worker");
        server.post(&unplaced.firing()).await;
        take_in(&server).await;
        let wanted = [
            ("ServiceDown: db on box1", 1),
            ("ServiceDown: web on box1", 2),
            ("ServiceDown: worker on box1", 1),
        ];
        assert_eq!(alerts_by_title(&server).await, counts(wanted), "a missing label joins nothing");

        world.clock.advance(301_000);
        let same_kind = of_namespace("QueueBacklog", "worker", "shop").with("pod", "b");
        server.post(&same_kind.firing()).await;
        server.post(&of_namespace("DiskSpaceLow", "web", "shop").firing()).await;
        take_in(&server).await;
        let wanted = [
            ("DiskSpaceLow: web on box1", 1),
            ("ServiceDown: db on box1", 1),
            ("ServiceDown: web on box1", 3),
            ("ServiceDown: worker on box1", 1),
        ];
        assert_eq!(alerts_by_title(&server).await, counts(wanted));

        // A resolved notice of a joined alert finds its incident, too.
        server.post(&same_kind.resolved()).await;
        take_in(&server).await;
        let rows = server.incidents().await;
        let web = rows.iter().find(|row| row.title == "ServiceDown: web on box1").unwrap();
        let resolved = server.app.store.alerts_of(web.id).await.unwrap();
        let resolved = resolved.iter().filter(|a| a.alert.ends_at_ms.is_some()).count();
        assert_eq!((resolved, rows.len()), (1, 4));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_full_incident_takes_no_more_and_a_joining_alert_raises_severity_and_deadline() {
    for_each_engine(|ground| async move {
        let few = JoinRule { alerts_max: 2, ..by(&["namespace"]) };
        let world = world(&ground, vec![few]).await;
        let server = world.server().await;
        server.post(&of_namespace("ServiceDown", "web", "shop").firing()).await;
        take_in(&server).await;
        let opened_at_ms = world.clock.now_ms();
        world.clock.advance(10_000);
        let critical = of_namespace("ServiceDown", "db", "shop").with("severity", "critical");
        server.post(&critical.firing()).await;
        take_in(&server).await;
        let row = server.incidents().await.remove(0);
        assert_eq!((row.severity, row.alerts), (Severity::Critical, 2), "before any worker looks");
        let due = "select page_due_at_ms from incident";
        let page_due_at_ms: i64 = ground.sql(due).await[0][0].parse().unwrap();
        assert_eq!(page_due_at_ms, opened_at_ms + 10_000 + 300_000);
        server.post(&of_namespace("QueueBacklog", "worker", "shop").firing()).await;
        take_in(&server).await;
        let wanted = [("QueueBacklog: worker on box1", 1), ("ServiceDown: web on box1", 2)];
        assert_eq!(alerts_by_title(&server).await, counts(wanted));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_incident_takes_alerts_of_so_many_targets_and_more_of_the_same_ones() {
    for_each_engine(|ground| async move {
        let narrow = JoinRule { targets_max: 1, ..by(&["cluster"]) };
        let world = world(&ground, vec![narrow]).await;
        let server = world.server().await;
        let of_cluster = |name, service| of_namespace(name, service, "x").with("cluster", "c2");
        server.post(&of_cluster("ServiceDown", "web").firing()).await;
        server.post(&of_cluster("QueueBacklog", "web").firing()).await;
        server.post(&of_cluster("QueueBacklog", "db").firing()).await;
        take_in(&server).await;
        let titles = alerts_by_title(&server).await;
        assert_eq!(titles.get("QueueBacklog: db on box1"), Some(&1), "another target: {titles:?}");
        assert_eq!(titles.get("QueueBacklog: web on box1"), None, "the same target: {titles:?}");
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_alert_that_joins_makes_the_incident_stricter() {
    for_each_engine(|ground| async move {
        let world = world(&ground, vec![by(&["namespace"])]).await;
        world.break_service("web");
        let down = of_namespace("ServiceDown", "web", "shop");
        down.in_prometheus(&world);
        let server = world.server().await;
        server.post(&down.firing()).await;
        // What is done about this one is for a person to decide.
        server.post(&of_namespace("HighLatency", "web", "shop").firing()).await;
        server.settle(10).await;
        let case = server.only_case().await;
        assert_eq!(case.state(), State::AwaitingApproval, "{case:#?}");
        assert_eq!(world.restarts("web"), 0);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_runbook_acts_on_the_target_of_its_own_alert_and_what_joined_is_not_taken_for_over() {
    for_each_engine(|ground| async move {
        let world = world(&ground, vec![by(&["namespace"])]).await;
        world.break_service("web");
        world.break_service("worker");
        let first = of_namespace("ServiceDown", "worker", "shop");
        let joined = of_namespace("ServiceDown", "web", "shop");
        first.in_prometheus(&world);
        joined.in_prometheus(&world);
        let server = world.server().await;
        server.post(&first.firing()).await;
        server.post(&joined.firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        let changed: Vec<_> = case
            .actions
            .iter()
            .map(|action| (action.proposal.call.text("service").unwrap(), action.state))
            .collect();
        assert_eq!(changed, [("worker", ActionState::Done)], "{case:#?}");
        assert_eq!((world.restarts("worker"), world.restarts("web")), (1, 0));
        // The worker runs again, which says nothing of the web service.
        assert_eq!(case.state(), State::Escalated);
        let why = case.end.unwrap().why;
        assert!(why.contains("ServiceDown joined it and still fires"), "{why}");
        assert_eq!(world.pagerduty.opened(), 1, "a person was told");

        server.post(&first.resolved()).await;
        server.post(&joined.resolved()).await;
        server.settle(0).await;
        assert_eq!(server.only_case().await.state(), State::Resolved);
        server.stop().await;
    })
    .await;
}

/// What joined once is told late, after the end: it is not over because the first one is.
#[tokio::test]
async fn a_late_alert_of_a_kind_that_joined_is_looked_at_and_people_hear_of_it() {
    for_each_engine(|ground| async move {
        let world = world(&ground, vec![by(&["namespace"])]).await;
        world.break_service("web");
        world.break_service("worker");
        let first = of_namespace("ServiceDown", "worker", "shop");
        let joined = of_namespace("ServiceDown", "web", "shop");
        first.in_prometheus(&world);
        joined.in_prometheus(&world);
        let server = world.server().await;
        server.post(&first.firing()).await;
        server.post(&joined.firing()).await;
        server.settle(20).await;
        server.post(&first.resolved()).await;
        server.post(&joined.resolved()).await;
        server.settle(0).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.round), (State::Resolved, 1));
        assert_eq!(world.pagerduty.opened(), 1);

        server.post(&joined.with("pod", "b").firing()).await;
        server.settle(20).await;
        let case = server.only_case().await;
        assert_eq!((case.state(), case.round), (State::Escalated, 2), "{:?}", case.end);
        assert_eq!(world.pagerduty.opened(), 2);
        server.stop().await;
    })
    .await;
}
