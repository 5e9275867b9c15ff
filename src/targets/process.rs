//! Runs one program on this host: no shell, no terminal, no input, nothing left behind.
//!
//! In: the files that may be run, in order, and ready words. Out: what it wrote, bounded, and how
//! it ended. Never: the environment of this process, a search of `PATH`, output beyond the cap, a
//! process of the group that outlives the call, also when the call itself is dropped.

use crate::crash::{self, Point};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::process::{Child, Command};
use tokio::time::{Instant as Deadline, sleep_until, timeout};

mod visible;

pub use visible::visible;

/// What a program gets as `PATH`, for programs that look for parts of their own package.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a group may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long output is still read after the group is gone: only a process that left the group can
/// hold the pipe then.
const DRAIN: Duration = Duration::from_millis(250);

/// What to run, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The only files that may be run; the first that exists is.
    pub candidates: Vec<PathBuf>,
    pub args: Vec<OsString>,
    /// Wall time, after which the whole process group is ended.
    pub timeout: Duration,
    /// Cap on standard output and standard error together.
    pub output_bytes_max: usize,
}

impl Spec {
    /// Describes a run with the usual bounds: 30 seconds, 1 MiB.
    pub fn new<A: Into<OsString>>(
        candidates: Vec<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Spec {
        Spec {
            candidates,
            args: args.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(30),
            output_bytes_max: 1 << 20,
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// A run that was started and is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub exit: Exit,
    /// Text with control characters and invalid bytes made visible.
    pub stdout: String,
    pub stderr: String,
    /// The output reached its cap, or a process that left the group still held it.
    pub truncated: bool,
    pub duration_ms: u64,
    pub timed_out: bool,
}

/// Why a program was not started, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the files exists: install it, or choose another command.
    #[error("no such program; tried {}", join(.tried))]
    NotFound { tried: Vec<PathBuf> },
    /// The file is there but this account may not run it.
    #[error("not permitted to run {}", path.display())]
    NotPermitted { path: PathBuf },
    /// The system is short of something; the same call may work later.
    #[error("cannot run {}", path.display())]
    Unavailable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn join(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Runs a program to its end, its time limit or its output cap, whichever comes first.
///
/// # Errors
/// `NotFound`, `NotPermitted` and `Unavailable` at the start: nothing ran. `Unavailable` after the
/// start: the whole group was ended.
pub async fn run(spec: &Spec) -> Result<Finished, Error> {
    let started = Instant::now();
    crash::at(Point::BeforeProgram);
    let (mut child, path) = start(spec)?;
    let unavailable = |source| Error::Unavailable { path: path.clone(), source };
    let group = Group::of(&child).ok_or_else(|| {
        unavailable(std::io::Error::other("the process ended before it could be watched"))
    })?;
    let leader = Leader::watch(group.leader);
    let mut output = Output::of(&mut child, spec.output_bytes_max);
    let deadline = Deadline::now() + spec.timeout;

    let stop = loop {
        tokio::select! {
            () = leader.exited(&mut child) => break Stop::Exited,
            () = sleep_until(deadline) => break Stop::TimedOut,
            more = output.read() => match more {
                More::Data => {}
                More::Full => break Stop::Full,
                // The pipes are closed but the program goes on; only its end is awaited.
                More::Closed => tokio::select! {
                    () = leader.exited(&mut child) => break Stop::Exited,
                    () = sleep_until(deadline) => break Stop::TimedOut,
                },
            },
        }
    };
    if stop != Stop::Exited {
        group.signal(Signal::TERM);
        // What it says while it ends is read, so that it cannot block on a full pipe.
        let ending = async {
            tokio::select! {
                () = leader.exited(&mut child) => {}
                () = output.read_on() => leader.exited(&mut child).await,
            }
        };
        // It had its chance; SIGKILL follows either way.
        let _ = timeout(GRACE, ending).await;
    }
    // The leader is not reaped yet, so its number still names this group and no other.
    group.signal(Signal::KILL);
    let status = child.wait().await.map_err(unavailable)?;
    group.disarm();
    crash::at(Point::AfterProgram);
    if stop != Stop::Full && timeout(DRAIN, output.rest()).await.is_err() {
        output.truncated = true;
    }
    Ok(Finished {
        exit: exit(status),
        stdout: visible(&output.stdout.bytes),
        stderr: visible(&output.stderr.bytes),
        truncated: output.truncated,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        timed_out: stop == Stop::TimedOut,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Exited,
    TimedOut,
    Full,
}

fn start(spec: &Spec) -> Result<(Child, PathBuf), Error> {
    for path in &spec.candidates {
        // A relative path would be looked up in `PATH` or in the working folder.
        if !path.is_absolute() || !path.is_file() {
            continue;
        }
        let spawned = Command::new(path)
            .args(&spec.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let path = path.clone();
        return match spawned {
            Ok(child) => Ok((child, path)),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(Error::NotPermitted { path }),
            Err(source) => Err(Error::Unavailable { path, source }),
        };
    }
    Err(Error::NotFound { tried: spec.candidates.clone() })
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

/// The process group of a child; what is left of it is killed when this is dropped.
struct Group {
    leader: Pid,
    armed: std::cell::Cell<bool>,
}

impl Group {
    fn of(child: &Child) -> Option<Group> {
        let leader = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
        Some(Group { leader, armed: std::cell::Cell::new(true) })
    }

    fn signal(&self, signal: Signal) {
        // A group that is already gone is what was wanted.
        let _ = kill_process_group(self.leader, signal);
    }

    fn disarm(&self) {
        self.armed.set(false);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed.get() {
            self.signal(Signal::KILL);
        }
    }
}

/// Sees the leader end without reaping it.
struct Leader(Option<AsyncFd<OwnedFd>>);

impl Leader {
    fn watch(leader: Pid) -> Leader {
        // Kernels before 5.3 have no such handle; the plain wait serves then.
        let handle = pidfd_open(leader, PidfdFlags::empty()).ok();
        #[expect(deprecated, reason = "its replacement is unsafe; an OwnedFd stays open and ours")]
        let watched = handle.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
        Leader(watched)
    }

    async fn exited(&self, child: &mut Child) {
        match &self.0 {
            Some(handle) => {
                let _ = handle.readable().await;
            }
            None => {
                let _ = child.wait().await;
            }
        }
    }
}

/// One pipe of a program.
struct Pipe {
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    bytes: Vec<u8>,
}

/// Both pipes under one cap.
struct Output {
    stdout: Pipe,
    stderr: Pipe,
    left: usize,
    truncated: bool,
}

enum More {
    Data,
    Full,
    Closed,
}

impl Output {
    fn of(child: &mut Child, bytes_max: usize) -> Output {
        let pipe = |from| Pipe { from, bytes: Vec::new() };
        Output {
            stdout: pipe(child.stdout.take().map(|p| Box::new(p) as _)),
            stderr: pipe(child.stderr.take().map(|p| Box::new(p) as _)),
            left: bytes_max,
            truncated: false,
        }
    }

    /// Reads once from whichever pipe has something; safe to drop between bytes.
    async fn read(&mut self) -> More {
        if self.stdout.from.is_none() && self.stderr.from.is_none() {
            return More::Closed;
        }
        let mut out = vec![0; 16 * 1024];
        let mut err = vec![0; 4 * 1024];
        let (count, from_stdout) = tokio::select! {
            count = self.stdout.read(&mut out) => (count, true),
            count = self.stderr.read(&mut err) => (count, false),
        };
        let (pipe, chunk) =
            if from_stdout { (&mut self.stdout, &out) } else { (&mut self.stderr, &err) };
        let kept = count.min(self.left);
        pipe.bytes.extend_from_slice(&chunk[..kept]);
        self.left -= kept;
        if count == 0 {
            pipe.from = None;
        }
        if count > kept {
            self.truncated = true;
            return More::Full;
        }
        More::Data
    }

    async fn rest(&mut self) {
        while matches!(self.read().await, More::Data) {}
    }

    /// Reads on while the group ends; what is past the cap is dropped by `read`.
    async fn read_on(&mut self) {
        while !matches!(self.read().await, More::Closed) {}
    }
}

impl Pipe {
    /// Reads some bytes, 0 at the end; waits for ever when closed.
    async fn read(&mut self, chunk: &mut [u8]) -> usize {
        match &mut self.from {
            Some(from) => from.read(chunk).await.unwrap_or(0),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
