//! A watch at one member, until that member fails it.
//!
//! It follows the whole store and picks its prefix here, so that it sees every revision of the store, in order,
//! and can say how far it is. Etcd could be asked for that, but until 3.4.25 and 3.5.8 its answers may overtake
//! the changes that they speak of: here an answer only shows that the member is alive.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::endpoints::{Connection, Endpoints};
use super::error::{Verdict, judge};
use super::read::{self, end_of};
use crate::store::{Changes, Event, StoreError};

/// A member that has said nothing for so long is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// And left, when it has answered none of the questions: one that only stalls for a moment goes on afterwards.
const SILENCE: Duration = Duration::from_secs(4);

/// What opening a watch came to.
pub(super) enum Opened {
    Watching(Box<WatchStream>, usize),
    /// Another store is under the prefix now.
    Foreign,
}

/// Opens a watch of the whole store at a member, after asking it, with its cluster's consent, whether the store is
/// still the same. That also renews the user's token: a watch with an old one is refused for lack of permission.
pub(super) async fn open(
    mut connection: Connection,
    base: String,
    id: String,
    from: u64,
) -> Result<Opened, etcd_client::Error> {
    let held = connection.kv.get(base.as_str(), None).await?;
    if held.kvs().first().is_none_or(|kv| kv.value() != id.as_bytes()) {
        return Ok(Opened::Foreign);
    }
    let root = format!("{base}/");
    let options = WatchOptions::new()
        .with_range(end_of(&root))
        .with_start_revision(i64::try_from(from.max(1)).unwrap_or(i64::MAX))
        // Answers stay below 2 MiB or so, however many changes there are to catch up with.
        .with_fragment();
    let stream = connection.watch.watch(root, Some(options)).await?;
    Ok(Opened::Watching(Box::new(stream), connection.member))
}

/// An open watch.
pub(super) struct Watcher {
    pub(super) stream: WatchStream,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) member: usize,
    pub(super) root: String,
    pub(super) prefix: String,
    pub(super) closed: CancellationToken,
    failures: watch::Receiver<u64>,
    /// Whole revisions, in order.
    ready: VecDeque<Changes>,
    /// The last revision of an answer that goes on in the next one.
    partial: Option<Changes>,
    ended: bool,
}

impl Watcher {
    pub(super) fn new(
        stream: WatchStream,
        endpoints: Arc<Endpoints>,
        member: usize,
        root: String,
        prefix: &str,
        closed: CancellationToken,
    ) -> Self {
        let prefix = prefix.to_owned();
        let failures = endpoints.failures(member);
        let (ready, partial) = (VecDeque::new(), None);
        Self { stream, endpoints, member, root, prefix, closed, failures, ready, partial, ended: false }
    }

    /// For `stream::unfold`.
    pub(super) async fn step(mut self) -> Option<(Result<Changes, StoreError>, Self)> {
        if self.ended {
            return None;
        }
        let result = self.advance().await;
        self.ended = result.is_err();
        Some((result, self))
    }

    async fn advance(&mut self) -> Result<Changes, StoreError> {
        let closed = self.closed.clone();
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            let response = tokio::select! {
                biased;
                () = closed.cancelled() => return Err(StoreError::Closed),
                response = self.receive() => response?,
            };
            self.take(&response)?;
        }
    }

    /// The next answer. A member that breaks off, or is silent, is left for another.
    async fn receive(&mut self) -> Result<WatchResponse, StoreError> {
        let mut deadline = Instant::now() + SILENCE;
        let mut suspected = false;
        let reason = loop {
            let probe = Instant::now() + PROBE_EVERY;
            tokio::select! {
                biased;
                message = self.stream.message() => match message {
                    Ok(Some(response)) => return Ok(response),
                    Ok(None) => break "the member has ended the watch".to_owned(),
                    Err(error) => match judge(&error) {
                        Verdict::Answer(error) => return Err(error),
                        Verdict::Refused(reason) | Verdict::Elsewhere(reason) => break reason,
                    },
                },
                // Somebody's call has failed there: then one question is enough.
                Ok(()) = self.failures.changed(), if !suspected => {
                    suspected = true;
                    deadline = deadline.min(probe);
                }
                () = sleep_until(probe.min(deadline)) => {}
            }
            if Instant::now() >= deadline {
                break "the member is silent".to_owned();
            }
            if let Err(error) = self.stream.request_progress().await {
                break error.to_string();
            }
        };
        self.endpoints.leave(self.member);
        Err(StoreError::Failed(format!("{}: {reason}", self.endpoints.url(self.member))))
    }

    fn take(&mut self, response: &WatchResponse) -> Result<(), StoreError> {
        if response.canceled() {
            return Err(match response.compact_revision() {
                0 => StoreError::Failed(format!("etcd refuses the watch: {}", response.cancel_reason())),
                // What is kept begins with this revision.
                kept => StoreError::Compacted { through: kept.unsigned_abs().saturating_sub(1) },
            });
        }
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = kv.mod_revision().unsigned_abs();
            if self.partial.as_ref().is_some_and(|partial| partial.revision != revision) {
                self.ready.extend(self.partial.take());
            }
            let changes = self.partial.get_or_insert(Changes { revision, events: Vec::new() });
            let Some(key) = read::key(&self.root, kv) else { continue };
            if !key.starts_with(&self.prefix) {
                continue;
            }
            changes.events.push(match event.event_type() {
                EventType::Put => Event::Put(read::entry(key, kv)),
                EventType::Delete => Event::Delete { key },
            });
        }
        if !response.0.fragment {
            self.ready.extend(self.partial.take());
        }
        Ok(())
    }
}
