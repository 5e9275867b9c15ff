//! The timeline of the system itself: one stream for all replicas, chained as every other.
//!
//! Never: a fork. Whoever appends locks the row that says where the chain ends.

use super::db::{Conn, Store, db, dialect};
use super::timeline::{Head, Stream};
use super::{Error, blobs, json, parsed, text};
use crate::model::system::{Known, StoredSystem, SystemEntry, access_changes};
use crate::model::timeline::{VERSION, chain_hash};
use crate::model::verdict::Autonomy;

impl Stream {
    /// The system's own.
    pub fn system() -> Self {
        Self { kind: "system", id: "system".to_owned() }
    }
}

/// The rules that a process loaded: their version is the hash of their text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub version: String,
    pub text: String,
    pub autonomy: Autonomy,
}

/// The database was put back to what it was before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutBack {
    pub taken_at_ms: i64,
    /// The same for people.
    pub taken_at: String,
    /// When it was put back.
    pub at_ms: i64,
}

/// Says in words how the second text of rules differs from the first.
pub type Differ = fn(&str, &str) -> Vec<String>;

impl Store {
    /// Writes down what happened to the system.
    pub async fn record_system(&self, at_ms: i64, entry: SystemEntry) -> Result<(), Error> {
        self.write(move |conn| Box::pin(async move { append(conn, at_ms, &entry).await })).await
    }

    /// The entries after `after`, at most so many, in order.
    pub async fn system_timeline(
        &self,
        after: i64,
        at_most: i64,
    ) -> Result<Vec<StoredSystem>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let rows: Vec<(i64, i64, String, String)> = db!(conn, c => sqlx::query_as(
                    "select seq, at_ms, body, hash from timeline
                     where stream_kind = 'system' and stream_id = 'system' and seq > $1
                     order by seq limit $2"
                ).bind(after).bind(at_most).fetch_all(&mut **c).await)?;
                let stored = |(seq, at_ms, body, hash): (i64, i64, String, String)| {
                    let entry = parsed(serde_json::from_str(&body), "system entry")?;
                    Ok(StoredSystem { seq, at_ms, entry, hash })
                };
                rows.into_iter().map(stored).collect()
            })
        })
        .await
    }

    /// The number of the last entry; 0 when there is none.
    pub async fn system_end(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (seq,): (i64,) = db!(conn, c => sqlx::query_as(
                    "select coalesce(max(seq), 0) from timeline
                     where stream_kind = 'system' and stream_id = 'system'"
                ).fetch_one(&mut **c).await)?;
                Ok(seq)
            })
        })
        .await
    }

    /// Every time that a backup was put in the place of the database.
    pub async fn put_backs(&self) -> Result<Vec<PutBack>, Error> {
        let rows: Vec<(i64, String)> = self
            .read(|conn| {
                Box::pin(async move {
                    Ok(db!(conn, c => sqlx::query_as(
                        "select at_ms, body from timeline
                         where stream_kind = 'system' and stream_id = 'system'
                           and kind = 'restored' order by seq"
                    ).fetch_all(&mut **c).await)?)
                })
            })
            .await?;
        let mut all = Vec::with_capacity(rows.len());
        for (at_ms, body) in rows {
            let entry = parsed(serde_json::from_str(&body), "system entry")?;
            let SystemEntry::Restored { taken_at_ms, taken_at, .. } = entry else { continue };
            all.push(PutBack { taken_at_ms, taken_at, at_ms });
        }
        Ok(all)
    }

    /// Writes down that other rules were loaded than last time, and in what they differ. Nothing is
    /// written when they are the same.
    pub async fn record_rules(
        &self,
        at_ms: i64,
        loaded: Loaded,
        differ: Differ,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move { append_rules(conn, at_ms, loaded, differ).await })
        })
        .await
    }

    /// As [`Store::record_rules`], and then that `reloaded` took all files over, in one step.
    pub async fn record_reload(
        &self,
        at_ms: i64,
        loaded: Loaded,
        differ: Differ,
        reloaded: SystemEntry,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            Box::pin(async move {
                append_rules(conn, at_ms, loaded, differ).await?;
                append(conn, at_ms, &reloaded).await
            })
        })
        .await
    }

    /// Writes down in what users and tokens differ from those known last. Nothing is written when
    /// they are the same.
    pub async fn record_access(
        &self,
        at_ms: i64,
        process: &str,
        known: Vec<Known>,
    ) -> Result<(), Error> {
        let process = process.to_owned();
        self.write(move |conn| {
            Box::pin(async move {
                lock(conn).await?;
                let changes = access_changes(&last_known(conn).await?, &known);
                if changes.is_empty() {
                    return Ok(());
                }
                append(conn, at_ms, &SystemEntry::AccessChanged { process, changes }).await
            })
        })
        .await
    }
}

