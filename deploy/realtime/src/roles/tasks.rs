//! The long-running tasks of the process: named, owned, told to stop together, and waited for.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Every task ends well within this after it was told to; the front door takes the longest, 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Tasks that live as long as the process serves.
#[derive(Debug)]
pub(super) struct Tasks {
    set: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { set: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Resolves when the tasks shall end.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// Cancelled when the tasks shall end.
    pub(super) fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that ends by itself after [`Self::stopping`] has resolved.
    pub(super) fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            work.await;
            name
        });
    }

    /// Starts a task that is dropped when it shall end.
    pub(super) fn spawn_until_stop(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopping = self.stopping();
        self.spawn(name, async move {
            tokio::select! {
                () = work => {}
                () = stopping => {}
            }
        });
    }

    /// The first task that ends before it was told to: something is broken then.
    pub(super) async fn any_ended(&mut self) -> String {
        match self.set.join_next().await {
            Some(Ok(name)) => format!("{name} ended by itself"),
            Some(Err(error)) => format!("a task failed: {error}"),
            // Without tasks nothing can end.
            None => std::future::pending().await,
        }
    }

    /// Tells all tasks to end and waits for them.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.set.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task failed while stopping");
                }
            }
        };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_when_told_and_not_before() {
        let mut tasks = Tasks::new();
        tasks.spawn("waits", tasks.stopping());
        tasks.spawn_until_stop("never ends", std::future::pending());
        tasks.spawn("ends at once", std::future::ready(()));
        assert_eq!(tasks.any_ended().await, "ends at once ended by itself");
        tasks.stop().await;
    }
}
