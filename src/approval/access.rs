//! The access file: users with password hashes, tokens with their hashes.
//!
//! In: YAML, or a new entry from the command line. Out: [`Access`], checked whole; or every
//! problem with its line. An absent file means that nobody is known.
//! Never: a password or token in the file itself; a half-written file.

use super::people::{Holder, Role};
use super::{may_decide, secrets};
use crate::config::{Problem, Problems, yaml};
use crate::crash::{self, Point};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

const HEADER: &str = "\
# Users and tokens of Watchkeeper. Only hashes stand here; keep the file readable by it alone.
# `watchkeeper user add` and `watchkeeper token create` write it again and keep no comments.
";

/// Everybody who is known.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    pub users: Vec<User>,
    pub tokens: Vec<Token>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub role: Role,
    /// argon2id in PHC form.
    pub password_hash: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: String,
    pub kind: TokenKind,
    /// SHA-256 of the token in hex.
    pub hash: String,
    /// Of API tokens: what their holder may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Of webhook tokens: the name under which alerts are recorded. Senders that speak for the
    /// same monitoring system share one, since a resolved notice counts only from the source that
    /// fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// May bring alerts, nothing else.
    Webhook,
    /// Stands for a person at the API.
    Api,
}

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Choose another name, or remove the entry from the file.
    #[error("{0}")]
    Exists(String),
    /// Mend the file, or the entry, first.
    #[error("{0}")]
    Unfit(Problems),
    #[error("cannot write {file}: {cause}")]
    Io { file: String, cause: std::io::Error },
}

impl Access {
    /// The names of all who may answer a question that is put to `roles`. Somebody with both a
    /// password and a token of the same name counts once, as they do when they approve.
    pub fn eligible(&self, roles: &[String]) -> BTreeSet<String> {
        let holders = self.tokens.iter().filter_map(|token| match token.holder() {
            Some(Holder::Person(principal)) => Some(principal),
            Some(Holder::Sender { .. }) | None => None,
        });
        let all = self.users.iter().map(User::principal).chain(holders);
        all.filter(|who| may_decide(who, roles).is_ok()).map(|who| who.name).collect()
    }
}

/// Reads the file; `Ok(None)` when there is none.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Option<Access>, Problems> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&file.display().to_string(), &text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let said = format!("cannot be read: {error}");
            Err(Problems(vec![Problem::about(&file.display().to_string(), said)]))
        }
    }
}

/// Reads and checks the text of an access file; `file` is only its name in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Access, Problems> {
    let yaml::Partial { value, positions, mut problems } = yaml::read::<Access>(file, text);
    let access = value.unwrap_or_default();
    for (path, message, hint) in access.findings() {
        problems.push(positions.problem(&path, message).hint(hint));
    }
    problems.sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
    if problems.is_empty() { Ok(access) } else { Err(Problems(problems)) }
}

/// Adds a user. The file is replaced in one step and readable by its owner only.
///
/// # Errors
/// The name is taken, the file or the entry is wrong, or the folder cannot be written.
pub fn add_user(file: &Path, user: User) -> Result<(), Error> {
    change(file, |access| {
        if access.users.iter().any(|known| known.name == user.name) {
            return Err(Error::Exists(format!("there is a user {} already", user.name)));
        }
        access.users.push(user);
        Ok(())
    })
}

/// Adds a token; the same as [`add_user`] otherwise.
///
/// # Errors
/// As for [`add_user`].
pub fn add_token(file: &Path, token: Token) -> Result<(), Error> {
    change(file, |access| {
        if access.tokens.iter().any(|known| known.name == token.name) {
            return Err(Error::Exists(format!("there is a token {} already", token.name)));
        }
        access.tokens.push(token);
        Ok(())
    })
}

fn change(file: &Path, edit: impl FnOnce(&mut Access) -> Result<(), Error>) -> Result<(), Error> {
    let cannot = |cause| Error::Io { file: file.display().to_string(), cause };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Two commands at once must not lose each other's entry.
    let locked = File::open(folder).map_err(cannot)?;
    locked.lock().map_err(cannot)?;
    let mut access = load(file).map_err(Error::Unfit)?.unwrap_or_default();
    edit(&mut access)?;
    let text = serde_saphyr::to_string(&access)
        .map_err(|error| cannot(std::io::Error::other(error.to_string())))?;
    // What is written must be what the server can read.
    parse(&file.display().to_string(), &text).map_err(Error::Unfit)?;
    replace(file, format!("{HEADER}{text}").as_bytes()).map_err(cannot)?;
    locked.sync_all().map_err(cannot)
}

fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = file.with_file_name(name);
    let written = (|| {
        let mut options = File::options();
        let mut new = options.write(true).create_new(true).mode(0o600).open(&beside)?;
        // A file that an administrator gave to the service's account stays with it.
        if let Ok(old) = std::fs::metadata(file) {
            let ours = new.metadata()?;
            if (ours.uid(), ours.gid()) != (old.uid(), old.gid()) {
                fchown(&new, Some(old.uid()), Some(old.gid()))?;
            }
        }
        new.write_all(bytes)?;
        new.sync_all()?;
        crash::at(Point::BeforeAccess);
        std::fs::rename(&beside, file)?;
        crash::at(Point::AfterAccess);
        Ok(())
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

type Finding = (String, String, &'static str);

impl Access {
    fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut names = HashMap::new();
        for (index, user) in self.users.iter().enumerate() {
            let at = |key: &str| format!("users.{index}.{key}");
            check_name(&mut found, at("name"), &user.name, "user", &mut names);
            if let Some(why) = secrets::unfit_hash(&user.password_hash) {
                let hint = "let `watchkeeper user add` write the entry";
                found.push((at("password_hash"), why.to_owned(), hint));
            }
        }
        let (mut names, mut hashes) = (HashMap::new(), HashMap::new());
        for (index, token) in self.tokens.iter().enumerate() {
            let at = |key: &str| format!("tokens.{index}.{key}");
            check_name(&mut found, at("name"), &token.name, "token", &mut names);
            token.check(&mut found, &at);
            if let Some(first) = hashes.insert(token.hash.clone(), token.name.clone()) {
                let said = format!("is the same token as {first}");
                found.push((at("hash"), said, "give each holder a token of its own"));
            }
        }
        found
    }
}

impl Token {
    fn check(&self, found: &mut Vec<Finding>, at: &dyn Fn(&str) -> String) {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.hash.len() != 64 || !self.hash.bytes().all(hex) {
            let hint = "let `watchkeeper token create` write the entry";
            found.push((at("hash"), "is not a SHA-256 in lower-case hex".to_owned(), hint));
        }
        match (self.kind, self.role, &self.source) {
            (TokenKind::Api, None, _) => {
                let said = "an API token needs a role".to_owned();
                found.push((at("role"), said, "viewer, responder, sre or admin"));
            }
            (TokenKind::Webhook, Some(_), _) => {
                let said = "a webhook token has no role".to_owned();
                found.push((at("role"), said, "remove it; such a token may only bring alerts"));
            }
            (TokenKind::Api, Some(_), Some(_)) => {
                let said = "an API token has no source".to_owned();
                found.push((at("source"), said, "remove it; sources belong to webhook tokens"));
            }
            (TokenKind::Webhook, None, Some(source)) if !is_name(source) => {
                found.push((at("source"), "is not a name".to_owned(), NAME_HINT));
            }
            (TokenKind::Webhook, None, _) | (TokenKind::Api, Some(_), None) => {}
        }
    }
}

const NAME_HINT: &str = "1 to 64 letters, digits and any of . _ - @ +";

fn check_name(
    found: &mut Vec<Finding>,
    path: String,
    name: &str,
    what: &str,
    seen: &mut HashMap<String, ()>,
) {
    if !is_name(name) {
        found.push((path, "is not a name".to_owned(), NAME_HINT));
    } else if seen.insert(name.to_owned(), ()).is_some() {
        let said = format!("there are two entries for the {what} {name}");
        found.push((path, said, "remove one of them"));
    }
}

/// Names stand in logs, in the history and before the colon of basic credentials.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    (1..=64).contains(&name.chars().count()) && name.chars().all(fits)
}

#[cfg(test)]
#[path = "access/tests.rs"]
mod tests;
