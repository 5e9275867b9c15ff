//! Takes over changed rules, runbooks, inventory and secrets while the server runs.
//!
//! In: a word that the files changed. Out: a new desk in the place of the old one, new clients in the
//! place of those whose secret is another one, or everything that is wrong with the files; then all
//! of the last good ones stay in force. Never: a policy that was not understood in full; two of them
//! in one step; a secret that the redactor learns later than a client.

use super::exchange::Exchange;
use super::journal::{hashes, process, write_reload};
use super::{Parts, Policy, desk, outside, policy, specs};
use crate::config::{Again, Problems, Source};
use crate::incident::desks::Desks;
use crate::ingest::reconcile::Reconciler;
use crate::model::call::sha256_hex;
use crate::model::orders::{Held, Hold, PolicySummary};
use crate::model::policy::{Broken, InForce, Replica};
use crate::notify::Channel;
use crate::web::PolicyDoor;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often this process tells the others what it has in force.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What is read from outside the policy, and exchanged.
pub(super) struct Outside {
    pub source: Option<Source>,
    pub channels: Vec<Arc<Exchange>>,
    pub reconciler: Arc<Reconciler>,
}

/// Files that were read, and not yet taken over.
struct Read {
    policy: Policy,
    /// Of the inventory and the runbooks.
    hashes: [String; 2],
    again: Option<Again>,
}

/// Reads the policy files again when it is told to.
pub struct Reload {
    parts: RwLock<Arc<Parts>>,
    source: Option<Arc<Source>>,
    channels: Vec<Arc<Exchange>>,
    reconciler: Arc<Reconciler>,
    desks: Arc<Desks>,
    due: Arc<Notify>,
    /// Unique among all processes on one database.
    replica: String,
    in_force: Mutex<InForce>,
    /// The rules under which the questions that wait were last looked for.
    looked_for: Mutex<String>,
    /// One at a time, so that the files read last are the ones in force.
    turn: tokio::sync::Mutex<()>,
}

