//! Intents: the rows that make a change start at most once, and what is read again with them.
//!
//! In: an [`Intent`], as part of a step. Out: its row, or why it may not be written. Never: an intent
//! without its limits counted under lock in the same transaction.

use super::actions::move_on;
use super::db::{Conn, Store, chunks, db, dialect, values};
use super::{Error, circumstances, key, orders};
use crate::model::action::ActionState;
use crate::model::guard::Watch;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::verdict::{Limit, Tier};
use sqlx::AssertSqlSafe;
use std::collections::BTreeSet;

/// What the intent transaction reads again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    pub action_id: ActionId,
    pub incident_id: IncidentId,
    /// The state that the action must still be in.
    pub from: ActionState,
    pub limits: Vec<Limit>,
    /// The number of the orders under which the call was judged.
    pub orders_version: i64,
    pub watch: Watch,
    pub at_ms: i64,
    /// When its places are free again even if nobody wrote an outcome.
    pub held_until_ms: i64,
}

impl Store {
    /// Whether a change was started, or may have been: its intent is committed.
    pub async fn intents_of(&self, incident: IncidentId) -> Result<i64, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let (count,): (i64,) = db!(conn, c => sqlx::query_as(
                    "select count(*) from intent where incident_id = $1"
                ).bind(incident.to_string()).fetch_one(&mut **c).await)?;
                Ok(count)
            })
        })
        .await
    }
}

