//! Remembers who may have got a message already, for as long as this process lives.
//!
//! In: the outcome of each try, by message and recipient. Out: whether the next try is fresh, a
//! possible repeat, or needless. Never: a store; after a crash the outbox marks every try itself.

use super::Repeat;
use crate::model::ids::MessageId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Far more than are ever in flight; the oldest message goes first, as its ids are time-ordered.
const KNOWN_MAX: usize = 10_000;

/// What is known of one recipient of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing was sent.
    Nothing,
    /// Something was sent and the answer was lost.
    Doubt,
    /// The service took it.
    Accepted,
}

#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<(MessageId, String), Known>>);

impl Memory {
    pub fn of(&self, id: MessageId, recipient: &str) -> Known {
        self.lock().get(&(id, recipient.to_owned())).copied().unwrap_or(Known::Nothing)
    }

    pub fn note(&self, id: MessageId, recipient: &str, known: Known) {
        let mut all = self.lock();
        all.insert((id, recipient.to_owned()), known);
        if all.len() > KNOWN_MAX {
            all.pop_first();
        }
    }

    /// Ends the memory of a message that will not be tried again.
    pub fn forget(&self, id: MessageId) {
        self.lock().retain(|(message, _), _| *message != id);
    }

    /// Whether the next try to this recipient has to be marked.
    pub fn repeat(&self, id: MessageId, recipient: &str, told: Repeat) -> Repeat {
        match self.of(id, recipient) {
            Known::Doubt => Repeat::AfterCrash,
            Known::Nothing | Known::Accepted => told,
        }
    }

    /// A panic elsewhere leaves the map whole, as every change is one call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(MessageId, String), Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{KNOWN_MAX, Known, Memory, MessageId, Repeat};
    use uuid::Uuid;

    fn id(n: usize) -> MessageId {
        MessageId(Uuid::from_u128(n as u128))
    }

    #[test]
    fn only_doubt_makes_a_repeat() {
        let memory = Memory::default();
        let known = [Known::Nothing, Known::Doubt, Known::Accepted];
        let repeats = known.map(|known| {
            memory.note(id(1), "a", known);
            memory.repeat(id(1), "a", Repeat::Fresh)
        });
        assert_eq!(repeats, [Repeat::Fresh, Repeat::AfterCrash, Repeat::Fresh]);
        assert_eq!(memory.repeat(id(2), "a", Repeat::AfterCrash), Repeat::AfterCrash);
    }

    #[test]
    fn a_forgotten_message_is_forgotten_for_all_its_recipients_only() {
        let memory = Memory::default();
        for (n, to) in [(1, "a"), (1, "b"), (2, "a")] {
            memory.note(id(n), to, Known::Accepted);
        }
        memory.forget(id(1));
        let left = [(1, "a"), (1, "b"), (2, "a")].map(|(n, to)| memory.of(id(n), to));
        assert_eq!(left, [Known::Nothing, Known::Nothing, Known::Accepted]);
    }

    #[test]
    fn the_oldest_message_goes_first() {
        let memory = Memory::default();
        for n in 0..=KNOWN_MAX {
            memory.note(id(n), "", Known::Doubt);
        }
        assert_eq!([0, 1].map(|n| memory.of(id(n), "")), [Known::Nothing, Known::Doubt]);
    }
}
