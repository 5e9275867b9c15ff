//! `watchkeeper check-config`: everything that is wrong, in every file, at once.

use super::Global;
use crate::app;
use crate::approval::people::People;
use crate::clock::Clock;
use crate::config::{self, Environment, Settings};
use anyhow::Result;
use std::process::ExitCode;

pub fn run(global: &Global) -> Result<ExitCode> {
    let environment = Environment::from_process();
    let loaded = match config::load(global.config.as_deref(), &environment, &global.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            println!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &loaded.warnings {
        println!("warning: {warning}");
    }
    let complaints = complaints(&loaded.value);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        println!("configuration is valid");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn complaints(settings: &Settings) -> Vec<String> {
    let policy = app::load_policy(settings, &Clock::system()).err();
    let people = People::load(&settings.access_file).err();
    policy
        .map(|error| format!("{error:#}"))
        .into_iter()
        .chain(people.map(|problems| problems.to_string()))
        .collect()
}
