//! The clock that makes sure that somebody hears.
//!
//! An incident that nobody was paged for and that is not resolved within its severity's time is
//! announced loudly, whatever its worker is doing at the moment.

use super::desks::Desks;
use super::events::{self, Reaction};
use super::{Desk, announce};
use crate::crash::{self, Point};
use crate::model::case::Case;
use crate::model::ids::IncidentId;
use crate::model::timeline::{Entry, Stored};
use crate::store::step::Announcement;
use crate::store::timeline::Stream;
use crate::store::{Error, inbox, incidents, outbox};
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const BATCH: i64 = 100;

/// Looks for overdue incidents until told to stop.
pub async fn run(desks: Arc<Desks>, poll: Duration, due: Arc<Notify>, stop: CancellationToken) {
    loop {
        match sweep(&desks.current()).await {
            Ok(0) => {}
            Ok(_) => due.notify_one(),
            Err(error) => tracing::error!(%error, "cannot look for overdue incidents"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(poll) => {}
        }
    }
}

/// Pages for every overdue incident; returns how many. One that cannot be paged for does not hold
/// back the others.
pub async fn sweep(desk: &Desk) -> Result<usize, Error> {
    let overdue = desk.store.page_due(desk.clock.now_ms(), BATCH).await?;
    let mut paged = 0;
    for (id, scope) in &overdue {
        // The panic itself is logged where it happens.
        let one = AssertUnwindSafe(page(desk, *id, scope)).catch_unwind().await;
        match one.unwrap_or_else(|_| Err(Error::Corrupt("the page panicked".into()))) {
            Ok(one) => paged += usize::from(one),
            Err(error) => {
                tracing::error!(incident.id = %id, %error, "cannot page for an overdue incident");
            }
        }
    }
    Ok(paged)
}

/// Tells whether a page was due.
async fn page(desk: &Desk, id: IncidentId, scope: &str) -> Result<bool, Error> {
    let case = match known(desk, id, scope).await {
        // Somebody has to hear of this one all the more; the row still says what it is about.
        Err(Error::Corrupt(why)) => {
            tracing::error!(incident.id = %id, %why, "cannot read the history of an incident");
            from_row(desk, Case::new(id, scope)).await?
        }
        known => known?,
    };
    let message = announce::overdue(desk, &case);
    let transition = format!("overdue:{}", case.round);
    let entry = Entry::MessageQueued {
        message_id: message.id,
        transition: transition.clone(),
        title: message.title.clone(),
        urgency: message.urgency,
    };
    let at_ms = desk.clock.now_ms();
    let announcement = Announcement { transition, message };
    let paged = desk
        .store
        .write(move |conn| {
            Box::pin(async move {
                if !incidents::take_page(conn, id, at_ms).await? {
                    return Ok(false);
                }
                inbox::tell(conn, id, at_ms, &entry).await?;
                outbox::queue(conn, &announcement).await?;
                crash::at(Point::BeforePage);
                Ok(true)
            })
        })
        .await?;
    crash::at(Point::AfterPage);
    Ok(paged)
}

/// The incident as its timeline and its inbox tell it: an alert that waits there may have opened it
/// again, and the new round has a page of its own.
async fn known(desk: &Desk, id: IncidentId, scope: &str) -> Result<Case, Error> {
    let stream = Stream::incident(id);
    let (history, waiting) = desk.store.file(stream, 0, i64::MAX).await?;
    let mut case = Case::fold(id, scope, &history);
    if history.is_empty() {
        // No worker has touched it yet; the row knows what the intake knew.
        case = from_row(desk, case).await?;
    }
    for item in waiting {
        if events::react(&case, &item.entry) == Reaction::Fold {
            let (seq, at_ms) = (case.seq + 1, item.at_ms);
            case.apply(&Stored { seq, at_ms, entry: item.entry, hash: String::new() });
        }
    }
    Ok(case)
}

async fn from_row(desk: &Desk, mut case: Case) -> Result<Case, Error> {
    if let Some(row) = desk.store.incident(&case.scope, case.id).await? {
        case.title = row.title;
        case.severity = row.severity;
        case.opened_at_ms = row.opened_at_ms;
    }
    Ok(case)
}
