//! Incidents whose time is over: what stays of each is where its history ended.
//!
//! In: how old an incident must be. Out: its row is gone, `stream_head` keeps number and hash of its
//! last entry, and an entry of the system's own timeline vouches for that, all in one transaction;
//! then everything about it goes, in pieces. Never: an incident that is open, that has a change, a
//! message or an item of its inbox in flight, or whose last ending has no report.

use super::delete_of;
use crate::model::ids::IncidentId;
use crate::model::system::{Ended, SystemEntry};
use crate::store::db::{Conn, Store, db, dialect, list};
use crate::store::{Error, parsed, system};
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow};

/// Incidents whose rows go in one transaction: an entry of the system's timeline names them all.
const INCIDENTS_AT_ONCE: i64 = 20;

/// When an incident `i` may age out; $1 is the time before which it ended.
pub(super) const ELIGIBLE: &str = "i.ended_at_ms < $1 and i.updated_at_ms < $1
    and i.state = 'resolved' and i.open_key is null and i.lease_owner is null
    and i.due_at_ms is null and i.page_due_at_ms is null
    and not exists (select 1 from inbox b
                    where b.stream_kind = 'incident' and b.stream_id = i.id)
    and not exists (select 1 from action a where a.incident_id = i.id
                    and a.state in ('proposed', 'awaiting', 'allowed', 'approved', 'intended'))
    and not exists (select 1 from message m
                    where m.stream_id = i.id and m.expanded_at_ms is null)
    and not exists (select 1 from message_delivery d
                    where d.stream_id = i.id
                      and d.state not in ('sent', 'failed', 'skipped', 'digested'))
    and not exists (select 1 from alert l
                    where l.incident_id = i.id and l.last_seen_ms >= $1)
    and exists (select 1 from timeline t
                where t.stream_kind = 'incident' and t.stream_id = i.id
                  and t.kind = 'report_written' and t.seq > coalesce(
                      (select max(e.seq) from timeline e
                       where e.stream_kind = 'incident' and e.stream_id = i.id
                         and e.kind = 'resolved'), 0))";

/// How old incidents have to be, and who says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    pub before_ms: i64,
    pub days: i64,
    pub process: String,
    pub at_ms: i64,
}

/// What is left of a stream.
#[derive(Clone, PartialEq, Eq, Debug, FromRow)]
pub struct Tombstone {
    pub seq: i64,
    pub head: String,
    pub aged_out_at_ms: i64,
    /// The entry of the system's timeline that vouches for it.
    pub vouched_seq: Option<i64>,
}

/// What the system's timeline says of a tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    pub seq: i64,
    pub head: String,
    pub days: i64,
}

#[derive(FromRow)]
struct Row {
    id: String,
    seq: i64,
    head: String,
    ended_at_ms: i64,
}

