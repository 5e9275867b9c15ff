//! `watchkeeper doctor`: reaches everything that is configured.
//!
//! In: the configuration. Out: for each thing ok, warn or fail and how to mend it, and what data
//! leaves this machine to whom. Never: a message to people unless `--send-test` says so; anything
//! left behind; a wait without an end. To add a check, add it to the file of its kind below.

mod channels;
mod clients;
mod files;
mod leaves;
mod models;
mod place;

use super::{Global, block_on, print};
use crate::config::{self, Environment, Problem, Settings};
use anyhow::Result;
use clap::Args;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// No check may take longer; a model that loads itself first needs most of it.
const WITHIN: Duration = Duration::from_secs(90);
/// An answer to a mere question about health.
const ANSWER_WITHIN_MS: u64 = 10_000;

#[derive(Args)]
pub struct Doctor {
    /// Really send one message over every configured channel. PagerDuty's is resolved at once.
    #[arg(long)]
    send_test: bool,
}

/// What was found about one thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The thing, e.g. `prometheus` or `host web1`.
    pub about: String,
    pub health: Health,
    pub said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Ok,
    /// It works, and something is missing or will hurt one day.
    Warn,
    Fail,
}

impl Finding {
    pub fn ok(about: &str, said: impl Into<String>) -> Self {
        Self { about: about.to_owned(), health: Health::Ok, said: said.into(), mend: None }
    }

    pub fn warn(about: &str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Self { about: about.to_owned(), health: Health::Warn, said: said.into(), mend }
    }

    fn of(mut problem: Problem, health: Health) -> Self {
        let mend = problem.hint.take();
        Self { about: "configuration".to_owned(), health, said: problem.to_string(), mend }
    }

    /// For errors that say themselves how to mend them, `mend` is empty.
    pub fn fail(about: &str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into()).filter(|mend: &String| !mend.is_empty());
        Self { about: about.to_owned(), health: Health::Fail, said: said.into(), mend }
    }
}

/// One check on its way.
type Check<'a> = BoxFuture<'a, Vec<Finding>>;

pub fn run(global: &Global, doctor: &Doctor) -> Result<ExitCode> {
    let environment = Environment::from_process();
    let loaded = match config::load(global.config.as_deref(), &environment, &global.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let found = problems.0.into_iter();
            let mut found: Vec<Finding> =
                found.map(|problem| Finding::of(problem, Health::Fail)).collect();
            let mend = "mend the configuration first; without it nothing can be reached";
            found.push(Finding::fail("everything else", "not looked at", mend));
            return shown(global, &found, &[]);
        }
    };
    let settings = loaded.value;
    let warnings = loaded.warnings.into_iter();
    let mut found: Vec<Finding> =
        warnings.map(|warning| Finding::of(warning, Health::Warn)).collect();
    found.extend(files::look(&settings));
    found.extend(block_on(async { Ok(reach_all(&settings, doctor).await) })?);
    shown(global, &found, &leaves::list(&settings))
}

async fn reach_all(settings: &Settings, doctor: &Doctor) -> Vec<Finding> {
    let checks: Vec<(&str, Check<'_>)> = vec![
        ("store", Box::pin(place::store(settings))),
        ("server", Box::pin(place::server(settings))),
        ("prometheus", Box::pin(clients::prometheus(settings))),
        ("alertmanager", Box::pin(clients::alertmanagers(settings))),
        ("model", Box::pin(models::look(settings))),
        ("channels", Box::pin(channels::look(settings, doctor.send_test))),
        ("hosts", Box::pin(place::hosts(settings))),
    ];
    let timed = checks.into_iter().map(|(about, check)| async move {
        tokio::time::timeout(WITHIN, check).await.unwrap_or_else(|_| {
            let said = format!("no end after {} s", WITHIN.as_secs());
            vec![Finding::fail(about, said, "look whether it is overloaded")]
        })
    });
    futures::future::join_all(timed).await.concat()
}

fn shown(global: &Global, found: &[Finding], leaves: &[leaves::Leaves]) -> Result<ExitCode> {
    let count = |health: Health| found.iter().filter(|one| one.health == health).count();
    let (warn, fail) = (count(Health::Warn), count(Health::Fail));
    let value = json!({
        "healthy": fail == 0, "warn": warn, "fail": fail,
        "checks": found, "leaves_this_machine": leaves,
    });
    print::show(global.output, &value, |_| {
        let mut text: Vec<String> = found.iter().map(line).collect();
        text.push(String::new());
        text.extend(leaves.iter().map(leaves::Leaves::line));
        text.push(match (fail, warn) {
            (0, 0) => "everything works".to_owned(),
            _ => format!("{fail} to mend, {warn} to think about"),
        });
        text.join("\n")
    })?;
    Ok(if fail == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(finding: &Finding) -> String {
    let word = match finding.health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    };
    let said = print::one_line(&finding.said);
    let mut line = format!("{word:4}  {}: {said}", print::one_line(&finding.about));
    if let Some(mend) = &finding.mend {
        line.push_str(&format!("\n      -> {}", print::one_line(mend)));
    }
    line
}
