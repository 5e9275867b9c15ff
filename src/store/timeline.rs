//! The chained history of a stream. Entries are only ever added.

use super::db::{Conn, Store, chunks, db, values_after};
use super::{Error, inbox, json, parsed};
use crate::model::timeline::{Entry, Stored, chain_hash};
use sqlx::AssertSqlSafe;

/// Names a stream: an incident, or the system itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    pub kind: &'static str,
    pub id: String,
}

impl Stream {
    pub fn incident(id: crate::model::ids::IncidentId) -> Self {
        Self { kind: "incident", id: id.to_string() }
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.kind, self.id)
    }
}

/// Where the next entry is chained.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    pub seq: i64,
    pub hash: String,
}

/// The first broken link of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    pub seq: i64,
    pub why: String,
}

impl Store {
    /// The whole history of a stream, in order.
    pub async fn timeline(&self, stream: Stream) -> Result<Vec<Stored>, Error> {
        self.read(move |conn| Box::pin(async move { load(conn, &stream).await })).await
    }

    /// At most so many entries of a stream after one of them (0: from the first), in order.
    pub async fn entries_after(
        &self,
        stream: Stream,
        after: i64,
        at_most: i64,
    ) -> Result<Vec<Stored>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(i64, i64, String, String)> = db!(conn, c => sqlx::query_as(
                    "select seq, at_ms, body, hash from timeline
                     where stream_kind = $1 and stream_id = $2 and seq > $3
                     order by seq limit cast($4 as bigint)"
                )
                    .bind(stream.kind)
                    .bind(&stream.id)
                    .bind(after)
                    .bind(at_most)
                    .fetch_all(&mut **c).await)?;
                stored(rows)
            })
        })
        .await
    }

    /// The history of a stream after an entry (0: all of it), and the first so many items that
    /// wait in its inbox, both in order.
    pub async fn file(
        &self,
        stream: Stream,
        after: i64,
        items_max: i64,
    ) -> Result<(Vec<Stored>, Vec<inbox::Item>), Error> {
        self.read(move |conn| Box::pin(async move { file(conn, &stream, after, items_max).await }))
            .await
    }

    /// Recomputes the chain of a stream. `Ok(None)` says that it is whole.
    pub async fn verify_chain(&self, stream: Stream) -> Result<Option<Broken>, Error> {
        let links = self.read({
            let stream = stream.clone();
            move |conn| Box::pin(async move { links(conn, &stream).await })
        });
        let mut head = Head::default();
        for (part, seq, at_ms, body, hash) in links.await? {
            if part == HEAD {
                return Ok(unless_last(&head, &Head { seq, hash }));
            }
            if seq != head.seq + 1 {
                let why = format!("entry {} is missing", head.seq + 1);
                return Ok(Some(Broken { seq, why }));
            }
            if chain_hash(&head.hash, &stream.path(), seq, at_ms, &body) != hash {
                let why = "the entry or one before it was changed".to_owned();
                return Ok(Some(Broken { seq, why }));
            }
            head = Head { seq, hash };
        }
        if stream.kind == "system" {
            let why = "the row that says where the chain ends is gone".to_owned();
            return Ok(Some(Broken { seq: head.seq + 1, why }));
        }
        Ok(None)
    }
}

/// Compares where the chain ends with where its head says that it does: entries cut off at the
/// end, or added there, leave every link whole.
fn unless_last(end: &Head, wanted: &Head) -> Option<Broken> {
    if end == wanted {
        return None;
    }
    if end.seq == wanted.seq {
        let why = format!("the chain ends at {} with another entry", end.seq);
        return Some(Broken { seq: end.seq, why });
    }
    let why = format!("the chain ends at {} instead of {}", end.seq, wanted.seq);
    Some(Broken { seq: end.seq.min(wanted.seq) + 1, why })
}

/// Reads a stream and what waits for it. One statement for both, because each is a message to
/// another thread on SQLite and to another process on Postgres.
async fn file(
    conn: &mut Conn<'_>,
    stream: &Stream,
    after: i64,
    items_max: i64,
) -> Result<(Vec<Stored>, Vec<inbox::Item>), Error> {
    type Columns = (i64, String, i64, String, String);
    let mut rows: Vec<Columns> = db!(conn, c => sqlx::query_as(
        "select seq, '' as id, at_ms, body, hash from timeline
         where stream_kind = $1 and stream_id = $2 and seq > $3
         union all
         select * from (
             select cast(0 as bigint), id, at_ms, body, '' from inbox
             where stream_kind = $1 and stream_id = $2 order by id limit cast($4 as bigint)) as waiting"
    )
        .bind(stream.kind)
        .bind(&stream.id)
        .bind(after)
        .bind(items_max)
        .fetch_all(&mut **c).await)?;
    rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let (mut history, mut waiting) = (Vec::with_capacity(rows.len()), Vec::new());
    for (seq, id, at_ms, body, hash) in rows {
        let entry = parsed(serde_json::from_str::<Entry>(&body), "timeline entry")?;
        if id.is_empty() {
            history.push(Stored { seq, at_ms, entry, hash });
        } else {
            let id = parsed(id.parse(), "inbox id")?;
            waiting.push(inbox::Item { id, at_ms, entry });
        }
    }
    Ok((history, waiting))
}