impl Store {
    /// Takes the rows of some incidents that ended before, and leaves their tombstones; returns how
    /// many.
    pub async fn age_out_incidents(&self, cut: Cut) -> Result<u64, Error> {
        // Looked for where nobody waits, judged once more where nobody can change them.
        let before_ms = cut.before_ms;
        let ids = self.read(move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "select i.id from incident i where {ELIGIBLE}
                     order by i.ended_at_ms, i.id limit $2"
                );
                let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(AssertSqlSafe(sql))
                    .bind(before_ms).bind(INCIDENTS_AT_ONCE).fetch_all(&mut **c).await)?;
                Ok(rows.into_iter().map(|(id,)| id).collect::<Vec<String>>())
            })
        });
        let ids = ids.await?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(move |conn| Box::pin(async move { bury(conn, &ids, cut).await })).await
    }

    /// Removes some of what is left of incidents that aged out; returns how many rows, the marks of
    /// those of which nothing is left included.
    pub async fn empty_tombstones(&self) -> Result<u64, Error> {
        let ids = self.read(|conn| {
            Box::pin(async move {
                let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
                    "select stream_id from stream_head
                     where aged_out_at_ms is not null and emptied_at_ms is null
                       and vouched_seq is not null order by stream_id limit $1"
                ).bind(INCIDENTS_AT_ONCE).fetch_all(&mut **c).await)?;
                Ok(rows.into_iter().map(|(id,)| id).collect::<Vec<String>>())
            })
        });
        let mut removed = 0;
        for id in ids.await? {
            removed +=
                self.write(move |conn| Box::pin(async move { empty(conn, &id).await })).await?;
        }
        Ok(removed)
    }

    /// What is left of an incident that aged out.
    pub async fn tombstone(&self, id: IncidentId) -> Result<Option<Tombstone>, Error> {
        self.tombstone_of("incident", &id.to_string()).await
    }

    /// What is left of a stream that is said to have aged out.
    pub(in crate::store) async fn tombstone_of(
        &self,
        kind: &str,
        id: &str,
    ) -> Result<Option<Tombstone>, Error> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        self.read(move |conn| {
            Box::pin(async move {
                Ok(db!(conn, c => sqlx::query_as(
                    "select seq, head, aged_out_at_ms, vouched_seq from stream_head
                     where stream_kind = $1 and stream_id = $2 and aged_out_at_ms is not null"
                ).bind(&kind).bind(&id).fetch_optional(&mut **c).await)?)
            })
        })
        .await
    }

    /// What the system's timeline says of the tombstone of an incident; the reason when nothing
    /// there vouches for it.
    pub async fn vouched(
        &self,
        id: &str,
        stone: &Tombstone,
    ) -> Result<Result<Vouched, String>, Error> {
        let none = || {
            "a row says that its entries aged out, which no entry of the system's own \
                       timeline does"
                .to_owned()
        };
        let Some(seq) = stone.vouched_seq else { return Ok(Err(none())) };
        let entries = self.system_timeline(seq - 1, 1).await?;
        let Some(entry) = entries.into_iter().find(|entry| entry.seq == seq) else {
            return Ok(Err(none()));
        };
        let SystemEntry::IncidentsAgedOut { days, incidents, .. } = entry.entry else {
            return Ok(Err(none()));
        };
        let Some(ended) = incidents.into_iter().find(|ended| ended.id == id) else {
            return Ok(Err(none()));
        };
        if (ended.seq, &ended.head) != (stone.seq, &stone.head) {
            let why = format!(
                "it aged out at entry {}, and its row says at {} with another end",
                ended.seq, stone.seq
            );
            return Ok(Err(why));
        }
        Ok(Ok(Vouched { seq: ended.seq, head: ended.head, days }))
    }

    /// How many incidents aged out.
    pub async fn tombstones(&self) -> Result<i64, Error> {
        self.read(|conn| {
            Box::pin(async move {
                let (count,): (i64,) = db!(conn, c => sqlx::query_as(
                    "select count(*) from stream_head where aged_out_at_ms is not null"
                ).fetch_one(&mut **c).await)?;
                Ok(count)
            })
        })
        .await
    }
}

/// The hash that an entry's output lies under.
pub(super) fn output_of(body: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(body).ok()?;
    Some(entry.pointer("/output/hash")?.as_str()?.to_owned())
}

async fn bury(conn: &mut Conn<'_>, ids: &[String], cut: Cut) -> Result<u64, Error> {
    let rows = lock(conn, ids, cut.before_ms).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ended = |row: &Row| Ended {
        id: row.id.clone(),
        seq: row.seq,
        head: row.head.clone(),
        ended_at_ms: row.ended_at_ms,
    };
    let entry = SystemEntry::IncidentsAgedOut {
        process: cut.process,
        days: cut.days,
        incidents: rows.iter().map(ended).collect(),
    };
    system::append(conn, cut.at_ms, &entry).await?;
    let (vouched_seq,): (i64,) = db!(conn, c => sqlx::query_as(
        "select seq from stream_head where stream_kind = 'system' and stream_id = 'system'"
    ).fetch_one(&mut **c).await)?;
    for row in &rows {
        db!(conn, c => sqlx::query(
            "insert into stream_head
                 (stream_kind, stream_id, seq, head, aged_out_at_ms, vouched_seq)
             values ('incident', $1, $2, $3, $4, $5)"
        )
            .bind(&row.id)
            .bind(row.seq)
            .bind(&row.head)
            .bind(cut.at_ms)
            .bind(vouched_seq)
            .execute(&mut **c).await.map(|_| ()))?;
        db!(conn, c => sqlx::query("delete from incident where id = $1")
            .bind(&row.id).execute(&mut **c).await.map(|_| ()))?;
    }
    Ok(rows.len() as u64)
}

