//! Builds, starts, supervises and stops the process. The only place that knows every concrete type.
//!
//! In: settings. Out: a running server, or the reason why not. Never: a start with broken rules, a
//! listener before it is known who may connect.

mod correlation;
mod exchange;
mod heartbeat;
mod journal;
mod last_resort;
pub mod outside;
mod patience;
pub mod policy;
pub mod pulse;
mod reconcile;
pub mod reload;
pub mod retention;
mod steadiness;

pub use journal::process;

use crate::action::gate::Gate;
use crate::action::halt_file::HaltFile;
use crate::action::second_source::SecondSource;
use crate::action::verify::Verifier;
use crate::agent::budget::Budget;
use crate::agent::runbook::Follower;
use crate::agent::{Mind, Minds};
use crate::audit::writer::Writer;
use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::config::{PagerdutyDedup, Settings, Source, TargetKind};
use crate::incident::desks::Desks;
use crate::incident::{DedupKey, Desk, Locate, Policy as Steps, pager, worker};
use crate::ingest::reconcile::Reconciler;
use crate::ingest::{self, Ingest, Intake};
use crate::model::alert::Labels;
use crate::model::tool::ToolSpec;
use crate::notify::Channel;
use crate::notify::outbox::{self, Outbox};
use crate::redact::Redactor;
use crate::safety::checker::Checker;
use crate::safety::floor::Own;
use crate::schedule::Schedule;
use crate::store::Store;
use crate::store::db::Location;
use crate::targets::Targets;
use crate::targets::inventory::{Catalogue, Inventory, Mapping, To, Unknown, locate};
use crate::tasks::Tasks;
use crate::tools::{self, Deps, Register};
use crate::web::{HaltFileLook, TroubleLook};
use anyhow::{Context, Result, anyhow};
use exchange::Exchange;
use heartbeat::Heartbeat;
use last_resort::LastResort;
use policy::Policy;
use pulse::Pulse;
use regex::Regex;
use reload::{Outside, Reload};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A change that was allowed starts within this, or not at all. It is half of the lease where that is
/// less: a lease that is renewed every third lasts at least two thirds from any commit on, so whoever
/// takes the incident over, and the change for lost, does so when it can no longer start.
const START_WITHIN_MS: i64 = 30_000;
/// One tool may run this long.
const TOOL_TIMEOUT_MS: u64 = 120_000;
/// How often the outbox and the pager look.
const OUTBOX_POLL: Duration = Duration::from_millis(250);
const PAGER_POLL: Duration = Duration::from_secs(1);

/// Everything that the process is made of.
pub struct App {
    pub settings: Settings,
    pub store: Store,
    pub clock: Clock,
    pub redactor: Redactor,
    pub ingest: Ingest,
    pub intake: Intake,
    pub desks: Arc<Desks>,
    pub reload: Arc<Reload>,
    pub outbox: Arc<Outbox>,
    pub checkpoints: Option<Writer>,
    heartbeat: Option<Heartbeat>,
    pub reconciler: Arc<Reconciler>,
    pub due: Arc<Notify>,
    pub pulse: Arc<Pulse>,
    /// Fires first of all when the process stops: nothing that can be asked again is waited for.
    hurry: CancellationToken,
    /// The store's own tasks: they end last, so that steps in flight can still be recorded.
    store_tasks: Tasks,
}

/// What tests put in the place of the real thing.
#[derive(Default)]
pub struct Instead {
    pub clock: Option<Clock>,
    /// The mind that investigations start with.
    pub mind: Option<Arc<dyn Mind>>,
    pub store: Option<Store>,
    /// What the policy files would say.
    pub policy: Option<Policy>,
    pub tools: Option<Register>,
    pub prometheus: Option<Prometheus>,
    /// Where the settings were read from, to read them again.
    pub source: Option<Source>,
    pub away: Away,
}

/// What to do when the database is away at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Away {
    #[default]
    Fail,
    /// Go on trying; what only a person can mend fails all the same.
    Wait,
}

/// A stopping process finishes the changes and messages that are on their way within this.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Then it says that it is gone, if the database hears it.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// A stop takes no longer, whatever hangs: tasks, the last word, and the tasks of the store.
pub const STOPS_WITHIN: Duration =
    Duration::from_secs(2 * PATIENCE.as_secs() + GONE_WITHIN.as_secs());

