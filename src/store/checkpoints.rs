//! What checkpoints are made of, and how far each target has taken them.
//!
//! In: a way to make lines of heads. Out: lines, each stored before it is sent anywhere, so that
//! what is sent again is the same text. Never: two processes that send at once: the one that holds
//! the lease does.

use super::db::{Conn, Store, chunks, db, dialect, values};
use super::{Error, text};
use crate::crash::{self, Point};
use sqlx::{AssertSqlSafe, FromRow};

/// Heads that are recorded in one transaction; on SQLite every acknowledgement waits for it.
pub const HEADS_AT_ONCE: usize = 2_000;

/// Where a stream ends.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct StreamHead {
    pub stream_kind: String,
    pub stream_id: String,
    pub seq: i64,
    pub head: String,
}

/// What a checkpoint is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Material {
    /// Of the last line.
    pub number: i64,
    pub mac: String,
    /// Heads that are not yet in a line.
    pub changed: Vec<StreamHead>,
    /// How many streams and entries there are.
    pub streams: i64,
    pub entries: i64,
}

/// A line with its number and its own MAC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub number: i64,
    pub mac: String,
    pub line: String,
}

impl Store {
    /// Takes or keeps the right to make and send lines; tells whether this process has it.
    pub async fn lease_checkpoints(
        &self,
        owner: &str,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<bool, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "update checkpoint set lease_owner = $1, lease_until_ms = $2 + $3
                           where name = 'last' and (lease_owner is null or lease_owner = $1
                               or lease_until_ms < $2)",
                    pg: "update checkpoint set lease_owner = $1, lease_until_ms =
                             (extract(epoch from clock_timestamp()) * 1000)::bigint + $3
                         where name = 'last' and cast($2 as bigint) is not null
                           and (lease_owner is null or lease_owner = $1 or lease_until_ms
                               < (extract(epoch from clock_timestamp()) * 1000)::bigint)",
                );
                let taken = db!(conn, c => sqlx::query(sql)
                    .bind(&owner)
                    .bind(now_ms)
                    .bind(lease_ms)
                    .execute(&mut **c).await.map(|done| done.rows_affected()))?;
                Ok(taken == 1)
            })
        })
        .await
    }

    /// Makes lines of heads that changed, at most [`HEADS_AT_ONCE`]; `make` gives each its text and
    /// its MAC. Nothing happens when no head changed or another process has the lease. Returns how
    /// many heads were recorded.
    pub async fn make_checkpoint(
        &self,
        owner: &str,
        at_ms: i64,
        make: impl FnOnce(&Material) -> Vec<Line> + Send,
    ) -> Result<usize, Error> {
        // All streams are looked at here, where no write waits for it. A head that moves on
        // meanwhile was true, and stands in the next checkpoint.
        let found = self.read(|conn| Box::pin(async move { material(conn).await })).await?;
        let Some(material) = found else { return Ok(0) };
        let (owner, lines) = (owner.to_owned(), make(&material));
        self.write(move |conn| {
            Box::pin(async move {
                if last(conn, &owner).await? != Some((material.number, material.mac)) {
                    return Ok(0);
                }
                keep_lines(conn, at_ms, &lines).await?;
                keep_heads(conn, &material.changed).await?;
                if let Some(end) = lines.last() {
                    db!(conn, c => sqlx::query(
                        "update checkpoint set number = $1, mac = $2 where name = 'last'"
                    ).bind(end.number).bind(&end.mac).execute(&mut **c).await.map(|_| ()))?;
                }
                crash::at(Point::BeforeCheckpoint);
                Ok(material.changed.len())
            })
        })
        .await
    }

    /// Lines that a target has not taken, in order.
    pub async fn unsent_checkpoints(
        &self,
        target: &str,
        at_most: i64,
    ) -> Result<Vec<(i64, String)>, Error> {
        let target = target.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select number, line from checkpoint_line
                     where number > coalesce(
                         (select sent from checkpoint_target where name = $1), 0)
                     order by number limit $2"
                ).bind(target).bind(at_most).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// How many lines a target has not taken.
    pub async fn count_unsent_checkpoints(&self, target: &str) -> Result<i64, Error> {
        let target = target.to_owned();
        self.read(move |conn| {
            Box::pin(async move {
                let (count,): (i64,) = db!(conn, c => sqlx::query_as(
                    "select count(*) from checkpoint_line
                     where number > coalesce(
                         (select sent from checkpoint_target where name = $1), 0)"
                ).bind(target).fetch_one(&mut **c).await)?;
                Ok(count)
            })
        })
        .await
    }

    /// The last line that any target has taken.
    pub async fn taken_checkpoints(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (sent,): (i64,) = db!(conn, c => sqlx::query_as(
                    "select coalesce(max(sent), 0) from checkpoint_target"
                ).fetch_one(&mut **c).await)?;
                Ok(sent)
            })
        })
        .await
    }

    /// A target has taken a line.
    pub async fn sent_checkpoint(&self, target: &str, number: i64) -> Result<(), Error> {
        let target = target.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                db!(conn, c => sqlx::query(
                    "insert into checkpoint_target (name, sent) values ($1, $2)
                     on conflict (name) do update set sent = excluded.sent"
                ).bind(target).bind(number).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets lines that all of these targets have taken.
    pub async fn forget_checkpoints(&self, targets: Vec<String>) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                let mut least = i64::MAX;
                for target in &targets {
                    let sent: Option<(i64,)> = db!(conn, c => sqlx::query_as(
                        "select sent from checkpoint_target where name = $1"
                    ).bind(target).fetch_optional(&mut **c).await)?;
                    least = least.min(sent.map_or(0, |(sent,)| sent));
                }
                db!(conn, c => sqlx::query("delete from checkpoint_line where number <= $1")
                    .bind(least).execute(&mut **c).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }

    /// The number of the last line that was made.
    pub async fn last_checkpoint(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let found: Option<(i64,)> = db!(conn, c => sqlx::query_as(
                    "select number from checkpoint where name = 'last'"
                ).fetch_optional(&mut **c).await)?;
                Ok(found.map_or(0, |(number,)| number))
            })
        })
        .await
    }

    /// Number and hash of every entry of a stream.
    pub async fn kept(&self, kind: &str, id: &str) -> Result<Vec<(i64, String)>, Error> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select seq, hash from timeline
                     where stream_kind = $1 and stream_id = $2 order by seq"
                ).bind(text(&kind)).bind(text(&id)).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }
}

