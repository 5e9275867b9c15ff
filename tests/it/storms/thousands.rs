//! Ten thousand alerts in a thousand groups through the real HTTP path.

use crate::support::drill::{NO_RUNBOOKS, sre_token};
use crate::support::engines::{Ground, for_each_engine};
use crate::support::world::{World, alert, webhook};
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use std::collections::BTreeSet;
use watchkeeper::approval::access::{Access, Token, TokenKind};
use watchkeeper::config::JoinRule;
use watchkeeper::model::call::sha256_hex;
use watchkeeper::model::incident::State;

const GROUPS: usize = 1_000;
const ALERTS: usize = 10;
const CLUSTERS: usize = 40;
/// So many clients post at once.
const CLIENTS: usize = 16;

/// One group: alerts of one name about the pods of one service. A cluster has 25 groups.
fn group(n: usize) -> Value {
    let (cluster, service) = (format!("c{}", n % CLUSTERS), format!("service-{n}"));
    let severity = if n.is_multiple_of(10) { "critical" } else { "warning" };
    let alerts: Vec<Value> = (0..ALERTS)
        .map(|pod| {
            let pod = format!("pod-{n}-{pod}");
            let labels = [
                ("service", service.as_str()),
                ("cluster", cluster.as_str()),
                ("severity", severity),
                ("pod", pod.as_str()),
            ];
            alert("firing", "HighErrorRate", &labels)
        })
        .collect();
    webhook(&alerts)
}

async fn world(ground: &Ground) -> World {
    let mut world = World::new(ground).await;
    world.set_runbooks(NO_RUNBOOKS);
    world.settings.ingest.join = vec![JoinRule {
        labels: vec!["cluster".into()],
        within_s: 3_600,
        alerts_max: 1_000,
        targets_max: 100,
    }];
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_few_incidents_few_investigations_few_messages_and_no_alert_is_lost() {
    for_each_engine(|ground| async move {
        let world = world(&ground).await;
        let server = world.server().await;
        let (api, text) = sre_token();
        let sender = "wk_0011223344556677";
        let webhook_token = Token {
            name: "alertmanager".into(),
            kind: TokenKind::Webhook,
            hash: sha256_hex(sender.as_bytes()),
            role: None,
            source: Some("alertmanager".into()),
        };
        let access = Access { tokens: vec![api, webhook_token], ..Access::default() };
        let url = server.listen(access).await;
        let client = reqwest::Client::new();
        // Every twentieth comes twice.
        let order = (0..GROUPS).chain((0..GROUPS).step_by(20));
        let posted: Vec<u16> = stream::iter(order)
            .map(|n| {
                let post = client.post(format!("{url}/webhook/alert")).bearer_auth(sender);
                async move { post.json(&group(n)).send().await.unwrap().status().as_u16() }
            })
            .buffer_unordered(CLIENTS)
            .collect()
            .await;
        assert_eq!(posted.iter().filter(|status| **status == 200).count(), GROUPS + GROUPS / 20);
        while server.app.intake.take_batch().await.unwrap() > 0 {}

        let store = &server.app.store;
        assert_eq!(store.alert_count().await.unwrap(), (GROUPS * ALERTS) as i64, "none is lost");
        let incidents = server.incidents().await;
        assert_eq!(incidents.len(), CLUSTERS);
        let mut pods = BTreeSet::new();
        for incident in &incidents {
            assert_eq!(incident.alerts, (GROUPS * ALERTS / CLUSTERS) as i64);
            for listed in store.alerts_of(incident.id).await.unwrap() {
                assert_eq!(listed.incident_id, Some(incident.id));
                pods.insert(listed.alert.labels["pod"].clone());
            }
        }
        assert_eq!(pods.len(), GROUPS * ALERTS, "each under one incident");

        server.settle(0).await;
        let mut investigations = 0;
        for incident in server.incidents().await {
            let case = server.case(incident.id).await;
            investigations += case.turns.len();
            assert_eq!((case.state(), case.round), (State::Escalated, 1));
            assert!(case.paged_at_ms.is_some(), "people know");
        }
        assert_eq!(investigations, CLUSTERS, "one turn for each incident");
        world.clock.advance(600_000);
        server.settle(0).await;
        // Critical ones alone: two messages for each, and never more.
        let critical = incidents.iter().filter(|i| i.severity.as_str() == "critical").count();
        let slack = world.slack.messages().len();
        assert!(slack <= 2 * critical + 20 + 2, "{slack} for {critical} critical incidents");
        assert_eq!(world.pagerduty.opened(), CLUSTERS, "a page for each incident");
        let waiting = "select count(*) from message_delivery where next_at_ms is not null";
        assert_eq!(ground.sql(waiting).await, [["0"]], "no message is left behind");

        // An alert is found by what it is, over HTTP.
        let found = client
            .get(format!("{url}/api/v1/alerts?label=pod%3Dpod-77-3&label=cluster%3Dc37&limit=5"))
            .bearer_auth(text)
            .send()
            .await
            .unwrap();
        let found: Value = found.json().await.unwrap();
        assert_eq!(found["alerts"].as_array().unwrap().len(), 1, "{found}");
        let id = found["alerts"][0]["incident_id"].as_str().unwrap();
        let of_incident = async |offset: usize| -> Value {
            let query = format!("incident={id}&limit=200&offset={offset}");
            let get = client.get(format!("{url}/api/v1/alerts?{query}")).bearer_auth(text);
            get.send().await.unwrap().json().await.unwrap()
        };
        let (first, rest) = (of_incident(0).await, of_incident(200).await);
        assert_eq!(first["next_offset"], 200);
        assert_eq!(rest["alerts"].as_array().unwrap().len(), 50);
        assert_eq!(rest["next_offset"], Value::Null);
        server.stop().await;
    })
    .await;
}
