//! `watchkeeper token create`: a token for Alertmanager or for a program, shown once.

use super::{Global, Output, print, settings, user};
use crate::approval::access::{self, Token, TokenKind};
use crate::approval::people::Role;
use crate::approval::secrets::{self, NewToken};
use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Verb {
    /// Make a token; it is printed once and only its hash is kept.
    Create(Create),
}

#[derive(Args)]
pub struct Create {
    /// How the holder is called in the history, e.g. alertmanager.
    name: String,
    /// webhook may bring alerts and nothing else; api stands for a person at the API.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Of an api token: viewer, responder, sre or admin.
    #[arg(long, value_parser = user::role)]
    role: Option<Role>,
    /// Of a webhook token: the name under which its alerts are recorded [default: alertmanager].
    /// Senders that speak for one monitoring system share it.
    #[arg(long)]
    source: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Webhook,
    Api,
}

pub fn run(global: &Global, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Create(create) => create_token(global, create),
    }
}

fn create_token(global: &Global, create: Create) -> Result<ExitCode> {
    let file = settings(global)?.access_file;
    user::named(&create.name)?;
    user::folder_of(&file)?;
    let kind = create.checked_kind()?;
    let NewToken { shown_once, hash } = secrets::new_token();
    let token = Token {
        name: create.name.clone(),
        kind,
        hash,
        role: create.role,
        source: create.source.clone(),
    };
    access::add_token(&file, token)?;
    match global.output {
        // Alone, so that it can be written straight into a file.
        Output::Table => print::out(&shown_once)?,
        Output::Json | Output::Yaml => {
            let result = json!({
                "name": create.name, "kind": kind, "role": create.role, "source": create.source,
                "token": shown_once, "file": file,
            });
            print::show(global.output, &result, |_| String::new())?;
        }
    }
    eprintln!(
        "Added token {} to {}; this is the only time it is shown. A running server knows it within \
         a second.",
        create.name,
        file.display()
    );
    match kind {
        TokenKind::Webhook => eprintln!(
            "Write it into the file that Alertmanager's http_config names as credentials_file."
        ),
        TokenKind::Api => eprintln!(
            "Give it to commands by WATCHKEEPER_TOKEN or --token-file, to programs as \
             `Authorization: Bearer …`."
        ),
    }
    Ok(ExitCode::SUCCESS)
}

impl Create {
    fn checked_kind(&self) -> Result<TokenKind> {
        match (self.kind, self.role, &self.source) {
            (Kind::Webhook, Some(_), _) => {
                bail!("a webhook token has no role, it may only bring alerts; leave out --role")
            }
            (Kind::Webhook, None, Some(source)) => {
                user::named(source)?;
                Ok(TokenKind::Webhook)
            }
            (Kind::Webhook, None, None) => Ok(TokenKind::Webhook),
            (Kind::Api, None, _) => {
                bail!("an api token needs a role; add --role viewer, responder, sre or admin")
            }
            (Kind::Api, Some(_), Some(_)) => {
                bail!("an api token has no source; leave out --source")
            }
            (Kind::Api, Some(_), None) => Ok(TokenKind::Api),
        }
    }
}