/// Those of the incidents that may still age out; nobody changes them until the transaction ends.
async fn lock(conn: &mut Conn<'_>, ids: &[String], before_ms: i64) -> Result<Vec<Row>, Error> {
    let (of, locked) = dialect!(conn,
        lite: ("(select value from json_each($2))", ""),
        pg: ("(select jsonb_array_elements_text(cast($2 as jsonb)))",
             " for update of i skip locked"),
    );
    let sql = format!(
        "select i.id, i.seq, i.head, i.ended_at_ms from incident i
         where {ELIGIBLE} and i.id in {of} order by i.id{locked}"
    );
    Ok(db!(conn, c => sqlx::query_as(AssertSqlSafe(sql))
        .bind(before_ms).bind(list(ids)).fetch_all(&mut **c).await)?)
}

/// Removes a piece of what is left of an incident: its texts first, its entries last, because they
/// name the rest. The last piece is followed by a mark.
async fn empty(conn: &mut Conn<'_>, id: &str) -> Result<u64, Error> {
    let mut removed = forget_texts(conn, id).await?;
    for (table, condition) in [
        ("limit_hit", "action_id in (select id from action where incident_id = $1)"),
        ("bad_change", "action_id in (select id from action where incident_id = $1)"),
        ("slot", "action_id in (select id from action where incident_id = $1)"),
        ("intent", "incident_id = $1"),
        ("action", "incident_id = $1"),
        ("message_delivery", "stream_id = $1"),
        ("message", "stream_id = $1"),
        ("incident_join", "incident_id = $1"),
        ("incident_alias", "incident_id = $1"),
        (
            "alert_doubt",
            "exists (select 1 from alert l where l.incident_id = $1 and l.scope = alert_doubt.scope
                 and l.source = alert_doubt.source and l.fingerprint = alert_doubt.fingerprint
                 and l.starts_at_ms = alert_doubt.starts_at_ms)",
        ),
        ("alert", "incident_id = $1"),
        ("inbox", "stream_kind = 'incident' and stream_id = $1"),
        ("timeline", "stream_kind = 'incident' and stream_id = $1"),
    ] {
        if removed > 0 {
            return Ok(removed);
        }
        removed = delete_of(conn, table, condition, id).await?;
    }
    if removed == 0 {
        removed = db!(conn, c => sqlx::query(
            "update stream_head set emptied_at_ms = aged_out_at_ms
             where stream_kind = 'incident' and stream_id = $1 and emptied_at_ms is null"
        ).bind(id).execute(&mut **c).await.map(|done| done.rows_affected()))?;
    }
    Ok(removed)
}

/// Removes the reports of an incident. Its outputs age out by themselves, but those that were kept
/// before texts had a kind.
async fn forget_texts(conn: &mut Conn<'_>, id: &str) -> Result<u64, Error> {
    let bodies: Vec<(String, String)> = db!(conn, c => sqlx::query_as(
        "select kind, body from timeline
         where stream_kind = 'incident' and stream_id = $1
           and kind in ('report_written', 'answered', 'outcome_recorded')"
    ).bind(id).fetch_all(&mut **c).await)?;
    let mut hashes = Vec::new();
    for (kind, body) in bodies {
        if kind == "report_written" {
            let entry: Value = parsed(serde_json::from_str(&body), "timeline entry")?;
            hashes.extend(entry.get("hash").and_then(Value::as_str).map(str::to_owned));
        } else {
            hashes.extend(output_of(&body));
        }
    }
    let of = dialect!(conn,
        lite: "(select value from json_each($1))",
        pg: "(select jsonb_array_elements_text(cast($1 as jsonb)))",
    );
    let sql = format!(
        "delete from blob where (kind = 'report' or kind is null) and hash in {of}
           and at_ms <= (select max(at_ms) from timeline
                         where stream_kind = 'incident' and stream_id = $2)"
    );
    Ok(db!(conn, c => sqlx::query(AssertSqlSafe(sql))
        .bind(list(&hashes)).bind(id).execute(&mut **c).await.map(|done| done.rows_affected()))?)
}
