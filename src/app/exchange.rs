//! A channel whose client is exchanged when its secret is another one, while messages leave by it.
//!
//! Never: a message in flight that loses its client; the set of channels changed.

use crate::model::message::Message;
use crate::notify::{Attempt, Before, Channel, Failure, Sent};
use futures::future::BoxFuture;
use std::sync::{Arc, PoisonError, RwLock};

/// The channel in force.
pub struct Exchange {
    name: String,
    channel: RwLock<Arc<dyn Channel>>,
}

impl Exchange {
    pub fn new(channel: Arc<dyn Channel>) -> Self {
        Self { name: channel.name().to_owned(), channel: RwLock::new(channel) }
    }

    /// From the next message on.
    pub fn put(&self, channel: Arc<dyn Channel>) {
        *self.channel.write().unwrap_or_else(PoisonError::into_inner) = channel;
    }

    fn current(&self) -> Arc<dyn Channel> {
        Arc::clone(&self.channel.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Channel for Exchange {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self, message: &Message, sent_before: Before) -> bool {
        self.current().wants(message, sent_before)
    }

    fn send<'a>(
        &'a self,
        message: &'a Message,
        attempt: Attempt,
    ) -> BoxFuture<'a, Result<Sent, Failure>> {
        let channel = self.current();
        Box::pin(async move { channel.send(message, attempt).await })
    }
}
