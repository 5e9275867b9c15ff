//! One service on one host: how to look at it and how to restart it.
//!
//! In: canonical names. Out: its state, what defines it, the argv that restarts it; by the commands
//! of the inventory where it has any, else by systemd. Never: a restart; that is the tool's, with a
//! permit. To add another service manager, add its arm beside systemd's.

use super::inventory::{Inventory, ServiceAccess};
use super::{Command, Error, Exit, Ran, Reach, Targets};
use crate::model::call::{canonical, sha256_hex};
use crate::model::entity::{HostFacts, ServiceFacts};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A look at a service takes milliseconds; a manager that hangs should not use up the tool's time.
pub const LOOK_MS: u64 = 5_000;
/// Unit files with their drop-ins are a few kilobytes.
const LOOK_BYTES_MAX: usize = 256 * 1024;

/// A service on a host, with the way to it.
pub struct Placed {
    pub service: ServiceFacts,
    pub host: HostFacts,
    pub access: ServiceAccess,
    pub reach: Arc<dyn Reach>,
    systemd: Result<(), String>,
}

/// Whether a service runs, as its manager says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    Active,
    /// On its way up or down.
    Changing,
    Inactive,
    Failed,
    /// There is nobody to ask.
    Unknown,
}

impl Active {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Changing => "changing",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a manager says of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub active: Active,
    /// `loaded`, `not-found`, … of systemd; `configured` for commands.
    pub load: String,
    /// In the manager's words, for people.
    pub said: String,
}

impl Placed {
    /// Finds the way to a service; `host` may be left out where it runs on one only.
    ///
    /// # Errors
    /// `Missing`: a name that is not listed, or a host that is not entered.
    pub async fn find(
        inventory: &dyn Inventory,
        targets: &Targets,
        service: &str,
        host: Option<&str>,
    ) -> Result<Self, Error> {
        let (service, host) =
            inventory.place(service, host).map_err(|error| Error::Missing(error.to_string()))?;
        let access = inventory
            .service_access(&service.name, &host.name)
            .ok_or_else(|| Error::Missing(format!("there is no way to {}", service.name)))?;
        let reach = targets.reach(&host.name)?;
        let systemd = targets.systemd(&host.name).await?;
        Ok(Self { service, host, access, reach, systemd })
    }

    /// The argv that restarts it.
    ///
    /// # Errors
    /// `Missing`: neither a command nor systemd.
    pub fn restart_argv(&self) -> Result<Vec<String>, Error> {
        match (&self.access.commands.restart, &self.systemd) {
            (Some(argv), _) => Ok(argv.clone()),
            (None, Ok(())) => Ok(systemctl(&["restart", "--", &self.access.unit])),
            (None, Err(why)) => Err(self.lacking("commands.restart", why)),
        }
    }

