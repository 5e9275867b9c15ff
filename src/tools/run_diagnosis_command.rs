//! Runs one read-only command that the command grammar lets through.
//!
//! In: a command line. Out: what it printed and its exit code. Never: a shell; what was judged is
//! what runs, word by word.

use super::{Bounds, Deps, Done, Error, Output, Tool, on_host, told};
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::command::{Argv, Peer, judge};
use crate::safety::permit::Permit;
use crate::targets::{Exit, Ran};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Names under these ends are answered at home: RFC 6762, RFC 8375, ICANN's `internal`, clusters.
const NEAR: [&str; 6] = [".local", ".internal", ".lan", ".home.arpa", ".localhost", ".svc"];
/// Names and addresses that everybody asks to see whether the world can be reached. Each stands for
/// itself alone, since whatever is put in front of a name is told to its owner.
const LANDMARKS: [&str; 30] = [
    "1.0.0.1",
    "1.1.1.1",
    "8.8.4.4",
    "8.8.8.8",
    "9.9.9.9",
    "208.67.222.222",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "api.github.com",
    "archive.ubuntu.com",
    "cloudflare.com",
    "deb.debian.org",
    "dns.google",
    "example.com",
    "example.net",
    "example.org",
    "ghcr.io",
    "github.com",
    "google.com",
    "hub.docker.com",
    "one.one.one.one",
    "pool.ntp.org",
    "pypi.org",
    "quay.io",
    "registry-1.docker.io",
    "security.debian.org",
    "time.google.com",
    "www.example.com",
    "www.google.com",
    "www.cloudflare.com",
];
/// Names at home under which clouds give out credentials.
const CREDENTIALS: [&str; 4] =
    ["metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"];
const COMMAND_CHARS_MAX: usize = 1_000;
const TIMEOUT_S_MAX: i64 = 120;

/// The tool `run_diagnosis_command`.
pub(super) struct RunDiagnosisCommand {
    spec: ToolSpec,
    deps: Deps,
}

impl RunDiagnosisCommand {
    pub(super) fn new(deps: &Deps) -> Self {
        let args = vec![
            Arg::required("host", ArgKind::Host, "where to run it"),
            Arg::required(
                "command",
                ArgKind::Text { chars_max: COMMAND_CHARS_MAX },
                "one read-only program with its arguments; no pipe, variable or redirection",
            ),
            Arg::with_default(
                "timeout",
                ArgKind::Integer { min: 1, max: TIMEOUT_S_MAX },
                json!(30),
                "seconds",
            ),
        ];
        let spec = ToolSpec {
            name: "run_diagnosis_command".into(),
            about: "Runs one read-only command such as `df -h` or `ss -tan` and shows its output."
                .into(),
            effect: Effect::Read,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn diagnose(&self, call: &Call, bounds: Bounds) -> Result<Done, Error> {
        let host = call.text("host").unwrap_or_default();
        let argv = self.judged(call.text("command").unwrap_or_default()).map_err(Error::Tell)?;
        let seconds = call.args.get("timeout").and_then(Value::as_u64).unwrap_or(30);
        let timeout_ms = (seconds * 1_000).min(bounds.timeout_ms);
        let reach = self.deps.targets.reach(host)?;
        let shown = argv.to_string();
        let ran = reach.diagnose(argv, timeout_ms, super::output::OUTPUT_BYTES_MAX).await?;
        Ok(Done::Output(report(host, &shown, timeout_ms, &ran)))
    }

    /// The command under the grammar, and with nobody to speak to but hosts that are known: a name
    /// that is looked up outside carries to its owner whatever it was made of.
    fn judged(&self, command: &str) -> Result<Argv, String> {
        let argv = judged(command)?;
        let listed = |peer: &&Peer| self.deps.inventory.host(&peer.name).is_some();
        match argv.peers().iter().find(|peer| !is_near(&peer.name) && !listed(peer)) {
            None => Ok(argv),
            Some(Peer { name, column }) => Err(format!(
                "`{name}` at column {column} is not allowed: a question to a host outside carries \
                 away what it is made of; name a private address or name, or a host or address of \
                 the inventory"
            )),
        }
    }
}

impl Tool for RunDiagnosisCommand {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        "host"
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        let mut call = on_host(&self.deps, call)?;
        let argv = self.judged(call.text("command").unwrap_or_default())?;
        call.args.insert("command".to_owned(), Value::String(argv.to_string()));
        Ok(call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.diagnose(permit.call(), bounds).await.map_err(told) })
    }
}

fn judged(command: &str) -> Result<Argv, String> {
    judge(command).outcome.map_err(|refusal| refusal.to_string())
}

/// Whether a name or address cannot carry anything to strangers. Addresses of the link alone are
/// where clouds give out credentials.
fn is_near(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if LANDMARKS.contains(&name.as_str()) {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback(),
        Ok(IpAddr::V6(ip)) => {
            // fd00:ec2::254 gives out credentials.
            ip.is_loopback() || (ip.is_unique_local() && ip.segments()[1] != 0x0ec2)
        }
        Err(_) if is_number(&name) || CREDENTIALS.contains(&name.as_str()) => false,
        Err(_) => !name.contains('.') || NEAR.iter().any(|end| name.ends_with(end)),
    }
}

/// Whether resolvers take the name for an address, as inet_aton(3) does: `134744072`, `0x08080808`.
fn is_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x");
    hex.map_or_else(
        || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
        |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()),
    )
}

fn report(host: &str, command: &str, timeout_ms: u64, ran: &Ran) -> Output {
    let mut text = format!("{host}$ {command}\n{}", ran.stdout);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if !ran.stderr.trim().is_empty() {
        text.push_str(&format!("[on standard error]\n{}\n", ran.stderr.trim_end()));
    }
    match ran.exit {
        Exit::Code(0) if ran.stdout.trim().is_empty() => {
            text.push_str("[exit code 0; it printed nothing]\n");
        }
        Exit::Code(0) => {}
        // It was ended because it printed too much, which is said below.
        Exit::Signal(_) if ran.truncated => {}
        Exit::TimedOut => {
            text.push_str(&format!("[ended at the time limit of {timeout_ms} ms]\n"));
        }
        exit @ (Exit::Code(_) | Exit::Signal(_)) => text.push_str(&format!("[{exit}]\n")),
    }
    if ran.truncated {
        text.push_str("[it printed more than is kept; ask for less]\n");
    }
    let code = match ran.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::TimedOut => None,
    };
    let data = json!({
        "host": host,
        "command": command,
        "exit_code": code,
        "timed_out": ran.exit == Exit::TimedOut,
        "lines": ran.stdout.lines().count(),
    });
    Output::new(text, data)
}

#[cfg(test)]
#[path = "tests/run_diagnosis_command.rs"]
mod tests;
