//! Digests: messages of one channel that wait to be put together, and what a digest stands for.
//!
//! A delivery that waits for one is `held`, and `digested` once the digest speaks for it. The digest
//! is a message like any other, written in the same transaction, so that none is ever lost between.

use super::db::{Conn, Store, db, dialect, list};
use super::{Error, json};
use crate::crash::{self, Point};
use crate::model::ids::MessageId;
use crate::model::message::Message;

/// More than a digest has ever had to stand for; the rest goes into the next one.
const MEMBERS_MAX: i64 = 5_000;

/// When messages of a channel are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// So many messages within the time go alone.
    pub messages_max: i64,
    pub within_ms: i64,
    /// Until the digest leaves in which somebody is called upon, and the first one after a calm.
    pub gather_ms: i64,
}

/// What one look tells.
struct Look {
    sent: i64,
    waiting: i64,
    held: i64,
    last_at_ms: Option<i64>,
}

impl Store {
    /// Holds what waits on a channel beyond its rate and may. Returns how many deliveries.
    pub async fn hold(&self, channel: &str, rule: Rule, now_ms: i64) -> Result<u64, Error> {
        let name = channel.to_owned();
        let look = self.read(move |conn| {
            Box::pin(async move { look(conn, &name, now_ms - rule.within_ms).await })
        });
        let look = look.await?;
        let goes_alone = look.held == 0 && look.sent + look.waiting <= rule.messages_max;
        if look.waiting == 0 || goes_alone {
            return Ok(0);
        }
        let alone = match look.held {
            0 => (rule.messages_max - look.sent).max(0),
            _ => 0,
        };
        let soon_ms = now_ms + rule.gather_ms;
        let late_ms = look.last_at_ms.map_or(soon_ms, |last| soon_ms.max(last + rule.within_ms));
        let channel = channel.to_owned();
        self.write(move |conn| {
            Box::pin(async move { hold(conn, &channel, alone, soon_ms, late_ms).await })
        })
        .await
    }

    /// Puts together what is held on a channel, once the first of it is due: `compose` writes the
    /// digest. Returns how many messages it stands for.
    pub async fn put_together<F>(
        &self,
        channel: &str,
        now_ms: i64,
        compose: F,
    ) -> Result<usize, Error>
    where
        F: FnOnce(&[Message]) -> Message + Send + 'static,
    {
        let name = channel.to_owned();
        let any = self.read(move |conn| {
            Box::pin(async move {
                let found: Option<(String,)> = db!(conn, c => sqlx::query_as(
                    "select message_id from message_delivery
                     where channel = $1 and may_digest > 0 and next_at_ms is not null
                       and state = 'held' and next_at_ms <= $2 limit 1"
                ).bind(name).bind(now_ms).fetch_optional(&mut **c).await)?;
                Ok(found.is_some())
            })
        });
        if !any.await? {
            return Ok(0);
        }
        let channel = channel.to_owned();
        let together = self
            .write(move |conn| {
                Box::pin(async move {
                    let together = put_together(conn, &channel, now_ms, compose).await?;
                    crash::at(Point::BeforeDigest);
                    Ok(together)
                })
            })
            .await?;
        crash::at(Point::AfterDigest);
        Ok(together)
    }

    /// Lets what is held on a channel go alone after all.
    pub async fn let_go(&self, channel: &str) -> Result<(), Error> {
        let name = channel.to_owned();
        // What was sent is not asked for, so that nobody counts it.
        let look =
            self.read(move |conn| Box::pin(async move { look(conn, &name, i64::MAX).await }));
        if look.await?.held == 0 {
            return Ok(());
        }
        let channel = channel.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "update message_delivery set state = 'waiting'
                     where channel = $1 and may_digest > 0 and next_at_ms is not null
                       and state = 'held'"
                ).bind(channel).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// A digest and the messages that it stands for, in the order in which they were written.
    pub async fn digest(
        &self,
        scope: &str,
        id: MessageId,
    ) -> Result<Option<(Message, Vec<Message>)>, Error> {
        let scope = scope.to_owned();
        let found = self.read(move |conn| {
            Box::pin(async move {
                let own: Option<(String,)> = db!(conn, c => sqlx::query_as(
                    "select body from message where id = $1 and stream_id like 'digest:%'"
                ).bind(id.to_string()).fetch_optional(&mut **c).await)?;
                let Some((own,)) = own else { return Ok(None) };
                let members: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select m.body from message_delivery d join message m on m.id = d.message_id
                     where d.digest_id = $1 order by d.message_id"
                ).bind(id.to_string()).fetch_all(&mut **c).await)?;
                Ok(Some((own, members)))
            })
        });
        let Some((own, members)) = found.await? else { return Ok(None) };
        let own: Message = super::parsed(serde_json::from_str(&own), "a digest")?;
        if own.scope != scope {
            return Ok(None);
        }
        let members: Result<Vec<Message>, Error> = members
            .iter()
            .map(|(body,)| super::parsed(serde_json::from_str(body), "a message"))
            .collect();
        Ok(Some((own, members?)))
    }
}

