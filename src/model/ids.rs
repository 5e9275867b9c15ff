//! Typed identifiers. Written as lower-case hyphenated UUIDs everywhere: store, JSON, URLs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $make:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a fresh identifier.
            #[expect(clippy::new_without_default, reason = "a fresh id is never a default")]
            pub fn new() -> Self {
                Self(Uuid::$make())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// One incident. Time-ordered, so that lists in id order are lists in opening order.
    IncidentId,
    now_v7
);
id!(
    /// One proposed call. Fully random (122 bits): it stands in approval links and must not be guessed.
    ActionId,
    new_v4
);
id!(
    /// One accepted webhook body. Time-ordered.
    DeliveryId,
    now_v7
);
id!(
    /// One message of the outbox; a channel may use it to recognise a repeat.
    MessageId,
    now_v7
);
id!(
    /// One entry of an inbox. Time-ordered.
    InboxId,
    now_v7
);
id!(
    /// One hold. Time-ordered.
    HoldId,
    now_v7
);
