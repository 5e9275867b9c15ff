//! The demo's stage: a folder of its own with configuration, logs, and two supervised processes.
//!
//! In: the scene and the shipped rules and runbooks. Out: files, ports, processes to break. Never:
//! anything outside the folder; a signal to a process whose command line does not name the folder.
//! When it is dropped, its processes end and, unless it is to be kept, the folder goes.

use super::monitor::Watched;
use crate::approval::Role;
use crate::approval::access::{self, Token, TokenKind, User};
use crate::approval::secrets;
use crate::clock::Clock;
use crate::config::yaml;
use anyhow::{Context, Result, anyhow, bail};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::process::Command;
use tokio::time::timeout;

const SCENE: &str = include_str!("scene.yaml");
const SUPERVISOR: &str = include_str!("supervisor.sh");
const SETTINGS: &str = include_str!("watchkeeper.yaml");
const INVENTORY: &str = include_str!("inventory.yaml");
const SAFETY_RULES: &str = include_str!("../../../config/safety_rules.yaml");
const RUNBOOKS: &str = include_str!("../../../config/runbooks.yaml");

/// Below the ports that systems hand out to clients: while a service is down, nobody gets its port
/// by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The supervisor itself gives a service ten seconds.
const STARTS_WITHIN: Duration = Duration::from_secs(15);
/// A process that was told to stop gets so long before it is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// What the demo does to which services and files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    pub stateless: String,
    pub database: String,
    pub old_logs: Logs,
    pub young_logs: Logs,
    pub approvers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    pub count: usize,
    pub bytes: usize,
    pub age_days: u64,
}

/// What becomes of the folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    Kept,
    Removed,
}

pub struct Stage {
    pub scene: Scene,
    pub folder: PathBuf,
    pub server: SocketAddr,
    pub password: String,
    pub webhook_token: String,
    program: PathBuf,
    ports: [u16; 2],
    clock: Clock,
    after: Folder,
}

