//! What is wrong when a database cannot be opened: something that passes, or something to mend.
//!
//! In: an error of opening. Out: `Unavailable` where waiting may help, `Conflict` where only a person
//! can.

use super::Error;
use rustix::io::Errno;
use sqlx::Connection as _;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::time::Duration;

/// Until a server that says nothing counts as away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Connects to a server, before any pool does: a pool that gets no connection only says that it
/// waited, and not for whom or why.
pub(super) async fn connect(
    options: &PgConnectOptions,
    place: &str,
) -> Result<PgConnection, Error> {
    match tokio::time::timeout(CONNECT_WITHIN, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|error| of_server(&error, place)),
        Err(_) => {
            let within = CONNECT_WITHIN.as_secs();
            Err(Error::Unavailable(format!("Postgres at {place} gives no answer in {within} s")))
        }
    }
}

/// A server that cannot be connected to. One that answers that it knows no such user or database
/// will go on saying so.
fn of_server(error: &sqlx::Error, place: &str) -> Error {
    let told = error.as_database_error();
    let to_mend = match told.and_then(|told| told.code()) {
        // SQLSTATE class 28: the login; 3D000: the database.
        Some(code) => code.starts_with("28") || code.as_ref() == "3D000",
        None => matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_)),
    };
    // Without the line of the server's own source that sqlx adds.
    let why = told.map_or_else(|| error.to_string(), |told| told.message().to_owned());
    let said = format!("cannot connect to Postgres at {place}: {why}");
    if to_mend { Error::Conflict(said) } else { Error::Unavailable(said) }
}

/// Tables that cannot be brought up to date.
pub(super) fn of_tables(error: MigrateError) -> Error {
    let passes = matches!(error, MigrateError::Execute(_) | MigrateError::ExecuteMigration(..));
    let said = format!("cannot bring the tables up to date: {error}");
    if passes { Error::Unavailable(said) } else { Error::Conflict(said) }
}

/// A folder that cannot be used. A disk that is full, broken or read-only may be mended under a
/// waiting process; a wrong path or owner is told at once.
pub(super) fn of_folder(error: &std::io::Error, said: String) -> Error {
    let pass = [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::DQUOT, Errno::STALE, Errno::TIMEDOUT];
    let passes = Errno::from_io_error(error).is_some_and(|errno| pass.contains(&errno));
    if passes { Error::Unavailable(said) } else { Error::Conflict(said) }
}

/// A database file that cannot be opened, told apart likewise.
pub(super) fn of_file(error: &sqlx::Error, said: String) -> Error {
    /// The primary result codes of SQLite that say busy, read-only, I/O error and full
    /// (<https://sqlite.org/rescode.html>).
    const PASS: [i32; 4] = [5, 8, 10, 13];
    let passes = match error.as_database_error().and_then(|told| told.code()) {
        Some(code) => code.parse::<i32>().is_ok_and(|code| PASS.contains(&(code & 0xff))),
        None => true,
    };
    if passes { Error::Unavailable(said) } else { Error::Conflict(said) }
}
