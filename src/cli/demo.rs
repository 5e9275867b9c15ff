//! `watchkeeper demo`: the whole job on this machine, without any other service.
//!
//! It starts two processes of its own, kills them, fills a folder of its own with old logs, and
//! shows how the real server (shipped rules and runbooks, SQLite, HTTP on loopback) mends all of
//! it, asking a person where the rules want one. Every value comes from a measurement: what does
//! not come back is told, and the exit code is 1. Never: anything outside its own folder.

mod alerts;
mod browser;
mod follow;
mod monitor;
mod query;
mod say;
mod service;
mod show;
mod stage;

use super::serve::{self, Running, wait_for_signal};
use super::{Global, block_on};
use crate::clock::Clock;
use crate::config::{self, Environment};
use crate::tasks::Tasks;
use crate::{clients, telemetry};
use anyhow::{Context, Result, anyhow, bail};
use monitor::{Monitor, Receiver};
use say::{Held, Journal, Voice};
use show::Show;
use stage::{Folder, Stage};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;

pub use service::{Options as ServiceOptions, run as run_service};

/// A stopping server finishes its steps in flight within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// What shells give for a program that was interrupted: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// Lines of the server's log that are shown when something went wrong.
const LOG_LINES: usize = 15;

#[derive(clap::Args)]
pub struct Options {
    /// Approve in your own browser, in place of a person that the demo plays.
    #[arg(long)]
    interactive: bool,
    /// Keep the folder with configuration, database, logs and the supervisor script.
    #[arg(long)]
    keep: bool,
}

/// Who approves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Approver {
    /// The demo, through the same form.
    Played,
    You,
}

pub fn run(global: &Global, options: &Options) -> Result<ExitCode> {
    if global.config.is_some() || !global.set.is_empty() {
        bail!("the demo brings its own configuration; leave --config and --set out");
    }
    let approver = if options.interactive { Approver::You } else { Approver::Played };
    let after = if options.keep { Folder::Kept } else { Folder::Removed };
    block_on(async move {
        // Whichever ends first, dropping the other ends its processes and removes its folder.
        tokio::select! {
            ended = Box::pin(demo(approver, after)) => ended,
            told = wait_for_signal() => {
                told?;
                println!("\ninterrupted; what the demo started has ended");
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    })
}

async fn demo(approver: Approver, after: Folder) -> Result<ExitCode> {
    clients::http::install_tls();
    let clock = Clock::system();
    let voice = Voice::new(clock.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let stage = Stage::build(listener.local_addr()?, clock, after)?;
    let log = stage.folder.join("server.log");
    start_log(&log)?;
    voice.heading("Setting the stage");
    voice.plain(&format!("everything happens in {}", stage.folder.display()));
    let tasks = Tasks::default();
    let shown = Box::pin(play(&voice, &stage, listener, &tasks, approver)).await;
    tasks.shut_down(PATIENCE).await;
    let held = match shown {
        Ok(held) => held,
        Err(error) => {
            voice.plain(&format!("\nthe demo cannot go on: {error:#}"));
            Held::No
        }
    };
    if held == Held::No {
        show_log(&voice, &log);
    }
    let folder = stage.folder.clone();
    drop(stage);
    match after {
        Folder::Kept => voice.plain(&format!("kept {}", folder.display())),
        Folder::Removed => voice.plain(&format!("removed {}", folder.display())),
    }
    Ok(match held {
        Held::Yes => ExitCode::SUCCESS,
        Held::No => {
            voice.plain("FAILED: see the checks above");
            ExitCode::FAILURE
        }
    })
}

async fn play(
    voice: &Voice,
    stage: &Stage,
    listener: TcpListener,
    tasks: &Tasks,
    approver: Approver,
) -> Result<Held> {
    // None of the user's own settings: the demo must not reach for a database or a model of theirs.
    let loaded = config::load(Some(&stage.settings_file()), &Environment::default(), &[]);
    let settings = loaded.map_err(|problems| anyhow!("{problems}"))?.value;
    let scope = settings.scope.clone();
    let journal = Journal::default();
    let receiver = Receiver {
        url: format!("http://{}/webhook/alert", stage.server),
        token: stage.webhook_token.clone(),
    };
    let metrics = telemetry::start_metrics().map_err(|why| anyhow!(why))?;
    let Running { app, address, .. } =
        serve::start(settings, None, metrics, tasks, &Handle::current()).await?;
    let rules = include_str!("demo/rules.yaml");
    let monitor =
        Monitor::start(listener, stage.watched(), receiver, rules, journal.clone(), tasks)?;
    let server = format!("http://{address}");
    let show = Show::new(voice, stage, journal, monitor, &app.store, &scope, server)?;
    let shown = Box::pin(show.play(approver)).await;
    let left = app.stop(tasks, PATIENCE).await;
    if left > 0 {
        voice.plain(&format!("{left} pieces of work did not end in time"));
    }
    shown
}

/// Keeps the server's log apart from the story.
fn start_log(path: &std::path::Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .try_init()
        .map_err(|error| anyhow!("{error}"))
}

fn show_log(voice: &Voice, path: &std::path::Path) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    voice.plain("\nthe last lines of the server's log:");
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        voice.plain(&format!("  {}", crate::web::visible(line)));
    }
}
