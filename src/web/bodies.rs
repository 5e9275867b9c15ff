//! Reads bodies: within a size, a time, and a share of memory.

use super::Web;
use super::error::Error;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures::StreamExt;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

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
}

/// A body and the share of memory that it holds.
pub struct Held<'w> {
    pub bytes: Bytes,
    _share: SemaphorePermit<'w>,
}

/// Reads the body of a webhook; `Unavailable` when other bodies fill the memory.
pub async fn hold<'w>(
    web: &'w Web,
    headers: &HeaderMap,
    body: Body,
) -> Result<Result<Held<'w>, Unread>, Error> {
    let http = &web.settings().http;
    let bytes_max = http.webhook_body_bytes_max;
    let told = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let kib = told.unwrap_or(bytes_max).min(bytes_max).div_ceil(1024);
    let kib = u32::try_from(kib).unwrap_or(u32::MAX).min(KIB_AT_ONCE as u32);
    let share = web.0.bodies.try_acquire_many(kib);
    let share = share.map_err(|_| Error::Unavailable("too many bodies at once".into()))?;
    let within = Duration::from_millis(http.body_timeout_ms);
    Ok(read(body, bytes_max, within).await.map(|bytes| Held { bytes, _share: share }))
}

/// Reads the body of anything else.
///
/// # Errors
/// `TooLarge`, `Slow`, or `Invalid` when the connection broke.
pub async fn small(web: &Web, body: Body) -> Result<Bytes, Error> {
    let http = &web.settings().http;
    let within = Duration::from_millis(http.body_timeout_ms);
    read(body, http.body_bytes_max, within).await.map_err(|unread| match unread {
        Unread::TooLarge(_) => Error::TooLarge { bytes_max: http.body_bytes_max },
        Unread::Slow => Error::Slow,
        Unread::Broken => Error::invalid("", "the body broke off"),
    })
}

async fn read(body: Body, bytes_max: u64, within: Duration) -> Result<Bytes, Unread> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    tokio::time::timeout(within, whole(body, bytes_max)).await.unwrap_or(Err(Unread::Slow))
}

async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Unread::Broken)?;
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
