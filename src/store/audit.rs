//! What an audit reads: every stream, the exact text of every entry, the texts behind hashes.
//!
//! Out: what the database holds, also where it makes no sense. Never: a write.

use super::Error;
use super::db::{Conn, Store, db, dialect, list};
use super::timeline::{Broken, Stream};
use crate::model::call::sha256_hex;
use crate::model::ids::IncidentId;
use serde_json::Value;
use sqlx::FromRow;
use std::collections::BTreeSet;

/// Texts that are read at once; each may have megabytes.
const TEXTS_MAX: i64 = 16;
/// Entries that may name a text, at once.
const NAMING_MAX: i64 = 500;
/// Incidents that are looked up at once.
const IDS_MAX: usize = 500;

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

    /// The entries of an incident as they are stored.
    pub async fn raw_incident(&self, id: IncidentId) -> Result<Vec<Raw>, Error> {
        let stream_id = id.to_string();
        let named = Named { stream_kind: "incident".into(), stream_id, orphan: 0, aged_out: 0 };
        self.raw_entries(&named).await
    }

    /// The first entry of a stream that is not what was written; `None` when it is whole. One that
    /// ages out beside the audit is judged as what it has become.
    pub async fn audit(&self, named: &Named) -> Result<Option<Broken>, Error> {
        let found = self.audit_as(named).await?;
        if found.is_none() || named.aged_out != 0 {
            return Ok(found);
        }
        let now = self.named_again(named).await?;
        if now.aged_out == 0 { Ok(found) } else { self.audit_as(&now).await }
    }

    async fn named_again(&self, named: &Named) -> Result<Named, Error> {
        let (kind, id) = (named.stream_kind.clone(), named.stream_id.clone());
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select cast($1 as text) as stream_kind, cast($2 as text) as stream_id,
                            cast(case when cast($1 as text) = 'incident' and not exists
                                (select 1 from incident i where i.id = $2)
                                then 1 else 0 end as bigint) as orphan,
                            cast(case when exists
                                (select 1 from stream_head h
                                 where h.stream_kind = $1 and h.stream_id = $2
                                   and h.aged_out_at_ms is not null)
                                then 1 else 0 end as bigint) as aged_out"
                ).bind(&kind).bind(&id).fetch_one(&mut **c).await)?)
            })
        })
        .await
    }

    async fn audit_as(&self, named: &Named) -> Result<Option<Broken>, Error> {
        let Some(stream) = named.stream() else {
            return Ok(Some(Broken { seq: 1, why: "nobody writes streams of this kind".into() }));
        };
        if named.aged_out != 0 {
            return self.audit_tombstone(named).await;
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

    /// Whoever deletes entries can plant a row that says they aged out: only incidents do, and an
    /// entry of the system's own timeline, which has its own audit, says which.
    async fn audit_tombstone(&self, named: &Named) -> Result<Option<Broken>, Error> {
        let broken = |why: &str| Ok(Some(Broken { seq: 1, why: why.to_owned() }));
        if named.stream_kind != "incident" {
            return broken(
                "a row says that its entries aged out, which those of the system never do",
            );
        }
        let id = &named.stream_id;
        let Some(stone) = self.tombstone_of(&named.stream_kind, id).await? else { return Ok(None) };
        if named.orphan == 0 {
            return broken("a row says that it aged out, and it is still there");
        }
        Ok(self.vouched(id, &stone).await?.err().map(|why| Broken { seq: 1, why }))
    }

    /// Outputs and reports that entries name and that are gone: how many aged out, and those that
    /// no policy took.
    pub async fn gone_texts(&self) -> Result<(i64, Vec<String>), Error> {
        let taken_before_ms = self.outputs_taken_before().await?;
        let (mut aged_out, mut missing) = (0, Vec::<Lost>::new());
        let mut after = (String::new(), 0);
        loop {
            let from = after.clone();
            let rows =
                self.read(move |conn| Box::pin(async move { naming(conn, &from).await })).await?;
            let Some(last) = rows.last() else { break };
            after = (last.stream_id.clone(), last.seq);
            let mut named: Vec<Lost> = Vec::new();
            for row in rows {
                let entry: Value = serde_json::from_str(&row.body).unwrap_or_default();
                let report = row.kind == "report_written";
                let at = if report { "/hash" } else { "/output/hash" };
                let Some(hash) = entry.pointer(at).and_then(Value::as_str) else { continue };
                let output_at_ms = (!report).then_some(row.at_ms);
                let hash = hash.to_owned();
                named.push(Lost { stream_id: row.stream_id, output_at_ms, hash });
            }
            let hashes: Vec<String> = named.iter().map(|one| one.hash.clone()).collect();
            let kept =
                self.read(move |conn| Box::pin(async move { kept(conn, &hashes).await })).await?;
            for lost in named.into_iter().filter(|one| !kept.contains(&one.hash)) {
                match lost.may_be_gone(taken_before_ms) {
                    true => aged_out += 1,
                    false => missing.push(lost),
                }
            }
        }
        if missing.is_empty() {
            return Ok((aged_out, Vec::new()));
        }
        // A round may go on beside the audit. It writes down what it takes before it takes it, and
        // incidents go together with their entries.
        let taken_before_ms = self.outputs_taken_before().await?;
        let gone = self.incidents_gone(&missing).await?;
        missing.retain(|one| !gone.contains(&one.stream_id));
        let known = missing.len();
        missing.retain(|one| !one.may_be_gone(taken_before_ms));
        aged_out += i64::try_from(known - missing.len()).unwrap_or(i64::MAX);
        Ok((aged_out, missing.into_iter().map(|one| one.hash).collect()))
    }

    /// Those of these incidents that are there no more.
    async fn incidents_gone(&self, of: &[Lost]) -> Result<BTreeSet<String>, Error> {
        let mut gone: BTreeSet<String> = of.iter().map(|one| one.stream_id.clone()).collect();
        let ids: Vec<String> = gone.iter().cloned().collect();
        for some in ids.chunks(IDS_MAX) {
            let some = list(some);
            let there = self.read(move |conn| {
                Box::pin(async move {
                    let sql = dialect!(conn,
                        lite: "select id from incident where id in (select value from json_each($1))",
                        pg: "select id from incident
                             where id in (select jsonb_array_elements_text(cast($1 as jsonb)))",
                    );
                    let rows: Vec<(String,)> =
                        db!(conn, c => sqlx::query_as(sql).bind(some).fetch_all(&mut **c).await)?;
                    Ok(rows)
                })
            });
            for (id,) in there.await? {
                gone.remove(&id);
            }
        }
        Ok(gone)
    }

    /// The latest time before which outputs were taken by policy.
    async fn outputs_taken_before(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select body from timeline
                     where stream_kind = 'system' and stream_id = 'system'
                       and kind = 'outputs_aged_out'"
                ).fetch_all(&mut **c).await)?;
                let before = |(body,): (String,)| {
                    let entry: Value = serde_json::from_str(&body).ok()?;
                    entry.get("before_ms")?.as_i64()
                };
                Ok(rows.into_iter().filter_map(before).max().unwrap_or(i64::MIN))
            })
        })
        .await
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

