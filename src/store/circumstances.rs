//! What recent history says of one change, over all incidents and replicas: one question, one answer.
//!
//! In: what the rules want watched. Out: how often each limit was used, what is in flight, which
//! breakers are open, on how many targets the alerts fired. Asked before a verdict, and again under
//! lock with the intent. Never: a count that the rules did not ask for.

use super::db::{Conn, Store, db, dialect};
use super::{Error, json, key};
use crate::model::guard::{Recent, Watch};
use crate::model::verdict::Limit;

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    pub counts: Vec<(Limit, i64)>,
    pub recent: Recent,
}

/// Each row says what it counts, the place in the list of what was asked, and the number.
type Row = (i64, i64, i64);

const HITS: i64 = 0;
const SLOT: i64 = 1;
const BREAKER: i64 = 2;
const ALERT: i64 = 3;

// Targets on which an alert fires: those where it was first seen within the window, and those whose
// incident is still being worked on, however long that takes. SQLite would read every alert of the
// name for the latter if it were told the scope of the alert, too.
const LITE: &str = "
    select 0, k.value->>0, (select count(*) from limit_hit h
        where h.name = k.value->>1 and h.at_ms > k.value->>2)
    from json_each($2) k
    union all
    select 1, k.value->>0, (select count(*) from slot s
        where s.name = k.value->>1 and s.until_ms > $1)
    from json_each($3) k
    union all
    select 2, k.value->>0, b.until_ms
    from json_each($4) k join breaker b on b.name = k.value->>1 and b.until_ms > $1
    union all
    select 3, k.value->>0, (select count(t.target) from (
        select a.target from alert a
        where a.scope = $6 and a.name = k.value->>1 and a.first_seen_ms > $7
          and a.incident_id is not null
        union
        select a.target from incident i cross join alert a
        where i.scope = $6 and i.open_key is not null and a.incident_id = i.id
          and a.name = k.value->>1 and a.status = 'firing') t)
    from json_each($5) k";

const PG: &str = "
    select cast(0 as bigint), cast(k.value->>0 as bigint), (select count(*) from limit_hit h
        where h.name = k.value->>1 and h.at_ms > cast(k.value->>2 as bigint))
    from jsonb_array_elements(cast($2 as jsonb)) k(value)
    union all
    select 1, cast(k.value->>0 as bigint), (select count(*) from slot s
        where s.name = k.value->>1 and s.until_ms > $1)
    from jsonb_array_elements(cast($3 as jsonb)) k(value)
    union all
    select 2, cast(k.value->>0 as bigint), b.until_ms
    from jsonb_array_elements(cast($4 as jsonb)) k(value)
    join breaker b on b.name = k.value->>1 and b.until_ms > $1
    union all
    select 3, cast(k.value->>0 as bigint), (select count(t.target) from (
        select a.target from alert a
        where a.scope = $6 and a.name = k.value->>1 and a.first_seen_ms > $7
          and a.incident_id is not null
        union
        select a.target from incident i cross join alert a
        where i.scope = $6 and i.open_key is not null and a.incident_id = i.id
          and a.scope = $6 and a.name = k.value->>1 and a.status = 'firing') t)
    from jsonb_array_elements(cast($5 as jsonb)) k(value)";

impl Store {
    /// Asks for a verdict before the intent is written.
    pub async fn circumstances(
        &self,
        watch: Watch,
        limits: Vec<Limit>,
        now_ms: i64,
    ) -> Result<Found, Error> {
        self.read(move |conn| Box::pin(async move { find(conn, &watch, &limits, now_ms).await }))
            .await
    }
}

/// Looks everything up in one statement.
pub(super) async fn find(
    conn: &mut Conn<'_>,
    watch: &Watch,
    limits: &[Limit],
    now_ms: i64,
) -> Result<Found, Error> {
    let common = watch.common.as_ref();
    let alertnames = common.map(|common| common.alertnames.as_slice()).unwrap_or_default();
    let since_ms = common.map_or(now_ms, |common| now_ms.saturating_sub(common.within_ms));
    let hits = limits.iter().enumerate().map(|(at, limit)| {
        (at, key(&limit.key).into_owned(), now_ms.saturating_sub(limit.within_ms))
    });
    let hits = json(&hits.collect::<Vec<_>>())?;
    let slots = numbered(watch.slots.iter().map(|slot| &slot.name))?;
    let breakers = numbered(watch.breakers.iter().map(|breaker| &breaker.name))?;
    let alerts = numbered(alertnames.iter())?;
    let sql = dialect!(conn, lite: LITE, pg: PG);
    let rows: Vec<Row> = db!(conn, c => sqlx::query_as(sql)
        .bind(now_ms)
        .bind(hits)
        .bind(slots)
        .bind(breakers)
        .bind(alerts)
        .bind(common.map_or("", |common| common.scope.as_str()))
        .bind(since_ms)
        .fetch_all(&mut **c).await)?;
    let mut found = Found::default();
    for (what, at, number) in rows {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let recent = &mut found.recent;
        match what {
            HITS => found.counts.extend(limits.get(at).map(|limit| (limit.clone(), number))),
            SLOT => {
                let slot = watch.slots.get(at).map(|slot| (slot.name.clone(), number));
                recent.in_flight.extend(slot);
            }
            BREAKER => {
                let breaker = watch.breakers.get(at).map(|b| (b.name.clone(), number));
                recent.open_until_ms.extend(breaker);
            }
            ALERT => recent.targets.extend(alertnames.get(at).map(|name| (name.clone(), number))),
            other => return Err(Error::Corrupt(format!("an answer about {other}"))),
        }
    }
    Ok(found)
}

/// Names with their places, as the JSON list that a query unfolds.
fn numbered<'a>(names: impl Iterator<Item = &'a String>) -> Result<String, Error> {
    json(&names.map(|name| key(name)).enumerate().collect::<Vec<_>>())
}
