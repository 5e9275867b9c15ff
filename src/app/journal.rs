//! What a process writes on the timeline of the system by itself: its start, the rules it loaded,
//! who may sign in, and the halt file.
//!
//! Never: a start whose rules are not written down; a halt file that takes effect only once the
//! database knows of it.

use super::patience::patiently;
use super::{App, Away};
use crate::action::halt_file::HaltFile;
use crate::approval::people::People;
use crate::clock::Clock;
use crate::config::Settings;
use crate::model::call::sha256_hex;
use crate::model::system::SystemEntry;
use crate::safety::rules::{Rules, difference};
use crate::store::Store;
use crate::store::system::Loaded;
use crate::tasks::Tasks;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The halt file is looked at this often to report it; a change looks by itself before it starts.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often users and tokens are compared, and an entry that could not be written is tried again.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Entries that wait for the database; a file that comes and goes more often is not history.
const WAITING_MAX: usize = 256;

impl App {
    /// Writes down that this process started, and with what.
    ///
    /// # Errors
    /// The database does not take it.
    pub async fn journal_start(&self, away: Away) -> Result<(), crate::store::Error> {
        patiently(away, "write down the start", async || self.write_start().await).await
    }

    async fn write_start(&self) -> Result<(), crate::store::Error> {
        let at_ms = self.clock.now_ms();
        let desk = self.desk();
        let rules = desk.gate.checker.rules();
        self.store.record_rules(at_ms, loaded(rules), difference).await?;
        let [inventory, runbooks] = hashes(&self.settings);
        let entry = SystemEntry::Started {
            process: process(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            rules: rules.version().to_owned(),
            inventory,
            runbooks,
        };
        self.store.record_system(at_ms, entry).await
    }

    /// Keeps an eye on the halt file, users and tokens.
    pub fn journal(&self, people: People, tasks: &Tasks) {
        let (notes, waiting) = mpsc::channel(WAITING_MAX);
        let (clock, file) = (self.clock.clone(), self.desk().gate.halt_file.clone());
        tasks.spawn(watch(file, clock.clone(), notes, tasks.stopping()));
        tasks.spawn(write(self.store.clone(), clock, people, waiting, tasks.stopping()));
    }
}

/// Writes down that this process takes other files over, whoever asked for it, and in what the
/// rules differ from those before.
///
/// # Errors
/// The database does not take it.
pub(super) async fn write_reload(
    store: &Store,
    rules: &Rules,
    [inventory, runbooks]: [String; 2],
    by: &str,
    at_ms: i64,
) -> Result<(), crate::store::Error> {
    let entry = SystemEntry::PolicyReloaded {
        process: process(),
        by: by.to_owned(),
        rules: rules.version().to_owned(),
        inventory,
        runbooks,
    };
    store.record_reload(at_ms, loaded(rules), difference, entry).await
}

fn loaded(rules: &Rules) -> Loaded {
    let summary = rules.summary();
    Loaded {
        version: summary.rules_version,
        text: rules.text().to_owned(),
        autonomy: summary.autonomy,
    }
}

/// How this process is called in history: host and process id.
pub fn process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "unknown" } else { host.trim() };
    format!("{host}/{}", std::process::id())
}

/// The SHA-256 of inventory and runbooks as they lie there.
pub(super) fn hashes(settings: &Settings) -> [String; 2] {
    [hash_of(&settings.inventory_file), hash_of(&settings.runbooks_file)]
}

fn hash_of(file: &Path) -> String {
    std::fs::read(file).map_or_else(|_| "unreadable".to_owned(), |bytes| sha256_hex(&bytes))
}

/// Reports the halt file when it comes, changes and goes.
async fn watch(
    file: HaltFile,
    clock: Clock,
    notes: mpsc::Sender<(i64, SystemEntry)>,
    stop: CancellationToken,
) {
    let mut known = None;
    loop {
        let seen = file.look();
        if seen != known {
            let process = process();
            let entry = match (&known, &seen) {
                (_, Some(file)) => {
                    let (path, reason) = (&file.path, &file.reason);
                    tracing::warn!(%path, %reason, "{path} halts every change: {reason}");
                    SystemEntry::HaltFileFound { process, file: file.clone() }
                }
                (Some(file), None) => {
                    tracing::warn!(path = %file.path, "{} is gone; changes go on", file.path);
                    SystemEntry::HaltFileGone { process, file: file.clone() }
                }
                (None, None) => continue,
            };
            if notes.try_send((clock.now_ms(), entry)).is_err() {
                tracing::error!("a change of the halt file is not on the system's timeline");
            }
            known = seen;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Writes what happened, in order, and again until the database takes it.
async fn write(
    store: Store,
    clock: Clock,
    people: People,
    mut waiting: mpsc::Receiver<(i64, SystemEntry)>,
    stop: CancellationToken,
) {
    let mut next: Option<(i64, SystemEntry)> = None;
    let mut known = None;
    loop {
        if next.is_none() {
            next = waiting.try_recv().ok();
        }
        if let Some((at_ms, entry)) = &next {
            match store.record_system(*at_ms, entry.clone()).await {
                Ok(()) => {
                    next = None;
                    continue;
                }
                Err(error) => tracing::error!(%error, "cannot write on the system's timeline"),
            }
        }
        let seen = people.known();
        if known.as_ref() != Some(&seen) {
            match store.record_access(clock.now_ms(), &process(), seen.clone()).await {
                Ok(()) => known = Some(seen),
                Err(error) => tracing::error!(%error, "cannot write down users and tokens"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            entry = waiting.recv(), if next.is_none() => next = entry,
            () = tokio::time::sleep(WRITE_EVERY) => {}
        }
    }
}
