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

/// Does `work`, in sight of the tap if there is one.
pub(super) async fn through<T>(
    tap: Option<&dyn Tap>,
    access: Access,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(tap) = tap else { return work.await };
    tap.before(access).await?;
    let done = work.await;
    tap.after(access).await?;
    done
}
