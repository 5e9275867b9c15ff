//! The clock that makes sure that somebody hears.
//!
//! An incident that nobody was paged for and that is not resolved within its severity's time is
//! announced loudly, whatever its worker is doing at the moment.

use super::{Desk, announce};
use crate::crash::{self, Point};
use crate::model::case::Case;
use crate::model::ids::IncidentId;
use crate::model::timeline::Entry;
use crate::store::step::Announcement;
use crate::store::timeline::Stream;
use crate::store::{Error, inbox, incidents, outbox};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const BATCH: i64 = 100;

/// Looks for overdue incidents until told to stop.
pub async fn run(desk: Arc<Desk>, poll: Duration, due: Arc<Notify>, stop: CancellationToken) {
    loop {
        match sweep(&desk).await {
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

/// Pages for every overdue incident; returns how many.
pub async fn sweep(desk: &Desk) -> Result<usize, Error> {
    let overdue = desk.store.page_due(desk.clock.now_ms(), BATCH).await?;
    for (id, scope) in &overdue {
        page(desk, *id, scope).await?;
    }
    Ok(overdue.len())
}

async fn page(desk: &Desk, id: IncidentId, scope: &str) -> Result<(), Error> {
    let history = desk.store.timeline(Stream::incident(id)).await?;
    let mut case = Case::fold(id, scope, &history);
    if history.is_empty()
        && let Some(row) = desk.store.incident(scope, id).await?
    {
        // No worker has touched it yet; the row knows what the intake knew.
        case.title = row.title;
        case.severity = row.severity;
        case.opened_at_ms = row.opened_at_ms;
    }
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
    desk.store
        .write(move |conn| {
            Box::pin(async move {
                inbox::tell(conn, id, at_ms, &entry).await?;
                outbox::queue(conn, &announcement).await?;
                incidents::page_done(conn, id).await
            })
        })
        .await?;
    crash::at(Point::AfterPage);
    Ok(())
}
