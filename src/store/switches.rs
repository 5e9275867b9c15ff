//! Switches that every replica obeys. Halt stops every change that has not started.

use super::db::{Store, db};
use super::{Error, text};

/// Who halted everything, and when.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Halt {
    pub by: String,
    pub at_ms: i64,
}

impl Store {
    /// The halt in force, if there is one.
    pub async fn halt(&self) -> Result<Option<Halt>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let found: Option<(String, i64)> = db!(conn, c => sqlx::query_as(
                    "select by_whom, at_ms from switch where name = 'halt' and value = 'on'"
                ).fetch_optional(&mut **c).await)?;
                Ok(found.map(|(by, at_ms)| Halt { by, at_ms }))
            })
        })
        .await
    }

    /// Halts all changes, or lets them go on.
    pub async fn set_halt(&self, on: Switch, by: &str, at_ms: i64) -> Result<(), Error> {
        let by = by.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let value = match on {
                    Switch::On => "on",
                    Switch::Off => "off",
                };
                db!(conn, c => sqlx::query(
                    "insert into switch (name, value, by_whom, at_ms) values ('halt', $1, $2, $3)
                     on conflict (name) do update set value = excluded.value,
                         by_whom = excluded.by_whom, at_ms = excluded.at_ms"
                ).bind(value).bind(text(&by)).bind(at_ms).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}

/// The two positions of a switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    On,
    Off,
}
