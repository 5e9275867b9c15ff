//! Holds and rules in quarantine, and the number that counts every change to them.
//!
//! In: an order of a person. Out: the order, committed together with its entry on the timeline of
//! the system; one that stops changes stands without its entry when that cannot be written. Never: an intent that was judged under older orders: whoever gives one changes the
//! row that every intent locks.

use super::db::{Conn, Store, db, dialect};
use super::switches::Halt;
use super::{Error, json, key, parsed, system, text};
use crate::model::ids::HoldId;
use crate::model::orders::{Hold, Orders, Quarantined};
use crate::model::system::SystemEntry;
use serde::Serialize;
use sqlx::FromRow;

/// A hold with what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PastHold {
    #[serde(flatten)]
    pub hold: Hold,
    pub removed_by: Option<String>,
    pub removed_at_ms: Option<i64>,
}

/// What a change is compared with once more just before its tool starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brake {
    pub halt: Option<Halt>,
    pub orders_version: i64,
}

#[derive(FromRow)]
struct Columns {
    id: String,
    matchers: String,
    reason: String,
    by_whom: String,
    at_ms: i64,
    until_ms: i64,
    removed_by: Option<String>,
    removed_at_ms: Option<i64>,
}

impl Columns {
    fn hold(self) -> Result<PastHold, Error> {
        Ok(PastHold {
            hold: Hold {
                id: parsed(self.id.parse(), "hold id")?,
                matchers: parsed(serde_json::from_str(&self.matchers), "matchers of a hold")?,
                reason: self.reason,
                by: self.by_whom,
                at_ms: self.at_ms,
                until_ms: self.until_ms,
            },
            removed_by: self.removed_by,
            removed_at_ms: self.removed_at_ms,
        })
    }
}

