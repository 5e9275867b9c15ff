//! Intents: the rows that make a change start at most once, and what is read again with them.
//!
//! In: an [`Intent`], as part of a step. Out: its row, or why it may not be written. Never: an intent
//! without its limits counted under lock in the same transaction.

use super::actions::move_on;
use super::db::{Conn, Store, db, dialect};
use super::orders;
use super::{Error, key};
use crate::model::action::ActionState;
use crate::model::ids::{ActionId, IncidentId};
use crate::model::verdict::Limit;

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
    pub at_ms: i64,
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

    /// Hits of each limit within its window, for a verdict before the intent is written.
    pub async fn limit_counts(
        &self,
        limits: Vec<Limit>,
        now_ms: i64,
    ) -> Result<Vec<(Limit, i64)>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let mut counts = Vec::with_capacity(limits.len());
                for limit in limits {
                    let hits = hits(conn, &limit, now_ms).await?;
                    counts.push((limit, hits));
                }
                Ok(counts)
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
/// again, `OverLimit` with the true counts.
pub async fn write_intent(conn: &mut Conn<'_>, intent: &Intent) -> Result<(), Error> {
    refuse_when_halted(conn).await?;
    orders::refuse_when_changed(conn, intent.orders_version).await?;
    move_on(conn, intent.action_id, intent.from, ActionState::Intended).await?;
    refuse_when_expired(conn, intent).await?;
    let mut limits = intent.limits.clone();
    // One order for everybody, so that two intents cannot wait for each other.
    limits.sort_by(|a, b| a.key.cmp(&b.key));
    let mut over = Vec::new();
    for limit in &limits {
        db!(conn, c => sqlx::query(
            "insert into limit_key (name, touched_at_ms) values ($1, $2)
             on conflict (name) do update set touched_at_ms = excluded.touched_at_ms"
        ).bind(key(&limit.key)).bind(intent.at_ms).execute(&mut **c).await.map(|_| ()))?;
        let count = hits(conn, limit, intent.at_ms).await?;
        if count >= limit.max && intent.from == ActionState::Allowed {
            over.push((limit.clone(), count));
        }
    }
    if !over.is_empty() {
        return Err(Error::OverLimit(over));
    }
    for limit in &limits {
        db!(conn, c => sqlx::query(
            "insert into limit_hit (name, action_id, at_ms) values ($1, $2, $3)
             on conflict do nothing"
        )
            .bind(key(&limit.key))
            .bind(intent.action_id.to_string())
            .bind(intent.at_ms)
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

async fn hits(conn: &mut Conn<'_>, limit: &Limit, now_ms: i64) -> Result<i64, Error> {
    let (count,): (i64,) = db!(conn, c => sqlx::query_as(
        "select count(*) from limit_hit where name = $1 and at_ms > $2"
    ).bind(key(&limit.key)).bind(now_ms - limit.within_ms).fetch_one(&mut **c).await)?;
    Ok(count)
}
