//! Storms: many alerts become few incidents, few investigations and few messages, and none is lost.

mod digest;
mod finding;
mod flapping;
mod joining;
mod paging;
mod poison;
mod thousands;

use crate::support::drill::{BOX, Problem};
use crate::support::world::Server;
use std::collections::BTreeMap;

/// A problem of the cluster `c1`, in this namespace.
fn of_namespace(name: &'static str, service: &'static str, namespace: &'static str) -> Problem {
    Problem::new(
        name,
        &[
            BOX,
            ("service", service),
            ("severity", "warning"),
            ("cluster", "c1"),
            ("namespace", namespace),
        ],
    )
}

/// Takes in everything that waits, and nothing else.
async fn take_in(server: &Server) {
    while server.app.intake.take_batch().await.unwrap() > 0 {}
}

/// How many alerts each incident has, by its title.
async fn alerts_by_title(server: &Server) -> BTreeMap<String, i64> {
    let incidents = server.incidents().await;
    incidents.into_iter().map(|incident| (incident.title, incident.alerts)).collect()
}