impl Reload {
    pub(super) fn new(
        parts: Parts,
        outside: Outside,
        policy: &Policy,
        desks: Arc<Desks>,
        due: Arc<Notify>,
    ) -> Self {
        let source = outside.source.map(Arc::new);
        let rules_version = policy.rules.version().to_owned();
        let in_force = InForce {
            config_hash: hash(source.as_deref(), &rules_version, &hashes(&parts.settings)),
            rules_version,
            loaded_at_ms: parts.clock.now_ms(),
            ..InForce::default()
        };
        Self {
            parts: RwLock::new(Arc::new(parts)),
            source,
            channels: outside.channels,
            reconciler: outside.reconciler,
            desks,
            due,
            replica: format!("{} {}", process(), uuid::Uuid::new_v4()),
            in_force: Mutex::new(in_force),
            looked_for: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Which policy is in force here.
    pub fn in_force(&self) -> InForce {
        locked(&self.in_force).clone()
    }

    /// Reads the files and takes them over, all or none.
    ///
    /// # Errors
    /// Everything that is wrong with them, a line for each; what was in force stays in force.
    pub async fn reload(&self, by: &str) -> Result<InForce, Vec<String>> {
        let _turn = self.turn.lock().await;
        let now_ms = self.parts().clock.now_ms();
        let taken = match self.read().await {
            Ok(read) => self.take_over(read, now_ms, by).await,
            Err(problems) => Err(problems),
        };
        let answer = match taken {
            Ok(in_force) => Ok(in_force),
            Err(problems) => Err(self.refuse(problems, now_ms, by)),
        };
        self.tell().await;
        answer
    }

    fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The conditions and examples of a large file take a while, so they are not judged among the
    /// tasks that serve.
    async fn read(&self) -> Result<Read, Vec<String>> {
        let (parts, source) = (self.parts(), self.source.clone());
        let read = tokio::task::spawn_blocking(move || {
            let settings = &parts.settings;
            let before = hashes(settings);
            let again = source.map(|source| source.again(settings)).transpose();
            let policy = policy::load(settings, &specs(&parts.clock));
            (policy, again, before == hashes(settings), before)
        });
        let told = |problems: &Problems| problems.0.iter().map(ToString::to_string).collect();
        match read.await {
            Ok((Ok(policy), Ok(again), true, hashes)) => Ok(Read { policy, hashes, again }),
            Ok((Ok(_), Ok(_), false, _)) => {
                Err(vec!["the files changed while they were read; reload again".to_owned()])
            }
            Ok((policy, again, ..)) => {
                let mut problems: Vec<String> = again.err().as_ref().map_or_else(Vec::new, told);
                problems.extend(policy.err().as_ref().map_or_else(Vec::new, told));
                Err(problems)
            }
            Err(_) => Err(vec!["the files could not be read; the log says more".to_owned()]),
        }
    }

    async fn take_over(&self, read: Read, now_ms: i64, by: &str) -> Result<InForce, Vec<String>> {
        let Read { policy, hashes, again } = read;
        let told = |error: anyhow::Error| vec![format!("{error:#}")];
        let mut parts = self.parts();
        let (mut renewed, mut needs_restart, mut channels) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(again) = again {
            // First of all: whatever becomes of this, a text may hold the new ones from here on.
            parts.redactor.learn(again.settings.secrets());
            (renewed, needs_restart) = (again.renewed, again.needs_restart);
            if !renewed.is_empty() {
                channels = outside::channels(&again.settings).map_err(told)?;
                parts = Arc::new(parts.with(again.settings).map_err(told)?);
            }
        }
        let desk = desk(&parts, &policy).map_err(told)?;
        let rules_version = policy.rules.version().to_owned();
        let in_force = InForce {
            config_hash: hash(self.source.as_deref(), &rules_version, &hashes),
            rules_version,
            loaded_at_ms: now_ms,
            secrets_renewed: renewed.clone(),
            needs_restart,
            broken: None,
        };
        // No rules are in force that are not written down.
        write_reload(&parts.store, &policy.rules, hashes, by, now_ms)
            .await
            .map_err(|error| vec![format!("the change cannot be written down: {error}")])?;
        self.desks.replace(desk);
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = parts;
        self.exchange(&renewed, channels);
        self.renew_clients(&renewed);
        let before = std::mem::replace(&mut *locked(&self.in_force), in_force.clone());
        tracing::info!(
            by,
            rules.version = %in_force.rules_version,
            rules.version_before = %before.rules_version,
            secrets = renewed.join(", "),
            "took over rules, runbooks, inventory and secrets"
        );
        if !in_force.needs_restart.is_empty() {
            let settings = in_force.needs_restart.join(", ");
            tracing::warn!(settings, "changed, and in force only after a restart: {settings}");
        }
        Ok(in_force)
    }

    /// Those of the reconciler outlive a desk. Credentials in an address stay where no others are set.
    fn renew_clients(&self, renewed: &[String]) {
        let parts = self.parts();
        let of = |section: &str| renewed.iter().any(|path| path.starts_with(section));
        if let Some(prometheus) = &self.reconciler.prometheus
            && of("prometheus.client.")
        {
            prometheus.renew(outside::options(&parts.settings.prometheus.client).auth);
        }
        if of("alertmanager.client.") {
            for peer in &self.reconciler.peers {
                peer.renew(outside::options(&parts.settings.alertmanager.client).auth);
            }
        }
    }

    /// Only those whose secret is another one: the others remember what may have arrived.
    fn exchange(&self, renewed: &[String], channels: Vec<Arc<dyn Channel>>) {
        for channel in channels {
            let section = format!("notify.{}.", channel.name());
            if !renewed.iter().any(|path| path.starts_with(&section)) {
                continue;
            }
            if let Some(there) = self.channels.iter().find(|one| one.name() == channel.name()) {
                there.put(channel);
            }
        }
    }

    fn refuse(&self, problems: Vec<String>, now_ms: i64, by: &str) -> Vec<String> {
        for problem in &problems {
            tracing::error!(by, problem, "the files cannot be taken over: {problem}");
        }
        let mut in_force = locked(&self.in_force);
        tracing::error!(
            by,
            rules.version = %in_force.rules_version,
            "what was in force stays in force, secrets included"
        );
        let since_ms = in_force.broken.as_ref().map_or(now_ms, |broken| broken.since_ms);
        in_force.broken = Some(Broken { since_ms, problems: problems.clone() });
        problems
    }

    /// Tells the other processes what is in force here, and has those questions looked at again
    /// that were put to people under other rules.
    async fn tell(&self) {
        let parts = self.parts();
        let now_ms = parts.clock.now_ms();
        let in_force = self.in_force();
        self.look_for_questions(&in_force.rules_version, now_ms).await;
        let row = Replica {
            id: self.replica.clone(),
            rules_version: in_force.rules_version,
            loaded_at_ms: in_force.loaded_at_ms,
            broken_since_ms: in_force.broken.map(|broken| broken.since_ms),
            seen_at_ms: now_ms,
        };
        if let Err(error) = parts.store.replica_seen(row).await {
            tracing::warn!(%error, "cannot tell the other processes which rules are in force here");
        }
    }

    /// Once for each version: replicas with different files must not take turns for ever.
    async fn look_for_questions(&self, rules_version: &str, now_ms: i64) {
        if *locked(&self.looked_for) == rules_version {
            return;
        }
        match self.parts().store.wake_asked_under_other_rules(rules_version, now_ms).await {
            Ok(questions) => {
                rules_version.clone_into(&mut locked(&self.looked_for));
                if questions > 0 {
                    tracing::info!(questions, "questions of other rules are judged again");
                    self.due.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "cannot find the questions of other rules"),
        }
    }

    /// This process ends: its rules are no longer in force anywhere.
    pub(super) async fn gone(&self) {
        let parts = self.parts();
        let told = parts.store.replica_gone(&self.replica);
        match tokio::time::timeout(super::GONE_WITHIN, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot say that this process ends"),
            Err(_) => tracing::debug!("the database is too slow to hear that this process ends"),
        }
    }
}

/// SHA-256 of all that is in force here; the settings as they were at the start.
fn hash(source: Option<&Source>, rules_version: &str, files: &[String; 2]) -> String {
    let settings = source.map(Source::hash).unwrap_or_default();
    sha256_hex(format!("{settings}\n{rules_version}\n{}\n{}", files[0], files[1]).as_bytes())
}

/// A panic elsewhere leaves the value whole, as each change is one assignment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PolicyDoor for Reload {
    fn in_force(&self) -> InForce {
        self.in_force()
    }

    fn summary(&self) -> PolicySummary {
        self.desks.current().gate.checker.rules().summary()
    }

    fn reload<'a>(&'a self, by: &'a str) -> BoxFuture<'a, Result<InForce, Vec<String>>> {
        Box::pin(self.reload(by))
    }

    fn held(&self, hold: &Hold) -> Held {
        let desk = self.desks.current();
        let (inventory, scope) = (&desk.gate.inventory, hold.scope());
        let host = |name: &String| inventory.host(name);
        let held =
            |name: &String| host(name).is_some_and(|host| scope.holds(Some(&host), None, &[]));
        let hosts = inventory.host_names().into_iter().filter(held).collect();
        let held = |name: &String| {
            let Some(service) = inventory.service(name) else { return false };
            scope.holds(None, Some(&service), &[])
                || service
                    .hosts
                    .iter()
                    .filter_map(host)
                    .any(|host| scope.holds(Some(&host), Some(&service), &[]))
        };
        let services = inventory.service_names().into_iter().filter(held).collect();
        Held { hosts, services }
    }
}

/// Tells the other processes now and then, until told to stop.
pub(super) async fn tell(reload: Arc<Reload>, stop: CancellationToken) {
    loop {
        reload.tell().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
    }
}
