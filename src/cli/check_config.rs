//! `watchkeeper check-config`: everything that is wrong, in every file, at once.

use super::{Global, print};
use crate::app;
use crate::approval::access;
use crate::approval::people::People;
use crate::clock::Clock;
use crate::config::{self, Environment, Settings};
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

pub fn run(global: &Global) -> Result<ExitCode> {
    let environment = Environment::from_process();
    let (problems, warnings): (Vec<String>, Vec<String>) =
        match config::load(global.config.as_deref(), &environment, &global.set) {
            Ok(loaded) => {
                let warnings = loaded.warnings.iter().map(ToString::to_string);
                (complaints(&loaded.value), warnings.chain(too_few(&loaded.value)).collect())
            }
            Err(problems) => (lines(&problems.to_string()), Vec::new()),
        };
    let value = json!({"valid": problems.is_empty(), "problems": problems, "warnings": warnings});
    print::show(global.output, &value, |_| {
        let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
        let end = match problems.len() {
            0 => "configuration is valid".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let all = warnings.chain(problems.iter().cloned()).chain([end]);
        all.collect::<Vec<_>>().join("\n")
    })?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn complaints(settings: &Settings) -> Vec<String> {
    let mut all = policy(settings);
    if let Err(problems) = People::load(&settings.access_file) {
        all.extend(lines(&problems.to_string()));
    }
    all
}

/// What is wrong with inventory, safety rules and runbooks, a line for each.
pub fn policy(settings: &Settings) -> Vec<String> {
    match app::load_policy(settings, &Clock::system()) {
        Ok(_) => Vec::new(),
        Err(error) => lines(&format!("{error:#}")),
    }
}

/// The questions that never get answers enough, because fewer people may decide than have to. Says
/// nothing where nobody may: then it is not set up yet, which `doctor` tells.
pub fn too_few(settings: &Settings) -> Vec<String> {
    let access = access::load(&settings.access_file).ok().flatten().unwrap_or_default();
    let Ok(policy) = app::load_policy(settings, &Clock::system()) else { return Vec::new() };
    if access.eligible(&[]).is_empty() {
        return Vec::new();
    }
    let said = |what: &str, quorum: u32, roles: &[String]| {
        let may = access.eligible(roles).len();
        let whom =
            if roles.is_empty() { String::new() } else { format!(" of {}", roles.join(", ")) };
        let missing = usize::try_from(quorum).is_ok_and(|quorum| may < quorum);
        missing.then(|| {
            format!(
                "{what} takes {quorum} people{whom}, and only {may} may decide (users and API \
                 tokens in {}): nobody will be able to approve it",
                settings.access_file.display()
            )
        })
    };
    let high_risk = said("a change of high risk", policy.rules.high_risk_quorum(), &[]);
    let asked = policy.rules.asked().filter_map(|(rule, approvals)| {
        said(&format!("rule '{rule}'"), approvals.quorum, &approvals.roles)
    });
    high_risk.into_iter().chain(asked).collect()
}

/// The problems of a list, without the count at its end.
fn lines(list: &str) -> Vec<String> {
    let is_count = |line: &str| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < line.len() && matches!(rest, " problem" | " problems")
    };
    list.lines().filter(|line| !is_count(line)).map(str::to_owned).collect()
}
