//! Secrets never reach a model, a message, the store or a report.

use crate::support::drill::{Problem, conclude, turn};
use crate::support::engines::for_each_engine;
use crate::support::world::World;
use crate::support::{FakeModel, ModelReply};
use serde_json::json;
use std::fs;

const PASSWORD: &str = "Tr0ub4dor-and-3-horses";
const AWS: &str = "AKIAQ3EGRIZJ4PXW7NLD";
const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn planted_secrets_are_nowhere() {
    for_each_engine(|ground| async move {
        let mut world = World::new(&ground).await;
        world.break_service("web");
        let lines = format!(
            "ERROR connect postgres://app:{PASSWORD}@db:5432/shop failed\n\
             ERROR password={PASSWORD}\nERROR aws key {AWS}\nERROR ours {ROUTING_KEY}\n"
        );
        fs::write(world.folder.join("web.log"), lines).unwrap();
        let model = FakeModel::respond(|request| match turn(request) {
            0 => ModelReply::call("get_service_logs", json!({ "service": "web" })),
            1 => ModelReply::call(
                "restart_service",
                json!({ "service": "web", "reason": format!("password={PASSWORD}") }),
            ),
            2 => ModelReply::call(
                "send_notification",
                json!({
                    "channel": "all",
                    "severity": "info",
                    "message": format!("the key is {AWS}, password={PASSWORD}, {ROUTING_KEY}"),
                }),
            ),
            _ => conclude(request, &format!("password={PASSWORD} and {AWS}")),
        })
        .await;
        world.models(&[&model]);
        Problem::down().in_prometheus(&world);
        let mut body = Problem::down().firing();
        body["alerts"][0]["annotations"]["summary"] =
            json!(format!("login with password={PASSWORD}, or {AWS}"));
        let server = world.server().await;
        server.post(&body).await;
        server.settle(10).await;
        assert_eq!(model.violations(), Vec::<String>::new());
        assert_eq!(model.count(), 4);
        assert_eq!(world.restarts("web"), 1);

        // The model's own words come back to it redacted, so even those do not hold them.
        let sent: String = model.requests().iter().map(|r| r.body.to_string()).collect();
        let mut places = vec![("model", sent), ("slack", world.slack_said())];
        let events = world.pagerduty.events();
        let events: String = events.iter().map(|e| e["payload"].to_string()).collect();
        places.push(("pagerduty", events));
        for (table, column) in [
            ("delivery", "body"),
            ("alert", "annotations"),
            ("timeline", "body"),
            ("inbox", "body"),
            ("action", "reason"),
            ("action", "args"),
            ("message", "body"),
            ("blob", "body"),
        ] {
            let rows = ground.sql(format!("select {column} from {table}")).await;
            places.push((table, rows.concat().concat()));
        }
        for (place, text) in places {
            for secret in [PASSWORD, AWS, ROUTING_KEY] {
                assert!(!text.contains(secret), "{secret} in {place}: {text}");
            }
        }
        server.stop().await;
    })
    .await;
}
