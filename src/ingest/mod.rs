//! Outside signals become alerts: stored first, taken in afterwards.
//!
//! In: a delivery, which knows no transport. Out: a committed row, then alerts under incidents.
//! Never: an answer before the commit; a body lost because it could not be read. To add a source,
//! write its file with `check` and `parse`, and its line in `reader_of`.

pub mod alertmanager;
mod isolate;
mod queue;
pub mod reconcile;

pub use isolate::Failing;
pub use queue::{Intake, run};

use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::incident::intake::Heard;
use crate::model::alert::Alert;
use crate::model::ids::DeliveryId;
use crate::redact::Redactor;
use crate::store::deliveries::{Fate, Row};
use crate::store::{self, Store};
use std::sync::Arc;
use tokio::sync::Notify;

/// Of a body that cannot be read, so much is kept for a person to look at.
const MALFORMED_BYTES_MAX: usize = 64 * 1024;

/// What some transport brought.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which authenticated sender it came from, e.g. `alertmanager`.
    pub source: String,
    pub scope: String,
    pub bytes: axum::body::Bytes,
}

/// A stored delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    pub id: DeliveryId,
    pub alerts: usize,
}

/// Why a delivery was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// No retry can mend it. The body is kept.
    #[error("{0}")]
    Malformed(Malformed),
    /// Too much waits to be stored; the sender retries.
    #[error("too many deliveries are waiting to be stored")]
    Busy,
    /// Nothing was stored; the sender retries.
    #[error("{0}")]
    Unavailable(String),
}

/// Where a body is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Malformed {
    /// JSON path, e.g. `alerts[2].startsAt`.
    pub path: String,
    /// What was expected there.
    pub message: String,
}

/// A readable delivery.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    pub alerts: Vec<Alert>,
    /// The sender's own grouping; a hint only, it changes with its routes.
    pub group_key: Option<String>,
    /// Alerts that the sender left out.
    pub truncated: u64,
    pub receiver: String,
    pub heard: Heard,
}

/// Takes deliveries from any transport. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    store: Store,
    clock: Clock,
    redactor: Redactor,
    arrived: Arc<Notify>,
    missed: Arc<Notify>,
}

impl Ingest {
    pub fn new(store: Store, clock: Clock, redactor: Redactor) -> Self {
        let (arrived, missed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        Self { store, clock, redactor, arrived, missed }
    }

    /// Fires when something new waits for the intake.
    pub fn arrived(&self) -> Arc<Notify> {
        Arc::clone(&self.arrived)
    }

    /// Fire it when a sender's alerts were left out, refused or unreadable: it gives such a delivery
    /// up, and what was in it is fetched back.
    pub fn missed(&self) -> Arc<Notify> {
        Arc::clone(&self.missed)
    }

    /// Stores a delivery; when it answers `Ok`, the body is committed and synced.
    ///
    /// # Errors
    /// `Malformed` is final: Alertmanager drops a notification that was answered 4xx. `Busy` and
    /// `Unavailable` are answered 503, since Alertmanager retries 5xx only (its
    /// `notify/webhook/webhook.go`).
    pub async fn receive(&self, delivery: Delivery) -> Result<Accepted, Rejected> {
        // The alerts themselves are wanted later, by the intake.
        match reader_of(&delivery.source).check(&delivery.bytes) {
            Ok(alerts) => {
                let body = String::from_utf8_lossy(&delivery.bytes);
                let body = self.redactor.json_text(&body).into_owned();
                crash::at(Point::BeforeAck);
                let id = self.keep(&delivery, body, Fate::Waiting).await?;
                count("accepted");
                crash::at(Point::AfterAck);
                self.arrived.notify_one();
                Ok(Accepted { id, alerts })
            }
            Err(malformed) => {
                let body = excerpt(&delivery.bytes);
                let body = self.redactor.text(&body).into_owned();
                self.keep(&delivery, body, Fate::Malformed(malformed.to_string())).await?;
                count("malformed");
                self.missed.notify_one();
                Err(Rejected::Malformed(malformed))
            }
        }
    }

    async fn keep(
        &self,
        delivery: &Delivery,
        body: String,
        fate: Fate,
    ) -> Result<DeliveryId, Rejected> {
        let row = Row {
            id: DeliveryId::new(),
            scope: delivery.scope.clone(),
            source: delivery.source.clone(),
            received_at_ms: self.clock.now_ms(),
            body,
            fate,
        };
        self.store.keep_delivery(row).await.map_err(|error| {
            if matches!(error, store::Error::Busy) {
                count("busy");
                Rejected::Busy
            } else {
                count("unavailable");
                Rejected::Unavailable(error.to_string())
            }
        })
    }
}

/// The result of a delivery that no transaction takes.
const SET_ASIDE: &str = "set_aside";

fn count(result: &'static str) {
    counter(result).increment(1);
}

fn counter(result: &'static str) -> metrics::Counter {
    metrics::counter!("watchkeeper_deliveries_total", "result" => result)
}

/// How bodies of one kind are read. What `check` lets pass, `parse` can read.
struct Reader {
    check: fn(&[u8]) -> Result<usize, Malformed>,
    parse: fn(&str, &[u8]) -> Result<Parsed, Malformed>,
}

impl Reader {
    fn check(&self, bytes: &[u8]) -> Result<usize, Malformed> {
        (self.check)(bytes)
    }

    fn parse(&self, source: &str, bytes: &[u8]) -> Result<Parsed, Malformed> {
        (self.parse)(source, bytes)
    }
}

/// The reader for a source's bodies. Every source that posts to the webhook speaks Alertmanager's
/// format.
fn reader_of(source: &str) -> Reader {
    let _ = source;
    Reader { check: alertmanager::check, parse: alertmanager::parse }
}

/// The start of an unreadable body, with what no text column can hold made visible.
fn excerpt(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MALFORMED_BYTES_MAX)];
    String::from_utf8_lossy(cut).replace('\0', "\\0")
}