impl Stage {
    /// Makes the folder with everything in it; no process runs yet.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn build(monitor: SocketAddr, clock: Clock, after: Folder) -> Result<Self> {
        let scene = yaml::load::<Scene>("scene.yaml", SCENE)
            .map_err(|problems| anyhow!("the demo's scene: {problems:?}"))?
            .value;
        let temp = std::env::temp_dir();
        let temp = temp.canonicalize().with_context(|| format!("no folder {}", temp.display()))?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let folder = temp.join(format!("watchkeeper-demo-{}", &id[..8]));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let stage = Self {
            scene,
            server: (Ipv4Addr::LOCALHOST, free_port()?).into(),
            password: secrets::random_text()[..16].to_owned(),
            webhook_token: String::new(),
            program: std::env::current_exe().context("cannot tell which program this is")?,
            ports: [free_port()?, free_port()?],
            clock,
            after,
            folder,
        };
        stage.furnish(monitor)
    }

    /// What the monitor measures.
    pub fn watched(&self) -> Watched {
        let names = [&self.scene.stateless, &self.scene.database];
        let services = names.into_iter().cloned().zip(self.ports).collect();
        Watched { services, folder: self.logs() }
    }

    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub fn settings_file(&self) -> PathBuf {
        self.folder.join("config/watchkeeper.yaml")
    }

    /// Starts a service as the inventory's commands do; returns its process id.
    ///
    /// # Errors
    /// The supervisor says why not.
    pub async fn start(&self, service: &str) -> Result<i32> {
        let port = if service == self.scene.stateless { self.ports[0] } else { self.ports[1] };
        let ran = Command::new("/bin/sh")
            .arg(self.folder.join("supervisor.sh"))
            .arg("start")
            .arg(self.folder.join("run"))
            .args([service, &port.to_string()])
            .arg(&self.program)
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            // Ctrl-C is for the demo; it ends its services itself.
            .process_group(0)
            .kill_on_drop(true)
            .output();
        let ran = timeout(STARTS_WITHIN, ran)
            .await
            .with_context(|| format!("{service} did not start in time"))?
            .context("cannot run /bin/sh")?;
        match self.pid(service) {
            Some(pid) if ran.status.success() => Ok(pid.as_raw_nonzero().get()),
            Some(_) | None => {
                bail!("{service} did not start: {}", String::from_utf8_lossy(&ran.stderr).trim())
            }
        }
    }

    /// Kills a service the hard way; returns the process id that it had.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, service: &str) -> Result<i32> {
        let pid = self.pid(service).with_context(|| format!("{service} does not run"))?;
        kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill {service}"))?;
        Ok(pid.as_raw_nonzero().get())
    }

    /// How often the supervisor was asked to restart a service.
    pub fn restarts(&self, service: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("run/restarts")).unwrap_or_default();
        log.lines().filter(|line| *line == service).count()
    }

    /// Writes log files that were last written days ago.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_logs(&self, prefix: &str, logs: &Logs) -> Result<()> {
        let age_ms = i64::try_from(logs.age_days)? * 86_400_000;
        let written_ms = u64::try_from(self.clock.now_ms() - age_ms)?;
        let line = b"GET / 200 the demo wrote this line\n";
        let content: Vec<u8> = line.iter().copied().cycle().take(logs.bytes).collect();
        for number in 1..=logs.count {
            let path = self.logs().join(format!("{prefix}-{number:02}.log"));
            fs::write(&path, &content)
                .with_context(|| format!("cannot fill {}", path.display()))?;
            let file = File::options().write(true).open(&path)?;
            file.set_modified(UNIX_EPOCH + Duration::from_millis(written_ms))?;
        }
        Ok(())
    }

    /// How many log files of this prefix there are.
    pub fn count_logs(&self, prefix: &str) -> usize {
        let of = |entry: std::io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        };
        fs::read_dir(self.logs())
            .map_or(0, |entries| entries.filter_map(|e| of(e).then_some(())).count())
    }

    fn furnish(mut self, monitor: SocketAddr) -> Result<Self> {
        for part in ["config", "data", "logs", "run"] {
            fs::create_dir(self.folder.join(part))?;
        }
        fs::write(self.folder.join("supervisor.sh"), SUPERVISOR)?;
        let config = self.folder.join("config");
        fs::write(config.join("watchkeeper.yaml"), self.filled(SETTINGS, monitor))?;
        fs::write(config.join("inventory.yaml"), self.filled(INVENTORY, monitor))?;
        fs::write(config.join("safety_rules.yaml"), without_freeze(SAFETY_RULES))?;
        fs::write(config.join("runbooks.yaml"), RUNBOOKS)?;
        self.write_logs("young", &self.scene.young_logs)?;
        let access_file = config.join("access.yaml");
        let password_hash = secrets::hash_password(&self.password).map_err(|why| anyhow!(why))?;
        for name in &self.scene.approvers {
            let password_hash = password_hash.clone();
            let user = User { name: name.clone(), role: Role::Sre, password_hash };
            access::add_user(&access_file, user)?;
        }
        let token = secrets::new_token();
        self.webhook_token = token.shown_once;
        let token = Token {
            name: "monitor".into(),
            kind: TokenKind::Webhook,
            hash: token.hash,
            role: None,
            source: None,
        };
        access::add_token(&access_file, token)?;
        Ok(self)
    }

    fn filled(&self, template: &str, monitor: SocketAddr) -> String {
        let places = [
            ("{folder}", quoted(&self.folder)),
            ("{program}", quoted(&self.program)),
            ("{demo_pid}", std::process::id().to_string()),
            ("{stateless}", self.scene.stateless.clone()),
            ("{stateless_port}", self.ports[0].to_string()),
            ("{database}", self.scene.database.clone()),
            ("{database_port}", self.ports[1].to_string()),
            ("{server_port}", self.server.port().to_string()),
            ("{monitor}", monitor.to_string()),
        ];
        places
            .into_iter()
            .fold(template.to_owned(), |text, (place, with)| text.replace(place, &with))
    }

    /// The process of a service, if it runs and is ours: the number of a process that is gone may
    /// belong to another.
    fn pid(&self, service: &str) -> Option<Pid> {
        let file = self.folder.join("run").join(format!("{service}.pid"));
        let number: i32 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let file = file.to_str()?.as_bytes();
        command.split(|byte| *byte == 0).any(|word| word == file).then_some(())?;
        Pid::from_raw(number)
    }

    fn end(&self, service: &str) {
        let Some(pid) = self.pid(service) else { return };
        // It may end between the look and the signal; then there is nothing to do.
        let _ = kill_process(pid, Signal::TERM);
        let began = Instant::now();
        while self.pid(service).is_some() {
            if began.elapsed() > STOPS_WITHIN {
                let _ = kill_process(pid, Signal::KILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end(&self.scene.stateless);
        self.end(&self.scene.database);
        match self.after {
            Folder::Kept => {}
            Folder::Removed => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

/// A path as it stands between the double quotes of a YAML text.
fn quoted(path: &Path) -> String {
    let text = serde_json::Value::from(path.display().to_string()).to_string();
    text.trim_matches('"').to_owned()
}

fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// The shipped rules as they are outside of every freeze: the demo shows the same on every day.
fn without_freeze(rules: &str) -> String {
    let mut inside = false;
    let kept = rules.lines().filter(|line| {
        inside = *line == "freeze:" || (inside && line.starts_with("  "));
        !inside
    });
    kept.map(|line| format!("{line}\n")).collect()
}
