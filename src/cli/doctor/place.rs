//! This machine and what is on it: the store, the server itself, the hosts of the inventory.

use super::{ANSWER_WITHIN_MS, Finding};
use crate::app::{self, location};
use crate::cli::remote::{own_url, reachable};
use crate::clients::http::{Http, Options};
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::db::Location;
use crate::store::plan::plan;
use crate::targets::Targets;
use crate::targets::inventory::{Inventory, ReachKind};
use crate::targets::resources::Check;
use std::path::Path;

/// Less is full before anybody comes.
const FREE_MIB_MIN: u64 = 1024;

/// Whether data can be kept.
pub async fn store(settings: &Settings) -> Vec<Finding> {
    const ABOUT: &str = "store";
    let location = location(settings);
    let mut found = match &location {
        Location::Folder(folder) => self::folder(folder),
        Location::Postgres { .. } => Vec::new(),
    };
    match plan(&location).await {
        Ok(plan) if plan.unknown.is_empty() => {
            let tables = match (plan.applied.len(), plan.pending.len()) {
                (_, 0) => "its tables are up to date".to_owned(),
                (0, _) => "still empty; `serve` or `migrate` makes its tables".to_owned(),
                (_, more) => format!("{more} migrations to apply; `serve` or `migrate` does it"),
            };
            found.push(Finding::ok(ABOUT, format!("{} at {}: {tables}", plan.engine, plan.place)));
        }
        Ok(plan) => {
            let said = format!("{} was migrated by a newer Watchkeeper", plan.place);
            found.push(Finding::fail(ABOUT, said, "run that version or a newer one"));
        }
        Err(error) => {
            let mend = match location {
                Location::Folder(_) => "check the owner of data_dir and its files",
                Location::Postgres { .. } => {
                    "check store.database_url (or DATABASE_URL), and that Postgres runs"
                }
            };
            found.push(Finding::fail(ABOUT, error.to_string(), mend));
        }
    }
    found
}

fn folder(folder: &Path) -> Vec<Finding> {
    const ABOUT: &str = "store";
    // A folder that is not there yet is made in the nearest one that is.
    let whole = std::path::absolute(folder).unwrap_or(folder.to_owned());
    let there = whole.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let trial = there.join(format!(".watchkeeper-{}", uuid::Uuid::new_v4().simple()));
    let tried = std::fs::write(&trial, b"trial").and_then(|()| std::fs::remove_file(&trial));
    if let Err(error) = tried {
        let said = format!("cannot write to {}: {error}", there.display());
        let mend = "give the folder to the user that runs Watchkeeper, or set data_dir";
        return vec![Finding::fail(ABOUT, said, mend)];
    }
    let free = rustix::fs::statvfs(there).map(|disk| disk.f_bavail * disk.f_frsize / (1024 * 1024));
    match free {
        Ok(mib) if mib < FREE_MIB_MIN => {
            let said = format!("only {mib} MiB are free where {} lies", folder.display());
            vec![Finding::warn(ABOUT, said, "make room: without a disk no alert can be stored")]
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Whether the server runs, and whether people reach it where messages send them.
pub async fn server(settings: &Settings) -> Vec<Finding> {
    const ABOUT: &str = "server";
    let mut found = Vec::new();
    let tls = settings.http.tls_cert_file.is_some();
    if let (Some(address), false) = (settings.listen_address(), tls) {
        let url = format!("http://{}", reachable(address));
        found.push(match answers(&url, "readyz").await {
            Ok(200) => Finding::ok(ABOUT, format!("runs and is ready at {url}")),
            Ok(status) => {
                let said = format!("answers {status} at {url}/readyz");
                Finding::warn(ABOUT, said, "another program may use the port; see /readyz")
            }
            Err(error) => Finding::warn(ABOUT, error, "start it with `watchkeeper serve`"),
        });
    }
    if settings.public_url.is_some() || tls {
        let url = own_url(settings);
        found.push(match answers(&url, "healthz").await {
            Ok(200) => Finding::ok(ABOUT, format!("people reach it at {url}")),
            Ok(status) => {
                let said = format!("{url}/healthz answers {status}");
                Finding::warn(ABOUT, said, "check public_url and the proxy before the server")
            }
            Err(error) => {
                let mend = "links in messages lead there; check public_url, its name and its proxy";
                Finding::warn(ABOUT, error, mend)
            }
        });
    }
    found
}

async fn answers(url: &str, path: &str) -> Result<u16, String> {
    let options = Options { timeout_ms: ANSWER_WITHIN_MS, ..Options::default() };
    let http = Http::new("Watchkeeper", url, &options).map_err(|error| error.to_string())?;
    let answer = http.send(http.get(path, &[]), 64 * 1024).await;
    answer.map(|answer| answer.status).map_err(|error| error.to_string())
}

/// Whether every host that is to be entered can be.
pub async fn hosts(settings: &Settings) -> Vec<Finding> {
    // What is wrong with the files is told elsewhere.
    let Ok(policy) = app::load_policy(settings, &Clock::system()) else { return Vec::new() };
    let inventory = policy.inventory;
    let targets = Targets::new(&*inventory);
    let mut found = Vec::new();
    for name in inventory.host_names() {
        let about = format!("host {name}");
        let Some(access) = inventory.host_access(&name) else { continue };
        found.push(match access.reach {
            ReachKind::None => Finding::ok(&about, "known, never entered: metrics only"),
            ReachKind::Local => entered(&targets, &name, &about).await,
        });
    }
    let services = inventory.service_names().len();
    if services == 0 {
        let said = "the inventory lists no services, so nothing can be restarted";
        let mend = format!("write them into {}", settings.inventory_file.display());
        found.push(Finding::warn("inventory", said, mend));
    }
    found
}

async fn entered(targets: &Targets, name: &str, about: &str) -> Finding {
    let reach = match targets.reach(name) {
        Ok(reach) => reach,
        Err(error) => return Finding::fail(about, error.to_string(), ""),
    };
    let resources = reach.resources(vec![Check::Memory, Check::Disk]).await;
    let systemd = targets.systemd(name).await;
    match (resources, systemd) {
        (Err(error), _) | (_, Err(error)) => {
            let mend = "its inventory entry says how it is reached";
            Finding::fail(about, error.to_string(), mend)
        }
        (Ok(resources), _) if !resources.troubles.is_empty() => {
            let mend = "give Watchkeeper's user the right to read it";
            Finding::warn(about, resources.troubles.join("; "), mend)
        }
        (Ok(_), Ok(Ok(()))) => Finding::ok(about, "reached; systemd manages its services"),
        (Ok(_), Ok(Err(why))) => {
            let said = format!("reached; without systemd ({why})");
            let mend = "services there need `commands` in the inventory to be restarted";
            Finding::warn(about, said, mend)
        }
    }
}