impl Store {
    /// The orders in force.
    pub async fn orders(&self, now_ms: i64) -> Result<Orders, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                // First the number: an order that comes in between makes it too low, never too high.
                let version = version(conn).await?;
                let holds = standing(conn, now_ms).await?.into_iter().map(|past| past.hold);
                Ok(Orders {
                    version,
                    holds: holds.collect(),
                    quarantined: quarantined(conn).await?,
                })
            })
        })
        .await
    }

    /// Halt and number of the orders, with one statement.
    pub async fn brake(&self) -> Result<Brake, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (orders_version, value, by, reason, at_ms): (i64, String, String, String, i64) =
                    db!(conn, c => sqlx::query_as(
                        "select o.version, s.value, s.by_whom, s.reason, s.at_ms
                         from orders o, switch s where o.name = 'orders' and s.name = 'halt'"
                    ).fetch_one(&mut **c).await)?;
                let halt = (value == "on").then_some(Halt { by, reason, at_ms });
                Ok(Brake { halt, orders_version })
            })
        })
        .await
    }

    /// Holds, the newest first, those that ended included.
    pub async fn past_holds(&self, at_most: i64) -> Result<Vec<PastHold>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
                    "select id, matchers, reason, by_whom, at_ms, until_ms, removed_by,
                            removed_at_ms
                     from hold order by at_ms desc, id desc limit $1"
                ).bind(at_most).fetch_all(&mut **c).await)?;
                rows.into_iter().map(Columns::hold).collect()
            })
        })
        .await
    }

    /// Puts a hold in force, also when it cannot be written down. Once it is answered, no intent is
    /// committed that it forbids.
    pub async fn add_hold(&self, hold: Hold) -> Result<(), Error> {
        let alone = hold.clone();
        let done = self.write(move |conn| {
            Box::pin(async move {
                keep_hold(conn, &hold).await?;
                let at_ms = hold.at_ms;
                system::append(conn, at_ms, &SystemEntry::HoldMade { hold }).await
            })
        });
        let Err(error) = done.await else { return Ok(()) };
        self.write(move |conn| Box::pin(async move { keep_hold(conn, &alone).await })).await?;
        system::left_out("a hold", &error);
        Ok(())
    }

    /// Ends a hold before its time; tells which, or `None` when none of this id is in force.
    pub async fn remove_hold(
        &self,
        id: HoldId,
        by: &str,
        at_ms: i64,
    ) -> Result<Option<Hold>, Error> {
        let by = by.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                lock(conn).await?;
                let in_force = standing(conn, at_ms).await?;
                let Some(found) = in_force.into_iter().find(|past| past.hold.id == id) else {
                    return Ok(None);
                };
                bump(conn).await?;
                db!(conn, c => sqlx::query(
                    "update hold set removed_by = $2, removed_at_ms = $3 where id = $1"
                )
                    .bind(id.to_string())
                    .bind(text(&by))
                    .bind(at_ms)
                    .execute(&mut **c).await.map(|_| ()))?;
                let matchers = found.hold.matchers.clone();
                system::append(conn, at_ms, &SystemEntry::HoldRemoved { id, matchers, by }).await?;
                Ok(Some(found.hold))
            })
        })
        .await
    }

    /// Lets a rule ask from now on, also when that cannot be written down; the same for one that
    /// does already, with the new reason.
    pub async fn quarantine(&self, order: Quarantined) -> Result<(), Error> {
        let alone = order.clone();
        let done = self.write(move |conn| {
            Box::pin(async move {
                keep_quarantine(conn, &order).await?;
                let at_ms = order.at_ms;
                system::append(conn, at_ms, &SystemEntry::RuleQuarantined { order }).await
            })
        });
        let Err(error) = done.await else { return Ok(()) };
        self.write(move |conn| Box::pin(async move { keep_quarantine(conn, &alone).await }))
            .await?;
        system::left_out("a quarantine", &error);
        Ok(())
    }

    /// Lifts the quarantine of a rule; tells whether there was one.
    pub async fn release_rule(&self, rule: &str, by: &str, at_ms: i64) -> Result<bool, Error> {
        let (rule, by) = (rule.to_owned(), by.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                lock(conn).await?;
                let gone = db!(conn, c => sqlx::query("delete from quarantine where rule = $1")
                    .bind(key(&rule))
                    .execute(&mut **c).await.map(|done| done.rows_affected()))?;
                if gone == 0 {
                    return Ok(false);
                }
                bump(conn).await?;
                system::append(conn, at_ms, &SystemEntry::RuleReleased { rule, by }).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// Refuses an intent that was judged under other orders than those in force. The lock makes an
/// order wait for the intents under way, and an intent for the order.
///
/// # Errors
/// `OrdersChanged`: judge again.
pub async fn refuse_when_changed(conn: &mut Conn<'_>, judged: i64) -> Result<(), Error> {
    let sql = dialect!(conn,
        lite: "select version from orders where name = 'orders'",
        pg: "select version from orders where name = 'orders' for share",
    );
    let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(sql).fetch_optional(&mut **c).await)?;
    match found {
        Some((version,)) if version == judged => Ok(()),
        Some(_) | None => Err(Error::OrdersChanged),
    }
}

/// Locks the row that intents share, before it is known whether there is anything to order.
async fn lock(conn: &mut Conn<'_>) -> Result<(), Error> {
    let sql = dialect!(conn,
        lite: "select version from orders where name = 'orders'",
        pg: "select version from orders where name = 'orders' for update",
    );
    db!(conn, c => sqlx::query(sql).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Makes whatever was judged before be judged again, and locks the row, too.
async fn bump(conn: &mut Conn<'_>) -> Result<(), Error> {
    db!(conn, c => sqlx::query("update orders set version = version + 1 where name = 'orders'")
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Puts a hold in force. One of this id is there already when the answer to the first try was lost.
async fn keep_hold(conn: &mut Conn<'_>, hold: &Hold) -> Result<(), Error> {
    bump(conn).await?;
    let matchers = json(&hold.matchers)?;
    db!(conn, c => sqlx::query(
        "insert into hold (id, matchers, reason, by_whom, at_ms, until_ms)
         values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing"
    )
        .bind(hold.id.to_string())
        .bind(text(&matchers))
        .bind(text(&hold.reason))
        .bind(text(&hold.by))
        .bind(hold.at_ms)
        .bind(hold.until_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

async fn keep_quarantine(conn: &mut Conn<'_>, order: &Quarantined) -> Result<(), Error> {
    bump(conn).await?;
    db!(conn, c => sqlx::query(
        "insert into quarantine (rule, reason, by_whom, at_ms) values ($1, $2, $3, $4)
         on conflict (rule) do update set reason = excluded.reason,
             by_whom = excluded.by_whom, at_ms = excluded.at_ms"
    )
        .bind(key(&order.rule))
        .bind(text(&order.reason))
        .bind(text(&order.by))
        .bind(order.at_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

async fn version(conn: &mut Conn<'_>) -> Result<i64, Error> {
    let (version,): (i64,) = db!(conn, c => sqlx::query_as(
        "select version from orders where name = 'orders'"
    ).fetch_one(&mut **c).await)?;
    Ok(version)
}

async fn standing(conn: &mut Conn<'_>, now_ms: i64) -> Result<Vec<PastHold>, Error> {
    let rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
        "select id, matchers, reason, by_whom, at_ms, until_ms, removed_by, removed_at_ms
         from hold where removed_at_ms is null and until_ms > $1 order by until_ms, id"
    ).bind(now_ms).fetch_all(&mut **c).await)?;
    rows.into_iter().map(Columns::hold).collect()
}

async fn quarantined(conn: &mut Conn<'_>) -> Result<Vec<Quarantined>, Error> {
    let rows: Vec<(String, String, String, i64)> = db!(conn, c => sqlx::query_as(
        "select rule, reason, by_whom, at_ms from quarantine order by rule"
    ).fetch_all(&mut **c).await)?;
    let order = |(rule, reason, by, at_ms)| Quarantined { rule, reason, by, at_ms };
    Ok(rows.into_iter().map(order).collect())
}
