//! Spawned work: tracked, told to stop, waited for.
//!
//! Owns: every task of the process. Never: a task that outlives shutdown unnoticed.

use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and ends them together. Clones share the same set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `work` until it ends; shutdown waits for it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        tokio::spawn(self.tracker.track_future(work))
    }

    /// Fires when the process should stop. Loops select on it; steps in flight may finish.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells everybody to stop and waits, at most `patience`. Returns how many did not end.
    pub async fn shut_down(&self, patience: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(patience, self.tracker.wait()).await;
        self.tracker.len()
    }
}
