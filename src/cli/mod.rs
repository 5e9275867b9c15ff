//! The command line: one file a verb.
//!
//! In: arguments. Out: what the verb prints, and an exit code that is 0 only on success. Verbs
//! about incidents talk to the running server; only those that prepare or repair open files.

mod action;
mod alert;
mod audit;
mod backup;
mod check_config;
mod decide;
mod demo;
mod doctor;
mod halt;
mod healthcheck;
mod hold;
mod incident;
mod init;
mod migrate;
mod password;
mod policy;
mod print;
mod redact;
mod reload;
mod remote;
mod replay;
mod restore;
mod retention;
mod serve;
mod token;
mod user;
mod version;

use crate::config::{self, Environment, Loaded, Settings, Source};
use crate::crash;
use crate::model::action::Answer;
use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// The on-call agent: takes the page, investigates, acts within the rules, measures, reports.
#[derive(Parser)]
#[command(name = "watchkeeper", disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone)]
pub struct Global {
    /// The configuration file [default: ./config/watchkeeper.yaml, then
    /// /etc/watchkeeper/watchkeeper.yaml, then none].
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides one setting, e.g. --set listen=127.0.0.1:9000; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a configuration to start from, and say what to paste where.
    Init(init::Init),
    /// Run the server.
    Serve,
    /// Break a process and fill a folder of its own, and show how both are mended.
    Demo(demo::Options),
    #[command(hide = true)]
    DemoService(demo::ServiceOptions),
    /// Check every configuration file and say everything that is wrong at once.
    CheckConfig,
    /// Reach everything that is configured, and say how to mend what cannot be reached.
    Doctor(doctor::Doctor),
    /// Users: those who sign in and decide.
    #[command(subcommand)]
    User(user::Verb),
    /// Tokens: for Alertmanager, and for programs.
    #[command(subcommand)]
    Token(token::Verb),
    /// Alerts.
    #[command(subcommand)]
    Alert(alert::Verb),
    /// Incidents of the running server.
    #[command(subcommand)]
    Incident(incident::Verb),
    /// Proposed changes of the running server.
    #[command(subcommand)]
    Action(action::Verb),
    /// Approve the exact call that waits for an answer.
    Approve(decide::Decide),
    /// Reject the call that waits for an answer.
    Reject(decide::Decide),
    /// Stop every change at once; looking and telling go on.
    Halt(halt::Halt),
    /// Let changes go on after a halt.
    Resume(remote::At),
    /// Let the running server take over changed rules, runbooks, inventory and secrets.
    Reload(remote::At),
    /// Holds: no change of certain targets, for a time.
    #[command(subcommand)]
    Hold(hold::Verb),
    /// The safety rules: explained, tested, tried on the past.
    #[command(subcommand)]
    Policy(policy::Verb),
    /// The history: whether it is whole, and all of it.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// What of the history would age out by the policy; changes nothing.
    Retention(retention::Options),
    /// Show what is left of a text: standard input to standard output, secrets taken out.
    Redact,
    /// Copy the database into a file, also while the server runs.
    Backup(backup::Backup),
    /// Put a backup in the place of the database; every change is halted then.
    Restore(restore::Restore),
    /// Bring the database's tables up to date. `serve` does the same when it starts.
    Migrate(migrate::Migrate),
    /// Ask the configured server on this machine whether it is ready; for containers.
    Healthcheck,
    /// Print the version.
    Version,
}

/// Parses the arguments, runs the verb, and says what went wrong on standard error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = armed().and_then(|()| run(cli));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("watchkeeper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Arms the switch of tests, where one is in the environment.
fn armed() -> Result<()> {
    let environment = Environment::from_process();
    let Some(text) = environment.abort_at() else { return Ok(()) };
    eprintln!("watchkeeper: {}={text}: this process may abort on purpose", crash::VARIABLE);
    crash::arm(text).map_err(|why| anyhow!(why))
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.verb {
        Verb::Init(init) => init::run(&cli.global, &init),
        Verb::Serve => serve::run(&cli.global),
        Verb::Demo(options) => demo::run(&cli.global, &options),
        Verb::DemoService(options) => demo::run_service(options),
        Verb::CheckConfig => check_config::run(&cli.global),
        Verb::Doctor(doctor) => doctor::run(&cli.global, &doctor),
        Verb::User(verb) => user::run(&cli.global, verb),
        Verb::Token(verb) => token::run(&cli.global, verb),
        Verb::Alert(verb) => alert::run(&cli.global, verb),
        Verb::Incident(verb) => incident::run(&cli.global, verb),
        Verb::Action(verb) => action::run(&cli.global, verb),
        Verb::Approve(decide) => decide::run(&cli.global, &decide, Answer::Approve),
        Verb::Reject(decide) => decide::run(&cli.global, &decide, Answer::Reject),
        Verb::Halt(halt) => halt::run(&cli.global, &halt),
        Verb::Resume(at) => halt::resume(&cli.global, &at),
        Verb::Reload(at) => reload::run(&cli.global, &at),
        Verb::Hold(verb) => hold::run(&cli.global, verb),
        Verb::Policy(verb) => policy::run(&cli.global, verb),
        Verb::Audit(verb) => audit::run(&cli.global, verb),
        Verb::Retention(options) => retention::run(&cli.global, &options),
        Verb::Redact => redact::run(&cli.global),
        Verb::Backup(backup) => backup::run(&cli.global, &backup),
        Verb::Restore(restore) => restore::run(&cli.global, &restore),
        Verb::Migrate(migrate) => migrate::run(&cli.global, &migrate),
        Verb::Healthcheck => healthcheck::run(&cli.global),
        Verb::Version => version::run(cli.global.output),
    }
}

/// Loads the settings; warnings go to standard error.
///
/// # Errors
/// Everything that is wrong with them, one a line.
pub fn settings(global: &Global) -> Result<Settings> {
    sourced(global).map(|(settings, _)| settings)
}

/// As [`settings`], with the way to read them again.
///
/// # Errors
/// Everything that is wrong with them, one a line.
pub fn sourced(global: &Global) -> Result<(Settings, Source)> {
    let environment = Environment::from_process();
    let loaded = Source::load(global.config.as_deref(), environment, &global.set);
    let (Loaded { value, warnings, .. }, source) =
        loaded.map_err(|problems| anyhow!("{problems}"))?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok((value, source))
}

/// The settings as far as they say where the running server is. What is wrong elsewhere in them is
/// only counted, and their secrets are not read.
///
/// # Errors
/// Something is wrong with them that may be about its address.
pub fn settings_of_the_server(global: &Global) -> Result<Settings> {
    let environment = Environment::from_process();
    let found = config::to_find_the_server(global.config.as_deref(), &environment, &global.set);
    let (settings, passed_over) = found.map_err(|problems| anyhow!("{problems}"))?;
    if passed_over > 0 {
        eprintln!(
            "warning: problems of the configuration passed over: {passed_over}; \
             `watchkeeper check-config` lists them"
        );
    }
    Ok(settings)
}

/// Runs async work on a runtime of its own.
///
/// # Errors
/// The work's own, or no threads can be had.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Conditions are evaluated recursively; the default of 2 MiB is close to their worst case
        // in a debug build.
        .thread_stack_size(8 * 1024 * 1024)
        .build()?)
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "write KEY=VALUE".to_owned())
}