/// A text that an entry names.
struct Lost {
    stream_id: String,
    /// When the entry was written, of an output; none of a report, which no policy takes alone.
    output_at_ms: Option<i64>,
    hash: String,
}

impl Lost {
    fn may_be_gone(&self, taken_before_ms: i64) -> bool {
        self.output_at_ms.is_some_and(|at_ms| at_ms < taken_before_ms)
    }
}

/// An entry that may name a text.
#[derive(FromRow)]
struct Naming {
    stream_id: String,
    seq: i64,
    at_ms: i64,
    kind: String,
    body: String,
}

/// The next entries of incidents that may name a text. What is left of those that aged out is not
/// asked for.
async fn naming(conn: &mut Conn<'_>, after: &(String, i64)) -> Result<Vec<Naming>, Error> {
    Ok(db!(conn, c => sqlx::query_as(
        "select t.stream_id, t.seq, t.at_ms, t.kind, t.body from timeline t
         join incident i on i.id = t.stream_id
         where t.stream_kind = 'incident' and (t.stream_id, t.seq) > ($1, $2)
           and t.kind in ('answered', 'outcome_recorded', 'report_written')
         order by t.stream_id, t.seq limit $3"
    ).bind(&after.0).bind(after.1).bind(NAMING_MAX).fetch_all(&mut **c).await)?)
}

async fn kept(conn: &mut Conn<'_>, hashes: &[String]) -> Result<BTreeSet<String>, Error> {
    let sql = dialect!(conn,
        lite: "select hash from blob where hash in (select value from json_each($1))",
        pg: "select hash from blob
             where hash in (select jsonb_array_elements_text(cast($1 as jsonb)))",
    );
    let rows: Vec<(String,)> =
        db!(conn, c => sqlx::query_as(sql).bind(list(hashes)).fetch_all(&mut **c).await)?;
    Ok(rows.into_iter().map(|(hash,)| hash).collect())
}
