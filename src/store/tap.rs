//! A look at every access to the store, for tests that hold accesses up, refuse them or lose their
//! answers.
//!
//! In: what is about to be read or written. Out: whether it goes on, and whether its answer arrives.
//! Never: a tap in a server; a tap that changes what is read or written.

use super::Error;
use futures::future::BoxFuture;

/// An access, with the function of the store that it belongs to as Rust names its closure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read(&'static str),
    Write(&'static str),
    /// A delivery, on its way to a commit that it shares with others.
    Acknowledge,
}

/// Sees every access of one handle.
pub trait Tap: Send + Sync {
    /// Waits as long as it likes before the access.
    ///
    /// # Errors
    /// The access does not take place.
    fn before(&self, access: Access) -> BoxFuture<'_, Result<(), Error>>;

    /// Waits as long as it likes with the answer. What was written stays written.
    ///
    /// # Errors
    /// The answer is lost, and the caller is told this instead.
    fn after(&self, access: Access) -> BoxFuture<'_, Result<(), Error>>;
}

/// Lets the tap see an access that is about to take place.
pub(super) async fn before(tap: Option<&dyn Tap>, access: Access) -> Result<(), Error> {
    match tap {
        Some(tap) => tap.before(access).await,
        None => Ok(()),
    }
}

/// Lets the tap see an access that took place.
pub(super) async fn after(tap: Option<&dyn Tap>, access: Access) -> Result<(), Error> {
    match tap {
        Some(tap) => tap.after(access).await,
        None => Ok(()),
    }
}
