//! Restarts one service: the first and most common repair.
//!
//! In: a service and its host. Out: what the manager said, and whether the service stayed up.
//! Basis: the unit's files and load state, or the configured commands. Never: a start after the
//! deadline, a second start, a success that was not looked at.

use super::{Bounds, Captured, Deps, Done, Error, Output, Tool, place};
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::{CapturePermit, Permit};
use crate::targets::service::{Active, Placed, Status};
use crate::targets::{self, Command, Exit, Leaves};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const REASON_CHARS_MAX: usize = 500;
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Between two looks after the restart.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A service that dies at once is still "active" right after its start.
const HOLDS: Duration = Duration::from_secs(1);
/// Longer starts are left to the verification that follows every change.
const WATCHED_AT_MOST: Duration = Duration::from_secs(10);

/// The tool `restart_service`.
pub(super) struct RestartService {
    spec: ToolSpec,
    deps: Deps,
}

impl RestartService {
    pub(super) fn new(deps: &Deps) -> Self {
        let args = vec![
            Arg::required("service", ArgKind::Service, "the service"),
            Arg::optional("host", ArgKind::Host, "where; required if it runs on several hosts"),
            Arg::required(
                "reason",
                ArgKind::Prose { chars_max: REASON_CHARS_MAX },
                "why, for the people who read it later",
            ),
        ];
        let spec = ToolSpec {
            name: "restart_service".into(),
            about: "Restarts a service on one host and looks whether it stays up.".into(),
            effect: Effect::Write,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn find(&self, call: &Call) -> Result<Placed, targets::Error> {
        let service = call.text("service").unwrap_or_default();
        let (inventory, targets) = (&*self.deps.inventory, &self.deps.targets);
        Placed::find(inventory, targets, service, call.text("host")).await
    }

    async fn restart(&self, call: &Call, bounds: Bounds) -> Result<Done, Error> {
        let placed = self.find(call).await.map_err(not_started)?;
        let argv = placed.restart_argv().map_err(not_started)?;
        let late_ms = self.deps.clock.now_ms() - bounds.start_before_ms;
        if late_ms > 0 {
            return Err(Error::NotStarted(format!(
                "not started: the permission ended {late_ms} ms ago; nothing was changed"
            )));
        }
        let command = Command {
            argv: argv.clone(),
            timeout_ms: bounds.timeout_ms,
            output_bytes_max: OUTPUT_BYTES_MAX,
            leaves: Leaves::Processes,
        };
        let started = Instant::now();
        let ran = placed.reach.run(command).await.map_err(|error| match error {
            targets::Error::Missing(_) => not_started(error),
            targets::Error::Failed(_) | targets::Error::Unknown(_) => Error::from(error),
        })?;
        let what = format!("{} on {}", placed.service.name, placed.host.name);
        match ran.exit {
            Exit::Code(0) => {}
            Exit::Code(_) => {
                let status = said(&placed.status().await);
                return Err(Error::Tell(format!(
                    "restarting {what} failed, {}; it is {status} afterwards",
                    ran.complaint()
                )));
            }
            Exit::Signal(_) | Exit::TimedOut => {
                return Err(Error::OutcomeUnknown(format!(
                    "restarting {what} may or may not have happened: {}",
                    ran.complaint()
                )));
            }
        }
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = watch(&placed).await;
        let active = status.as_ref().map_or(Active::Unknown, |status| status.active);
        let text = format!(
            "restarted {what} with {argv:?} in {took_ms} ms; afterwards it is {}.\n{}",
            said(&status),
            ran.stdout.trim()
        );
        let data = json!({
            "service": placed.service.name,
            "host": placed.host.name,
            "active": active.as_str(),
            "took_ms": took_ms,
        });
        Ok(Done::Output(Output::new(text.trim_end(), data)))
    }
}

impl Tool for RestartService {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        place(&self.deps, call)
    }

    fn capture(&self, permit: CapturePermit) -> BoxFuture<'_, Result<Captured, Error>> {
        Box::pin(async move {
            let placed = self.find(permit.call()).await?;
            let argv = placed.restart_argv()?;
            let definition = placed.definition().await?;
            let status = placed.status().await?;
            let preview = format!(
                "{} on {} is {} ({}). Would run: {argv:?}",
                placed.service.name,
                placed.host.name,
                status.active.as_str(),
                status.said
            );
            Ok(Captured {
                state: json!({ "active": status.active.as_str(), "load": status.load }),
                basis: Some(definition),
                preview: Some(preview),
            })
        })
    }

    fn drift(&self, judged: &Value, seen: &Value) -> Result<(), String> {
        if judged == seen {
            return Ok(());
        }
        let changed =
            ["host", "service", "unit", "load_state", "unit_file_sha256", "commands_sha256"]
                .into_iter()
                .filter(|key| judged.get(key) != seen.get(key));
        let changed: Vec<&str> = changed.collect();
        Err(format!("changed since it was judged: {}", changed.join(", ")))
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.restart(permit.call(), bounds).await })
    }
}

/// Before the command was started every failure is plain: nothing happened.
fn not_started(error: targets::Error) -> Error {
    Error::NotStarted(format!("not restarted: {error}"))
}

fn said(status: &Result<Status, targets::Error>) -> String {
    match status {
        Ok(status) => format!("{} ({})", status.active.as_str(), status.said),
        Err(error) => format!("unknown ({error})"),
    }
}

/// Looks until the state has held for a while, or the patience ends.
async fn watch(placed: &Placed) -> Result<Status, targets::Error> {
    let began = Instant::now();
    let mut held: Option<(Active, Instant)> = None;
    loop {
        let status = placed.status().await?;
        let since = match held {
            Some((active, since)) if active == status.active => since,
            Some(_) | None => Instant::now(),
        };
        held = Some((status.active, since));
        let settled = match status.active {
            Active::Unknown | Active::Failed => true,
            Active::Active | Active::Inactive => since.elapsed() >= HOLDS,
            Active::Changing => false,
        };
        if settled || began.elapsed() >= WATCHED_AT_MOST {
            return Ok(status);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
#[path = "tests/restart_service.rs"]
mod tests;
