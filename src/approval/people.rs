//! Who somebody is: from a name and password, or from a token, to a [`Principal`].
//!
//! In: the access file, read again when it changes, so that a removed user is out at once.
//! Out: principals. Never: a secret kept; a comparison whose time tells anything; more password
//! hashing at once than the machine can bear.

use super::access::{self, Access, Token, TokenKind, User};
use super::{equal, secrets};
use crate::config::Problems;
use crate::model::call::sha256_hex;
use crate::model::system::Known;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Passwords hashed at once: 19 MiB and a core each.
const HASHING_MAX: usize = 2;
/// How long a sign-in waits for its turn before it is told to come back.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Basic credentials that were right are remembered (as a salted hash), since a sender repeats
/// them with every alert.
const REMEMBERED_MAX: usize = 64;

/// What somebody may do. The order is power.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Decides, takes incidents, halts.
    Responder,
    /// Decides where the rules ask for it; lets changes go on after a halt.
    Sre,
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Responder, Self::Sre, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Sre => "sre",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody who proved who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    pub name: String,
    pub role: Role,
    pub via: Via,
}

/// How it was proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    Form,
    Token,
}

/// Who holds a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A sender of alerts, recorded under this source.
    Sender {
        source: String,
    },
    Person(Principal),
}

/// Too many passwords are being checked; come back later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many people are signing in")]
pub struct Busy;

/// Everybody who is known. Cheap to clone; clones share one view of the file.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    file: Option<PathBuf>,
    seen: Mutex<Seen>,
    hashing: Semaphore,
    remembered: Mutex<HashSet<String>>,
    salt: String,
}

struct Seen {
    access: Arc<Access>,
    stamp: Option<Stamp>,
    looked_at: Instant,
}

/// Changes whenever the file is replaced or written.
type Stamp = (u64, u64, i64, i64);

impl People {
    /// Reads the access file and keeps looking at it. An absent file means nobody.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        let stamp = stamp(file);
        let access = access::load(file)?.unwrap_or_default();
        if std::fs::metadata(file).is_ok_and(|data| data.mode() & 0o004 != 0) {
            let file = file.display();
            tracing::warn!("everybody on this machine can read {file}; run `chmod 600 {file}`");
        }
        Ok(Self::build(Some(file.to_owned()), access, stamp))
    }

    /// These and nobody else, without a file.
    pub fn of(access: Access) -> Self {
        Self::build(None, access, None)
    }

    fn build(file: Option<PathBuf>, access: Access, stamp: Option<Stamp>) -> Self {
        let seen = Seen { access: Arc::new(access), stamp, looked_at: Instant::now() };
        Self(Arc::new(Inner {
            file,
            seen: Mutex::new(seen),
            hashing: Semaphore::new(HASHING_MAX),
            remembered: Mutex::new(HashSet::new()),
            salt: secrets::random_text(),
        }))
    }

    /// Whether no credentials exist at all.
    pub fn is_nobody(&self) -> bool {
        let access = self.current();
        access.users.is_empty() && access.tokens.is_empty()
    }

    /// Everybody without their secrets, for the history.
    pub fn known(&self) -> Vec<Known> {
        let access = self.current();
        let user = |user: &User| Known {
            what: "user".to_owned(),
            name: user.name.clone(),
            role: Some(user.role.to_string()),
            source: None,
            stamp: stamp_of(&user.password_hash),
        };
        let token = |token: &Token| Known {
            what: match token.kind {
                TokenKind::Webhook => "webhook token".to_owned(),
                TokenKind::Api => "api token".to_owned(),
            },
            name: token.name.clone(),
            role: token.role.map(|role| role.to_string()),
            source: token.source.clone(),
            stamp: stamp_of(&token.hash),
        };
        access.users.iter().map(user).chain(access.tokens.iter().map(token)).collect()
    }

    /// Whether there is anybody to sign in, so that strangers need not be let in to read.
    pub fn has_readers(&self) -> bool {
        let access = self.current();
        !access.users.is_empty() || access.tokens.iter().any(|t| t.kind == TokenKind::Api)
    }

    /// The names of all who may answer a question that is put to `roles`.
    pub fn eligible(&self, roles: &[String]) -> BTreeSet<String> {
        self.current().eligible(roles)
    }

    /// The holder of a token.
    pub fn by_token(&self, token: &str) -> Option<Holder> {
        let hash = sha256_hex(token.as_bytes());
        let access = self.current();
        // All are compared, so that the time does not tell which one came near.
        let known = access
            .tokens
            .iter()
            .fold(None, |known, entry| if equal(&entry.hash, &hash) { Some(entry) } else { known });
        known.and_then(Token::holder)
    }

    /// A user by name with the stamp of the password in force; for sessions.
    pub fn by_name(&self, name: &str) -> Option<(Principal, String)> {
        let access = self.current();
        let user = access.users.iter().find(|user| user.name == name)?;
        Some((user.principal(), sha256_hex(user.password_hash.as_bytes())))
    }

    /// Checks a name and a password; `None` when they do not fit.
    ///
    /// # Errors
    /// Too many are waiting.
    pub async fn sign_in(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<Option<Principal>, Busy> {
        let access = self.current();
        let user = access.users.iter().find(|user| user.name == name);
        let hash = user.map_or(secrets::NOBODY, |user| user.password_hash.as_str()).to_owned();
        let turn = tokio::time::timeout(TURN_WITHIN, self.0.hashing.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Busy) };
        let password = password.clone();
        let checked = tokio::task::spawn_blocking(move || {
            secrets::is_password(password.expose_secret(), &hash)
        });
        let fits = checked.await.unwrap_or(false);
        Ok(user.filter(|_| fits).map(User::principal))
    }

    /// Whether these basic credentials were right before and still are.
    pub fn remembers(&self, name: &str, password: &SecretString) -> Option<Principal> {
        let (principal, stamp) = self.by_name(name)?;
        let key = self.memory_key(name, password, &stamp);
        locked(&self.0.remembered).contains(&key).then_some(principal)
    }

    /// Remembers basic credentials that were right.
    pub fn remember(&self, name: &str, password: &SecretString) {
        let Some((_, stamp)) = self.by_name(name) else { return };
        let key = self.memory_key(name, password, &stamp);
        let mut remembered = locked(&self.0.remembered);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key);
    }

    fn memory_key(&self, name: &str, password: &SecretString, stamp: &str) -> String {
        let (salt, password) = (&self.0.salt, password.expose_secret());
        sha256_hex(format!("{salt}\n{stamp}\n{name}\n{password}").as_bytes())
    }

    /// The entries in force. A file that became wrong changes nothing until it is mended.
    fn current(&self) -> Arc<Access> {
        let mut seen = locked(&self.0.seen);
        if let Some(file) = &self.0.file
            && seen.looked_at.elapsed() >= LOOK_EVERY
        {
            seen.looked_at = Instant::now();
            let stamp = stamp(file);
            if stamp != seen.stamp {
                seen.stamp = stamp;
                match access::load(file) {
                    Ok(access) => {
                        seen.access = Arc::new(access.unwrap_or_default());
                        tracing::info!("read users and tokens again");
                    }
                    Err(problems) => tracing::error!(
                        %problems, "cannot read users and tokens again; those known before stay"
                    ),
                }
            }
        }
        Arc::clone(&seen.access)
    }
}