async fn look(conn: &mut Conn<'_>, channel: &str, since_ms: i64) -> Result<Look, Error> {
    let (sent, waiting, held, last_at_ms): (i64, i64, i64, Option<i64>) = db!(conn, c => sqlx::query_as(
            "select (select count(*) from message_delivery
                     where channel = $1 and sent_at_ms > $2),
                 count(case when state = 'waiting' and unanswered = 0 then 1 end),
                 count(case when state = 'held' then 1 end),
                 (select max(created_at_ms) from message where stream_id = $3)
             from message_delivery
             where channel = $1 and may_digest > 0 and next_at_ms is not null"
        )
            .bind(channel)
            .bind(since_ms)
            .bind(stream(channel))
            .fetch_one(&mut **c).await)?;
    Ok(Look { sent, waiting, held, last_at_ms })
}

/// Holds all but the first `alone`. One that may have arrived already is tried again alone, as it has
/// to be marked.
async fn hold(
    conn: &mut Conn<'_>,
    channel: &str,
    alone: i64,
    soon_ms: i64,
    late_ms: i64,
) -> Result<u64, Error> {
    let sql = dialect!(conn,
        lite: "update message_delivery
               set state = 'held', next_at_ms = case when may_digest = 2 then $3 else $4 end
               where channel = $1 and message_id in (
                   select message_id from message_delivery
                   where channel = $1 and may_digest > 0 and next_at_ms is not null
                     and state = 'waiting' and unanswered = 0
                   order by message_id limit -1 offset cast($2 as bigint))",
        pg: "with mine as materialized (
                 select message_id from message_delivery
                 where channel = $1 and may_digest > 0 and next_at_ms is not null
                   and state = 'waiting' and unanswered = 0
                 order by message_id offset cast($2 as bigint) for update skip locked)
             update message_delivery
             set state = 'held', next_at_ms = case when may_digest = 2 then $3 else $4 end
             where channel = $1 and message_id in (select message_id from mine)",
    );
    Ok(db!(conn, c => sqlx::query(sql)
        .bind(channel)
        .bind(alone)
        .bind(soon_ms)
        .bind(late_ms)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?)
}

async fn put_together<F>(
    conn: &mut Conn<'_>,
    channel: &str,
    now_ms: i64,
    compose: F,
) -> Result<usize, Error>
where
    F: FnOnce(&[Message]) -> Message,
{
    let sql = dialect!(conn,
        lite: "select m.id, m.body, d.unanswered from message_delivery d join message m on m.id = d.message_id
               where d.channel = $1 and d.may_digest > 0 and d.next_at_ms is not null
                 and d.state = 'held' order by d.message_id limit cast($2 as bigint)",
        pg: "select m.id, m.body, d.unanswered from message_delivery d join message m on m.id = d.message_id
             where d.channel = $1 and d.may_digest > 0 and d.next_at_ms is not null
               and d.state = 'held' order by d.message_id limit cast($2 as bigint) for update of d skip locked",
    );
    let rows: Vec<(String, String, i64)> = db!(conn, c => sqlx::query_as(sql)
        .bind(channel).bind(MEMBERS_MAX).fetch_all(&mut **c).await)?;
    // What may have been told before, in a digest that a restored backup does not know.
    let unanswered = rows.iter().map(|(_, _, unanswered)| *unanswered).max().unwrap_or(0);
    // Only what could be read was ever held.
    let (ids, members): (Vec<String>, Vec<Message>) = rows
        .into_iter()
        .filter_map(|(id, body, _)| Some((id, serde_json::from_str(&body).ok()?)))
        .unzip();
    if members.is_empty() {
        return Ok(0);
    }
    let digest = compose(&members);
    let id = digest.id.to_string();
    db!(conn, c => sqlx::query(
        "insert into message (id, stream_id, transition, body, created_at_ms, expanded_at_ms)
         values ($1, $2, $1, $3, $4, $4)"
    )
        .bind(&id)
        .bind(stream(channel))
        .bind(json(&digest)?)
        .bind(now_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    db!(conn, c => sqlx::query(
        "insert into message_delivery (message_id, channel, stream_id, state, attempts,
             unanswered, created_at_ms, next_at_ms)
         values ($1, $2, $3, 'waiting', 0, $5, $4, $4)"
    )
        .bind(&id)
        .bind(channel)
        .bind(stream(channel))
        .bind(now_ms)
        .bind(unanswered)
        .execute(&mut **c).await.map(|_| ()))?;
    let sql = dialect!(conn,
        lite: "update message_delivery set state = 'digested', next_at_ms = null, digest_id = $3
               where channel = $1 and state = 'held'
                 and message_id in (select value from json_each($2))",
        pg: "update message_delivery set state = 'digested', next_at_ms = null, digest_id = $3
             where channel = $1 and state = 'held'
               and message_id in (select jsonb_array_elements_text(cast($2 as jsonb)))",
    );
    db!(conn, c => sqlx::query(sql)
        .bind(channel).bind(list(&ids)).bind(&id).execute(&mut **c).await.map(|_| ()))?;
    Ok(members.len())
}

fn stream(channel: &str) -> String {
    format!("digest:{channel}")
}
