//! Reaches the machine that Watchkeeper runs on.
//!
//! In: ready arguments and paths. Out: what the programs and files of this machine say. Never: a
//! shell, a search of `PATH`, a wait without an end.

mod log;
mod mounts;
mod proc;
mod sweep;
mod tree;

use super::resources::{Check, Resources};
use super::sweep::{Entry, Listing, Sweep, Swept};
use super::{Command, Error, Exit, Leaves, Ran, Reach, Tail};
use super::{launch, process};
use crate::safety::command::{Argv, PROGRAM_FOLDERS};
use futures::future::BoxFuture;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Between two samples of counters.
const SAMPLES_APART: Duration = Duration::from_millis(200);

/// This machine.
#[derive(Clone, Debug, Default)]
pub struct Local {
    silent: mounts::Silent,
}

impl Reach for Local {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Ran, Error>> {
        Box::pin(async move {
            let Some((program, args)) = command.argv.split_first() else {
                return Err(Error::Missing("the command is empty".to_owned()));
            };
            let spec = process::Spec {
                candidates: candidates(program),
                args: args.iter().map(Into::into).collect(),
                timeout: Duration::from_millis(command.timeout_ms),
                output_bytes_max: command.output_bytes_max,
            };
            match command.leaves {
                Leaves::Nothing => run(spec).await,
                Leaves::Processes => launch::run(spec).await,
            }
        })
    }

    fn diagnose(
        &self,
        argv: Argv,
        timeout_ms: u64,
        output_bytes_max: usize,
    ) -> BoxFuture<'_, Result<Ran, Error>> {
        Box::pin(async move {
            let resolve = |path: &str| {
                let real = std::fs::canonicalize(path).ok()?;
                // A path that is not text cannot be judged; as "/" it is outside every root.
                Some(real.to_str().unwrap_or("/").to_owned())
            };
            argv.check_resolved(resolve).map_err(|refusal| Error::Missing(refusal.to_string()))?;
            let spec = process::Spec {
                candidates: argv.candidates(),
                args: argv.args().iter().map(Into::into).collect(),
                timeout: Duration::from_millis(timeout_ms),
                output_bytes_max,
            };
            run(spec).await
        })
    }

    fn systemd(&self) -> BoxFuture<'_, Result<(), String>> {
        // The test that systemd's own sd_booted(3) makes.
        let booted = Path::new("/run/systemd/system").is_dir();
        Box::pin(async move {
            if booted { Ok(()) } else { Err("systemd does not run this machine".to_owned()) }
        })
    }

    fn tail(&self, path: String, bytes_max: u64) -> BoxFuture<'_, Result<Tail, Error>> {
        Box::pin(blocking(move || tail(&path, bytes_max)))
    }

    fn resources(&self, checks: Vec<Check>) -> BoxFuture<'_, Result<Resources, Error>> {
        Box::pin(self.look(checks))
    }

    fn list(&self, sweep: Sweep) -> BoxFuture<'_, Result<Listing, Error>> {
        Box::pin(blocking(move || sweep::list(&sweep)))
    }

    fn delete(
        &self,
        sweep: Sweep,
        listed: Vec<Entry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Swept, Error>> {
        let until = std::time::Instant::now() + within;
        Box::pin(blocking(move || sweep::delete(&sweep, &listed, until)))
    }
}

impl Local {
    async fn look(&self, checks: Vec<Check>) -> Result<Resources, Error> {
        let with = match checks.contains(&Check::Processes) {
            true => proc::WithProcesses::Yes,
            false => proc::WithProcesses::No,
        };
        let before = blocking(move || Ok(proc::sample(with))).await?;
        let began = Instant::now();
        tokio::time::sleep(SAMPLES_APART).await;
        let silent = self.silent.clone();
        blocking(move || {
            let after = proc::sample(with);
            let seconds = began.elapsed().as_secs_f64();
            let mut found = Resources::default();
            for check in checks {
                let done = match check {
                    Check::Cpu => proc::cpu(&before, &after).map(|cpu| found.cpu = Some(cpu)),
                    Check::Memory => proc::memory().map(|memory| found.memory = Some(memory)),
                    Check::Disk => disks(&silent, &mut found),
                    Check::Network => proc::network(&before, &after, seconds)
                        .map(|network| found.network = Some(network)),
                    Check::Processes => proc::processes(&before, &after)
                        .map(|processes| found.processes = Some(processes)),
                };
                if let Err(why) = done {
                    found.troubles.push(format!("{}: {why}", check.as_str()));
                }
            }
            Ok(found)
        })
        .await
    }
}

fn disks(silent: &mounts::Silent, found: &mut Resources) -> Result<(), String> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let (disks, troubles) = mounts::disks(&text, silent);
    found.disk = Some(disks);
    found.troubles.extend(troubles);
    Ok(())
}

/// A share in percent with one decimal; of nothing it is 0.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 1000.0 / whole as f64).round() / 10.0 }
}

/// The only files that may be run for a configured program.
fn candidates(program: &str) -> Vec<PathBuf> {
    if program.starts_with('/') {
        return vec![PathBuf::from(program)];
    }
    PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(program)).collect()
}

async fn run(spec: process::Spec) -> Result<Ran, Error> {
    let finished = process::run(&spec).await.map_err(|error| match &error {
        process::Error::NotFound { .. } | process::Error::NotPermitted { .. } => {
            Error::Missing(error.to_string())
        }
        process::Error::Unavailable { source, .. } => Error::Unknown(format!("{error}: {source}")),
    })?;
    let exit = match (finished.timed_out, finished.exit) {
        (true, _) => Exit::TimedOut,
        (false, process::Exit::Code(code)) => Exit::Code(code),
        (false, process::Exit::Signal(signal)) => Exit::Signal(signal),
    };
    Ok(Ran {
        exit,
        stdout: finished.stdout,
        stderr: finished.stderr,
        truncated: finished.truncated,
    })
}

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::Unknown(format!("the work broke off: {error}"))),
    }
}

fn tail(path: &str, bytes_max: u64) -> Result<Tail, Error> {
    let failed = |error: std::io::Error| Error::Missing(format!("cannot read {path}: {error}"));
    let mut file = log::open(path)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(Error::Missing(format!("{path} is not a regular file")));
    }
    let skipped = about.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(skipped)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    let mut start = 0;
    if skipped > 0 {
        start = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    }
    let modified_ms = about
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default();
    Ok(Tail {
        text: String::from_utf8_lossy(&bytes[start..]).into_owned(),
        modified_ms,
        skipped_bytes: skipped + start as u64,
    })
}
