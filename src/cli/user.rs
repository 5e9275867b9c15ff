//! `watchkeeper user add`: somebody who may sign in and decide.

use super::{Global, password, print, settings};
use crate::approval::access::{self, User};
use crate::approval::people::Role;
use crate::approval::secrets;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Add a user with a password.
    Add(Add),
}

#[derive(Args)]
pub struct Add {
    /// How the person is called in the history, e.g. kim.
    name: String,
    /// What they may do: viewer looks; responder decides, takes incidents and halts; sre decides
    /// where the rules ask for it and lets changes go on; admin everything.
    #[arg(long, value_parser = role)]
    role: Role,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Add(add) => add_user(global, &add),
    }
}

fn add_user(global: &Global, add: &Add) -> Result<ExitCode> {
    let file = settings(global)?.access_file;
    named(&add.name)?;
    folder_of(&file)?;
    // Before anybody types a password twice for nothing.
    let known = access::load(&file).map_err(|problems| anyhow!("{problems}"))?.unwrap_or_default();
    if known.users.iter().any(|user| user.name == add.name) {
        bail!(
            "there is a user {} already; to change the password or the role, remove the entry from \
             {} and add the user again",
            add.name,
            file.display()
        );
    }
    let password =
        if add.password_stdin { password::from_stdin()? } else { password::ask(&add.name)? };
    let password_hash =
        secrets::hash_password(password.expose_secret()).map_err(|why| anyhow!(why))?;
    access::add_user(&file, User { name: add.name.clone(), role: add.role, password_hash })?;
    let result = json!({"user": add.name, "role": add.role, "file": file});
    print::show(global.output, &result, |_| {
        format!("added user {} ({}) to {}", add.name, add.role, file.display())
    })?;
    eprintln!("A running server knows it within a second.");
    Ok(ExitCode::SUCCESS)
}

/// Reads a role from an argument.
///
/// # Errors
/// The words that there are.
pub fn role(text: &str) -> Result<Role, String> {
    let all: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    Role::parse(text).ok_or_else(|| format!("must be one of {}", all.join(", ")))
}

/// Refuses what is no name before anything is written.
///
/// # Errors
/// What a name is made of.
pub fn named(name: &str) -> Result<()> {
    if access::is_name(name) {
        return Ok(());
    }
    bail!("{name:?} is not a name; take 1 to 64 letters, digits and any of . _ - @ +")
}

/// Makes sure that the folder of the access file is there.
///
/// # Errors
/// It is not, with what to do.
pub fn folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::metadata(folder).map(|_| ()).with_context(|| {
        format!(
            "there is no folder {} for the access file; run `watchkeeper init`, or name the \
             configuration with --config",
            folder.display()
        )
    })
}
