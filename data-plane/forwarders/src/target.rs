//! One target of one application: its queue, and the task that empties it.
//!
//! The lock is held for decisions only, never over a call. Never here: what is sent next and what is given up, which
//! the queue decides.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use realtime_proto::AppId;
use realtime_proto::app::Forwarder;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::failure::{Class, Failure};
use crate::limits::Limits;
use crate::message::{Message, TargetKind};
use crate::queue::{Batch, Outcome, Queue, Reply, Step};
use crate::sender::{Connect, Sender};
use crate::stats::{LastError, TargetState, TargetStatus};

/// See the module.
pub(crate) struct Target {
    app: AppId,
    kind: TargetKind,
    limits: Arc<Limits>,
    inner: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    queue: Queue,
    forwarder: Forwarder,
    /// Counts configurations, so that the task makes a sender for each.
    generation: u64,
    last_error: Option<LastError>,
    /// The log has said that it is open.
    told: bool,
}

impl Target {
    pub(crate) fn new(
        app: AppId,
        kind: TargetKind,
        limits: Arc<Limits>,
        mut queue: Queue,
        forwarder: &Forwarder,
    ) -> Self {
        queue.configure(is_fifo(forwarder));
        let forwarder = forwarder.clone();
        let inner = Inner { queue, forwarder, generation: 0, last_error: None, told: false };
        Self { app, kind, limits, inner: Mutex::new(inner), wake: Notify::new() }
    }

    /// Takes over a configuration; what waits goes to where it points. Nothing happens where it is the same.
    pub(crate) fn configure(&self, forwarder: &Forwarder) {
        let mut inner = self.inner.lock();
        if inner.forwarder == *forwarder {
            return;
        }
        inner.queue.configure(is_fifo(forwarder));
        inner.forwarder = forwarder.clone();
        inner.generation += 1;
        drop(inner);
        self.wake.notify_one();
    }

    pub(crate) fn is_configured_as(&self, forwarder: &Forwarder) -> bool {
        self.inner.lock().forwarder == *forwarder
    }

    /// Takes a message, or answers at once why not.
    pub(crate) fn push(&self, message: Arc<Message>, reply: Reply) {
        self.inner.lock().queue.push(message, reply, Instant::now());
        self.wake.notify_one();
    }

    /// Takes nothing more; what is left at `at` is given up, and the task ends.
    pub(crate) fn end_at(&self, at: Instant) {
        self.inner.lock().queue.end_at(at);
        self.wake.notify_one();
    }

    pub(crate) fn status(&self) -> TargetStatus {
        let inner = self.inner.lock();
        let state = state(&inner.queue, Instant::now());
        let (queued, last_error) = (inner.queue.len(), inner.last_error.clone());
        TargetStatus { kind: self.kind, state, queued, last_error }
    }

    fn finished(&self, batch: Batch, outcome: Outcome) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let failure = match &outcome {
            Err(failure) => Some(failure),
            Ok(results) => results.iter().find_map(|result| result.as_ref().err()),
        };
        if let Some(failure) = failure {
            inner.last_error = Some(LastError { failure: failure.clone(), at: SystemTime::now() });
        }
        inner.queue.finished(batch, outcome, now);
        self.tell(&mut inner, now);
    }

    /// Says in the log when the target opens and when it is sound again.
    fn tell(&self, inner: &mut Inner, now: Instant) {
        let state = state(&inner.queue, now);
        let (app, target) = (&self.app, self.kind.name());
        match (state, &inner.last_error) {
            (TargetState::Open, Some(error)) if !inner.told => {
                let error = &error.failure;
                tracing::warn!(%app, target, %error, "a forwarder fails: its messages are refused");
                inner.told = true;
            }
            (TargetState::Sound, _) if inner.told => {
                tracing::info!(%app, target, "a forwarder works again");
                inner.told = false;
            }
            _ => {}
        }
    }
}

fn state(queue: &Queue, now: Instant) -> TargetState {
    if queue.health().open(now).is_some() {
        TargetState::Open
    } else if queue.health().is_failing() {
        TargetState::Failing
    } else {
        TargetState::Sound
    }
}

/// AWS's rule for queues and topics alike.
pub(crate) fn is_fifo(forwarder: &Forwarder) -> bool {
    forwarder.target.ends_with(".fifo")
}

/// The task of a target, and what it needs.
pub(crate) struct Driver {
    target: Arc<Target>,
    connect: Arc<dyn Connect>,
    /// The sender of a configuration, made with its first call.
    sender: Option<(u64, Arc<dyn Sender>)>,
    calls: JoinSet<Outcome>,
    /// Of the calls under way.
    batches: HashMap<Id, Batch>,
}

impl Driver {
    pub(crate) fn new(target: Arc<Target>, connect: Arc<dyn Connect>) -> Self {
        Self { target, connect, sender: None, calls: JoinSet::new(), batches: HashMap::new() }
    }

    /// Runs until the target has ended, or is cancelled: then everything is given up at once.
    pub(crate) async fn run(mut self, cancelled: CancellationToken) {
        loop {
            let step = self.target.inner.lock().queue.step(Instant::now());
            let at = match step {
                Step::Send(batch) => {
                    self.send(batch);
                    continue;
                }
                Step::Wait(at) => at,
                Step::End => return,
            };
            tokio::select! {
                () = cancelled.cancelled() => self.target.end_at(Instant::now()),
                () = self.target.wake.notified() => {}
                () = until(at) => {}
                Some(ended) = self.calls.join_next_with_id() => self.ended(ended),
            }
        }
    }

    fn send(&mut self, batch: Batch) {
        let sender = match self.sender() {
            Ok(sender) => sender,
            Err(failure) => return self.target.finished(batch, Err(failure)),
        };
        let (messages, limit) = (batch.messages.clone(), self.target.limits.call_timeout);
        let call = async move {
            let called = timeout(limit, sender.send(&messages)).await;
            called.unwrap_or_else(|_| Err(Failure::new(Class::Timeout)))
        };
        self.batches.insert(self.calls.spawn(call).id(), batch);
    }

    /// The sender of the configuration in force.
    fn sender(&mut self) -> Result<Arc<dyn Sender>, Failure> {
        let inner = self.target.inner.lock();
        let generation = inner.generation;
        if let Some((_, sender)) = self.sender.as_ref().filter(|(made, _)| *made == generation) {
            return Ok(Arc::clone(sender));
        }
        let forwarder = inner.forwarder.clone();
        drop(inner);
        let sender = self.connect.connect(self.target.kind, &forwarder)?;
        self.sender = Some((generation, Arc::clone(&sender)));
        Ok(sender)
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = ended.unwrap_or_else(|error| {
            (error.id(), Err(Failure::because(Class::Unavailable, "the call broke down inside this server")))
        });
        if let Some(batch) = self.batches.remove(&id) {
            self.target.finished(batch, outcome);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