/// Reads a stream inside a transaction or a read.
async fn load(conn: &mut Conn<'_>, stream: &Stream) -> Result<Vec<Stored>, Error> {
    stored(rows(conn, stream).await?)
}

fn stored(rows: Vec<(i64, i64, String, String)>) -> Result<Vec<Stored>, Error> {
    rows.into_iter()
        .map(|(seq, at_ms, body, hash)| {
            let entry = parsed(serde_json::from_str::<Entry>(&body), "timeline entry")?;
            Ok(Stored { seq, at_ms, entry, hash })
        })
        .collect()
}

/// An entry in its place, as it will be written.
pub struct Link<'a> {
    pub head: Head,
    pub at_ms: i64,
    pub entry: &'a Entry,
    pub(super) body: String,
}

impl Link<'_> {
    pub fn stored(self) -> Stored {
        let Head { seq, hash } = self.head;
        Stored { seq, at_ms: self.at_ms, entry: self.entry.clone(), hash }
    }
}

/// Numbers and chains entries after `head`.
pub fn chain<'a>(
    stream: &Stream,
    head: &Head,
    entries: &'a [(i64, Entry)],
) -> Result<Vec<Link<'a>>, Error> {
    let path = stream.path();
    let mut head = head.clone();
    entries
        .iter()
        .map(|(at_ms, entry)| {
            let body = json(entry)?;
            let seq = head.seq + 1;
            let hash = chain_hash(&head.hash, &path, seq, *at_ms, &body);
            head = Head { seq, hash };
            Ok(Link { head: head.clone(), at_ms: *at_ms, entry, body })
        })
        .collect()
}

/// Values of one entry.
pub(super) const VALUES: usize = 8;

/// Adds so many entries, whose values are numbered after `used`.
pub(super) fn append_sql(used: usize, entries: usize) -> String {
    format!(
        "insert into timeline (stream_kind, stream_id, seq, at_ms, kind, version, body, hash)
         values {}",
        values_after(used, entries, VALUES)
    )
}

/// Binds the values of [`append_sql`], on either engine.
macro_rules! bind_links {
    ($query:expr, $stream:expr, $links:expr) => {{
        let mut query = $query;
        for link in $links {
            query = query
                .bind($stream.kind)
                .bind(&$stream.id)
                .bind(link.head.seq)
                .bind(link.at_ms)
                .bind(link.entry.kind())
                .bind($crate::model::timeline::VERSION)
                .bind(&link.body)
                .bind(&link.head.hash);
        }
        query
    }};
}
pub(super) use bind_links;

/// Adds entries. The caller holds the lease of the stream inside the same transaction.
pub async fn append(conn: &mut Conn<'_>, stream: &Stream, links: &[Link<'_>]) -> Result<(), Error> {
    for chunk in chunks(links) {
        let sql = append_sql(0, chunk.len());
        db!(conn, c => {
            let query = sqlx::query(AssertSqlSafe(sql));
            bind_links!(query, stream, chunk).execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Marks the row that [`links`] takes from the incident, or from the heads of other streams.
const HEAD: i64 = 1;

/// The entries, then the head that is kept beside them, in one statement: a step that commits in
/// between must not look like a forgery.
async fn links(
    conn: &mut Conn<'_>,
    stream: &Stream,
) -> Result<Vec<(i64, i64, i64, String, String)>, Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select cast(0 as bigint) as part, seq, at_ms, body, hash from timeline
         where stream_kind = $1 and stream_id = $2
         union all
         select cast(1 as bigint), seq, cast(0 as bigint), '', head from incident
         where id = $2 and $1 = 'incident'
         union all
         select cast(1 as bigint), seq, cast(0 as bigint), '', head from stream_head
         where stream_kind = $1 and stream_id = $2 and aged_out_at_ms is null
         order by 1, 2"
    ).bind(stream.kind).bind(&stream.id).fetch_all(&mut **c).await)?)
}

async fn rows(
    conn: &mut Conn<'_>,
    stream: &Stream,
) -> Result<Vec<(i64, i64, String, String)>, Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select seq, at_ms, body, hash from timeline
         where stream_kind = $1 and stream_id = $2 order by seq"
    ).bind(stream.kind).bind(&stream.id).fetch_all(&mut **c).await)?)
}