/// Builds everything; nothing runs yet.
///
/// # Errors
/// What is wrong with the policy, the database or a client.
pub async fn build(settings: Settings, instead: Instead) -> Result<App> {
    crate::clients::http::install_tls();
    let clock = instead.clock.unwrap_or_else(Clock::system);
    let policy = instead.policy.map_or_else(|| load_policy(&settings, &clock), Ok)?;
    let store_tasks = Tasks::default();
    let place = location(&settings);
    let store = patience::open(instead.store, &place, &store_tasks, instead.away).await?;
    let redactor = Redactor::new(settings.secrets());
    let mappings = mappings(&settings)?;
    let due = Arc::new(Notify::new());
    let ingest = Ingest::new(store.clone(), clock.clone(), redactor.clone());
    let given = instead.mind.is_some();
    let mind = instead.mind.map_or_else(|| model(&settings), |mind| Ok(Some(mind)))?;
    let hurry = CancellationToken::new();
    let parts = Parts {
        hurry: hurry.clone(),
        settings: settings.clone(),
        store: store.clone(),
        clock: clock.clone(),
        redactor: redactor.clone(),
        mappings,
        mind,
        mind_is_given: given,
        tools: instead.tools,
        prometheus: instead.prometheus,
    };
    let desks = Arc::new(Desks::new(desk(&parts, &policy)?));
    let intake = correlation::intake(&settings, &ingest, &desks, &due)?;
    let channels: Vec<Arc<Exchange>> =
        outside::channels(&settings)?.into_iter().map(|one| Arc::new(Exchange::new(one))).collect();
    let reconciler = Arc::new(reconcile::reconciler(&settings, &store, &clock, &ingest, &due)?);
    let outside = Outside {
        source: instead.source,
        channels: channels.clone(),
        reconciler: Arc::clone(&reconciler),
    };
    let reload = Reload::new(parts, outside, &policy, Arc::clone(&desks), Arc::clone(&due));
    let channels = channels.into_iter().map(|one| one as Arc<dyn Channel>).collect();
    let outbox = outside::outbox(&settings, &store, &clock, channels);
    let checkpoints = outside::checkpoints(&settings, &store, &clock);
    let heartbeat = outside::heartbeat(&settings)?;
    let pulse = Arc::new(Pulse::new(store.clone(), clock.clone(), journal::process()));
    Ok(App {
        settings,
        store,
        clock,
        redactor,
        ingest,
        intake,
        desks,
        reload: Arc::new(reload),
        outbox: Arc::new(outbox),
        checkpoints,
        heartbeat,
        reconciler,
        due,
        pulse,
        hurry,
        store_tasks,
    })
}

impl App {
    /// The desk in force.
    pub fn desk(&self) -> Arc<Desk> {
        self.desks.current()
    }

    /// Finds the targets that labels name, by the inventory in force.
    pub fn locate(&self) -> Arc<Locate> {
        locate_by(&self.desks)
    }

    /// Starts the intake, the worker, the pager, the outbox and the checkpoints.
    pub fn start(&self, tasks: &Tasks) {
        let poll = Duration::from_millis(self.settings.worker.poll_ms);
        let owner = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4());
        let schedule =
            Schedule { store: self.store.clone(), clock: self.clock.clone(), owner: owner.clone() };
        retention::start(&self.settings, schedule, tasks);
        let setup = worker::Setup {
            owner: owner.clone(),
            investigations_max: self.settings.worker.investigations_max as usize,
            lease_ms: seconds(self.settings.worker.lease_s),
            poll,
        };
        let (desks, due) = (Arc::clone(&self.desks), Arc::clone(&self.due));
        tasks.spawn(reload::tell(Arc::clone(&self.reload), tasks.stopping()));
        let intake = ingest::run(self.intake.clone(), tasks.stopping());
        let worker = worker::run(Arc::clone(&desks), setup, Arc::clone(&due), tasks.clone());
        let pager = pager::run(desks, PAGER_POLL, due, tasks.stopping());
        let outbox = outbox::run(Arc::clone(&self.outbox), OUTBOX_POLL, tasks.stopping());
        self.pulse.watch_over("intake", tasks.spawn(intake));
        self.pulse.watch_over("worker", tasks.spawn(worker));
        self.pulse.watch_over("pager", tasks.spawn(pager));
        self.pulse.watch_over("outbox", tasks.spawn(outbox));
        self.start_watching(tasks);
        reconcile::start(&self.reconciler, &owner, tasks);
        if let Some(checkpoints) = &self.checkpoints {
            tasks.spawn(checkpoints.clone().run(tasks.stopping()));
        }
        if self.outbox.channels.is_empty() {
            tracing::warn!(
                "nobody will hear of anything: no channel is configured (notify.slack, \
                 notify.pagerduty, notify.email); incidents are seen in the console only"
            );
        }
    }

    /// Starts what tells people that the process itself does not work, and what wakes it up.
    fn start_watching(&self, tasks: &Tasks) {
        let (store, due) = (self.store.clone(), Arc::clone(&self.due));
        let (pulse, stop) = (Arc::clone(&self.pulse), tasks.stopping());
        tasks.spawn(steadiness::watch(store.clone(), self.clock.clone(), tasks.stopping()));
        tasks.spawn(async move { pulse.run(stop).await });
        let last_resort = LastResort {
            channels: self.outbox.channels.clone(),
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            scope: self.settings.scope.clone(),
            process: journal::process(),
            after: Duration::from_secs(self.settings.notify.last_resort.after_s),
        };
        tasks.spawn(last_resort.run(self.pulse.health(), tasks.stopping()));
        if let Some(heartbeat) = self.heartbeat.clone() {
            tasks.spawn(heartbeat.run(self.pulse.health(), tasks.stopping()));
        }
        let stop = tasks.stopping();
        tasks.spawn(async move { store.listen(|| due.notify_one(), stop).await });
    }

    /// Looks at the halt file of this process, for the pages and the API.
    pub fn halt_file(&self) -> HaltFileLook {
        let file = self.desk().gate.halt_file.clone();
        Arc::new(move || file.look())
    }

    /// Looks at what keeps this process from its work, for readiness.
    pub fn trouble(&self) -> TroubleLook {
        let pulse = Arc::clone(&self.pulse);
        Arc::new(move || pulse.complaint())
    }

    /// Ends `tasks`, then the store. Returns how many tasks did not end within `patience`.
    pub async fn stop(self, tasks: &Tasks, patience: Duration) -> usize {
        self.hurry.cancel();
        let left = tasks.shut_down(patience).await;
        self.reload.gone().await;
        left + self.store_tasks.shut_down(patience).await
    }
}

