//! `watchkeeper serve`: the server, until it is told to stop.

use super::{Global, block_on, runtime, sourced};
use crate::app::reload::Reload;
use crate::app::{self, App, Away, Instead, PATIENCE};
use crate::approval::people::People;
use crate::config::{Settings, Source};
use crate::tasks::Tasks;
use crate::{telemetry, web};
use anyhow::{Context, Result, anyhow};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often the tasks are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

pub fn run(global: &Global) -> Result<ExitCode> {
    let (settings, source) = sourced(global)?;
    telemetry::start_logs(&settings.log).map_err(|why| anyhow!(why))?;
    // Acknowledgements do not wait behind the work of investigations: that has threads of its own.
    let background = runtime()?;
    let served = block_on(serve(settings, source, background.handle().clone()));
    // By now its tasks have ended, or were given up.
    background.shutdown_background();
    served
}

/// A server that listens and works.
pub struct Running {
    pub address: SocketAddr,
    pub app: App,
    pub people: People,
}

/// Starts the server: listener, store, and in the background intake, worker, outbox. It ends with
/// `tasks`.
///
/// # Errors
/// What is wrong with the configuration, or what is missing to run.
pub async fn start(
    settings: Settings,
    source: Option<Source>,
    metrics: PrometheusHandle,
    tasks: &Tasks,
    background: &Handle,
) -> Result<Running> {
    let people = People::load(&settings.access_file).map_err(|problems| anyhow!("{problems}"))?;
    // The listener comes first, so that a supervisor sees a live process while the rest starts.
    let serving = web::serve(&settings, people.clone(), tasks).await?;
    let address = serving.address;
    let away = Away::Wait;
    let app = app::build(settings, Instead { source, away, ..Instead::default() }).await?;
    app.journal_start(away).await?;
    app.journal(people.clone(), tasks);
    start_in(background, &app, tasks);
    tasks.spawn(count_tasks([Handle::current(), background.clone()], tasks.stopping()));
    serving.ready(web::Deps {
        store: app.store.clone(),
        clock: app.clock.clone(),
        ingest: app.ingest.clone(),
        redactor: app.redactor.clone(),
        due: Arc::clone(&app.due),
        locate: app.locate(),
        policy: app.reload.clone(),
        halt_file: app.halt_file(),
        trouble: app.trouble(),
        metrics: Some(metrics),
    });
    Ok(Running { address, app, people })
}

fn start_in(background: &Handle, app: &App, tasks: &Tasks) {
    let _inside = background.enter();
    app.start(tasks);
}

/// Says how many tasks there are: a number that grows under a steady load is a leak.
async fn count_tasks(runtimes: [Handle; 2], stop: CancellationToken) {
    loop {
        let alive: usize = runtimes.iter().map(|one| one.metrics().num_alive_tasks()).sum();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        metrics::gauge!("watchkeeper_tasks").set(alive as f64);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(COUNT_EVERY) => {}
        }
    }
}

async fn serve(settings: Settings, source: Source, background: Handle) -> Result<ExitCode> {
    let metrics = telemetry::start_metrics().map_err(|why| anyhow!(why))?;
    let tasks = Tasks::default();
    // Listened for before anything else: unheard, the signal ends the process.
    let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let started = start(settings, Some(source), metrics, &tasks, &background).await;
    let Running { address, app, people } = match started {
        Ok(running) => running,
        Err(error) => {
            tasks.shut_down(PATIENCE).await;
            return Err(error);
        }
    };
    tracing::info!(
        %address,
        store = app.store.engine(),
        model = app.settings.model.endpoints.first().map_or("none", |model| model.name.as_str()),
        "Watchkeeper listens on {address}"
    );
    if people.is_nobody() {
        tracing::warn!(
            "nobody can approve anything: there are no users; add one with `watchkeeper user add`"
        );
    }
    tasks.spawn(reload_on_hangup(Arc::clone(&app.reload), hangups, tasks.stopping()));
    wait_for_signal().await?;
    tracing::info!("stopping");
    let left = app.stop(&tasks, PATIENCE).await;
    if left > 0 {
        tracing::warn!(left, "some work did not end in time; it goes on after the next start");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes over changed policy files and secrets at each SIGHUP. What came of it is in the log and the
/// metrics.
async fn reload_on_hangup(reload: Arc<Reload>, mut hangups: Signal, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            heard = hangups.recv() => match heard {
                Some(()) => drop(reload.reload("SIGHUP").await),
                None => return,
            },
        }
    }
}

/// Waits until somebody asks the process to end.
///
/// # Errors
/// Signals cannot be listened for.
pub async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
