//! A Postgres of one test, to be stopped and started as one likes.
//!
//! Out: its address, which stays the same. Never: a server that outlives its test.

use super::real::free_port;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub struct OwnPostgres {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

impl OwnPostgres {
    /// Makes a cluster and starts its server.
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("wk-postgres-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        // Postgres refuses to run as root and runs as another account then.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let postgres = Self { folder, programs: programs(), port: free_port() };
        let data = postgres.data();
        let trust = ["--auth=trust", "--username=watchkeeper", "--encoding=UTF8"];
        let unsynced = ["--no-sync", "--locale=C.UTF-8"];
        postgres.must("initdb", &[&["-D", &data], &trust[..], &unsynced[..]].concat());
        postgres.resume();
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://watchkeeper@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Ends it as a crash would.
    pub fn crash(&self) {
        self.must("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    /// Starts it again.
    pub fn resume(&self) {
        let log = self.folder.join("log").display().to_string();
        let options = format!("-p {} -k '' -h 127.0.0.1", self.port);
        let start = ["-D", &self.data(), "-l", &log, "-o", &options, "-w", "-t", "90", "start"];
        self.must("pg_ctl", &start);
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn must(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program, arguments).status().unwrap();
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // A server that inherits a pipe of the test would keep it open.
        command.args(arguments).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let data = self.data();
        let _ = self.command("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the newest version of the server lies.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("no Postgres here; run `make test`");
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(number);
    newest.expect("no version of Postgres").join("bin")
}
