//! Tells people that Watchkeeper itself does not work, past its database and its outbox.
//!
//! In: the health of this process. Out: one message straight to every channel when trouble lasts, and
//! one when it is over. Never: a second message about the same outage; a store, an outbox, a queue.

use super::pulse::{Health, Trouble, What};
use crate::clock::{Clock, format_ms};
use crate::model::alert::Severity;
use crate::model::ids::MessageId;
use crate::model::message::{Event, Message, Urgency};
use crate::notify::{Attempt, Before, Channel, Failure, Repeat};
use crate::redact::Redactor;
use futures::future::join_all;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One attempt takes at most this long.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(30);
/// The waits between the attempts at one channel.
const WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(180),
    Duration::from_secs(600),
];

/// Speaks when nothing else can.
pub struct LastResort {
    pub channels: Vec<Arc<dyn Channel>>,
    pub clock: Clock,
    pub redactor: Redactor,
    pub scope: String,
    /// How this process is called.
    pub process: String,
    /// Trouble that is over sooner is nobody's business.
    pub after: Duration,
}

impl LastResort {
    /// Watches until told to stop.
    pub async fn run(self, mut health: watch::Receiver<Health>, stop: CancellationToken) {
        while let Some(trouble) = self.lasting(&mut health, &stop).await {
            let began = self.message(&trouble, Event::Health);
            tracing::error!(why = %trouble.why, "people are told without the database");
            // They hear of the end only if they heard of the beginning.
            let told = Mutex::default();
            let telling = async {
                self.tell(&began, &told).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = telling => {}
                goes_on = until(&mut health, &stop, |health| health.trouble.is_none()) => {
                    if !goes_on {
                        return;
                    }
                }
            }
            let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
            let over = self.message(&trouble, Event::Resolved);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tell_over(&over, &told) => {}
            }
        }
    }

    /// Waits for trouble that has lasted long enough; `None` when the process stops.
    async fn lasting(
        &self,
        health: &mut watch::Receiver<Health>,
        stop: &CancellationToken,
    ) -> Option<Trouble> {
        let worth_telling = |health: &Health| health.trouble.is_some();
        loop {
            if !until(health, stop, worth_telling).await {
                return None;
            }
            let trouble = health.borrow().trouble.clone()?;
            let lasts = tokio::time::sleep_until(trouble.since + self.after);
            tokio::select! {
                () = stop.cancelled() => return None,
                () = lasts => {}
                changed = health.wait_for(|health| !worth_telling(health)) => {
                    changed.ok()?;
                    continue;
                }
            }
            let trouble = health.borrow().trouble.clone();
            let lasted = |trouble: &Trouble| trouble.since + self.after <= Instant::now();
            if let Some(trouble) = trouble.filter(lasted) {
                return Some(trouble);
            }
        }
    }

    /// Tries every channel until it takes the message; notes the names of those that did.
    async fn tell(&self, message: &Message, told: &Mutex<Vec<String>>) {
        let each = self.channels.iter().filter(|channel| channel.wants(message, Before::Nothing));
        join_all(each.map(|channel| async {
            let name = hand_over(&**channel, message).await;
            told.lock().unwrap_or_else(PoisonError::into_inner).extend(name);
        }))
        .await;
    }

    async fn tell_over(&self, message: &Message, told: &[String]) {
        let each = self.channels.iter().filter(|channel| {
            told.iter().any(|name| name == channel.name())
                && channel.wants(message, Before::Something)
        });
        join_all(each.map(|channel| hand_over(&**channel, message))).await;
    }

    fn message(&self, trouble: &Trouble, event: Event) -> Message {
        let (title, key) = match (trouble.what, event == Event::Resolved) {
            (What::Part(_), false) => ("A part of Watchkeeper has ended", "part"),
            (What::Part(_), true) => ("Watchkeeper is whole again", "part"),
            (What::Intake, false) => {
                ("Alerts wait, and Watchkeeper does not look at them", "intake")
            }
            (What::Intake, true) => ("Watchkeeper looks at every alert again", "intake"),
            (What::Database, false) => ("Watchkeeper cannot write to its database", "database"),
            (What::Database, true) => ("Watchkeeper writes to its database again", "database"),
        };
        let over = event == Event::Resolved;
        let meaning = match (over, trouble.what) {
            (true, _) => "What had stopped goes on by itself.",
            (false, What::Part(_)) => {
                "Nothing but a restart of this process mends it. Alerts are still stored; what \
                 this part does is left to other replicas until then, if there are any."
            }
            (false, What::Intake) => {
                "They are stored and were acknowledged, so that Alertmanager does not send them \
                 again soon. Until this is mended look at Alertmanager itself."
            }
            (false, What::Database) => {
                "Until this is mended no incident goes on, no change starts, and nobody is told of \
                 anything else. Alerts are refused with 503, so that Alertmanager sends them again."
            }
        };
        let why = self.redactor.text(&trouble.why).into_owned();
        Message {
            id: MessageId::new(),
            scope: self.scope.clone(),
            incident_id: None,
            event,
            urgency: if over { Urgency::Tell } else { Urgency::Page },
            severity: Severity::Critical,
            title: title.to_owned(),
            facts: vec![
                ("Process".into(), self.process.clone()),
                ("Since".into(), format_ms(trouble.since_ms)),
            ],
            paragraphs: vec![meaning.to_owned(), why],
            links: Vec::new(),
            // The same for all replicas, which lose one database together.
            dedup_key: format!("watchkeeper-{key}-{}", self.scope),
            created_at_ms: self.clock.now_ms(),
            channels: Vec::new(),
        }
    }
}

/// Waits for a state; false when the process stops first.
async fn until(
    health: &mut watch::Receiver<Health>,
    stop: &CancellationToken,
    wanted: impl Fn(&Health) -> bool,
) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        found = health.wait_for(|health| wanted(health)) => found.is_ok(),
    }
}

/// Hands a message to a channel, a bounded number of times; returns the channel's name if it took it.
async fn hand_over(channel: &dyn Channel, message: &Message) -> Option<String> {
    let mut number = 0;
    let mut waits = WAITS.iter();
    loop {
        number += 1;
        let attempt = Attempt { number, maybe_sent: Repeat::Fresh };
        let sent = tokio::time::timeout(ATTEMPT_WITHIN, channel.send(message, attempt)).await;
        let why = match sent {
            Ok(Ok(_)) => {
                tracing::info!(channel = channel.name(), title = %message.title, "told directly");
                return Some(channel.name().to_owned());
            }
            Ok(Err(Failure::Permanent { why })) => {
                tracing::error!(channel = channel.name(), %why, "cannot tell directly");
                return None;
            }
            Ok(Err(Failure::Retry { why, .. })) => why,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::error!(channel = channel.name(), %why, "cannot tell directly yet");
        tokio::time::sleep(*waits.next()?).await;
    }
}
