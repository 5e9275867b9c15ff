//! Switches that every replica obeys. Halt stops every change that has not started.

use super::db::{Conn, Store, db};
use super::{Error, parsed, system, text};
use crate::model::orders::InFlight;
use crate::model::system::SystemEntry;
use serde_json::Value;

/// Who halted everything, when and why.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Halt {
    pub by: String,
    pub reason: String,
    pub at_ms: i64,
}

impl Store {
    /// The halt in force, if there is one.
    pub async fn halt(&self) -> Result<Option<Halt>, Error> {
        self.read(|conn| Box::pin(async move { halt(conn).await })).await
    }

    /// Halts all changes, or lets them go on, without a reason.
    pub async fn set_halt(&self, on: Switch, by: &str, at_ms: i64) -> Result<(), Error> {
        self.order_halt(on, by, "", at_ms).await
    }

    /// Halts all changes, or lets them go on, and writes that down. Once it is answered, no
    /// further intent is committed. A halt that cannot be written down is in force all the same.
    pub async fn order_halt(
        &self,
        on: Switch,
        by: &str,
        reason: &str,
        at_ms: i64,
    ) -> Result<(), Error> {
        match (on, self.turn_halt(on, by, reason, at_ms).await) {
            (Switch::On, Err(error)) => {
                let (by, reason) = (by.to_owned(), reason.to_owned());
                self.write(move |conn| {
                    Box::pin(async move { turn(conn, on, &by, &reason, at_ms).await })
                })
                .await?;
                system::left_out("a halt", &error);
                Ok(())
            }
            (_, done) => done,
        }
    }

    /// Turns the switch and writes that down, both or neither.
    async fn turn_halt(&self, on: Switch, by: &str, reason: &str, at_ms: i64) -> Result<(), Error> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                let was_on = halt(conn).await?.is_some();
                turn(conn, on, &by, &reason, at_ms).await?;
                let entry = match on {
                    Switch::On => SystemEntry::Halted { by, reason },
                    Switch::Off if was_on => SystemEntry::Resumed { by },
                    Switch::Off => return Ok(()),
                };
                system::append(conn, at_ms, &entry).await
            })
        })
        .await
    }

    /// The changes that were started, or may have been, and have no outcome yet; the oldest first.
    pub async fn in_flight(&self) -> Result<Vec<InFlight>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                type Columns = (String, String, String, String, Option<String>, i64);
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select a.id, a.tool, a.args, a.incident_id, i.title, n.at_ms
                     from action a
                     join intent n on n.action_id = a.id
                     left join incident i on i.id = a.incident_id
                     where a.state = 'intended' order by n.at_ms, a.id"
                ).fetch_all(&mut **c).await)?;
                rows.into_iter().map(flying).collect()
            })
        })
        .await
    }
}

async fn halt(conn: &mut Conn<'_>) -> Result<Option<Halt>, Error> {
    let found: Option<(String, String, i64)> = db!(conn, c => sqlx::query_as(
        "select by_whom, reason, at_ms from switch where name = 'halt' and value = 'on'"
    ).fetch_optional(&mut **c).await)?;
    Ok(found.map(|(by, reason, at_ms)| Halt { by, reason, at_ms }))
}

pub(super) async fn turn(
    conn: &mut Conn<'_>,
    on: Switch,
    by: &str,
    reason: &str,
    at_ms: i64,
) -> Result<(), Error> {
    let value = match on {
        Switch::On => "on",
        Switch::Off => "off",
    };
    db!(conn, c => sqlx::query(
        "insert into switch (name, value, by_whom, reason, at_ms) values ('halt', $1, $2, $3, $4)
         on conflict (name) do update set value = excluded.value,
             by_whom = excluded.by_whom, reason = excluded.reason, at_ms = excluded.at_ms"
    )
        .bind(value)
        .bind(text(by))
        .bind(text(reason))
        .bind(at_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

fn flying(
    columns: (String, String, String, String, Option<String>, i64),
) -> Result<InFlight, Error> {
    let (action_id, tool, args, incident_id, incident, since_ms) = columns;
    let args: Value = parsed(serde_json::from_str(&args), "arguments of an action")?;
    let named = |name: &str| args.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(InFlight {
        targets: ["host", "service"].into_iter().filter_map(named).collect(),
        incident: incident.unwrap_or_default(),
        action_id,
        tool,
        args,
        incident_id,
        since_ms,
    })
}

/// The two positions of a switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    On,
    Off,
}
