//! Breakers: changes that ended badly are counted, and too many of a kind open the breaker.
//!
//! In: a change that failed, whose outcome is unknown, or that was not measured to help, as part of
//! the step that found out. Out: an open breaker, and its announcement with the same commit. Never:
//! a change counted twice, an opening announced twice.

use super::db::{Conn, Store, db};
use super::intents::lock_names;
use super::step::Announcement;
use super::{Error, key, outbox};
use crate::model::guard::Breaker;
use crate::model::ids::ActionId;

/// A change that ended badly.
#[derive(Clone, Debug)]
pub struct Failure {
    pub action_id: ActionId,
    pub at_ms: i64,
    /// The breakers that it counts for, each with what people are told when it opens.
    pub breakers: Vec<(Breaker, Announcement)>,
}

impl Store {
    /// Every breaker that ever opened, and until when.
    pub async fn breakers(&self) -> Result<Vec<(String, i64)>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select name, until_ms from breaker order by name"
                ).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }
}

/// Counts a failure and opens what is due. Part of a step's transaction.
pub(super) async fn count(conn: &mut Conn<'_>, failure: &Failure) -> Result<(), Error> {
    let names = failure.breakers.iter().map(|(breaker, _)| &breaker.name);
    lock_names(conn, names, failure.at_ms).await?;
    for (breaker, announcement) in &failure.breakers {
        // A failed change that is measured later and did not help is one bad change.
        if record(conn, failure, breaker).await?
            && bad_changes(conn, breaker, failure.at_ms).await? >= breaker.max
            && open(conn, breaker, failure.at_ms).await?
        {
            outbox::queue(conn, announcement).await?;
        }
    }
    Ok(())
}

/// Writes a change down; false when it stands there already.
async fn record(conn: &mut Conn<'_>, failure: &Failure, breaker: &Breaker) -> Result<bool, Error> {
    let recorded = db!(conn, c => sqlx::query(
        "insert into bad_change (name, action_id, at_ms) values ($1, $2, $3)
         on conflict do nothing"
    )
        .bind(key(&breaker.name))
        .bind(failure.action_id.to_string())
        .bind(failure.at_ms)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    Ok(recorded == 1)
}

async fn bad_changes(conn: &mut Conn<'_>, breaker: &Breaker, now_ms: i64) -> Result<i64, Error> {
    let (count,): (i64,) = db!(conn, c => sqlx::query_as(
        "select count(*) from bad_change where name = $1 and at_ms > $2"
    )
        .bind(key(&breaker.name))
        .bind(now_ms.saturating_sub(breaker.within_ms))
        .fetch_one(&mut **c).await)?;
    Ok(count)
}

/// Opens a breaker; false when it is open already.
async fn open(conn: &mut Conn<'_>, breaker: &Breaker, now_ms: i64) -> Result<bool, Error> {
    let opened = db!(conn, c => sqlx::query(
        "insert into breaker (name, opened_at_ms, until_ms) values ($1, $2, $3)
         on conflict (name) do update
         set opened_at_ms = excluded.opened_at_ms, until_ms = excluded.until_ms
         where breaker.until_ms <= excluded.opened_at_ms"
    )
        .bind(key(&breaker.name))
        .bind(now_ms)
        .bind(now_ms.saturating_add(breaker.for_ms))
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    Ok(opened == 1)
}
