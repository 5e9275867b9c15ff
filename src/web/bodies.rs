//! Reads bodies: within a size, a time, and a share of memory.

use super::Web;
use super::error::Error;
use axum::body::{Body, Bytes};
use futures::StreamExt;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Memory for bodies that are being received, over all connections.
pub const KIB_AT_ONCE: usize = 128 * 1024;

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    /// Too long; the part that came before it was.
    TooLarge(Bytes),
    Slow,
    /// The connection broke, or the framing was wrong.
    Broken,
    /// Other bodies fill the memory.
    Crowded,
}

/// A body and the share of memory that it holds.
pub struct Held<'w> {
    pub bytes: Bytes,
    _share: Share<'w>,
}

/// What a body holds of the memory: as much as has come, so that a sender who announces a large body
/// and is slow to send it keeps nobody else out.
struct Share<'w> {
    of: Option<&'w Semaphore>,
    held: Option<SemaphorePermit<'w>>,
    kib: usize,
}

impl<'w> Share<'w> {
    fn of(all: &'w Semaphore) -> Self {
        Self { of: Some(all), held: None, kib: 0 }
    }

    /// For bodies so small that nobody counts them.
    fn none() -> Self {
        Self { of: None, held: None, kib: 0 }
    }

    /// Grows to so many bytes.
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        let Some(all) = self.of else { return Ok(()) };
        let more = bytes.div_ceil(1024).saturating_sub(self.kib);
        if more == 0 {
            return Ok(());
        }
        let kib = u32::try_from(more).unwrap_or(u32::MAX);
        let more_held = all.try_acquire_many(kib).map_err(|_| Unread::Crowded)?;
        self.kib += more;
        match &mut self.held {
            Some(held) => held.merge(more_held),
            None => self.held = Some(more_held),
        }
        Ok(())
    }
}

/// Reads the body of a webhook.
pub async fn hold(web: &Web, body: Body) -> Result<Held<'_>, Unread> {
    let http = &web.settings().http;
    let within = Duration::from_millis(http.body_timeout_ms);
    let mut share = Share::of(&web.0.bodies);
    let bytes = read(body, http.webhook_body_bytes_max, within, &mut share).await?;
    Ok(Held { bytes, _share: share })
}

/// Reads the body of anything else.
///
/// # Errors
/// `TooLarge`, `Slow`, or `Invalid` when the connection broke.
pub async fn small(web: &Web, body: Body) -> Result<Bytes, Error> {
    let http = &web.settings().http;
    let within = Duration::from_millis(http.body_timeout_ms);
    let read = read(body, http.body_bytes_max, within, &mut Share::none()).await;
    read.map_err(|unread| match unread {
        Unread::TooLarge(_) => Error::TooLarge { bytes_max: http.body_bytes_max },
        Unread::Slow => Error::Slow,
        Unread::Broken => Error::invalid("", "the body broke off"),
        Unread::Crowded => Error::Unavailable("too many bodies at once".into()),
    })
}

async fn read(
    body: Body,
    bytes_max: u64,
    within: Duration,
    share: &mut Share<'_>,
) -> Result<Bytes, Unread> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let read = tokio::time::timeout(within, whole(body, bytes_max, share)).await;
    read.unwrap_or(Err(Unread::Slow))
}

async fn whole(body: Body, bytes_max: usize, share: &mut Share<'_>) -> Result<Bytes, Unread> {
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        share.grow(first.len().max(all.len()) + frame.len())?;
        if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which need not be copied.
            first = frame;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&frame);
        }
        if first.len().max(all.len()) > bytes_max {
            return Err(Unread::TooLarge(if all.is_empty() { first } else { all.into() }));
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}
