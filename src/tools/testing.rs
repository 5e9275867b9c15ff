//! What the tests of the tools share: a folder that goes away, an inventory, permits, and a real
//! service without systemd.

use super::{Bounds, Captured, Deps, Done, Error, Output, Register, all};
use crate::clients::http::{Options, install_tls};
use crate::clients::prometheus::Prometheus;
use crate::clock::Clock;
use crate::model::call::Call;
use crate::safety::command::Argv;
use crate::safety::permit::{CapturePermit, Permit};
use crate::targets::inventory::{Catalogue, Systemd};
use crate::targets::resources::{Check, Resources};
use crate::targets::sweep::{Entry, Listing, Sweep, Swept};
use crate::targets::{self, Command, Exit, Ran, Reach, Tail, Targets};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The time of the tests' clock, some seconds before every permission ends.
pub(crate) const NOW_MS: i64 = 1_794_999_990_000;

/// A folder that is removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        // Below /var/tmp, since some tests look at a disk and /tmp may be in memory.
        let path = Path::new("/var/tmp").join(format!("watchkeeper-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every tool over an inventory text.
pub(crate) struct Bench {
    pub(crate) tools: Register,
    pub(crate) clock: Clock,
}

impl Bench {
    pub(crate) fn new(inventory: &str) -> Self {
        let clock = Clock::set_at(NOW_MS);
        Self { tools: all(&deps(inventory, &clock)), clock }
    }

    pub(crate) fn with_prometheus(inventory: &str, prometheus: Prometheus) -> Self {
        let clock = Clock::set_at(NOW_MS);
        let deps = Deps { prometheus: Some(prometheus), ..deps(inventory, &clock) };
        Self { tools: all(&deps), clock }
    }

    /// The call as it would be judged.
    pub(crate) fn complete(&self, tool: &str, args: Value) -> Result<Call, String> {
        self.tools.complete(&Call::new(tool, args))
    }

    pub(crate) async fn capture(&self, tool: &str, args: Value) -> Result<Captured, Error> {
        let call = self.complete(tool, args).unwrap();
        self.tools.get(tool).unwrap().capture(CapturePermit::for_test(call)).await
    }

    pub(crate) async fn run_within(
        &self,
        tool: &str,
        args: Value,
        basis: Option<Value>,
        bounds: Bounds,
    ) -> Result<Done, Error> {
        let call = self.complete(tool, args).unwrap();
        self.tools.get(tool).unwrap().run(Permit::for_test(call), basis, bounds).await
    }

    /// Runs a call that gives an output.
    pub(crate) async fn output(&self, tool: &str, args: Value) -> Output {
        match self.run_within(tool, args, None, bounds()).await {
            Ok(Done::Output(output)) => output,
            other => panic!("{tool} gave {other:?}"),
        }
    }

    /// Runs a change that is stopped before it touches anything.
    pub(crate) async fn not_started(&self, tool: &str, args: Value) -> String {
        match self.run_within(tool, args, None, bounds()).await {
            Err(Error::NotStarted(why)) => why,
            other => panic!("{tool} gave {other:?}"),
        }
    }

    /// Runs a call that is answered with a reason to do something else.
    pub(crate) async fn told(&self, tool: &str, args: Value) -> String {
        match self.run_within(tool, args, None, bounds()).await {
            Err(Error::Tell(why)) => why,
            other => panic!("{tool} gave {other:?}"),
        }
    }
}

/// What a host does in place of this machine: argv in, output out.
pub(crate) type Answer = Box<dyn Fn(&[String]) -> Ran + Send + Sync>;

/// A host that answers as told, for what no test machine has; it keeps every argv.
pub(crate) struct Scripted {
    answer: Answer,
    seen: Mutex<Vec<String>>,
}

impl Scripted {
    /// A bench whose only host, `box`, has systemd and answers so.
    pub(crate) fn bench(
        inventory: &str,
        answer: impl Fn(&[String]) -> Ran + Send + Sync + 'static,
    ) -> (Bench, Arc<Self>) {
        let clock = Clock::set_at(NOW_MS);
        let host = Arc::new(Self { answer: Box::new(answer), seen: Mutex::default() });
        let mut targets = Targets::default();
        targets.add("box", Arc::clone(&host) as Arc<dyn Reach>, Systemd::Yes);
        let deps = Deps { targets: Arc::new(targets), ..deps(inventory, &clock) };
        (Bench { tools: all(&deps), clock }, host)
    }

    /// The commands so far, each on one line.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) fn ran(code: i32, stdout: &str) -> Ran {
    Ran { exit: Exit::Code(code), stdout: stdout.into(), stderr: String::new(), truncated: false }
}

impl Reach for Scripted {
    fn run(&self, command: Command) -> BoxFuture<'_, Result<Ran, targets::Error>> {
        self.seen.lock().unwrap().push(command.argv.join(" "));
        Box::pin(async move { Ok((self.answer)(&command.argv)) })
    }

    fn diagnose(&self, _: Argv, _: u64, _: usize) -> BoxFuture<'_, Result<Ran, targets::Error>> {
        panic!("only services are scripted")
    }

    fn systemd(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn tail(&self, _: String, _: u64) -> BoxFuture<'_, Result<Tail, targets::Error>> {
        panic!("only services are scripted")
    }

    fn resources(&self, _: Vec<Check>) -> BoxFuture<'_, Result<Resources, targets::Error>> {
        Box::pin(async {
            let troubles = vec!["disk: /proc is not mounted".to_owned()];
            Ok(Resources { troubles, ..Resources::default() })
        })
    }

    fn list(&self, _: Sweep) -> BoxFuture<'_, Result<Listing, targets::Error>> {
        panic!("only services are scripted")
    }

    fn delete(
        &self,
        _: Sweep,
        _: Vec<Entry>,
        _: Duration,
    ) -> BoxFuture<'_, Result<Swept, targets::Error>> {
        panic!("only services are scripted")
    }
}

