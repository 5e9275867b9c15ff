//! Which incident is worked on next: the more severe, then the broader, then the older.
//!
//! Each incident has a time, and the earliest comes first. It is when the incident was last opened,
//! later by an hour for each step down in severity, earlier by five minutes for each doubling of the
//! alerts that fire. So nothing starves: whatever has waited an hour longer comes before the next
//! more severe one.

use super::db::{Conn, Store, db, dialect};
use super::{Error, json};
use crate::model::alert::Severity;
use crate::model::ids::IncidentId;

/// What one step of severity is worth.
pub const SEVERITY_MS: i64 = 60 * 60_000;
/// What each doubling of the firing alerts is worth, up to 1024 of them; in all less than a step of
/// severity.
pub const DOUBLING_MS: i64 = 5 * 60_000;
const DOUBLINGS_MAX: u32 = 10;

/// The time by which incidents are put in order.
pub fn priority_at_ms(since_ms: i64, severity: Severity, breadth: i64) -> i64 {
    let doublings = breadth.max(1).ilog2().min(DOUBLINGS_MAX);
    since_ms + severity.rank() * SEVERITY_MS - i64::from(doublings) * DOUBLING_MS
}

/// What new alerts change in an incident that is there already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weight {
    pub id: IncidentId,
    /// The most severe of the new ones; it can only raise the incident's.
    pub severity: Severity,
    /// Alerts that began to fire, less those that ended.
    pub more: i64,
    /// When a person is paged at the latest, unless somebody was paged already.
    pub page_due_at_ms: Option<i64>,
}