/// Loads the policy files, knowing which tools there are.
///
/// # Errors
/// Every problem in any of them.
pub fn load_policy(settings: &Settings, clock: &Clock) -> Result<Policy> {
    policy::load(settings, &specs(clock)).map_err(|problems| anyhow!("{problems}"))
}

/// The tools that there are; rules, runbooks and inventory are checked against them.
pub fn specs(clock: &Clock) -> Vec<ToolSpec> {
    // They do not depend on the inventory.
    tools_over(Arc::new(Catalogue::default()), clock).specs().to_vec()
}

/// The tools over an inventory with nothing behind them: enough to complete and judge calls.
pub fn tools_over(inventory: Arc<dyn Inventory>, clock: &Clock) -> Register {
    tools::all(&Deps {
        targets: Arc::new(Targets::new(&*inventory)),
        inventory,
        prometheus: None,
        clock: clock.clone(),
    })
}

/// What belongs to this process and is therefore never changed by it.
///
/// # Errors
/// The working folder is not known.
pub fn own(settings: &Settings) -> Result<Own> {
    Ok(Own {
        units: Vec::new(),
        paths: vec![std::path::absolute(&settings.data_dir)?.display().to_string()],
    })
}

/// What a desk is made of besides the policy: it stays the same when that changes.
struct Parts {
    hurry: CancellationToken,
    settings: Settings,
    store: Store,
    clock: Clock,
    redactor: Redactor,
    mappings: Vec<Mapping>,
    mind: Option<Arc<dyn Mind>>,
    /// Not made from the settings.
    mind_is_given: bool,
    /// In place of those over the inventory.
    tools: Option<Register>,
    /// In place of the one of the settings.
    prometheus: Option<Prometheus>,
}

impl Parts {
    /// The same with other secrets, for what is made of parts from here on.
    fn with(&self, settings: Settings) -> Result<Self> {
        let mind = if self.mind_is_given { self.mind.clone() } else { model(&settings)? };
        Ok(Self {
            hurry: self.hurry.clone(),
            settings,
            store: self.store.clone(),
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            mappings: self.mappings.clone(),
            mind,
            mind_is_given: self.mind_is_given,
            tools: self.tools.clone(),
            prometheus: self.prometheus.clone(),
        })
    }
}

fn model(settings: &Settings) -> Result<Option<Arc<dyn Mind>>> {
    Ok(outside::model(settings)?.map(|model| Arc::new(model) as Arc<dyn Mind>))
}

