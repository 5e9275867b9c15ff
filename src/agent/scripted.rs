//! A mind that follows a script: for tests, drills and replay.

use super::{Error, Mind, Thought, View};
use futures::future::BoxFuture;

type Think = dyn Fn(View<'_>) -> Result<Thought, Error> + Send + Sync;

/// Gives the n-th thought at the n-th turn of a round, or asks a function.
pub struct Scripted {
    think: Box<Think>,
}

impl Scripted {
    /// Follows a list; past its end it is down.
    pub fn list(thoughts: Vec<Thought>) -> Self {
        Self::new(move |view| {
            let turn = view.case.current_turns().filter(|turn| turn.mind == "scripted").count();
            thoughts.get(turn).cloned().ok_or_else(|| Error::Down("the script has ended".into()))
        })
    }

    /// Asks a function of the case.
    pub fn new(think: impl Fn(View<'_>) -> Result<Thought, Error> + Send + Sync + 'static) -> Self {
        Self { think: Box::new(think) }
    }
}

impl Mind for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn next<'a>(&'a self, view: View<'a>) -> BoxFuture<'a, Result<Thought, Error>> {
        Box::pin(async move { (self.think)(view) })
    }
}
