//! The three drills: what Watchkeeper does, and above all does not do, in a simulated world.
//!
//! Each runs with the runbooks and with a scripted model, in which arguments and order vary, and
//! once with its runbook deleted: then nothing is left that knows a remedy, and a person is told.

mod db_corruption;
mod disk_space_low;
mod service_down;

use crate::support::drill::{NO_RUNBOOKS, Problem};
use crate::support::engines::Ground;
use crate::support::world::World;
use crate::support::{FakeModel, ModelReply, ModelRequest};
use watchkeeper::model::case::{CallState, Case};
use watchkeeper::model::incident::State;
use watchkeeper::model::timeline::Success;

type Say = fn(&ModelRequest, &str) -> ModelReply;

/// Who investigates.
#[derive(Clone, Copy)]
enum Mind {
    Runbook,
    /// Takes the request and the world's log folder.
    Model(Say),
}

/// A drill's model, which keeps every request that breaks a rule.
async fn model(mind: Mind, world: &mut World) -> Option<FakeModel> {
    let Mind::Model(say) = mind else { return None };
    let logs = world.folder.join("logs").display().to_string();
    let model = FakeModel::respond(move |request| say(request, &logs)).await;
    world.models(&[&model]);
    Some(model)
}

/// Calls of a tool that went well, in order of their answers.
fn went_well<'a>(case: &'a Case, tool: &str) -> Vec<&'a CallState> {
    case.turns
        .iter()
        .flat_map(|turn| &turn.calls)
        .filter(|call| call.request.call.tool == tool)
        .filter(|call| call.answer.as_ref().is_some_and(|a| a.outcome == Success::Ok))
        .collect()
}

/// With no runbook the problem ends with a person, and nothing was changed.
async fn escalates_without_a_runbook(ground: &Ground, problem: Problem) {
    let world = World::new(ground).await;
    world.add_logs(5, 30);
    world.break_service("web");
    world.set_runbooks(NO_RUNBOOKS);
    problem.in_prometheus(&world);
    let server = world.server().await;
    server.post(&problem.firing()).await;
    server.settle(30).await;

    let case = server.only_case().await;
    assert_eq!(case.state(), State::Escalated, "{case:#?}");
    assert_eq!(case.actions, []);
    assert_eq!(world.all_restarts(), 0);
    assert_eq!(world.log_files().len(), 5);
    assert_eq!(world.pagerduty.opened(), 1);
    let said = world.slack_said();
    assert!(said.contains("no runbook matches this alert"), "{said}");
    assert!(case.report.is_some());
    world.assert_no_violations();
    server.stop().await;
}
