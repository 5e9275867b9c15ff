//! Tells a monitor elsewhere that all is well, as long as it is.
//!
//! In: the health of this process. Out: one GET each time; silence is the alarm, which the monitor
//! raises by itself. Never: a beat while writes are not kept or a part of the process has ended.

use super::pulse::Health;
use crate::clients::http::{Error, Http};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A monitor has nothing to say.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How soon a process that became well says so.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where to say that all is well, and how often.
#[derive(Clone)]
pub struct Heartbeat {
    pub http: Http,
    pub every: Duration,
}

impl Heartbeat {
    /// Beats until told to stop.
    pub async fn run(self, health: watch::Receiver<Health>, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let well = health.borrow().is_well();
            if well {
                let sent = tokio::select! {
                    () = stop.cancelled() => return,
                    sent = self.beat() => sent,
                };
                let result = if sent.is_ok() { "sent" } else { "failed" };
                metrics::counter!("watchkeeper_heartbeats_total", "result" => result).increment(1);
                match sent {
                    Ok(()) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(%error, "a heartbeat was not taken");
                    }
                    Err(_) => {}
                }
            }
            let wait = if well { self.every } else { LOOK_AGAIN };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn beat(&self) -> Result<(), Error> {
        // A cache in between must not answer for the monitor.
        let request = self.http.get("", &[]).header("cache-control", "no-store");
        let answer = self.http.send(request, ANSWER_BYTES_MAX).await?;
        if answer.is_success() { Ok(()) } else { Err(self.http.refused(&answer)) }
    }
}
