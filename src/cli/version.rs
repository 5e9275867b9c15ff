//! `watchkeeper version`.

use super::Output;
use anyhow::Result;
use std::process::ExitCode;

pub fn run(output: Output) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        Output::Table => println!("watchkeeper {version}"),
        Output::Json => println!("{}", serde_json::json!({ "version": version })),
        Output::Yaml => println!("version: {version}"),
    }
    Ok(ExitCode::SUCCESS)
}
