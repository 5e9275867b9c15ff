//! Everything durable. All SQL of the product is below this folder, one file per table group.
//!
//! In: plain types of `model`. Out: the same, or an [`Error`] that says what the caller does next.
//! Each query is written once and runs on SQLite and Postgres. Never: a transaction that is open
//! across an outside call; a time that was not handed in, except leases on Postgres.

pub mod actions;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod blobs;
pub mod breakers;
pub mod checkpoints;
pub mod circumstances;
pub mod db;
pub mod deliveries;
pub mod digests;
pub mod effects;
mod files;
pub mod inbox;
pub mod incidents;
pub mod intents;
pub mod joins;
mod lost_claims;
mod opening;
pub mod orders;
mod orphans;
pub mod outbox;
pub mod pipeline;
pub mod plan;
mod postgres_tools;
pub mod priority;
pub mod pulse;
mod readers;
pub mod replicas;
pub mod restore;
pub mod retention;
mod rows;
pub mod schedules;
pub mod schema;
pub mod sessions;
pub mod step;
pub mod switches;
pub mod system;
pub mod tap;
pub mod timeline;
pub mod usage;
pub mod wakeups;
mod writer;

pub use db::Store;

use crate::model::call::sha256_hex;
use std::borrow::Cow;

/// An index row of Postgres has room for about 2,700 bytes, and some indexes hold two keys.
const KEY_BYTES_MAX: usize = 1000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was written; try again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Too much is waiting to be written; shed load.
    #[error("the database cannot keep up: too many writes are waiting")]
    Busy,
    /// Another worker owns the incident by now; drop the step.
    #[error("the lease on the incident was lost")]
    Fenced,
    /// The intent was not written: limits are used up. Judge again with these counts.
    #[error("a limit is reached")]
    OverLimit(Vec<(crate::model::verdict::Limit, i64)>),
    /// The intent was not written: people gave orders, or the incident was told something that takes
    /// the change back, since the call was judged. Take the step anew.
    #[error("people gave orders meanwhile")]
    OrdersChanged,
    /// The intent was not written: other changes are in flight, and this one has to wait until
    /// one has ended. Try again shortly.
    #[error("{0}")]
    Crowded(String),
    /// The intent was not written: by now a guard holds changes of this kind back. Judge again.
    #[error("{0}")]
    Held(String),
    /// The intent was not written: what allowed the call no longer holds.
    #[error("{0}")]
    NoLonger(String),
    /// Something that must be unique or in a certain state is not.
    #[error("{0}")]
    Conflict(String),
    /// What was read makes no sense; a person has to look.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let unfit = database.code().is_some_and(|code| is_unfit(&code));
            if database.is_unique_violation() || unfit {
                return Self::Conflict(database.message().to_owned());
            }
        }
        Self::Unavailable(error.to_string())
    }
}

/// Whether an error is about the data itself, so that it does not get better by trying again.
///
/// SQLSTATE class 22: it cannot be stored; 23: it breaks a constraint; 54: it is too large; P0: a
/// trigger refused it. SQLite: TOOBIG (18), CONSTRAINT (19) and MISMATCH (20), in the low byte.
fn is_unfit(code: &str) -> bool {
    // SQLite's are numbers of at most four digits.
    if code.len() == 5 {
        return ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

/// Parses what the store itself wrote.
fn parsed<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> Result<T, Error> {
    result.map_err(|error| Error::Corrupt(format!("{what}: {error}")))
}

/// Text from outside as both engines can store it: Postgres takes no NUL.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Text from outside that is part of an index. What is too long for one ends in its hash.
fn key(key: &str) -> Cow<'_, str> {
    if key.len() <= KEY_BYTES_MAX {
        return text(key);
    }
    let start = &key[..key.floor_char_boundary(KEY_BYTES_MAX - 100)];
    Cow::Owned(format!("{}…{}", text(start), sha256_hex(key.as_bytes())))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    parsed(serde_json::to_string(value), "cannot be written as JSON")
}
