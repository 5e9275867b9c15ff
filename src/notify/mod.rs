//! Tells people, each channel in its own form.
//!
//! In: one [`Message`] of a transition. Out: delivered, or a [`Failure`] that says whether trying
//! again can help. Never: an active link, mention or markup that came from outside; a secret in a
//! failure; a decision about when to try again, which is the outbox's. To add a channel, write one
//! file with a type that implements [`Channel`] and passes every text through [`escape`].

use crate::model::message::Message;
use futures::future::BoxFuture;

mod answer;
mod digest;
mod doubt;
pub mod email;
pub mod escape;
pub mod outbox;
pub mod pagerduty;
pub mod slack;
pub mod words;

/// One way to reach people.
pub trait Channel: Send + Sync {
    /// The name that routes and `Message::channels` use.
    fn name(&self) -> &str;

    /// Whether this channel wants the message at all.
    fn wants(&self, message: &Message, sent_before: Before) -> bool;

    /// Hands the message over; ends within the channel's time limit.
    ///
    /// # Errors
    /// `Retry`: not delivered as far as is known; a later attempt may succeed.
    /// `Permanent`: the service refused, and will refuse again until somebody mends the cause.
    fn send<'a>(
        &'a self,
        message: &'a Message,
        attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>>;
}

/// Whether this channel was ever given a message with the same `dedup_key`. One that still waits
/// for delivery counts, so that a resolve is queued behind its trigger and not dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    Nothing,
    Something,
}

/// One try to deliver one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    pub maybe_sent: Repeat,
}

/// Whether an earlier try may have reached people already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    Fresh,
    /// The process died, or the answer was lost, after the message may have gone out.
    AfterCrash,
}

/// A delivery that the service confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// What the operator should know all the same, such as recipients that were refused.
    pub note: Option<String>,
}

/// Why a message was not delivered. `why` holds no secret and is one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    #[error("{why}")]
    Retry {
        /// The wait that the service asked for.
        after_ms: Option<u64>,
        why: String,
    },
    #[error("{why}")]
    Permanent { why: String },
}

/// Whether the message names this channel, or none in particular.
fn addressed(message: &Message, name: &str) -> bool {
    message.channels.is_empty() || message.channels.iter().any(|channel| channel == name)
}

#[cfg(test)]
mod samples;
