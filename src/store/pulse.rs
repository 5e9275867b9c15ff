//! The proof that writes are kept: a row that a process writes again and again.
//!
//! In: the name of a process. Out: done, and the row is on disk. Never: a row that decides anything.

use super::Error;
use super::db::{Store, db};

/// A process that has written nothing for so long is gone.
const GONE_AFTER_MS: i64 = 3_600_000;

impl Store {
    /// Writes the row of this process; when it answers `Ok`, writes reach the disk.
    ///
    /// # Errors
    /// What keeps every other write from being kept, too.
    pub async fn pulse(&self, process: &str, at_ms: i64) -> Result<(), Error> {
        let process = process.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "insert into pulse (process, at_ms) values ($1, $2)
                     on conflict (process) do update set at_ms = excluded.at_ms"
                ).bind(&process).bind(at_ms).execute(&mut **c).await.map(|_| ()))?;
                db!(conn, c => sqlx::query("delete from pulse where at_ms < $1")
                    .bind(at_ms - GONE_AFTER_MS)
                    .execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}
