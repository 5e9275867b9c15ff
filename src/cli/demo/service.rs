//! The process that the demo kills: it answers its name on a loopback port, and nothing else.
//!
//! In: a name, a port, the file for its process id, and whose end is its own. Out: lines on
//! standard output, which the supervisor keeps as its log. Never: a process that outlives the demo.

use crate::cli::block_on;
use crate::clock::{Clock, format_ms};
use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How often it looks whether the demo is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    name: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    pid_file: PathBuf,
    /// It ends when this process is gone.
    #[arg(long)]
    while_pid: u32,
}

pub fn run(options: Options) -> Result<ExitCode> {
    block_on(serve(options))
}

async fn serve(options: Options) -> Result<ExitCode> {
    let address = (Ipv4Addr::LOCALHOST, options.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{}", options.port))?;
    let clock = Clock::system();
    let log = |text: &str| println!("{} INFO {}: {text}", format_ms(clock.now_ms()), options.name);
    std::fs::write(&options.pid_file, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", options.pid_file.display()))?;
    log(&format!("process {} listens on 127.0.0.1:{}", std::process::id(), options.port));
    let answer = format!("{}\n", options.name);
    let router = Router::new().route("/", get(move || std::future::ready(answer.clone())));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served?,
        _ = terminate.recv() => log("told to stop"),
        () = gone(options.while_pid) => log("the demo is gone"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn gone(pid: u32) {
    let process = format!("/proc/{pid}");
    while Path::new(&process).exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
