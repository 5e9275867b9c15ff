//! The outbox: messages committed with the transition that they announce, expanded once into one
//! delivery for each channel, delivered until they arrive.

use super::db::{Conn, Store, db, dialect};
use super::step::Announcement;
use super::{Error, json, key, text};
use crate::crash::{self, Point};
use crate::model::ids::MessageId;
use crate::model::message::{Message, Patience};
use sqlx::FromRow;

/// A delivery that is due, claimed for one attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct Due {
    pub message: Message,
    pub channel: String,
    /// Attempts before this one.
    pub attempts: i64,
    /// The process died, or lost the answer or the database, during an attempt: it may have arrived.
    pub maybe_sent: MaybeSent,
    /// Whether this channel was given an earlier message of the same incident.
    pub sent_before: SentBefore,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaybeSent {
    No,
    Yes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SentBefore {
    No,
    Yes,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempted {
    Sent {
        at_ms: i64,
    },
    Again {
        next_at_ms: i64,
        error: String,
        /// It may have arrived; whoever claims it next has to know.
        maybe_sent: MaybeSent,
    },
    GaveUp {
        error: String,
    },
    /// The channel does not want this kind of message.
    Skipped,
}

/// What one look at the outbox tells a monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Deliveries, and messages that have none yet.
    pub waiting: i64,
    pub oldest_at_ms: Option<i64>,
    /// Deliveries that failed at least once and still wait.
    pub failing: i64,
    pub failed: i64,
}

#[derive(FromRow)]
struct Columns {
    message_id: String,
    channel: String,
    stream_id: String,
    state: String,
    attempts: i64,
    unanswered: i64,
    body: String,
}

impl Store {
    /// Announces something that concerns no incident, once for each `transition`.
    pub async fn announce(&self, announcement: Announcement) -> Result<(), Error> {
        self.write(move |conn| Box::pin(async move { queue(conn, &announcement).await })).await
    }

    /// Gives each new message one delivery for each of `channels`. Returns how many messages.
    pub async fn expand_messages(
        &self,
        channels: Vec<String>,
        now_ms: i64,
    ) -> Result<usize, Error> {
        let any = self.read(|conn| {
            Box::pin(async move {
                let found: Option<(String,)> = db!(conn, c => sqlx::query_as(
                    "select id from message where expanded_at_ms is null limit 1"
                ).fetch_optional(&mut **c).await)?;
                Ok(found.is_some())
            })
        });
        if !any.await? {
            return Ok(0);
        }
        let expanded = self
            .write(move |conn| Box::pin(async move { expand(conn, &channels, now_ms).await }))
            .await?;
        crash::at(Point::AfterExpand);
        Ok(expanded)
    }

    /// Channels for which something waits.
    pub async fn waiting_channels(&self) -> Result<Vec<String>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let names: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select distinct channel from message_delivery where next_at_ms is not null"
                ).fetch_all(&mut **c).await)?;
                Ok(names.into_iter().map(|(name,)| name).collect())
            })
        })
        .await
    }

    /// Claims due deliveries of one channel for one attempt each. A claim that is not answered by
    /// [`Store::attempted`] before `until_ms` falls due again, as possibly sent.
    pub async fn claim_deliveries(
        &self,
        channel: &str,
        at_most: i64,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<Due>, Error> {
        let channel = channel.to_owned();
        let name = channel.clone();
        let any = self.read(move |conn| {
            Box::pin(async move {
                let found: Option<(String,)> = db!(conn, c => sqlx::query_as(
                    "select message_id from message_delivery
                     where next_at_ms <= $1 and channel = $2 and state <> 'held' limit 1"
                ).bind(now_ms).bind(name).fetch_optional(&mut **c).await)?;
                Ok(found.is_some())
            })
        });
        if !any.await? {
            return Ok(Vec::new());
        }
        self.write(move |conn| {
            Box::pin(async move { claim(conn, &channel, at_most, now_ms, until_ms).await })
        })
        .await
    }

    /// Records how an attempt ended.
    pub async fn attempted(
        &self,
        message: MessageId,
        channel: &str,
        how: Attempted,
    ) -> Result<(), Error> {
        let channel = channel.to_owned();
        self.write(move |conn| Box::pin(async move { record(conn, message, &channel, &how).await }))
            .await
    }

    /// Counts what has not arrived.
    pub async fn outbox_backlog(&self) -> Result<Backlog, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (waiting, oldest_at_ms, failing, failed): (i64, Option<i64>, i64, i64) =
                    db!(conn, c => sqlx::query_as(
                        "select count(*), min(created_at_ms),
                             count(case when attempts > 0 then 1 end),
                             (select count(*) from message_delivery where state = 'failed')
                         from (select created_at_ms, attempts from message_delivery
                               where next_at_ms is not null and state <> 'held'
                               union all
                               select created_at_ms, 0 from message
                               where expanded_at_ms is null) as waiting"
                    ).fetch_one(&mut **c).await)?;
                Ok(Backlog { waiting, oldest_at_ms, failing, failed })
            })
        })
        .await
    }
}

