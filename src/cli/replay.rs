//! `watchkeeper incident replay`: an exported incident once more, offline.
//!
//! In: the file; for other rules or another mind also the configuration. Out: whether the file is
//! whole, whether its fold ends where the row said, and verdict by verdict and turn by turn what
//! would be different. The exit code says it: 0 the same, 1 not, 2 it cannot be read. Never: a tool,
//! a store, a network but that of a model that was chosen.

mod file;
mod fold;
mod mind;
mod script;

use super::policy::judge::Judge;
use super::policy::past::Past;
use super::policy::simulate;
use super::{Global, block_on, print, settings};
use crate::agent::Mind;
use crate::agent::runbook::Follower;
use crate::app::{self, outside, policy};
use crate::clock::Clock;
use crate::config::{Problems, Settings};
use crate::knowledge::runbooks::{self, Runbooks};
use crate::model::alert::Labels;
use crate::targets::inventory::{Catalogue, Inventory, locate};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use file::Recorded;
use mind::{Asking, Stage};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The incident cannot be replayed.
const UNREADABLE: u8 = 2;

#[derive(Args)]
pub struct Replay {
    /// What `incident export` wrote.
    file: PathBuf,
    /// Judge every recorded call under these safety rules, with the configured inventory.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Ask a mind again over the recorded observations: runbook, model, or script:FILE.
    #[arg(long, value_name = "MIND", value_parser = which)]
    mind: Option<Which>,
    /// The runbooks to follow, with --mind runbook [default: those of the export].
    #[arg(long, value_name = "FILE")]
    runbooks: Option<PathBuf>,
    /// A file with another system prompt for --mind model.
    #[arg(long, value_name = "FILE", requires = "mind")]
    prompt: Option<PathBuf>,
}

/// Which mind is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Which {
    Runbook,
    Model,
    Script(PathBuf),
}

fn which(text: &str) -> Result<Which, String> {
    match (text, text.strip_prefix("script:")) {
        ("runbook", _) => Ok(Which::Runbook),
        ("model", _) => Ok(Which::Model),
        (_, Some(file)) if !file.is_empty() => Ok(Which::Script(PathBuf::from(file))),
        _ => Err("must be runbook, model or script:FILE".to_owned()),
    }
}

pub fn run(global: &Global, replay: &Replay) -> Result<ExitCode> {
    match replayed(global, replay) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("watchkeeper: {error:#}");
            Ok(ExitCode::from(UNREADABLE))
        }
    }
}

