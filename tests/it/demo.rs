//! `watchkeeper demo`, the real binary, to its end: what it says, what it leaves, and how it tells
//! that something did not come back.

use crate::support::binary::{Home, Ran, run};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The demo itself promises two minutes.
const WITHIN: Duration = Duration::from_secs(120);

/// A demo whose folder lies in a folder of the test.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
    home: Home,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let home = Home::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_watchkeeper"))
            .arg("demo")
            .args(args)
            .current_dir(&home.folder)
            .env_clear()
            .env("TMPDIR", &home.folder)
            // A database and a model of the user's own are no business of the demo.
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
            .env("OPENAI_MODEL", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, said: String::new(), home }
    }

    /// Reads on until a line holds this text; gives the line.
    async fn says(&mut self, text: &str) -> String {
        let reading = tokio::time::timeout(WITHIN, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        });
        let line = reading.await.expect("the demo hangs");
        line.unwrap_or_else(|| panic!("it never said {text:?}:\n{}", self.said))
    }

    /// Its folder, once everything in it is written.
    async fn folder(&mut self) -> PathBuf {
        let line = self.says("everything happens in ").await;
        line.trim_start_matches("everything happens in ").into()
    }

    /// Reads to the end.
    async fn ends(&mut self) -> Option<i32> {
        let ending = tokio::time::timeout(WITHIN, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push_str(&line);
                self.said.push('\n');
            }
            let mut stderr = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
            self.said.push_str(&stderr);
            self.child.wait().await.unwrap().code()
        });
        ending.await.expect("the demo hangs")
    }

    /// What is left of its folders and processes.
    fn left(&self, folder: &Path) -> (Vec<PathBuf>, Vec<String>) {
        let entries = std::fs::read_dir(&self.home.folder).unwrap();
        (entries.map(|entry| entry.unwrap().path()).collect(), processes_of(folder))
    }
}

/// Command lines that name a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(name)).collect()
}

#[tokio::test]
async fn the_demo_mends_what_it_broke_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]);
    let folder = demo.folder().await;

    let code = demo.ends().await;

    assert_eq!(code, Some(0), "{}", demo.said);
    for part in [
        "ServiceDown fires: up == 0",
        "DiskSpaceLow fires: log_folder_bytes > 6000000",
        "measured, fixed: up = 1, no longer == 0",
        "measured, fixed: log_folder_bytes = 1200000, no longer > 6000000",
        "/confirm/",
        "approved exactly this call",
        "# ServiceDown: web-shop on this-machine",
        "# DiskSpaceLow on this-machine",
        "# ServiceDown: ledger-db on this-machine",
        "demo-oncall, demo-lead approved exactly this call",
        "restart_service (done)   demo-oncall, demo-lead",
        "clean_disk_space (done)  the rules",
    ] {
        assert!(demo.said.contains(part), "{part:?} is missing:\n{}", demo.said);
    }
    assert!(!demo.said.contains("FAILED") && !demo.said.contains('\u{1b}'), "{}", demo.said);
    assert_eq!(demo.left(&folder), (vec![], vec![]));
}

#[tokio::test]
async fn a_service_that_does_not_come_back_fails_the_demo() {
    let mut demo = Demo::start(&["--keep"]);
    let folder = demo.folder().await;
    // The supervisor is put in order again by nobody: what restarts from here on does not start.
    std::fs::rename(folder.join("supervisor.sh"), folder.join("real.sh")).unwrap();
    let broken = "#!/bin/sh\nif [ \"$1\" = restart ]; then exit 1; fi\n\
                  exec /bin/sh \"$(dirname \"$0\")/real.sh\" \"$@\"\n";
    std::fs::write(folder.join("supervisor.sh"), broken).unwrap();

    let code = demo.ends().await;

    assert_eq!(code, Some(1), "{}", demo.said);
    for part in ["HANDED TO A PERSON", "FAILED  web-shop answers again", "ok      all 30 old logs"]
    {
        assert!(demo.said.contains(part), "{part:?} is missing:\n{}", demo.said);
    }
    assert!(!demo.said.contains("Part 2"), "it went on:\n{}", demo.said);
    assert_eq!(demo.left(&folder), (vec![folder.clone()], vec![]));
    assert!(folder.join("data/watchkeeper.db").is_file() && folder.join("server.log").is_file());
}

#[tokio::test]
async fn an_interrupted_demo_ends_its_processes_and_removes_its_folder() {
    let mut demo = Demo::start(&["--interactive"]);
    let folder = demo.folder().await;
    demo.says("Your turn. Open").await;
    let pid = i32::try_from(demo.child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();

    let code = demo.ends().await;

    assert_eq!(code, Some(130), "{}", demo.said);
    assert_eq!(demo.left(&folder), (vec![], vec![]));
}

#[tokio::test]
async fn a_person_who_rejects_is_obeyed() {
    watchkeeper::clients::http::install_tls();
    let mut demo = Demo::start(&["--interactive"]);
    let last = async |demo: &mut Demo, text: &str| {
        demo.says(text).await.split_whitespace().next_back().unwrap().to_owned()
    };
    let link = last(&mut demo, "Your turn. Open").await;
    let password = last(&mut demo, "with the password").await;
    let name = demo.says("and sign in as").await;
    let name = name.split(&[' ', ',']).find(|word| word.starts_with("demo-")).unwrap().to_owned();
    let (base, _) = link.split_once("/confirm/").unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let form = "application/x-www-form-urlencoded";
    let login = client.post(format!("{base}/login")).header("content-type", form);
    let login = login.body(format!("name={name}&password={password}&next=/")).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let page = client.get(&link).header("cookie", cookie).send().await.unwrap();
    let html = page.text().await.unwrap();
    let field = |field: &str| {
        let (_, rest) = html.split_once(&format!("name=\"{field}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let body = format!("csrf={}&call_hash={}", field("csrf"), field("call_hash"));
    let answer = client.post(format!("{link}?approved=false")).header("cookie", cookie);
    let answer = answer.header("content-type", form).body(body).send().await.unwrap();
    assert_eq!(answer.status(), reqwest::StatusCode::SEE_OTHER);

    let code = demo.ends().await;

    assert_eq!(code, Some(0), "{}", demo.said);
    for part in [
        "demo-oncall rejected it",
        "ok      ledger-db was not restarted, as you wished",
        "restart_service (rejected)",
        "handed to a person",
    ] {
        assert!(demo.said.contains(part), "{part:?} is missing:\n{}", demo.said);
    }
}

#[tokio::test]
async fn the_demo_takes_no_configuration_of_others() {
    let home = Home::new();
    let ran: Ran = run(&home.folder, None, &["demo", "--set", "listen=127.0.0.1:1"], "").await;
    let expected =
        "watchkeeper: the demo brings its own configuration; leave --config and --set out\n";
    assert_eq!(ran.failed(), expected);
}