/// Queues a message; a transition that was announced is not announced again.
pub async fn queue(conn: &mut Conn<'_>, announcement: &Announcement) -> Result<(), Error> {
    let message = &announcement.message;
    let stream = message.incident_id.map_or_else(|| "system".to_owned(), |id| id.to_string());
    let body = json(message)?;
    db!(conn, c => sqlx::query(
        "insert into message (id, stream_id, transition, body, created_at_ms)
         values ($1, $2, $3, $4, $5) on conflict (stream_id, transition) do nothing"
    )
        .bind(message.id.to_string())
        .bind(stream)
        .bind(key(&announcement.transition))
        .bind(body)
        .bind(message.created_at_ms)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

async fn expand(conn: &mut Conn<'_>, channels: &[String], now_ms: i64) -> Result<usize, Error> {
    let sql = dialect!(conn,
        lite: "select id, stream_id, body, restored_at_ms from message
               where expanded_at_ms is null order by id limit 100",
        // Replicas wait for each other here: skipping would let a later message of an incident
        // leave before an earlier one has its deliveries.
        pg: "select id, stream_id, body, restored_at_ms from message
             where expanded_at_ms is null order by id limit 100 for update",
    );
    let rows: Vec<(String, String, String, Option<i64>)> =
        db!(conn, c => sqlx::query_as(sql).fetch_all(&mut **c).await)?;
    for (id, stream, body, restored_at_ms) in &rows {
        // It may have left after the backup was taken that brought it back.
        let unanswered = i64::from(restored_at_ms.is_some());
        // One that a later version wrote goes to every channel; nobody else's waits for it.
        let message = serde_json::from_str::<Message>(body).ok();
        let may_digest = match message.as_ref().map_or(Patience::None, Message::patience) {
            Patience::None => 0_i64,
            Patience::Long => 1,
            Patience::Short => 2,
        };
        let wanted = message.map_or(Vec::new(), |message| message.channels);
        for channel in channels {
            if !wanted.is_empty() && !wanted.contains(channel) {
                continue;
            }
            db!(conn, c => sqlx::query(
                "insert into message_delivery (message_id, channel, stream_id, state, attempts,
                     unanswered, created_at_ms, next_at_ms, may_digest)
                 values ($1, $2, $3, 'waiting', 0, $5, $4, $4, $6) on conflict do nothing"
            )
                .bind(id)
                .bind(channel)
                .bind(stream)
                .bind(now_ms)
                .bind(unanswered)
                .bind(may_digest)
                .execute(&mut **c).await.map(|_| ()))?;
        }
        db!(conn, c => sqlx::query("update message set expanded_at_ms = $2 where id = $1")
            .bind(id).bind(now_ms).execute(&mut **c).await.map(|_| ()))?;
    }
    crash::at(Point::BeforeExpand);
    Ok(rows.len())
}

async fn claim(
    conn: &mut Conn<'_>,
    channel: &str,
    at_most: i64,
    now_ms: i64,
    until_ms: i64,
) -> Result<Vec<Due>, Error> {
    // Messages of one incident leave a channel in order: an earlier one that waits holds back the
    // later ones. What waits for a digest holds back nothing: a question goes at once.
    let sql = dialect!(conn,
        lite: "select d.message_id, d.channel, d.stream_id, d.state, d.attempts, d.unanswered,
                   m.body
               from message_delivery d join message m on m.id = d.message_id
               where d.next_at_ms <= $1 and d.channel = $3 and d.state <> 'held' and not exists (
                   select 1 from message_delivery e
                   where e.stream_id = d.stream_id and e.channel = d.channel
                     and e.next_at_ms is not null and e.state <> 'held'
                     and e.message_id < d.message_id)
               order by d.message_id limit cast($2 as bigint)",
        pg: "select d.message_id, d.channel, d.stream_id, d.state, d.attempts, d.unanswered, m.body
             from message_delivery d join message m on m.id = d.message_id
             where d.next_at_ms <= $1 and d.channel = $3 and d.state <> 'held' and not exists (
                 select 1 from message_delivery e
                 where e.stream_id = d.stream_id and e.channel = d.channel
                   and e.next_at_ms is not null and e.state <> 'held'
                   and e.message_id < d.message_id)
             order by d.message_id limit cast($2 as bigint) for update of d skip locked",
    );
    let rows: Vec<Columns> = db!(conn, c =>
        sqlx::query_as(sql).bind(now_ms).bind(at_most).bind(channel).fetch_all(&mut **c).await)?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let message = match serde_json::from_str(&row.body) {
            Ok(message) => message,
            Err(error) => {
                put_off(conn, &row, until_ms, &error.to_string()).await?;
                continue;
            }
        };
        let unanswered = row.unanswered + i64::from(row.state == "sending");
        db!(conn, c => sqlx::query(
            "update message_delivery set state = 'sending', next_at_ms = $3, unanswered = $4
             where message_id = $1 and channel = $2"
        )
            .bind(&row.message_id)
            .bind(&row.channel)
            .bind(until_ms)
            .bind(unanswered)
            .execute(&mut **c).await.map(|_| ()))?;
        due.push(Due {
            message,
            sent_before: sent_before(conn, &row).await?,
            channel: row.channel,
            attempts: row.attempts,
            maybe_sent: if unanswered > 0 { MaybeSent::Yes } else { MaybeSent::No },
        });
    }
    Ok(due)
}

