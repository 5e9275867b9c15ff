//! What an audit reads: every stream, the exact text of every entry, the texts behind hashes.
//!
//! Out: what the database holds, also where it makes no sense. Never: a write.

use super::Error;
use super::db::{Conn, Store, db};
use super::timeline::{Broken, Stream};
use crate::model::call::sha256_hex;
use serde_json::Value;
use sqlx::FromRow;

/// Texts that are read at once; each may have megabytes.
const TEXTS_MAX: i64 = 16;

/// A stream as the database names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, FromRow)]
pub struct Named {
    pub stream_kind: String,
    pub stream_id: String,
    /// 1 when entries tell of an incident that has no row.
    pub orphan: i64,
    /// 1 when a row says that its entries were deleted because of their age.
    pub aged_out: i64,
}

/// An entry, column by column. `body` is the text that was hashed.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct Raw {
    pub seq: i64,
    pub at_ms: i64,
    pub kind: String,
    pub version: i64,
    pub body: String,
    pub hash: String,
}

impl Named {
    /// The stream, if it is of a kind that anybody writes.
    pub fn stream(&self) -> Option<Stream> {
        let kind = match self.stream_kind.as_str() {
            "incident" => "incident",
            "system" => "system",
            _ => return None,
        };
        Some(Stream { kind, id: self.stream_id.clone() })
    }
}

impl Store {
    /// Every stream that has entries or should have some, in order of their names.
    pub async fn streams(&self) -> Result<Vec<Named>, Error> {
        self.read(|conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select s.stream_kind, s.stream_id,
                            cast(case when s.stream_kind = 'incident' and not exists
                                (select 1 from incident i where i.id = s.stream_id)
                                then 1 else 0 end as bigint) as orphan,
                            cast(case when exists
                                (select 1 from stream_head h
                                 where h.stream_kind = s.stream_kind and h.stream_id = s.stream_id
                                   and h.aged_out_at_ms is not null)
                                then 1 else 0 end as bigint) as aged_out
                     from (select stream_kind, stream_id from timeline
                           union select 'incident', id from incident where seq > 0
                           union select stream_kind, stream_id from stream_head
                           union select 'system', 'system') s
                     order by s.stream_kind, s.stream_id"
                ).fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// The entries of a stream as they are stored.
    pub async fn raw_entries(&self, named: &Named) -> Result<Vec<Raw>, Error> {
        let named = named.clone();
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select seq, at_ms, kind, version, body, hash from timeline
                     where stream_kind = $1 and stream_id = $2 order by seq"
                )
                    .bind(&named.stream_kind)
                    .bind(&named.stream_id)
                    .fetch_all(&mut **c).await)?)
            })
        })
        .await
    }

    /// The first entry of a stream that is not what was written; `None` when it is whole.
    pub async fn audit(&self, named: &Named) -> Result<Option<Broken>, Error> {
        let Some(stream) = named.stream() else {
            return Ok(Some(Broken { seq: 1, why: "nobody writes streams of this kind".into() }));
        };
        if named.aged_out != 0 {
            // Nothing deletes entries, so whoever wrote that row hides that they were deleted.
            let why = "a row says that its entries aged out, which entries never do".to_owned();
            return Ok(Some(Broken { seq: 1, why }));
        }
        if let Some(broken) = self.verify_chain(stream).await? {
            return Ok(Some(broken));
        }
        // The word beside an entry is not hashed, but it stands in the text that is.
        for raw in self.raw_entries(named).await? {
            let body: Value = serde_json::from_str(&raw.body).unwrap_or_default();
            if body.get("kind").and_then(Value::as_str) != Some(raw.kind.as_str()) {
                let why = format!("it is filed as '{}', which it is not", raw.kind);
                return Ok(Some(Broken { seq: raw.seq, why }));
            }
        }
        if named.orphan != 0 {
            let why = "the incident that the entries tell of was deleted".to_owned();
            return Ok(Some(Broken { seq: 1, why }));
        }
        Ok(None)
    }

    /// Stored texts that are not what their hash says. One that is gone has aged out.
    pub async fn changed_texts(&self) -> Result<Vec<String>, Error> {
        let mut changed = Vec::new();
        let mut after = String::new();
        loop {
            let from = after.clone();
            let texts = self
                .read(move |conn| Box::pin(async move { texts_after(conn, &from).await }))
                .await?;
            let Some((last, _)) = texts.last() else { return Ok(changed) };
            after.clone_from(last);
            for (hash, body) in texts {
                if sha256_hex(body.as_bytes()) != hash {
                    changed.push(hash);
                }
            }
        }
    }
}

async fn texts_after(conn: &mut Conn<'_>, hash: &str) -> Result<Vec<(String, String)>, Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select hash, body from blob where hash > $1 order by hash limit $2"
    ).bind(hash).bind(TEXTS_MAX).fetch_all(&mut **c).await)?)
}
