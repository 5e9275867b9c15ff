//! Real programs beside the server under test: Prometheus, Alertmanager, and a service that they
//! watch. Each has a loopback port and a folder of its own, and ends with its owner, by its id.

use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Lines of each log that a failed test shows.
const LOG_LINES: usize = 30;

/// Ports below those that systems hand out to clients, so that nobody gets one by chance while its
/// owner is down.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..1_000).map(|_| rand::rng().random_range(10_000..20_000)).find(free).expect("no free port")
}

/// A program that must be there.
pub fn program(path: &str) -> PathBuf {
    let missing = "is missing: run the tests with `make test`, which installs it";
    assert!(Path::new(path).exists(), "{path} {missing}");
    path.into()
}

/// A running program. It is killed when this is dropped; after a failure its log is printed.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let child = command
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, log }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        print_log(&self.log);
    }
}

fn print_log(path: &Path) {
    if !std::thread::panicking() {
        return;
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    eprintln!("--- {}\n{}", path.display(), last.join("\n"));
}

/// A real exporter under a script that starts, restarts and looks at it, as an inventory names it.
pub struct Watched {
    pub script: PathBuf,
    pub port: u16,
    folder: PathBuf,
}

/// `service.sh start|restart|status`: a restart leaves a line in a file, so that it is counted
/// outside of the server under test.
const SCRIPT: &str = r#"#!/bin/sh
set -u
cd "$(dirname "$0")"
runs() {
  pid=$(cat pid 2>/dev/null) || return 1
  [ -r "/proc/$pid/cmdline" ] || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" |
    grep -qxF -- "--web.listen-address=127.0.0.1:PORT"
}
start() {
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) INFO starting" >>service.log
  PROGRAM --collector.disable-defaults --collector.loadavg --web.listen-address=127.0.0.1:PORT \
    >>service.log 2>&1 </dev/null &
  echo $! >pid
}
case $1 in
  start) start ;;
  restart)
    echo restart >>restarts
    if runs; then kill "$pid"; fi
    start
    ;;
  status) runs || exit 3 ;;
esac
"#;

impl Watched {
    pub fn start(folder: &Path) -> Self {
        let folder = folder.join("service");
        fs::create_dir(&folder).unwrap();
        let port = free_port();
        let program = program("/usr/bin/prometheus-node-exporter");
        let script = SCRIPT.replace("PORT", &port.to_string());
        let path = folder.join("service.sh");
        fs::write(&path, script.replace("PROGRAM", &program.display().to_string())).unwrap();
        let watched = Self { script: path, port, folder };
        let started = Command::new("/bin/sh").arg(&watched.script).arg("start").status().unwrap();
        assert!(started.success());
        watched
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("service.log")
    }

    /// Kills it the hard way.
    pub fn kill(&self) {
        kill_process(self.pid().expect("it runs"), Signal::KILL).unwrap();
    }

    pub fn restarts(&self) -> usize {
        fs::read_to_string(self.folder.join("restarts")).unwrap_or_default().lines().count()
    }

    /// The process, if it is ours: its command line names our port.
    fn pid(&self) -> Option<Pid> {
        let number: i32 = fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{number}/cmdline")).ok()?;
        let ours = format!("--web.listen-address=127.0.0.1:{}", self.port);
        if command.split('\0').any(|word| word == ours) { Pid::from_raw(number) } else { None }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::KILL);
        }
        print_log(&self.log());
    }
}