    /// What its manager says. A service with a restart command and no status command is `Unknown`:
    /// systemd would speak of something else.
    ///
    /// # Errors
    /// `Missing`: there is no way to look. `Failed`: the look gave no answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let commands = &self.access.commands;
        match (&commands.status, &commands.restart, &self.systemd) {
            (Some(argv), _, _) => {
                let ran = self.look(argv.clone()).await?;
                let active = match ran.exit {
                    Exit::Code(0) => Active::Active,
                    Exit::Code(3) => Active::Inactive,
                    Exit::Code(_) => Active::Failed,
                    Exit::Signal(_) | Exit::TimedOut => Active::Unknown,
                };
                Ok(Status { active, load: "configured".to_owned(), said: ran.complaint() })
            }
            (None, Some(_), _) => Ok(Status {
                active: Active::Unknown,
                load: "configured".to_owned(),
                said: format!("the inventory gives no {}.commands.status", self.access.path),
            }),
            (None, None, Ok(())) => self.systemd_status().await,
            (None, None, Err(why)) => Err(self.lacking("commands.status", why)),
        }
    }

    /// What must stay the same between a proposal and its run: the unit's files and whether they
    /// are loaded, or the commands. Process ids, counters and states are not part of it.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn definition(&self) -> Result<Value, Error> {
        let commands = &self.access.commands;
        if commands.restart.is_some() {
            let all = json!({
                "restart": commands.restart,
                "status": commands.status,
                "health": commands.health,
            });
            return Ok(json!({
                "host": self.host.name,
                "service": self.service.name,
                "commands_sha256": sha256_hex(canonical(&all).as_bytes()),
            }));
        }
        if let Err(why) = &self.systemd {
            return Err(self.lacking("commands.restart", why));
        }
        let unit = &self.access.unit;
        let status = self.systemd_status().await?;
        if status.load == "not-found" {
            return Err(Error::Missing(format!("{} has no unit {unit}", self.host.name)));
        }
        let files = self.look(systemctl(&["cat", "--", unit])).await?;
        if files.exit != Exit::Code(0) {
            return Err(Error::Failed(format!("cannot read {unit}: {}", files.complaint())));
        }
        Ok(json!({
            "host": self.host.name,
            "service": self.service.name,
            "unit": unit,
            "load_state": status.load,
            "unit_file_sha256": sha256_hex(files.stdout.as_bytes()),
        }))
    }

    /// Runs the health command, if there is one: `Some(Ok)` when it says healthy.
    ///
    /// # Errors
    /// The command could not be run.
    pub async fn health(&self) -> Result<Option<Result<String, String>>, Error> {
        let Some(argv) = self.access.commands.health.clone() else { return Ok(None) };
        let ran = self.look(argv).await?;
        let said = ran.complaint();
        Ok(Some(if ran.exit == Exit::Code(0) { Ok(said) } else { Err(said) }))
    }

    /// Whether systemd can be asked about it; if not, why.
    pub fn systemd(&self) -> &Result<(), String> {
        &self.systemd
    }

    async fn systemd_status(&self) -> Result<Status, Error> {
        let properties = "--property=LoadState,ActiveState,SubState,Result,StateChangeTimestamp";
        let ran = self.look(systemctl(&["show", properties, "--", &self.access.unit])).await?;
        if ran.exit != Exit::Code(0) {
            return Err(Error::Failed(format!("cannot ask systemd: {}", ran.complaint())));
        }
        Ok(read_show(&ran.stdout))
    }

    async fn look(&self, argv: Vec<String>) -> Result<Ran, Error> {
        let command = Command { argv, timeout_ms: LOOK_MS, output_bytes_max: LOOK_BYTES_MAX };
        self.reach.run(command).await
    }

    fn lacking(&self, key: &str, why: &str) -> Error {
        Error::Missing(format!(
            "there is no way to do this for {}: {why}, and the inventory gives no {}.{key}",
            self.service.name, self.access.path
        ))
    }
}

/// A systemctl call that neither pages nor asks.
fn systemctl(args: &[&str]) -> Vec<String> {
    let fixed = ["systemctl", "--no-pager", "--no-ask-password"];
    fixed.iter().chain(args).map(|word| (*word).to_owned()).collect()
}

fn read_show(text: &str) -> Status {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    let active = match value("ActiveState") {
        "active" | "reloading" | "refreshing" => Active::Active,
        "activating" | "deactivating" | "maintenance" => Active::Changing,
        "inactive" => Active::Inactive,
        "failed" => Active::Failed,
        _ => Active::Unknown,
    };
    let said = format!(
        "{} ({}), result {}, since {}",
        value("ActiveState"),
        value("SubState"),
        value("Result"),
        value("StateChangeTimestamp"),
    );
    Status { active, load: value("LoadState").to_owned(), said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_states_are_read_by_name() {
        let text = "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\n\
                    StateChangeTimestamp=Mon 2026-11-16 03:00:00 UTC\n";
        assert_eq!(
            read_show(text),
            Status {
                active: Active::Failed,
                load: "loaded".to_owned(),
                said: "failed (failed), result exit-code, since Mon 2026-11-16 03:00:00 UTC"
                    .to_owned(),
            }
        );
        assert_eq!(read_show("").active, Active::Unknown);
    }
}