pub(crate) fn deps(inventory: &str, clock: &Clock) -> Deps {
    let inventory = Catalogue::parse(inventory).unwrap();
    Deps {
        targets: Arc::new(Targets::new(&inventory)),
        inventory: Arc::new(inventory),
        prometheus: None,
        clock: clock.clone(),
    }
}

pub(crate) fn bounds() -> Bounds {
    Bounds { start_before_ms: NOW_MS + 10_000, timeout_ms: 20_000, output_bytes_max: 64 * 1024 }
}

/// A Prometheus that answers each query as told; it ends with the test's runtime.
#[expect(clippy::disallowed_methods, reason = "a test has no shutdown to wait for it")]
pub(crate) async fn prometheus(answer: fn(&str) -> (u16, Value)) -> Prometheus {
    use axum::extract::Query;
    use axum::http::StatusCode;
    use axum::routing::get;
    install_tls();
    let respond = move |Query(query): Query<BTreeMap<String, String>>| async move {
        let (status, body) = answer(&query["query"]);
        (StatusCode::from_u16(status).unwrap(), axum::Json(body))
    };
    let router = axum::Router::new()
        .route("/api/v1/query", get(respond))
        .route("/api/v1/query_range", get(respond));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Prometheus::new(&url, &Options::default()).unwrap()
}

/// A real process that a small script starts, stops and looks at, as an init script would.
pub(crate) struct Daemon {
    pub(crate) folder: Folder,
    script: String,
}

const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
alive() {
  [ -f pid ] || return 1
  # A process that ended but was not collected yet still takes signals.
  case "$(cut -d' ' -f3 "/proc/$(cat pid)/stat" 2>/dev/null)" in ''|Z) return 1 ;; *) return 0 ;; esac
}
case "$1" in
  restart)
    if [ -f hang ]; then echo restart >> journal; exec sleep 3; fi
    if [ -f broken ]; then echo "config line 7: no such module" >&2; exit 1; fi
    if alive; then kill "$(cat pid)"; fi
    if [ -f dies ]; then sleep 0 & else sleep 600 > /dev/null 2>&1 & fi
    echo $! > pid
    echo restart >> journal
    echo "started $(cat pid)" ;;
  stop) if alive; then kill "$(cat pid)"; fi; rm -f pid ;;
  status) if alive; then echo "running"; exit 0; fi; echo "not running"; exit 3 ;;
  health) alive || exit 1 ;;
esac
"#;

impl Daemon {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let script = folder.write("ctl", SCRIPT);
        Self { folder, script }
    }

    /// The `commands` of its inventory entry.
    pub(crate) fn commands(&self) -> String {
        let script = &self.script;
        format!(
            "{{ restart: [/bin/sh, {script}, restart], status: [/bin/sh, {script}, status], \
             health: [/bin/sh, {script}, health] }}"
        )
    }

    pub(crate) fn ctl(&self, verb: &str) {
        std::process::Command::new("/bin/sh")
            .args([&self.script, verb])
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
    }

    /// How often it was restarted.
    pub(crate) fn restarts(&self) -> usize {
        self.folder.read("journal").lines().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.ctl("stop");
    }
}
