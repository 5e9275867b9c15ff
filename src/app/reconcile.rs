//! Puts together what reconciles with Alertmanager.

use super::{outside, seconds};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ingest::Ingest;
use crate::ingest::reconcile::{self, Expected, Reconciler, Rules, Watchdog};
use crate::model::matcher::Matcher;
use crate::schedule::{Job, Schedule};
use crate::store::Store;
use crate::tasks::Tasks;
use anyhow::{Result, anyhow};
use regex::Regex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;

/// A replica that is killed in a round holds the others up for so long.
const LEASE: Duration = Duration::from_secs(15);

/// Starts the rounds: those of this process, and the one at intervals that one replica takes.
pub(super) fn start(reconciler: &Arc<Reconciler>, owner: &str, tasks: &Tasks) {
    tasks.spawn(reconcile::run(Arc::clone(reconciler), tasks.stopping()));
    let every = Duration::from_millis(reconciler.rules.poll_ms.unsigned_abs());
    let job = Job { name: "reconcile", every, lease: LEASE };
    let (store, clock) = (reconciler.store.clone(), reconciler.clock.clone());
    let schedule = Schedule { store, clock, owner: owner.to_owned() };
    let reconciler = Arc::clone(reconciler);
    tasks.spawn(schedule.run(job, tasks.stopping(), move || {
        let reconciler = Arc::clone(&reconciler);
        async move { reconciler.routine().await }
    }));
}

/// The reconciler; without addresses it watches the pulse alone.
///
/// # Errors
/// A client cannot be set up.
pub(super) fn reconciler(
    settings: &Settings,
    store: &Store,
    clock: &Clock,
    ingest: &Ingest,
    due: &Arc<Notify>,
) -> Result<Reconciler> {
    let alertmanager = &settings.alertmanager;
    Ok(Reconciler {
        store: store.clone(),
        clock: clock.clone(),
        ingest: ingest.clone(),
        due: Arc::clone(due),
        peers: outside::alertmanagers(settings)?,
        prometheus: outside::prometheus(settings)?,
        rules: Rules {
            scope: settings.scope.clone(),
            source: alertmanager.source.clone(),
            receiver: Regex::new(&format!("^(?:{})$", alertmanager.receiver))?,
            poll_ms: seconds(alertmanager.poll_s),
            fill_after_ms: seconds(alertmanager.fill_after_s),
            resolve_timeout_ms: seconds(alertmanager.resolve_timeout_s),
            look_back_ms: seconds(alertmanager.look_back_s),
            ignore: ignored(settings)?,
            watchdog: watchdog(settings)?,
        },
        started_ms: clock.now_ms(),
        owes: AtomicBool::new(true),
    })
}

/// The alert that always fires.
///
/// # Errors
/// A matcher that is none; loading the settings refuses those.
pub(super) fn watchdog(settings: &Settings) -> Result<Watchdog> {
    let watchdog = &settings.alertmanager.watchdog;
    let matcher = Matcher::parse(&watchdog.matcher);
    Ok(Watchdog {
        matcher: matcher.map_err(|why| anyhow!("alertmanager.watchdog.matcher: {why}"))?,
        absent_after_ms: seconds(watchdog.absent_after_s),
        expected: if watchdog.expected { Expected::Always } else { Expected::OnceSeen },
    })
}

/// Alerts that are never acted on.
///
/// # Errors
/// A matcher that is none; loading the settings refuses those.
pub(super) fn ignored(settings: &Settings) -> Result<Vec<Matcher>> {
    let parse = |text: &String| Matcher::parse(text).map_err(|why| anyhow!("ingest.ignore: {why}"));
    settings.ingest.ignore.iter().map(parse).collect()
}
