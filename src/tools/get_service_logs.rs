//! Reads the last lines of a service's log: of the journal, a file, or a command of the inventory.
//!
//! In: a service, how many lines, how bad. Out: the newest lines of that level, counts by level.
//! Never: an empty answer for a log that is not there; that is an error that says what to mend.

use super::log_lines::{self, Level, Line};
use super::{Bounds, Deps, Done, Error, Output, Tool, place, told};
use crate::clock::format_ms;
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::Permit;
use crate::targets::inventory::LogEntry;
use crate::targets::service::Placed;
use crate::targets::{Command, Exit, Leaves, Ran};
use futures::future::BoxFuture;
use serde_json::{Value, json};

const LINES_MAX: i64 = 2_000;
/// How far back lines of one level are looked for.
const SCANNED_LINES_MAX: i64 = 20_000;
const SCANNED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The tool `get_service_logs`.
pub(super) struct GetServiceLogs {
    spec: ToolSpec,
    deps: Deps,
}

/// Which lines are wanted.
#[derive(Clone, Copy)]
struct Ask {
    lines: usize,
    at_least: Option<Level>,
}

/// What a source gave.
struct Read {
    source: String,
    lines: Vec<Line>,
    note: Option<String>,
}

impl GetServiceLogs {
    pub(super) fn new(deps: &Deps) -> Self {
        let levels = ["error", "warn", "info", "all"].map(str::to_owned).to_vec();
        let lines = ArgKind::Integer { min: 1, max: LINES_MAX };
        let args = vec![
            Arg::required("service", ArgKind::Service, "the service"),
            Arg::optional("host", ArgKind::Host, "where, if it runs on several hosts"),
            Arg::with_default("lines", lines, json!(100), "how many of the newest lines"),
            Arg::with_default(
                "level",
                ArgKind::Choice { of: levels },
                json!("error"),
                "error: only these; warn: also warnings; info: all but debug; all: everything",
            ),
        ];
        let spec = ToolSpec {
            name: "get_service_logs".into(),
            about: "Reads the newest log lines of a service.".into(),
            effect: Effect::Read,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn read(&self, call: &Call, bounds: Bounds) -> Result<Done, Error> {
        let service = call.text("service").unwrap_or_default();
        let deps = &self.deps;
        let placed =
            Placed::find(&*deps.inventory, &deps.targets, service, call.text("host")).await?;
        let ask = Ask::of(call);
        let read = match &placed.access.logs {
            Some(LogEntry { journal: Some(unit), .. }) => {
                journal(&placed, unit, ask, bounds).await?
            }
            Some(LogEntry { file: Some(path), .. }) => file(&placed, path).await?,
            Some(LogEntry { command: Some(argv), .. }) => {
                command(&placed, argv, ask, bounds).await?
            }
            Some(_) | None => match placed.systemd() {
                Ok(()) => journal(&placed, &placed.access.unit, ask, bounds).await?,
                Err(why) => {
                    return Err(Error::Tell(format!(
                        "nobody said where {} logs: {why}, and the inventory gives no {}.logs",
                        placed.service.name, placed.access.path
                    )));
                }
            },
        };
        Ok(Done::Output(render(&placed, ask, &read)))
    }
}

impl Tool for GetServiceLogs {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        "logs"
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        place(&self.deps, call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.read(permit.call(), bounds).await.map_err(told) })
    }
}

impl Ask {
    fn of(call: &Call) -> Self {
        let lines = call.args.get("lines").and_then(Value::as_i64).unwrap_or(100);
        let at_least = match call.text("level") {
            Some("all") => None,
            Some("info") => Some(Level::Unknown),
            Some("warn") => Some(Level::Warn),
            Some(_) | None => Some(Level::Error),
        };
        Self { lines: usize::try_from(lines.clamp(1, LINES_MAX)).unwrap_or(100), at_least }
    }

    /// Lines of one level are rare, so more has to be read than is shown.
    fn scanned(self) -> i64 {
        let lines = i64::try_from(self.lines).unwrap_or(LINES_MAX);
        match self.at_least {
            Some(Level::Error | Level::Warn) => (lines * 20).clamp(2_000, SCANNED_LINES_MAX),
            Some(_) => lines * 2,
            None => lines,
        }
    }

    fn words(self) -> &'static str {
        match self.at_least {
            Some(Level::Error) => "errors or worse",
            Some(Level::Warn) => "warnings or worse",
            Some(_) => "info or worse",
            None => "shown",
        }
    }
}