fn replayed(global: &Global, replay: &Replay) -> Result<ExitCode> {
    let recorded = file::read(&replay.file).map_err(|why| anyhow!(why))?;
    let chain = file::check(&recorded);
    let folded = fold::fold(&recorded);
    let mut same = chain.broken.is_empty() && folded.differs.is_empty();
    let mut value = json!({
        "incident": recorded.export.incident.id, "title": recorded.export.incident.title,
        "chain": chain, "fold": folded,
    });
    if let Some(rules) = &replay.rules {
        let judged = judged(&settings(global)?, rules, &recorded)?;
        same &= judged["differ"] == json!(0);
        value["rules"] = judged;
    }
    let which = match (&replay.mind, &replay.runbooks) {
        (None, Some(_)) => Some(Which::Runbook),
        (mind, _) => mind.clone(),
    };
    if let Some(which) = which {
        let asking = block_on(asked(&settings(global)?, &which, replay, &recorded))?;
        same &= asking.differ == 0;
        value["mind"] = json!(asking);
    }
    value["same"] = json!(same);
    print::show(global.output, &value, for_people)?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every recorded verdict under other rules.
fn judged(settings: &Settings, rules: &Path, recorded: &Recorded) -> Result<Value> {
    let judge = Judge::new(settings, Some(rules), None)?;
    let past = Past::of(recorded.export.incident.id, &recorded.entries, &judge.register);
    let again = simulate::replay(&judge, &past, i64::MIN);
    let differ: Vec<Value> = again.iter().filter(|one| one.differs()).map(simulate::told).collect();
    Ok(json!({
        "judged": again.len(), "differ": differ.len(), "rules_version": judge.rules_version(),
        "decisions": differ,
    }))
}

async fn asked(
    settings: &Settings,
    which: &Which,
    replay: &Replay,
    recorded: &Recorded,
) -> Result<Asking> {
    let specs = app::specs(&Clock::system());
    let mut problems = Vec::new();
    let inventory = policy::inventory(&settings.inventory_file, &specs, &mut problems);
    let Some(inventory) = inventory.map(Arc::new).filter(|_| problems.is_empty()) else {
        bail!("{}", Problems(problems));
    };
    let mind: Box<dyn Mind> = match which {
        Which::Runbook => Box::new(follower(replay, recorded, &inventory)?),
        Which::Script(file) => Box::new(script::read(file)?),
        Which::Model => {
            let Some(mut model) = outside::model(settings)? else {
                bail!("no model is configured; model.endpoints names one");
            };
            if let Some(file) = &replay.prompt {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                model = model.with_system(text);
            }
            crate::clients::http::install_tls();
            Box::new(model)
        }
    };
    let mappings = app::mappings(settings)?;
    let register = app::tools_over(inventory.clone(), &Clock::system());
    let find = |labels: &[&Labels]| locate(&*inventory, labels, &mappings);
    let stage = Stage { mind: &*mind, register: &register, locate: &find };
    mind::again(&stage, &recorded.export.incident, &recorded.entries).await
}

/// The runbooks of the file that was given, else of the export.
fn follower(replay: &Replay, recorded: &Recorded, known: &Arc<Catalogue>) -> Result<Follower> {
    let (name, text) = match (&replay.runbooks, &recorded.export.runbooks) {
        (Some(file), _) => {
            let name = file.display().to_string();
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            (name, text)
        }
        (None, Some(exported)) => ("runbooks of the export".to_owned(), exported.text.clone()),
        (None, None) => bail!("the export holds no runbooks; name a file with --runbooks"),
    };
    let specs = app::specs(&Clock::system());
    let runbooks: Runbooks = runbooks::load(&name, &text, &specs)
        .map_err(|problems| anyhow!("{}", Problems(problems)))?;
    let roots = Arc::clone(known);
    let clean_roots =
        Arc::new(move |host: &str| roots.host(host).map(|h| h.clean_roots).unwrap_or_default());
    Ok(Follower::new(Arc::new(runbooks), clean_roots))
}

fn for_people(value: &Value) -> String {
    let at = |pointer| print::field(value, pointer);
    let mut lines = vec![format!("{}  {}", at("/incident"), at("/title"))];
    let list = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned();
    let broken = list("/chain/broken").unwrap_or_default();
    lines.push(match broken.is_empty() {
        true => format!("chain: {} entries, whole", at("/chain/entries")),
        false => format!("chain: {} entries, NOT whole", at("/chain/entries")),
    });
    lines.extend(broken.iter().map(|why| format!("BROKEN   {}", print::field(why, ""))));
    if value["chain"]["redacted"] != json!(0) {
        lines.push(format!("note: {} entries were redacted", at("/chain/redacted")));
    }
    let differs = list("/fold/differs").unwrap_or_default();
    lines.push(format!("fold: {} prefixes, {} differ", at("/fold/prefixes"), differs.len()));
    lines.extend(differs.iter().map(|why| format!("DIFFERS  {}", print::field(why, ""))));
    if value.get("rules").is_some() {
        lines.push(format!(
            "rules: {} verdicts, {} differ",
            at("/rules/judged"),
            at("/rules/differ")
        ));
        for one in list("/rules/decisions").unwrap_or_default() {
            let of = |pointer| print::field(&one, pointer);
            lines.push(format!(
                "DIFFERS  {} {}: was {}, would be {}: {}",
                of("/call/tool"),
                of("/call/args"),
                of("/recorded"),
                of("/decision"),
                of("/reason")
            ));
        }
    }
    lines.extend(turns_for_people(value));
    lines.push(if value["same"] == json!(true) { "the same" } else { "NOT the same" }.to_owned());
    lines.join("\n")
}

fn turns_for_people(value: &Value) -> Vec<String> {
    let Some(mind) = value.get("mind") else { return Vec::new() };
    let turns = mind["turns"].as_array().cloned().unwrap_or_default();
    let mut lines = vec![format!(
        "mind {}: {} turns, {} differ, {} calls unknown",
        print::field(mind, "/mind"),
        turns.len(),
        print::field(mind, "/differ"),
        print::field(mind, "/unknown")
    )];
    if mind["unfinished"] == json!(true) {
        lines.push("note: the record ends before a conclusion; nothing beyond it is asked".into());
    }
    for turn in turns.iter().filter(|turn| turn["same"] != json!(true)) {
        let of = |pointer| print::field(turn, pointer);
        lines.push(format!("DIFFERS  round {} turn {}", of("/round"), of("/turn")));
        lines.push(format!("  then   {}", moved(&turn["recorded"])));
        lines.push(format!("  again  {}", moved(&turn["again"])));
        for call in turn["unknown"].as_array().into_iter().flatten() {
            lines.push(format!("  unknown: {}", print::field(call, "")));
        }
    }
    lines
}

fn moved(asked: &Value) -> String {
    if asked.is_null() {
        return "no turn".to_owned();
    }
    let calls = asked["calls"].as_array().into_iter().flatten();
    let mut parts: Vec<String> = calls.map(|call| print::field(call, "")).collect();
    if !asked["conclusion"].is_null() {
        parts.push(format!("concludes: {}", print::field(asked, "/conclusion")));
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}