/// Leaves a message that this version cannot read to a replica that can, or to a person: it counts
/// as failing. The others must not wait for it.
async fn put_off(
    conn: &mut Conn<'_>,
    row: &Columns,
    until_ms: i64,
    error: &str,
) -> Result<(), Error> {
    tracing::error!(message.id = %row.message_id, channel = %row.channel, %error,
        "cannot read a message of the outbox");
    db!(conn, c => sqlx::query(
        "update message_delivery set next_at_ms = $3, attempts = attempts + 1, error = $4
         where message_id = $1 and channel = $2"
    )
        .bind(&row.message_id)
        .bind(&row.channel)
        .bind(until_ms)
        .bind(text(error))
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// One that was given up while it may have arrived counts.
async fn sent_before(conn: &mut Conn<'_>, row: &Columns) -> Result<SentBefore, Error> {
    let found: Option<(String,)> = db!(conn, c => sqlx::query_as(
        "select message_id from message_delivery
         where stream_id = $1 and channel = $2
           and (state = 'sent' or (state = 'failed' and unanswered > 0)) limit 1"
    ).bind(&row.stream_id).bind(&row.channel).fetch_optional(&mut **c).await)?;
    Ok(if found.is_some() { SentBefore::Yes } else { SentBefore::No })
}

async fn record(
    conn: &mut Conn<'_>,
    message: MessageId,
    channel: &str,
    how: &Attempted,
) -> Result<(), Error> {
    let unanswered = match how {
        Attempted::Again { maybe_sent: MaybeSent::Yes, .. } => 1_i64,
        Attempted::Again { maybe_sent: MaybeSent::No, .. }
        | Attempted::Sent { .. }
        | Attempted::GaveUp { .. }
        | Attempted::Skipped => 0,
    };
    let (state, next_at_ms, sent_at_ms, error, tried) = match how {
        Attempted::Sent { at_ms } => ("sent", None, Some(*at_ms), None, 1),
        Attempted::Again { next_at_ms, error, .. } => {
            ("waiting", Some(*next_at_ms), None, Some(error.as_str()), 1)
        }
        Attempted::GaveUp { error } => ("failed", None, None, Some(error.as_str()), 1),
        Attempted::Skipped => ("skipped", None, None, None, 0_i64),
    };
    // An attempt that outlived its claim: that it arrived is always true, that it failed says
    // nothing of the attempt that came after.
    db!(conn, c => sqlx::query(
        "update message_delivery
         set state = $3, next_at_ms = $4, sent_at_ms = $5, error = $6, attempts = attempts + $7,
             unanswered = unanswered + $8
         where message_id = $1 and channel = $2
           and (state = 'sending' or ($3 = 'sent' and state <> 'sent'))"
    )
        .bind(message.to_string())
        .bind(channel)
        .bind(state)
        .bind(next_at_ms)
        .bind(sent_at_ms)
        .bind(error.map(text))
        .bind(tried)
        .bind(unanswered)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}