async fn journal(placed: &Placed, unit: &str, ask: Ask, bounds: Bounds) -> Result<Read, Error> {
    let wanted = format!("--lines={}", ask.scanned());
    let unit_arg = format!("--unit={unit}");
    let ran = run_journal(placed, &[&wanted, &unit_arg], bounds).await?;
    let whole = if ran.truncated { whole_lines(&ran.stdout) } else { &ran.stdout };
    let (mut lines, unread) = log_lines::of_journal(whole);
    lines.reverse();
    if lines.is_empty() {
        let any = run_journal(placed, &["--lines=1"], bounds).await?;
        if any.stdout.trim().is_empty() {
            return Err(Error::Tell(format!(
                "{} has no journal, or Watchkeeper may not read it (group systemd-journal); say \
                 where {} logs in {}.logs of the inventory",
                placed.host.name, placed.service.name, placed.access.path
            )));
        }
    }
    let note = match (ran.truncated, unread) {
        (true, _) => Some("older lines were not read".to_owned()),
        (false, 0) => None,
        (false, unread) => Some(format!("{unread} entries could not be read")),
    };
    Ok(Read { source: format!("the journal of {unit}"), lines, note })
}

async fn run_journal(placed: &Placed, args: &[&str], bounds: Bounds) -> Result<Ran, Error> {
    let fixed = [
        "journalctl",
        "--no-pager",
        "--quiet",
        // The newest first: if there is too much, the oldest are lost.
        "--reverse",
        "--output=json",
        "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID",
    ];
    let argv = fixed.iter().chain(args).map(|word| (*word).to_owned()).collect();
    finished(placed, argv, bounds, "the journal").await
}

/// The text without its last line, which may be cut.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..end])
}

async fn command(
    placed: &Placed,
    argv: &[String],
    ask: Ask,
    bounds: Bounds,
) -> Result<Read, Error> {
    let lines = ask.scanned().to_string();
    let argv: Vec<String> = argv.iter().map(|word| word.replace("{lines}", &lines)).collect();
    let source = format!("the output of {}", argv.first().map_or("", String::as_str));
    let ran = finished(placed, argv, bounds, "the log command").await?;
    if ran.truncated {
        return Err(Error::Tell(format!(
            "{source} is longer than {} bytes, so its newest lines are not in reach; the command \
             in {}.logs should print only its last {{lines}} lines",
            SCANNED_BYTES_MAX, placed.access.path
        )));
    }
    let mut lines = log_lines::of_text(&ran.stdout);
    // Container engines put what the program wrote to standard error there, too.
    lines.extend(log_lines::of_text(&ran.stderr));
    Ok(Read { source, lines, note: None })
}

async fn finished(
    placed: &Placed,
    argv: Vec<String>,
    bounds: Bounds,
    what: &str,
) -> Result<Ran, Error> {
    let command = Command {
        argv,
        timeout_ms: bounds.timeout_ms,
        output_bytes_max: SCANNED_BYTES_MAX,
        leaves: Leaves::Nothing,
    };
    let ran = placed.reach.run(command).await?;
    // Output beyond the bound ends the program; the callers say what that means.
    if ran.exit == Exit::Code(0) || ran.truncated {
        return Ok(ran);
    }
    Err(Error::Tell(format!(
        "cannot read {what} of {} on {}: {}",
        placed.service.name,
        placed.host.name,
        ran.complaint()
    )))
}

async fn file(placed: &Placed, path: &str) -> Result<Read, Error> {
    let tail = placed.reach.tail(path.to_owned(), SCANNED_BYTES_MAX as u64).await?;
    let skipped = match tail.skipped_bytes {
        0 => String::new(),
        bytes => format!(", without its first {bytes} bytes"),
    };
    Ok(Read {
        source: format!("{path}{skipped}"),
        lines: log_lines::of_text(&tail.text),
        note: Some(format!("the file was last written at {}", format_ms(tail.modified_ms))),
    })
}

fn render(placed: &Placed, ask: Ask, read: &Read) -> Output {
    let fits = |line: &&Line| ask.at_least.is_none_or(|level| line.level >= level);
    let matched: Vec<&Line> = read.lines.iter().filter(fits).collect();
    let shown = &matched[matched.len().saturating_sub(ask.lines)..];
    let scanned = read.lines.len();
    let count = |level| read.lines.iter().filter(|line| line.level == level).count();
    let mut text = format!(
        "{} on {}, {}: of {scanned} lines {} are {}; the newest {} follow.\n",
        placed.service.name,
        placed.host.name,
        read.source,
        matched.len(),
        ask.words(),
        shown.len(),
    );
    if let Some(note) = &read.note {
        text.push_str(&format!("({note})\n"));
    }
    if matched.is_empty() && scanned > 0 {
        text.push_str("(level=all shows the lines that were left out)\n");
    }
    for line in shown {
        text.push_str(&line.text);
        text.push('\n');
    }
    let data = json!({
        "service": placed.service.name,
        "host": placed.host.name,
        "source": read.source,
        "scanned": scanned,
        "matched": matched.len(),
        "shown": shown.len(),
        "by_level": {
            "error": count(Level::Error),
            "warn": count(Level::Warn),
            "info": count(Level::Info),
            "debug": count(Level::Debug),
            "unknown": count(Level::Unknown),
        },
    });
    Output::new(text, data)
}

#[cfg(test)]
#[path = "tests/get_service_logs.rs"]
mod tests;
