//! What must not outlive a restore: permissions, leases and sign-ins of the moment of the backup.
//!
//! Whatever happened after the backup is not known to it. So every change is halted until a person
//! resumes; a change that was allowed or approved, or waits for an answer, is off; one whose outcome
//! is not recorded is never run again, as after a crash; messages that may have left are marked. The
//! time since the backup counts as no time in which somebody should have been paged, and what was
//! known of peers and processes then says nothing of those of today.

use super::{Manifest, Order};
use crate::clock::format_ms;
use crate::model::alert::Severity;
use crate::model::ids::{ActionId, IncidentId, MessageId};
use crate::model::message::{Event, Message, Urgency};
use crate::model::system::SystemEntry;
use crate::model::timeline::Entry;
use crate::store::db::{Conn, db};
use crate::store::step::Announcement;
use crate::store::switches::{self, Switch};
use crate::store::{Error, inbox, outbox, parsed, system};
use serde::Serialize;

/// What a restore ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Prepared {
    /// Changes that had not started.
    pub superseded: usize,
    /// Changes that were started, or may have been, and have no outcome.
    pub unknown: usize,
    /// Messages that may have been sent after the backup; they are sent, and marked.
    pub marked: u64,
    pub sessions: u64,
    /// Incidents that were open.
    pub open: i64,
}

/// Makes a restored database safe to serve. Part of one transaction.
pub(super) async fn prepare(
    conn: &mut Conn<'_>,
    manifest: &Manifest,
    order: &Order,
) -> Result<Prepared, Error> {
    let reason = format!("restored from backup of {}", format_ms(manifest.taken_at_ms));
    switches::turn(conn, Switch::On, &order.by, &reason, order.now_ms).await?;
    let superseded = supersede(conn, &reason, order.now_ms).await?;
    let unknown = wake_intended(conn, order.now_ms).await?;
    end_leases(conn).await?;
    give_time_back(conn, order.now_ms - manifest.taken_at_ms).await?;
    forget_the_pipeline(conn).await?;
    let prepared = Prepared {
        superseded,
        unknown,
        marked: mark_messages(conn, order.now_ms).await?,
        sessions: count(conn, "delete from session").await?,
        open: open_incidents(conn).await?,
    };
    let restored = SystemEntry::Restored {
        by: order.by.clone(),
        taken_at_ms: manifest.taken_at_ms,
        taken_at: format_ms(manifest.taken_at_ms),
        program: manifest.program.clone(),
        sha256: manifest.sha256.clone(),
    };
    system::append(conn, order.now_ms, &restored).await?;
    let halted = SystemEntry::Halted { by: order.by.clone(), reason: reason.clone() };
    system::append(conn, order.now_ms, &halted).await?;
    outbox::queue(conn, &announcement(&prepared, &reason, order)).await?;
    Ok(prepared)
}

/// Ends every permission that was given and every question that waits. The rows end here, so that
/// nobody can answer one before its incident takes its next step; the incident is told.
async fn supersede(conn: &mut Conn<'_>, reason: &str, now_ms: i64) -> Result<usize, Error> {
    let rows: Vec<(String, String)> = db!(conn, c => sqlx::query_as(
        "select id, incident_id from action where state in ('allowed', 'awaiting', 'approved')
         order by id"
    ).fetch_all(&mut **c).await)?;
    let mut told = Vec::with_capacity(rows.len());
    for (action, incident) in rows {
        let action_id: ActionId = parsed(action.parse(), "action id")?;
        let incident: IncidentId = parsed(incident.parse(), "incident id")?;
        told.push((incident, Entry::Superseded { action_id, why: reason.to_owned() }));
    }
    db!(conn, c => sqlx::query(
        "update action set state = 'superseded'
         where state in ('allowed', 'awaiting', 'approved')"
    ).execute(&mut **c).await.map(|_| ()))?;
    inbox::put_all(conn, now_ms, &told).await?;
    inbox::wake(conn, told.iter().map(|(incident, _)| *incident), now_ms).await?;
    Ok(told.len())
}

