//! The real binary, run in a folder of its own; a server among its verbs ends with its owner.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Far beyond any verb, also on a busy machine; reached only by one that hangs.
const WITHIN: Duration = Duration::from_secs(120);
/// Looks until a condition holds, a quarter of a second apart.
const LOOKS_MAX: usize = 240;

/// A folder that verbs run in. It is removed with its owner.
pub struct Home {
    pub folder: PathBuf,
}

/// What a verb did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its result; fails the test when the verb failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Its result as JSON.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What it said on failing; fails the test when it did not.
    pub fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        self.stderr
    }

    /// What the parser of arguments said.
    pub fn misused(self) -> String {
        assert_eq!(self.code, Some(2), "{self:#?}");
        self.stderr
    }
}

impl Home {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("wk-cli-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    /// The same folder; its verbs show this token to the server.
    pub fn with_token(&self, token: &str) -> Holder<'_> {
        Holder { home: self, token: token.to_owned() }
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap()
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    pub async fn run(&self, args: &[&str]) -> Ran {
        run(&self.folder, None, args, "").await
    }

    pub async fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        run(&self.folder, None, args, stdin).await
    }

    /// A server on a free port, ready.
    pub async fn serve(&self, config: &str) -> Serving {
        Serving::start(&self.folder, config).await
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs verbs with a token in the environment.
pub struct Holder<'h> {
    home: &'h Home,
    token: String,
}

impl Holder<'_> {
    pub async fn run(&self, args: &[&str]) -> Ran {
        run(&self.home.folder, Some(&self.token), args, "").await
    }
}

fn command(folder: &Path, token: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(token.map(|token| ("WATCHKEEPER_TOKEN", token)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub async fn run(folder: &Path, token: Option<&str>, args: &[&str], stdin: &str) -> Ran {
    let mut child = command(folder, token, args).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A verb that reads nothing may be gone already.
    let _ = pipe.write_all(stdin.as_bytes()).await;
    drop(pipe);
    let ended = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{args:?} hangs")).unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server. The process is killed when this is dropped.
pub struct Serving {
    _child: Child,
    log: tokio::task::JoinHandle<()>,
    pub address: String,
}

impl Serving {
    pub async fn start(folder: &Path, config: &str) -> Self {
        let port = ["--set", "listen=127.0.0.1:0", "--set", "log.format=json"];
        let args = [&["serve", "--config", config], port.as_slice()].concat();
        let mut child = command(folder, None, &args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = tokio::time::timeout(WITHIN, async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                match (entry["address"].as_str(), entry["message"].as_str()) {
                    (Some(address), Some(message)) if message.contains("listens on") => {
                        return address.to_owned();
                    }
                    _ => said.push_str(&format!("{line}\n")),
                }
            }
            panic!("the server ended: {said}");
        });
        let address = heard.await.expect("the server does not start");
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let serving = Self { _child: child, log, address };
        let listen = serving.listen();
        eventually("the server is ready", async || {
            let check = ["healthcheck", "--config", config, "--set", &listen];
            (run(folder, None, &check, "").await.code == Some(0)).then_some(())
        })
        .await;
        serving
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The override that makes verbs find this server.
    pub fn listen(&self) -> String {
        format!("listen={}", self.address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// Looks again and again until there is something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("it never happened that {what}");
}