/// Builds a desk under a policy. Nothing in it is shared with a desk under another policy but the
/// parts.
fn desk(parts: &Parts, policy: &Policy) -> Result<Desk> {
    let Parts { hurry, settings, store, clock, redactor, mappings, mind, .. } = parts;
    let mappings = mappings.clone();
    let inventory: Arc<dyn Inventory> = policy.inventory.clone();
    let prometheus = match &parts.prometheus {
        Some(given) => Some(given.clone()),
        None => outside::prometheus(settings)?,
    };
    let register = parts.tools.clone().unwrap_or_else(|| {
        tools::all(&Deps {
            inventory: Arc::clone(&inventory),
            targets: Arc::new(Targets::new(&*inventory)),
            prometheus: prometheus.clone(),
            clock: clock.clone(),
        })
    });
    let own = own(settings)?;
    let gate = Gate {
        checker: Checker::new(Arc::clone(&policy.rules), own),
        register,
        inventory: Arc::clone(&inventory),
        second_source: SecondSource { prometheus: prometheus.clone(), mappings: mappings.clone() },
        store: store.clone(),
        clock: clock.clone(),
        halt_file: HaltFile::new(settings.halt_file(), redactor.clone()),
    };
    let verify = &settings.verify;
    let verifier = Verifier {
        prometheus: prometheus.clone(),
        runbooks: Arc::clone(&policy.runbooks),
        wait_ms: seconds(verify.wait_s),
        timeout_ms: seconds(verify.timeout_s),
    };
    let roots = Arc::clone(&inventory);
    let clean_roots =
        Arc::new(move |host: &str| roots.host(host).map(|h| h.clean_roots).unwrap_or_default());
    let follower = Follower::new(Arc::clone(&policy.runbooks), clean_roots);
    let runbook: Arc<dyn Mind> = Arc::new(follower);
    Ok(Desk {
        store: store.clone(),
        clock: clock.clone(),
        minds: Minds { model: mind.clone(), runbook },
        budget: budget(settings),
        gate,
        verifier,
        runbooks: Arc::clone(&policy.runbooks),
        redactor: redactor.clone(),
        locate: Arc::new(move |labels: &[&Labels]| locate(&*inventory, labels, &mappings)),
        policy: steps(settings)?,
        hurry: hurry.clone(),
        retired: AtomicBool::new(false),
    })
}

fn steps(settings: &Settings) -> Result<Steps> {
    Ok(Steps {
        public_url: settings.public_url(),
        dedup: match settings.notify.pagerduty.dedup {
            PagerdutyDedup::Own => DedupKey::Own,
            PagerdutyDedup::Alertmanager => DedupKey::Alertmanager,
        },
        approval_ttl_ms: seconds(settings.approval.ttl_s),
        verify_poll_ms: seconds(settings.verify.poll_s),
        critical_page_ms: seconds(settings.notify.deadlines.critical_within_s),
        warning_page_ms: seconds(settings.notify.deadlines.warning_within_s),
        output_bytes_max: usize::try_from(settings.model.output_bytes_in_prompt_max)?,
        start_within_ms: START_WITHIN_MS.min(seconds(settings.worker.lease_s) / 2),
        tool_timeout_ms: TOOL_TIMEOUT_MS,
    })
}

fn budget(settings: &Settings) -> Budget {
    let budgets = &settings.model.budgets;
    Budget {
        turns_per_incident: i64::from(budgets.turns_per_incident),
        tokens_per_incident: signed(budgets.tokens_per_incident),
        ms_per_incident: seconds(budgets.seconds_per_incident),
        tokens_per_day: signed(budgets.tokens_per_day),
        reserve_percent: i64::from(budgets.reserve_percent),
        #[expect(clippy::cast_possible_truncation, reason = "a day's money is far below 2^63")]
        cost_micros_per_day: budgets.money_per_day.map(|money| (money * 1e6) as i64),
    }
}

fn locate_by(desks: &Arc<Desks>) -> Arc<Locate> {
    let desks = Arc::clone(desks);
    Arc::new(move |labels: &[&Labels]| (desks.current().locate)(labels))
}

/// Which labels name targets.
///
/// # Errors
/// A pattern that is none; loading the settings refuses those.
pub fn mappings(settings: &Settings) -> Result<Vec<Mapping>> {
    settings
        .ingest
        .targets
        .iter()
        .map(|rule| {
            let pattern = Regex::new(rule.pattern())
                .with_context(|| format!("ingest.targets: pattern of {}", rule.label))?;
            let to = match rule.to {
                TargetKind::Host => To::Host,
                TargetKind::Service => To::Service,
            };
            let unknown = if rule.optional { Unknown::Ignored } else { Unknown::Reported };
            Ok(Mapping { label: rule.label.clone(), pattern, to, unknown })
        })
        .collect()
}

/// Where the data lies.
pub fn location(settings: &Settings) -> Location {
    match &settings.store.database_url {
        Some(url) => {
            Location::Postgres { url: url.clone(), connections_max: settings.store.connections_max }
        }
        None => Location::Folder(settings.data_dir.clone()),
    }
}

fn seconds(seconds: u64) -> i64 {
    signed(seconds).saturating_mul(1000)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