/// Their next step records the outcome as unknown, and a person is told.
async fn wake_intended(conn: &mut Conn<'_>, now_ms: i64) -> Result<usize, Error> {
    let rows: Vec<(String,)> = db!(conn, c => sqlx::query_as(
        "select incident_id from action where state = 'intended'"
    ).fetch_all(&mut **c).await)?;
    let incidents: Result<Vec<IncidentId>, Error> =
        rows.iter().map(|(id,)| parsed(id.parse(), "incident id")).collect();
    let incidents = incidents?;
    inbox::wake(conn, incidents.iter().copied(), now_ms).await?;
    Ok(incidents.len())
}

async fn end_leases(conn: &mut Conn<'_>) -> Result<(), Error> {
    count(
        conn,
        "update incident set lease_owner = null, lease_until_ms = null,
             lease_epoch = lease_epoch + 1 where lease_owner is not null",
    )
    .await?;
    count(conn, "update checkpoint set lease_owner = null, lease_until_ms = null").await?;
    count(conn, "delete from replica").await?;
    count(
        conn,
        "update schedule set owner = null, lease_until_ms = null, turn = turn + 1
         where owner is not null",
    )
    .await?;
    Ok(())
}

/// Incidents keep the time until a page that they had at the backup: an old one would page for all of
/// them at once, before anybody could look at one.
async fn give_time_back(conn: &mut Conn<'_>, since_ms: i64) -> Result<(), Error> {
    db!(conn, c => sqlx::query(
        "update incident set page_due_at_ms = page_due_at_ms + $1 where page_due_at_ms is not null"
    ).bind(since_ms.max(0)).execute(&mut **c).await.map(|_| ()))?;
    Ok(())
}

/// An alert is missing after two polls of today, and a peer fails since it was asked today. What
/// incidents and people were told stays: it is on their timelines and in their channels.
async fn forget_the_pipeline(conn: &mut Conn<'_>) -> Result<(), Error> {
    count(conn, "update alert_doubt set missed = 0, missed_since_ms = null where missing_told = 0")
        .await?;
    count(conn, "delete from alertmanager_peer").await?;
    count(conn, "delete from pulse").await?;
    Ok(())
}

/// Those with deliveries count one that nobody answered; the others get theirs marked later.
async fn mark_messages(conn: &mut Conn<'_>, now_ms: i64) -> Result<u64, Error> {
    let waiting = count(
        conn,
        "update message_delivery set unanswered = unanswered + 1 where next_at_ms is not null",
    )
    .await?;
    let unexpanded = db!(conn, c => sqlx::query(
        "update message set restored_at_ms = $1 where expanded_at_ms is null"
    ).bind(now_ms).execute(&mut **c).await.map(|done| done.rows_affected()))?;
    Ok(waiting + unexpanded)
}

async fn open_incidents(conn: &mut Conn<'_>) -> Result<i64, Error> {
    let (open,): (i64,) = db!(conn, c => sqlx::query_as(
        "select count(*) from incident where ended_at_ms is null"
    ).fetch_one(&mut **c).await)?;
    Ok(open)
}

async fn count(conn: &mut Conn<'_>, sql: &'static str) -> Result<u64, Error> {
    let done = db!(conn, c => sqlx::query(sql)
        .execute(&mut **c).await.map(|done| done.rows_affected()))?;
    Ok(done)
}

fn announcement(prepared: &Prepared, reason: &str, order: &Order) -> Announcement {
    let facts = [
        ("Open incidents", prepared.open.to_string()),
        ("Changes called off", prepared.superseded.to_string()),
        ("Changes of unknown outcome", prepared.unknown.to_string()),
    ];
    let message = Message {
        id: MessageId::new(),
        scope: order.scope.clone(),
        incident_id: None,
        event: Event::Health,
        urgency: Urgency::Tell,
        severity: Severity::Warning,
        title: format!("Watchkeeper was {reason}; every change is halted"),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        paragraphs: vec![
            "What happened after the backup is not known to it. Look at the open incidents, then \
             resume: `watchkeeper resume`."
                .to_owned(),
        ],
        links: Vec::new(),
        dedup_key: format!("watchkeeper-restored-{}", order.now_ms),
        created_at_ms: order.now_ms,
        channels: Vec::new(),
    };
    Announcement { transition: format!("restored:{}", order.now_ms), message }
}
