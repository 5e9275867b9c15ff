//! A trace of system calls: between a request and its 200 lies the sync of the commit that holds it.

use super::{NOISE, noise, post};
use crate::support::engines::{Ground, on_postgres, on_sqlite};
use crate::support::process::{Process, client};
use crate::support::proxy::plain;
use crate::support::real::{Program, program};
use crate::support::world::World;
use secrecy::ExposeSecret as _;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use watchkeeper::store::db::Location;

const REQUESTS: usize = 20;

/// One system call as a whole: where its line begins and where it ends.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    text: String,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.text.strip_prefix(name).is_some_and(|r| r.starts_with('(')))
    }

    /// What the call was about: a descriptor with its path or its socket.
    fn descriptor(&self) -> &str {
        let from = self.text.find('(').map_or(0, |at| at + 1);
        let rest = &self.text[from..];
        &rest[..rest.find('>').map_or(rest.len(), |at| at + 1)]
    }
}

const READS: &[&str] = &["read", "recvfrom", "recvmsg", "readv"];
const WRITES: &[&str] = &["write", "sendto", "sendmsg", "writev"];

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_the_log_is_synced_between_a_request_and_its_200() {
    on_sqlite(|ground| async move {
        let Some(calls) = trace(&ground).await else { return };
        for n in 0..REQUESTS {
            let (asked, answered) = exchange(&calls, n);
            let mark = format!("n{n}n");
            let inside = || calls.iter().filter(|c| c.began > asked && c.ended < answered);
            let written = inside()
                .find(|call| {
                    call.is(&["pwrite64"])
                        && call.descriptor().contains("watchkeeper.db-wal")
                        && call.text.contains(&mark)
                })
                .unwrap_or_else(|| panic!("request {n} is answered before it is written"));
            let synced = inside().any(|call| {
                call.began > written.ended
                    && call.is(&["fdatasync", "fsync"])
                    && call.descriptor().contains("watchkeeper.db-wal")
                    && call.text.ends_with("= 0")
            });
            assert!(synced, "request {n} is answered before it is synced");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_the_commit_is_answered_between_a_request_and_its_200() {
    on_postgres(|ground| async move {
        let Some(calls) = trace(&ground).await else { return };
        for n in 0..REQUESTS {
            let (asked, answered) = exchange(&calls, n);
            let mark = format!("n{n}n");
            let inside = || calls.iter().filter(|c| c.began > asked && c.ended < answered);
            let written = inside()
                .find(|call| call.is(WRITES) && call.text.contains(&mark))
                .unwrap_or_else(|| panic!("request {n} is answered before it is stored"));
            let same = |call: &&Call| call.descriptor() == written.descriptor();
            let commit = inside()
                .filter(same)
                .find(|call| {
                    call.began >= written.began && call.is(WRITES) && call.text.contains("COMMIT")
                })
                .unwrap_or_else(|| panic!("request {n} is answered before its commit is sent"));
            let done = inside().filter(same).any(|call| {
                call.ended > commit.ended && call.is(READS) && call.text.contains("COMMIT")
            });
            assert!(done, "request {n} is answered before its commit is");
        }
    })
    .await;
}

/// Where the request of this number was read, and where its answer was begun.
fn exchange(calls: &[Call], n: usize) -> (usize, usize) {
    let mark = format!("n{n}n");
    let asked = calls
        .iter()
        .find(|call| call.is(READS) && call.text.contains(&mark))
        .unwrap_or_else(|| panic!("request {n} is not in the trace"));
    let answered = calls
        .iter()
        .find(|call| {
            call.began > asked.ended
                && call.is(WRITES)
                && call.descriptor() == asked.descriptor()
                && call.text.contains("HTTP/1.1 200 OK")
        })
        .unwrap_or_else(|| panic!("the answer to request {n} is not in the trace"));
    (asked.ended, answered.began)
}

/// What the server called while it took requests one after the other.
async fn trace(ground: &Arc<Ground>) -> Option<Vec<Call>> {
    let world = World::new(ground).await;
    let mut variables = vec![NOISE];
    let url = match ground.location() {
        Location::Folder(_) => String::new(),
        // What goes over TLS cannot be read.
        Location::Postgres { url, .. } => plain(url.expose_secret()),
    };
    if !url.is_empty() {
        variables.push(("WATCHKEEPER__STORE__DATABASE_URL", &url));
    }
    let mut process = Process::start(&world, ground, &variables);
    let base = process.url().await.unwrap();
    let file = world.folder.join("trace");
    let tracer = attach(&process, &world.folder, &file).await?;
    let client = client();
    for n in 0..REQUESTS {
        assert_eq!(post(&client, &base, &noise(n)).await, Some(200));
    }
    process.kill().await;
    drop(tracer);
    Some(whole_calls(&std::fs::read_to_string(file).unwrap()))
}

/// `None` where nobody may trace.
async fn attach(process: &Process, folder: &Path, file: &Path) -> Option<Program> {
    let mut command = Command::new(program("/usr/bin/strace"));
    let calls = [READS, WRITES, &["pwrite64", "fsync", "fdatasync"]].concat().join(",");
    // Every descriptor with its path, or the two ends of its socket; texts whole; all threads.
    command.args(["-f", "-yy", "-s", "100000", "-e", &format!("trace={calls}"), "-o"]);
    command.arg(file).args(["-p", &process.id().to_string()]);
    let tracer = Program::start(command, folder, "strace");
    let began = Instant::now();
    loop {
        let said = std::fs::read_to_string(folder.join("strace.log")).unwrap_or_default();
        if said.contains("attached") {
            return Some(tracer);
        }
        if said.contains("not permitted") {
            eprintln!("LEFT OUT, because tracing needs root here: {said}");
            return None;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "strace does not attach: {said}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Puts calls together that other threads interrupted in the trace.
fn whole_calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (n, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(char::is_whitespace) else { continue };
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (n, start.to_owned()));
        } else if let Some((_, rest)) =
            text.strip_prefix("<... ").and_then(|t| t.split_once(" resumed>"))
        {
            let Some((began, start)) = open.remove(thread) else { continue };
            calls.push(Call { began, ended: n, text: start + rest });
        } else {
            calls.push(Call { began: n, ended: n, text: text.to_owned() });
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}