/// What the next lines are made of; `None` when no head changed.
async fn material(conn: &mut Conn<'_>) -> Result<Option<Material>, Error> {
    // First the number: lines that another process makes in between change it.
    let (number, mac) = db!(conn, c => sqlx::query_as(
        "select number, mac from checkpoint where name = 'last'"
    ).fetch_one(&mut **c).await)?;
    let changed = changed(conn).await?;
    if changed.is_empty() {
        return Ok(None);
    }
    let (streams, entries) = counts(conn).await?;
    Ok(Some(Material { number, mac, changed, streams, entries }))
}

async fn last(conn: &mut Conn<'_>, owner: &str) -> Result<Option<(i64, String)>, Error> {
    let sql = dialect!(conn,
        lite: "select number, mac from checkpoint where name = 'last' and lease_owner = $1",
        pg: "select number, mac from checkpoint
             where name = 'last' and lease_owner = $1 for update",
    );
    Ok(db!(conn, c => sqlx::query_as(sql).bind(owner).fetch_optional(&mut **c).await)?)
}

async fn changed(conn: &mut Conn<'_>) -> Result<Vec<StreamHead>, Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select s.stream_kind, s.stream_id, s.seq, s.head
         from (select 'incident' as stream_kind, id as stream_id, seq, head from incident
               where seq > 0
               union all
               select stream_kind, stream_id, seq, head from stream_head where seq > 0) s
         left join checkpoint_head c
             on c.stream_kind = s.stream_kind and c.stream_id = s.stream_id
         where c.seq is null or c.seq <> s.seq or c.head <> s.head
         order by s.stream_kind desc, s.stream_id limit $1"
    ).bind(HEADS_AT_ONCE as i64).fetch_all(&mut **c).await)?)
}

async fn counts(conn: &mut Conn<'_>) -> Result<(i64, i64), Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select count(*), cast(coalesce(sum(s.seq), 0) as bigint)
         from (select seq from incident where seq > 0
               union all select seq from stream_head where seq > 0) s"
    ).fetch_one(&mut **c).await)?)
}

async fn keep_lines(conn: &mut Conn<'_>, at_ms: i64, lines: &[Line]) -> Result<(), Error> {
    for line in lines {
        db!(conn, c => sqlx::query(
            "insert into checkpoint_line (number, at_ms, line) values ($1, $2, $3)"
        )
            .bind(line.number)
            .bind(at_ms)
            .bind(&line.line)
            .execute(&mut **c).await.map(|_| ()))?;
    }
    Ok(())
}

async fn keep_heads(conn: &mut Conn<'_>, heads: &[StreamHead]) -> Result<(), Error> {
    for chunk in chunks(heads) {
        let sql = format!(
            "insert into checkpoint_head (stream_kind, stream_id, seq, head) values {}
             on conflict (stream_kind, stream_id)
             do update set seq = excluded.seq, head = excluded.head",
            values(chunk.len(), 4)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for head in chunk {
                query = query
                    .bind(&head.stream_kind)
                    .bind(&head.stream_id)
                    .bind(head.seq)
                    .bind(&head.head);
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}