/// Raises severity and breadth, and with them the place in the queue. The rows must be locked.
///
/// Without a page that is due somebody was paged, or the incident is mere information (rank 2).
pub async fn weigh(conn: &mut Conn<'_>, weights: &[Weight]) -> Result<(), Error> {
    let rows: Vec<_> = weights
        .iter()
        .map(|w| {
            (w.id.to_string(), w.severity.as_str(), w.severity.rank(), w.more, w.page_due_at_ms)
        })
        .collect();
    let sql = dialect!(conn,
        lite: "update incident set
                   severity = case when k.rank < severity_rank then k.word else severity end,
                   severity_rank = case when k.rank < severity_rank then k.rank
                       else severity_rank end,
                   page_due_at_ms = case
                       when k.due is null then page_due_at_ms
                       when page_due_at_ms is null and severity_rank < 2 then null
                       when page_due_at_ms <= k.due then page_due_at_ms
                       else k.due end,
                   breadth = max(0, breadth + k.more)
               from (select value->>0 as id, value->>1 as word, value->>2 as rank,
                         value->>3 as more, value->>4 as due from json_each($1)) as k
               where incident.id = k.id
               returning incident.id, coalesce(since_ms, opened_at_ms), severity, breadth",
        pg: "update incident set
                 severity = case when k.rank < severity_rank then k.word else severity end,
                 severity_rank = case when k.rank < severity_rank then k.rank
                     else severity_rank end,
                 page_due_at_ms = case
                     when k.due is null then page_due_at_ms
                     when page_due_at_ms is null and severity_rank < 2 then null
                     when page_due_at_ms <= k.due then page_due_at_ms
                     else k.due end,
                 breadth = greatest(0, breadth + k.more)
             from (select value->>0 as id, value->>1 as word,
                       cast(value->>2 as bigint) as rank, cast(value->>3 as bigint) as more,
                       cast(value->>4 as bigint) as due
                   from jsonb_array_elements(cast($1 as jsonb))) as k
             where incident.id = k.id
             returning incident.id, coalesce(since_ms, opened_at_ms), severity, breadth",
    );
    let changed: Vec<(String, i64, String, i64)> = db!(conn, c =>
        sqlx::query_as(sql).bind(json(&rows)?).fetch_all(&mut **c).await)?;
    let order: Vec<(String, i64)> = changed
        .into_iter()
        .map(|(id, since_ms, severity, breadth)| {
            let severity = Severity::from_label(Some(&severity));
            (id, priority_at_ms(since_ms, severity, breadth))
        })
        .collect();
    let sql = dialect!(conn,
        lite: "update incident set priority_at_ms = k.value->>1
               from json_each($1) as k where incident.id = k.value->>0",
        pg: "update incident set priority_at_ms = cast(k.value->>1 as bigint)
             from jsonb_array_elements(cast($1 as jsonb)) as k(value)
             where incident.id = k.value->>0",
    );
    db!(conn, c => sqlx::query(sql).bind(json(&order)?).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// Where an incident stands among those that wait for somebody to work on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Queued {
    /// 1 for the next.
    pub place: i64,
    pub waiting: i64,
}

impl Store {
    /// The place of an incident that is due and that nobody works on; `None` for any other.
    pub async fn queued(&self, id: IncidentId, now_ms: i64) -> Result<Option<Queued>, Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "select count(case when (i.priority_at_ms, i.id)
                                           <= (m.priority_at_ms, m.id) then 1 end), count(*)
                           from incident m join incident i
                               on i.due_at_ms <= $2
                               and (i.lease_until_ms is null or i.lease_until_ms < $2)
                           where m.id = $1 and m.due_at_ms <= $2
                             and (m.lease_until_ms is null or m.lease_until_ms < $2)",
                    pg: "with t as (select cast(extract(epoch from clock_timestamp()) * 1000
                                               as bigint) as now)
                         select count(case when (i.priority_at_ms, i.id)
                                         <= (m.priority_at_ms, m.id) then 1 end), count(*)
                         from t, incident m join incident i
                             on i.due_at_ms <= $2
                         where m.id = $1 and m.due_at_ms <= $2
                           and (m.lease_until_ms is null or m.lease_until_ms < t.now)
                           and (i.lease_until_ms is null or i.lease_until_ms < t.now)",
                );
                let (place, waiting): (i64, i64) = db!(conn, c => sqlx::query_as(sql)
                    .bind(id.to_string()).bind(now_ms).fetch_one(&mut **c).await)?;
                Ok((place > 0).then_some(Queued { place, waiting }))
            })
        })
        .await
    }

    /// How many incidents are due and nobody works on them, and since when the first was opened.
    pub async fn queue(&self, now_ms: i64) -> Result<(i64, Option<i64>), Error> {
        self.read(move |conn| {
            Box::pin(async move {
                let sql = dialect!(conn,
                    lite: "select count(*), min(coalesce(since_ms, opened_at_ms)) from incident
                           where due_at_ms <= $1
                             and (lease_until_ms is null or lease_until_ms < $1)",
                    pg: "select count(*), min(coalesce(since_ms, opened_at_ms)) from incident
                         where due_at_ms <= $1 and (lease_until_ms is null or lease_until_ms
                             < (extract(epoch from clock_timestamp()) * 1000)::bigint)",
                );
                Ok(db!(conn, c => sqlx::query_as(sql).bind(now_ms).fetch_one(&mut **c).await)?)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn severity_comes_before_breadth_and_breadth_before_age() {
        let at =
            |minute: i64, severity, breadth| priority_at_ms(minute * MINUTE_MS, severity, breadth);
        let mut order = [
            ("a narrow critical one", at(30, Severity::Critical, 1)),
            ("a broad warning", at(25, Severity::Warning, 100_000)),
            ("an old warning", at(0, Severity::Warning, 1)),
            ("a broad critical one", at(31, Severity::Critical, 2)),
            ("information", at(0, Severity::Info, 1)),
        ];
        order.sort_by_key(|(_, at)| *at);
        let wanted = [
            "a broad critical one",
            "a narrow critical one",
            "a broad warning",
            "an old warning",
            "information",
        ];
        assert_eq!(order.map(|(what, _)| what), wanted);
    }

    #[test]
    fn breadth_is_never_worth_a_step_of_severity() {
        let broad = priority_at_ms(0, Severity::Warning, i64::MAX);
        assert!(priority_at_ms(0, Severity::Critical, 1) < broad);
        assert!(broad < priority_at_ms(0, Severity::Warning, 1));
        assert_eq!(priority_at_ms(0, Severity::Warning, -3), SEVERITY_MS);
    }

    #[test]
    fn whatever_waits_long_enough_comes_first() {
        let old = priority_at_ms(0, Severity::Info, 1);
        let storm = priority_at_ms(3 * SEVERITY_MS + 1, Severity::Critical, i64::MAX);
        assert!(old < storm, "two steps of severity and all of breadth are under three hours");
    }
}
