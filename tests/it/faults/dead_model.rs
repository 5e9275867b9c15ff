//! A dead model is not asked anew by every incident.

use crate::support::drill::{NO_RUNBOOKS, Problem, conclude};
use crate::support::engines::{for_each_engine, on_sqlite};
use crate::support::world::World;
use crate::support::{FakeModel, ModelReply};
use watchkeeper::model::incident::State;

const NAMES: [&str; 8] = ["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"];

#[tokio::test]
async fn a_dead_model_is_left_alone_after_three_failures_and_people_are_told_once() {
    for_each_engine(|ground| async move {
        let model = FakeModel::respond(|_| ModelReply::error(500, "server_error", "dead")).await;
        let mut world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        world.models(&[&model]);
        let server = world.server().await;
        for name in NAMES {
            server.post(&Problem::new(name, &[("severity", "warning")]).firing()).await;
            server.settle(0).await;
        }
        assert_eq!(model.count(), 3);
        let incidents = server.incidents().await;
        assert_eq!(incidents.len(), NAMES.len());
        assert!(incidents.iter().all(|incident| incident.state == State::Escalated));
        assert_eq!(world.slack_said().matches("No model answers; incidents").count() / 2, 1);
        let last = server.case(incidents[0].id).await;
        assert_eq!(last.mind.as_deref(), Some("runbook"));
        server.stop().await;
    })
    .await;
}

/// The next one in the list does the work, without a wait for the dead one.
#[tokio::test]
async fn the_next_model_is_asked_at_once_while_the_first_is_left_alone() {
    on_sqlite(|ground| async move {
        let dead = FakeModel::respond(|_| ModelReply::error(500, "server_error", "dead")).await;
        let good = FakeModel::respond(|request| conclude(request, "nothing")).await;
        let mut world = World::new(&ground).await;
        world.set_runbooks(NO_RUNBOOKS);
        world.models(&[&dead, &good]);
        let server = world.server().await;
        for name in NAMES {
            server.post(&Problem::new(name, &[("severity", "warning")]).firing()).await;
            server.settle(0).await;
        }
        assert_eq!((dead.count(), good.count()), (3, NAMES.len()));
        assert!(!world.slack_said().contains("No model answers"));
        server.stop().await;
    })
    .await;
}
