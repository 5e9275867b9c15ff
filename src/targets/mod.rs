//! The hosts and services that may be looked at and changed, and the ways to reach them.
//!
//! In: canonical names and what was already judged. Out: what the host answered, typed and capped.
//! Never: a shell, a store, a decision. To add a way to reach hosts, implement [`Reach`] in a file
//! of its own and name it in [`Targets::new`].

pub mod inventory;
pub mod local;
mod launch;
pub mod process;
pub mod service;

use futures::future::BoxFuture;
use inventory::{Inventory, ReachKind, Systemd};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One way to reach one host.
pub trait Reach: Send + Sync {
    /// Runs one program with ready arguments, without a shell, input or environment.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Ran, Error>>;

    /// Whether systemd manages the host; if not, why.
    fn systemd(&self) -> BoxFuture<'_, Result<(), String>>;

    /// The end of a text file, from the first whole line within `bytes_max`.
    fn tail(&self, path: String, bytes_max: u64) -> BoxFuture<'_, Result<Tail, Error>>;
}

/// A command to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The first word is an absolute path, or a bare name that lies in a system folder.
    pub argv: Vec<String>,
    pub timeout_ms: u64,
    /// Kept of each of stdout and stderr.
    pub output_bytes_max: usize,
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
    /// Output beyond the bound.
    pub left_out_bytes: u64,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Killed at the time limit; what it began elsewhere may go on.
    TimedOut,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("stopped at the time limit"),
        }
    }
}

impl Ran {
    /// What it said that explains a failure, on one line: stderr, else stdout, shortened.
    pub fn complaint(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let line: Vec<&str> = said.split_whitespace().collect();
        let line: String = line.join(" ").chars().take(400).collect();
        if line.is_empty() { self.exit.to_string() } else { format!("{}: {line}", self.exit) }
    }
}

/// The end of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tail {
    pub text: String,
    pub modified_ms: i64,
    /// Bytes of the file before `text`.
    pub skipped_bytes: u64,
}

/// Why a host gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was started: a way, a program or a file is missing. Says what mends it.
    #[error("{0}")]
    Missing(String),
    /// The host was asked and failed.
    #[error("{0}")]
    Failed(String),
    /// It may or may not have happened.
    #[error("{0}")]
    Unknown(String),
}

/// The way to every host that can be reached.
#[derive(Clone, Default)]
pub struct Targets {
    hosts: BTreeMap<String, Entry>,
}

#[derive(Clone)]
struct Entry {
    reach: Arc<dyn Reach>,
    systemd: Systemd,
}

impl Targets {
    /// The ways that the inventory names.
    pub fn new(inventory: &dyn Inventory) -> Self {
        let mut targets = Self::default();
        let local: Arc<dyn Reach> = Arc::new(local::Local::default());
        for name in inventory.host_names() {
            let Some(access) = inventory.host_access(&name) else { continue };
            match access.reach {
                ReachKind::Local => targets.add(&name, Arc::clone(&local), access.systemd),
                ReachKind::None => {}
            }
        }
        targets
    }

    /// Adds or replaces the way to a host.
    pub fn add(&mut self, host: &str, reach: Arc<dyn Reach>, systemd: Systemd) {
        self.hosts.insert(host.to_owned(), Entry { reach, systemd });
    }

    /// The way to a host, by its canonical name.
    ///
    /// # Errors
    /// `Missing` for a host that is listed but not entered.
    pub fn reach(&self, host: &str) -> Result<Arc<dyn Reach>, Error> {
        let entry = self.entry(host)?;
        Ok(Arc::clone(&entry.reach))
    }

    /// Whether systemd manages services on a host; if not, why.
    ///
    /// # Errors
    /// `Missing` for a host that is not entered.
    pub async fn systemd(&self, host: &str) -> Result<Result<(), String>, Error> {
        let entry = self.entry(host)?;
        Ok(match entry.systemd {
            Systemd::Yes => Ok(()),
            Systemd::No => Err(format!("the inventory says `systemd: no` for {host}")),
            Systemd::Auto => entry.reach.systemd().await,
        })
    }

    fn entry(&self, host: &str) -> Result<&Entry, Error> {
        self.hosts.get(host).ok_or_else(|| {
            Error::Missing(format!(
                "{host} is in the inventory but there is no way to enter it; if it is this \
                 machine, give it `reach: local`"
            ))
        })
    }
}
