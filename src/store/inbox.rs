//! What others have to say about a stream, until the lease holder gives it a number.

use super::db::{Conn, Store, chunks, db, dialect, list, values};
use super::timeline::Stream;
use super::{Error, json, parsed, wakeups};
use crate::model::ids::{InboxId, IncidentId};
use crate::model::timeline::Entry;
use sqlx::AssertSqlSafe;

/// A waiting entry.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    pub id: InboxId,
    pub at_ms: i64,
    pub entry: Entry,
}

impl Store {
    /// Brings one entry to an incident and makes its next step due.
    pub async fn tell_incident(
        &self,
        id: IncidentId,
        at_ms: i64,
        entry: Entry,
    ) -> Result<(), Error> {
        self.write(move |conn| Box::pin(async move { tell(conn, id, at_ms, &entry).await })).await
    }

    /// What waits for a stream, in the order of arrival.
    pub async fn inbox(&self, stream: Stream) -> Result<Vec<Item>, Error> {
        self.read(move |conn| Box::pin(async move { waiting(conn, &stream).await })).await
    }
}

/// Brings one entry to an incident inside a transaction.
pub async fn tell(
    conn: &mut Conn<'_>,
    incident: IncidentId,
    at_ms: i64,
    entry: &Entry,
) -> Result<(), Error> {
    put(conn, &Stream::incident(incident), at_ms, entry).await?;
    wake(conn, [incident], at_ms).await
}

/// Brings entries to incidents, in this order, without waking anybody.
pub async fn put_all(
    conn: &mut Conn<'_>,
    at_ms: i64,
    entries: &[(IncidentId, Entry)],
) -> Result<(), Error> {
    for chunk in chunks(entries) {
        let sql = format!(
            "insert into inbox (id, stream_kind, stream_id, at_ms, body) values {}",
            values(chunk.len(), 5)
        );
        db!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (incident, entry) in chunk {
                let stream = Stream::incident(*incident);
                query = query
                    .bind(InboxId::new().to_string())
                    .bind(stream.kind)
                    .bind(stream.id)
                    .bind(at_ms)
                    .bind(json(entry)?);
            }
            query.execute(&mut **c).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Makes the next steps of incidents due.
///
/// Always an update, so that it waits for a step under way: that step may be about to overwrite the
/// time that looks early enough here. Several are locked in the order of their ids, so that two
/// replicas that wake the same ones wait for each other, and never in a circle.
pub async fn wake(
    conn: &mut Conn<'_>,
    incidents: impl IntoIterator<Item = IncidentId>,
    at_ms: i64,
) -> Result<(), Error> {
    let incidents: Vec<IncidentId> = incidents.into_iter().collect();
    if let (Conn::Pg(c), 2..) = (&mut *conn, incidents.len()) {
        sqlx::query(
            "select id from incident
             where id in (select jsonb_array_elements_text(cast($1 as jsonb)))
             order by id for update",
        )
        .bind(list(incidents.iter().copied()))
        .fetch_all(&mut **c)
        .await?;
    }
    let sql = dialect!(conn,
        lite: "update incident
               set due_at_ms = case when due_at_ms < $2 then due_at_ms else $2 end
               where id in (select value from json_each($1))",
        pg: "update incident
             set due_at_ms = case when due_at_ms < $2 then due_at_ms else $2 end
             where id in (select jsonb_array_elements_text(cast($1 as jsonb)))",
    );
    db!(conn, c => sqlx::query(sql)
        .bind(list(incidents)).bind(at_ms).execute(&mut **c).await.map(|_| ()))?;
    wakeups::call(conn).await
}

/// Puts an entry into an inbox without waking anybody.
pub async fn put(
    conn: &mut Conn<'_>,
    stream: &Stream,
    at_ms: i64,
    entry: &Entry,
) -> Result<(), Error> {
    let body = json(entry)?;
    db!(conn, c => sqlx::query(
        "insert into inbox (id, stream_kind, stream_id, at_ms, body) values ($1, $2, $3, $4, $5)"
    )
        .bind(InboxId::new().to_string())
        .bind(stream.kind)
        .bind(&stream.id)
        .bind(at_ms)
        .bind(body)
        .execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// What waits for a stream.
pub async fn waiting(conn: &mut Conn<'_>, stream: &Stream) -> Result<Vec<Item>, Error> {
    let rows: Vec<(String, i64, String)> = db!(conn, c => sqlx::query_as(
        "select id, at_ms, body from inbox where stream_kind = $1 and stream_id = $2 order by id"
    ).bind(stream.kind).bind(&stream.id).fetch_all(&mut **c).await)?;
    rows.into_iter()
        .map(|(id, at_ms, body)| {
            Ok(Item {
                id: parsed(id.parse(), "inbox id")?,
                at_ms,
                entry: parsed(serde_json::from_str(&body), "inbox entry")?,
            })
        })
        .collect()
}

/// Makes the next step due when something waits that the last one has not seen. Without this, a
/// step that was decided before the item came would put the incident to sleep over it.
pub async fn wake_if_waiting(
    conn: &mut Conn<'_>,
    incident: IncidentId,
    at_ms: i64,
) -> Result<(), Error> {
    let stream = Stream::incident(incident);
    db!(conn, c => sqlx::query(
        "update incident set due_at_ms = $2
         where id = $1 and (due_at_ms is null or due_at_ms > $2)
           and exists (select 1 from inbox where stream_kind = $3 and stream_id = $1)"
    ).bind(stream.id).bind(at_ms).bind(stream.kind).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Takes items out, because they were folded into the timeline in the same transaction.
pub async fn remove(conn: &mut Conn<'_>, ids: &[InboxId]) -> Result<(), Error> {
    let sql = dialect!(conn,
        lite: "delete from inbox where id in (select value from json_each($1))",
        pg: "delete from inbox
             where id in (select jsonb_array_elements_text(cast($1 as jsonb)))",
    );
    db!(conn, c => sqlx::query(sql).bind(list(ids)).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}