/// Writes the intent: everything that allowed the call is read again under lock, then the change
/// may start once. Part of a step's transaction.
///
/// # Errors
/// `NoLonger` when a halt or the action's state forbids it, `OrdersChanged` when it has to be judged
/// again because of people's orders or of what waits in the inbox, `OverLimit` with the true counts,
/// `Held` by a guard, `Crowded` when it has to wait for others.
pub async fn write_intent(conn: &mut Conn<'_>, intent: &Intent) -> Result<(), Error> {
    refuse_when_told(conn, intent.incident_id).await?;
    refuse_when_halted(conn).await?;
    orders::refuse_when_changed(conn, intent.orders_version).await?;
    move_on(conn, intent.action_id, intent.from, ActionState::Intended).await?;
    refuse_when_expired(conn, intent).await?;
    lock(conn, intent).await?;
    refuse_when_held(conn, intent).await?;
    for limit in &intent.limits {
        db!(conn, c => sqlx::query(
            "insert into limit_hit (name, action_id, at_ms) values ($1, $2, $3)
             on conflict do nothing"
        )
            .bind(key(&limit.key))
            .bind(intent.action_id.to_string())
            .bind(intent.at_ms)
            .execute(&mut **c).await.map(|_| ()))?;
    }
    for slot in &intent.watch.slots {
        db!(conn, c => sqlx::query(
            "insert into slot (name, action_id, taken_at_ms, until_ms) values ($1, $2, $3, $4)"
        )
            .bind(key(&slot.name))
            .bind(intent.action_id.to_string())
            .bind(intent.at_ms)
            .bind(intent.held_until_ms)
            .execute(&mut **c).await.map(|_| ()))?;
    }
    db!(conn, c => sqlx::query(
        "insert into intent (action_id, incident_id, at_ms) values ($1, $2, $3)"
    )
        .bind(intent.action_id.to_string())
        .bind(intent.incident_id.to_string())
        .bind(intent.at_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// What takes a change back and came since the step began is folded in first: a silence, a resolved
/// notice, an end of what was permitted. The step has locked the row of the incident by now, for which
/// whoever tells waits; so what is told later is told of a change that has started.
async fn refuse_when_told(conn: &mut Conn<'_>, incident: IncidentId) -> Result<(), Error> {
    let (told,): (i64,) = db!(conn, c => sqlx::query_as(
        "select count(*) from inbox
         where stream_kind = 'incident' and stream_id = $1
           and (body like '{\"kind\":\"alert_silenced\"%' or body like '{\"kind\":\"alert_resolved\"%'
                or body like '{\"kind\":\"superseded\"%')"
    ).bind(incident.to_string()).fetch_one(&mut **c).await)?;
    if told == 0 { Ok(()) } else { Err(Error::OrdersChanged) }
}

/// Once a halt is stored, no intent is committed: the lock makes it wait for those under way.
async fn refuse_when_halted(conn: &mut Conn<'_>) -> Result<(), Error> {
    let sql = dialect!(conn,
        lite: "select value, by_whom, reason from switch where name = 'halt'",
        pg: "select value, by_whom, reason from switch where name = 'halt' for share",
    );
    let halt: Option<(String, String, String)> =
        db!(conn, c => sqlx::query_as(sql).fetch_optional(&mut **c).await)?;
    match halt {
        Some((value, by, reason)) if value == "on" => {
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            Err(Error::NoLonger(format!("all changes are halted by {by}{reason}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// An approval covers the call until it expires, also when the worker was away in between.
async fn refuse_when_expired(conn: &mut Conn<'_>, intent: &Intent) -> Result<(), Error> {
    let (expires_at_ms,): (Option<i64>,) = db!(conn, c => sqlx::query_as(
        "select expires_at_ms from action where id = $1"
    ).bind(intent.action_id.to_string()).fetch_one(&mut **c).await)?;
    let expired = expires_at_ms.is_some_and(|expires| expires <= intent.at_ms);
    if intent.from == ActionState::Approved && expired {
        return Err(Error::NoLonger("the approval has expired".into()));
    }
    Ok(())
}

/// Locks every name that is counted, in one order for everybody, so that two intents cannot wait for
/// each other.
async fn lock(conn: &mut Conn<'_>, intent: &Intent) -> Result<(), Error> {
    let watch = &intent.watch;
    let limits = intent.limits.iter().map(|limit| &limit.key);
    let slots = watch.slots.iter().map(|slot| &slot.name);
    let breakers = watch.breakers.iter().map(|breaker| &breaker.name);
    lock_names(conn, limits.chain(slots).chain(breakers), intent.at_ms).await
}

/// Locks names until the end of the transaction: whatever is counted under them stands still.
pub(super) async fn lock_names<'a>(
    conn: &mut Conn<'_>,
    names: impl Iterator<Item = &'a String>,
    at_ms: i64,
) -> Result<(), Error> {
    let names: BTreeSet<_> = names.map(|name| key(name)).collect();
    let names: Vec<_> = names.into_iter().collect();
    for chunk in chunks(&names) {
        let sql = format!(
            "insert into limit_key (name, touched_at_ms) values {}
             on conflict (name) do update set touched_at_ms = excluded.touched_at_ms",
            values(chunk.len(), 2)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for name in chunk {
                query = query.bind(name.as_ref()).bind(at_ms);
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Counts again, under lock, everything that the verdict was given under. A person's approval goes
/// beyond limits and most guards, but not past the changes in flight.
async fn refuse_when_held(conn: &mut Conn<'_>, intent: &Intent) -> Result<(), Error> {
    let (watch, approved) = (&intent.watch, intent.from == ActionState::Approved);
    let found = circumstances::find(conn, watch, &intent.limits, intent.at_ms).await?;
    let over: Vec<(Limit, i64)> = found
        .counts
        .into_iter()
        .filter(|(limit, count)| *count >= limit.max)
        .filter(|(limit, _)| !approved || watch.strict.contains(limit))
        .collect();
    if !over.is_empty() {
        return Err(Error::OverLimit(over));
    }
    let held = found.recent.held(watch).into_iter();
    let held: Vec<String> = held
        .filter(|(_, tier)| !approved || *tier == Tier::Forbidden)
        .map(|(why, _)| why)
        .collect();
    if !held.is_empty() {
        return Err(Error::Held(held.join("; ")));
    }
    found.recent.crowded(watch).map_or(Ok(()), |why| Err(Error::Crowded(why)))
}

/// Gives the places of a change back: it is no longer in flight.
pub async fn give_back(conn: &mut Conn<'_>, id: ActionId) -> Result<(), Error> {
    db!(conn, c => sqlx::query("delete from slot where action_id = $1")
        .bind(id.to_string()).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}