impl User {
    pub(super) fn principal(&self) -> Principal {
        Principal { name: self.name.clone(), role: self.role, via: Via::Form }
    }
}

impl Token {
    pub(super) fn holder(&self) -> Option<Holder> {
        match (self.kind, self.role) {
            (TokenKind::Webhook, _) => {
                let source = self.source.clone().unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
                Some(Holder::Sender { source })
            }
            (TokenKind::Api, Some(role)) => {
                let name = self.name.clone();
                Some(Holder::Person(Principal { name, role, via: Via::Token }))
            }
            (TokenKind::Api, None) => None,
        }
    }
}

/// The source of alerts whose credentials name none.
pub const DEFAULT_SOURCE: &str = "alertmanager";

fn stamp(file: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

/// Enough of a hash of the hash to see that the secret is another one.
fn stamp_of(hash: &str) -> String {
    sha256_hex(hash.as_bytes())[..12].to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that costs nothing to check.
    fn quick_hash(password: &str) -> String {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let salt = SaltString::encode_b64(b"some salt").unwrap();
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password(password.as_bytes(), &salt)
            .unwrap()
            .to_string()
    }

    fn kim() -> People {
        let user =
            User { name: "kim".into(), role: Role::Sre, password_hash: quick_hash("pass phrase") };
        People::of(Access { users: vec![user], tokens: Vec::new() })
    }

    #[tokio::test]
    async fn only_the_right_password_signs_in() {
        let people = kim();
        let right = people.sign_in("kim", &"pass phrase".into()).await;
        let kim = Principal { name: "kim".into(), role: Role::Sre, via: Via::Form };
        assert_eq!(right, Ok(Some(kim.clone())));
        assert_eq!(people.sign_in("kim", &"pass".into()).await, Ok(None));
        assert_eq!(people.sign_in("lee", &"pass phrase".into()).await, Ok(None));
        assert_eq!(people.remembers("kim", &"pass phrase".into()), None);
        people.remember("kim", &"pass phrase".into());
        assert_eq!(people.remembers("kim", &"pass phrase".into()), Some(kim));
        assert_eq!(people.remembers("kim", &"pass".into()), None);
    }

    #[test]
    fn a_token_names_its_holder() {
        let (hook, api) = (secrets::new_token(), secrets::new_token());
        let token = |name: &str, kind, hash: &str, role, source: Option<&str>| Token {
            name: name.into(),
            kind,
            hash: hash.into(),
            role,
            source: source.map(str::to_owned),
        };
        let people = People::of(Access {
            users: Vec::new(),
            tokens: vec![
                token("am", TokenKind::Webhook, &hook.hash, None, Some("berlin")),
                token("bot", TokenKind::Api, &api.hash, Some(Role::Viewer), None),
            ],
        });
        let sender = Holder::Sender { source: "berlin".into() };
        assert_eq!(people.by_token(&hook.shown_once), Some(sender));
        let bot = Principal { name: "bot".into(), role: Role::Viewer, via: Via::Token };
        assert_eq!(people.by_token(&api.shown_once), Some(Holder::Person(bot)));
        assert_eq!(people.by_token(&hook.hash), None);
        assert_eq!(people.by_token(""), None);
    }
}
