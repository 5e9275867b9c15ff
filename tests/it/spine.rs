//! One alert from end to end: stored, investigated, acted on, measured, reported.

use crate::support::engines::for_each_engine;
use crate::support::world::{World, alert, webhook};
use watchkeeper::model::action::ActionState;
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Finding;

const DOWN: [(&str, &str); 3] =
    [("instance", "10.2.3.4:9100"), ("service", "web"), ("severity", "critical")];

#[tokio::test]
async fn a_stopped_service_is_restarted_measured_and_reported() {
    for_each_engine(|ground| async move {
        let world = World::new(&ground).await;
        let mut labels = DOWN.to_vec();
        labels.push(("alertname", "ServiceDown"));
        world.fire_in_prometheus(&labels);
        world.break_service("web");
        let server = world.server().await;

        server.post(&webhook(&[alert("firing", "ServiceDown", &DOWN)])).await;
        server.settle(30).await;

        let case = server.only_case().await;
        assert_eq!(case.state(), State::Resolved, "{case:#?}");
        assert_eq!(world.restarts("web"), 1);
        assert!(world.is_up("web"));
        assert_eq!(case.actions.len(), 1);
        assert_eq!(case.actions[0].state, ActionState::Done);
        assert_eq!(case.actions[0].verified, Some(Finding::Fixed));
        let report = case.report.clone().unwrap();
        assert!(server.app.store.blob(&report.hash).await.unwrap().is_some());
        assert_eq!(world.slack.violations(), Vec::<String>::new());
        server.stop().await;
    })
    .await;
}
