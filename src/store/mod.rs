//! Everything durable. All SQL of the product is below this folder, one file per table group.
//!
//! In: plain types of `model`. Out: the same, or an [`Error`] that says what the caller does next.
//! Each query is written once and runs on SQLite and Postgres. Never: a transaction that is open
//! across an outside call; a time that was not handed in, except leases on Postgres.

pub mod actions;
pub mod alerts;
pub mod blobs;
pub mod db;
pub mod deliveries;
pub mod inbox;
pub mod incidents;
pub mod outbox;
pub mod sessions;
pub mod step;
pub mod switches;
pub mod timeline;
pub mod usage;
mod writer;

pub use db::Store;

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
            // SQLSTATE class 22: the data itself cannot be stored, e.g. a NUL in a text.
            let unfit =
                database.code().is_some_and(|code| code.len() == 5 && code.starts_with("22"));
            if database.is_unique_violation() || unfit {
                return Self::Conflict(database.message().to_owned());
            }
        }
        Self::Unavailable(error.to_string())
    }
}

/// Parses what the store itself wrote.
fn parsed<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> Result<T, Error> {
    result.map_err(|error| Error::Corrupt(format!("{what}: {error}")))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    parsed(serde_json::to_string(value), "cannot be written as JSON")
}