/// Appends an entry as part of the transaction that changes what it tells of.
pub async fn append(conn: &mut Conn<'_>, at_ms: i64, entry: &SystemEntry) -> Result<(), Error> {
    let stream = Stream::system();
    let head = lock(conn).await?;
    // A NUL cannot be stored; JSON writes it as an escape, so the text has none.
    let body = json(entry)?;
    let kind = serde_json::to_value(entry).ok();
    let kind = kind.as_ref().and_then(|value| value.get("kind")?.as_str()).unwrap_or("unknown");
    let seq = head.seq + 1;
    let hash = chain_hash(&head.hash, &stream.path(), seq, at_ms, &body);
    db!(conn, c => sqlx::query(
        "insert into timeline (stream_kind, stream_id, seq, at_ms, kind, version, body, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
        .bind(stream.kind)
        .bind(&stream.id)
        .bind(seq)
        .bind(at_ms)
        .bind(text(kind))
        .bind(VERSION)
        .bind(&body)
        .bind(&hash)
        .execute(&mut **c).await.map(|_| ()))?;
    db!(conn, c => sqlx::query(
        "update stream_head set seq = $3, head = $4 where stream_kind = $1 and stream_id = $2"
    )
        .bind(stream.kind)
        .bind(&stream.id)
        .bind(seq)
        .bind(&hash)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Tells that an order that stops changes is in force without its entry: a history that cannot go
/// on must not keep anybody from stopping.
pub fn left_out(what: &str, error: &Error) {
    tracing::error!(%error, "{what} is in force, and not on the system's timeline");
}

async fn append_rules(
    conn: &mut Conn<'_>,
    at_ms: i64,
    loaded: Loaded,
    differ: Differ,
) -> Result<(), Error> {
    // Under the lock, so that of two replicas that start at once one writes.
    lock(conn).await?;
    let Loaded { version, text, autonomy } = loaded;
    blobs::keep(conn, &blobs::Blob { hash: version.clone(), body: text.clone(), at_ms }).await?;
    let before = last_rules(conn).await?;
    if before.as_ref() == Some(&version) {
        return Ok(());
    }
    let changes = match &before {
        None => vec!["the first rules".to_owned()],
        Some(before) => match blobs::body(conn, before).await? {
            Some(old) => differ(&old, &text),
            None => vec!["the rules before are not kept any more".to_owned()],
        },
    };
    append(conn, at_ms, &SystemEntry::RulesLoaded { version, before, autonomy, changes }).await
}

/// Where the chain ends; nobody else appends until the transaction is over.
///
/// # Errors
/// `Corrupt` when the row that says so is gone: a person has to look before history goes on.
async fn lock(conn: &mut Conn<'_>) -> Result<Head, Error> {
    let sql = dialect!(conn,
        lite: "select seq, head from stream_head
               where stream_kind = 'system' and stream_id = 'system'",
        pg: "select seq, head from stream_head
             where stream_kind = 'system' and stream_id = 'system' for update",
    );
    let found: Option<(i64, String)> =
        db!(conn, c => sqlx::query_as(sql).fetch_optional(&mut **c).await)?;
    let gone = || Error::Corrupt("the head of the system's timeline is gone".to_owned());
    found.map(|(seq, hash)| Head { seq, hash }).ok_or_else(gone)
}

async fn last_rules(conn: &mut Conn<'_>) -> Result<Option<String>, Error> {
    let found: Option<(String,)> = db!(conn, c => sqlx::query_as(
        "select body from timeline
         where stream_kind = 'system' and stream_id = 'system' and kind = 'rules_loaded'
         order by seq desc limit 1"
    ).fetch_optional(&mut **c).await)?;
    let Some((body,)) = found else { return Ok(None) };
    let entry = parsed(serde_json::from_str(&body), "system entry")?;
    let SystemEntry::RulesLoaded { version, .. } = entry else { return Ok(None) };
    Ok(Some(version))
}

/// Everybody who is known after all changes so far.
async fn last_known(conn: &mut Conn<'_>) -> Result<Vec<Known>, Error> {
    let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
        "select body from timeline
         where stream_kind = 'system' and stream_id = 'system' and kind = 'access_changed'
         order by seq"
    ).fetch_all(&mut **c).await)?;
    let mut known: Vec<Known> = Vec::new();
    for (body,) in rows {
        let entry = parsed(serde_json::from_str(&body), "system entry")?;
        let SystemEntry::AccessChanged { changes, .. } = entry else { continue };
        for change in changes {
            if let Some(before) = change.before {
                known.retain(|one| (&one.what, &one.name) != (&before.what, &before.name));
            }
            known.extend(change.after);
        }
    }
    Ok(known)
}
