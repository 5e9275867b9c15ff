//! What is for people alone is paged with the commit that opens the incident.

use super::{of_namespace, take_in};
use crate::support::drill::Problem;
use crate::support::engines::for_each_engine;
use crate::support::world::{World, webhook};
use watchkeeper::config::JoinRule;
use watchkeeper::incident::pager;

#[tokio::test]
async fn an_alert_of_level_page_pages_although_nobody_is_free_to_work_on_it() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let server = world.server().await;
        let failover = Problem { name: "PrimaryFailover", ..Problem::down() };
        let also = failover.clone().with("pod", "b");
        server.post(&webhook(&[failover.alert("firing"), also.alert("firing")])).await;
        server.post(&failover.firing()).await;
        take_in(&server).await;
        server.app.outbox.deliver_due().await.unwrap();
        let paged = world.pagerduty.open_incidents();
        assert_eq!(paged.len(), 1, "no worker has looked at it yet");
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 0, "one page is enough");

        server.settle(10).await;
        let case = server.only_case().await;
        assert!(case.paged_at_ms.is_some());
        let started = world.slack_said().matches("Investigating").count();
        assert_eq!(started, 2, "one message, which says it in header and text");
        assert_eq!(world.pagerduty.opened(), 1);
        world.assert_no_violations();
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_alert_of_level_page_that_joins_an_incident_pages_for_it_at_once() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.settings.ingest.join = vec![JoinRule {
            labels: vec!["namespace".into()],
            within_s: 300,
            alerts_max: 100,
            targets_max: 10,
        }];
        let server = world.server().await;
        server.post(&of_namespace("ServiceDown", "web", "shop").firing()).await;
        take_in(&server).await;
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 0);
        server.post(&of_namespace("IntrusionDetected", "web", "shop").firing()).await;
        take_in(&server).await;
        assert_eq!(pager::sweep(&server.app.desk()).await.unwrap(), 1);
        server.app.outbox.deliver_due().await.unwrap();
        assert_eq!(world.pagerduty.opened(), 1);
        server.stop().await;
    })
    .await;
}
