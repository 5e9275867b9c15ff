//! Servers under test, each a process of its own with a folder of its own.

use super::driver;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Linux counts processor time in hundredths of a second.
const TICK_S: f64 = 0.01;
const START_WITHIN: Duration = Duration::from_secs(20);

/// A folder that is gone afterwards.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self> {
        // Not below /tmp, which may be memory: there a sync costs nothing.
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a server keeps what it stored.
#[derive(Clone)]
pub enum Keeps {
    Sqlite,
    Postgres(String),
}

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to the first good answer of `/healthz`.
    pub started_in: Duration,
}

/// Processor time and memory of a process.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu_s: f64,
    pub resident_mb: f64,
    /// The most that it ever had.
    pub peak_mb: f64,
    pub threads: u64,
    pub files: usize,
}

impl Server {
    /// Our server, as it is shipped; `more` is added to its configuration.
    pub fn ours(folder: &Path, keeps: &Keeps, more: &str) -> Result<Self> {
        let address = free_address()?;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let shipped = |name: &str| shipped.join(name).display().to_string();
        let store = match keeps {
            Keeps::Sqlite => String::new(),
            Keeps::Postgres(url) => format!("store:\n  database_url: {url}\n"),
        };
        let text = format!(
            "listen: {address}\ndata_dir: {}\ninventory_file: {}\nsafety_rules_file: {}\n\
             runbooks_file: {}\nlog:\n  level: {}\n{store}{more}",
            folder.join("data").display(),
            shipped("inventory.yaml"),
            shipped("safety_rules.yaml"),
            shipped("runbooks.yaml"),
            std::env::var("BENCH_LOG").as_deref().unwrap_or("warn"),
        );
        let file = folder.join("watchkeeper.yaml");
        fs::write(&file, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
        command.arg("serve").arg("--config").arg(&file);
        // What the caller's environment says is about another server.
        for (name, _) in std::env::vars() {
            let ours = ["WATCHKEEPER_", "OPENAI_", "HERMES_", "SLACK_", "PAGERDUTY_"];
            let named = ["DATABASE_URL", "PROMETHEUS_URL", "ALERTMANAGER_URL"];
            if ours.iter().any(|start| name.starts_with(start)) || named.contains(&name.as_str()) {
                command.env_remove(name);
            }
        }
        Self::start(command, address, &folder.join("log"))
    }

    /// The reference.
    pub fn ceiling(folder: &Path, keeps: &Keeps) -> Result<Self> {
        Self::ceiling_with(folder, keeps, None)
    }

    /// The reference as an agent: it investigates every alert against `doubles`.
    pub fn ceiling_agent(folder: &Path, keeps: &Keeps, doubles: SocketAddr) -> Result<Self> {
        Self::ceiling_with(folder, keeps, Some(doubles))
    }

    fn ceiling_with(folder: &Path, keeps: &Keeps, doubles: Option<SocketAddr>) -> Result<Self> {
        let address = free_address()?;
        let store = match keeps {
            Keeps::Sqlite => folder.join("ceiling.db").display().to_string(),
            Keeps::Postgres(url) => url.clone(),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("ceiling").arg(address.to_string()).arg(store);
        command.args(doubles.map(|doubles| doubles.to_string()));
        Self::start(command, address, &folder.join("ceiling.log"))
    }

    fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let log_file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        let began = Instant::now();
        let child = command.spawn()?;
        let mut server = Self { child, address, started_in: Duration::ZERO };
        match server.answers("/healthz", began) {
            Ok(after) => server.started_in = after,
            Err(error) => {
                return Err(error.context(fs::read_to_string(log).unwrap_or_default()));
            }
        }
        if matches!(driver::get(address, "/readyz"), Ok((404, _))) {
            return Ok(server);
        }
        server.answers("/readyz", began)?;
        Ok(server)
    }

    /// Waits for the first 200 of a page; returns how long after `began` it came.
    pub fn answers(&self, path: &str, began: Instant) -> Result<Duration> {
        while began.elapsed() < START_WITHIN {
            if matches!(driver::get(self.address, path), Ok((200, _))) {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        bail!("no answer from {path}")
    }

    pub fn usage(&self) -> Result<Usage> {
        let pid = self.child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.map(|text| text.trim().trim_end_matches(" kB"));
            text.and_then(|text| text.parse().ok()).with_context(|| name.to_owned())
        };
        Ok(Usage {
            cpu_s: cpu_s(i32::try_from(pid)?).context("/proc/stat")?,
            resident_mb: number("VmRSS:")? / 1024.0,
            peak_mb: number("VmHWM:")? / 1024.0,
            threads: number("Threads:")? as u64,
            files: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }

    /// A number of `/metrics`, 0 when it is not there.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, page) = driver::get(self.address, "/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map_or(Ok(0.0), str::parse)?)
    }

    /// Waits until it has taken in what it stored and does nothing any more.
    pub fn settle(&self, at_most: Duration) -> Result<Duration> {
        let began = Instant::now();
        while began.elapsed() < at_most {
            let before = self.usage()?.cpu_s;
            std::thread::sleep(Duration::from_millis(500));
            let quiet = self.usage()?.cpu_s - before <= 2.0 * TICK_S;
            if quiet && self.waiting()? == 0 {
                break;
            }
        }
        Ok(began.elapsed())
    }

    /// Deliveries that are stored and not yet taken in.
    pub fn waiting(&self) -> Result<u64> {
        Ok(self.metric("watchkeeper_unprocessed_deliveries")? as u64)
    }

    /// Runs `work` while the process is stopped, so that it takes no time from another.
    pub fn asleep<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let pid = self.pid()?;
        kill_process(pid, Signal::STOP)?;
        let done = work();
        kill_process(pid, Signal::CONT)?;
        Ok(done)
    }

    /// Ends it the hard way: what it acknowledged must be there all the same.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("pid 0")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process has used.
pub fn cpu_s(pid: i32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) * TICK_S)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
