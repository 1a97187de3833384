//! One target of one application: its queue, and the task that empties it.
//!
//! The lock is held for decisions only, never over a call. Never here: what is sent next and what is given up, which
//! the queue decides.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use realtime_proto::AppConfig;
use realtime_proto::AppId;
use realtime_proto::app::Forwarder;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::limits::Pace;
use crate::message::{Message, TargetKind};
use crate::queue::{Batch, Outcome, Queue, Reply, Step};
use crate::sender::{Connect, Sender};
use crate::stats::{LastError, TargetState, TargetStatus};
use crate::stream::{Consumers, StreamSender};

/// Where a target's messages go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Destination {
    /// To SNS or SQS.
    Aws(Forwarder),
    /// To whoever reads the stream.
    Consumers,
}

impl Destination {
    /// Of an application's target, where it is on.
    pub(crate) fn of(config: &AppConfig, kind: TargetKind) -> Option<Self> {
        match kind {
            TargetKind::Sns => enabled(&config.amazon_sns_forwarder).cloned().map(Self::Aws),
            TargetKind::Sqs => enabled(&config.amazon_sqs_forwarder).cloned().map(Self::Aws),
            TargetKind::Stream => config.enable_inbound_stream.then_some(Self::Consumers),
        }
    }

    /// Whether there is one, without the cost of naming it.
    pub(crate) fn is_set(config: &AppConfig, kind: TargetKind) -> bool {
        match kind {
            TargetKind::Sns => enabled(&config.amazon_sns_forwarder).is_some(),
            TargetKind::Sqs => enabled(&config.amazon_sqs_forwarder).is_some(),
            TargetKind::Stream => config.enable_inbound_stream,
        }
    }

    /// A sender to it. Connects to nothing yet.
    pub(crate) fn sender(
        &self,
        kind: TargetKind,
        app: &AppId,
        connect: &dyn Connect,
        consumers: &Arc<Consumers>,
    ) -> Result<Arc<dyn Sender>, Failure> {
        match self {
            Self::Aws(forwarder) => connect.connect(kind, forwarder),
            Self::Consumers => {
                Ok(Arc::new(StreamSender { app: app.clone(), consumers: Arc::clone(consumers) }))
            }
        }
    }

    /// Whether a connection's messages are sent one after the other.
    fn is_fifo(&self) -> bool {
        match self {
            Self::Aws(forwarder) => is_fifo(forwarder),
            Self::Consumers => true,
        }
    }
}

fn enabled(forwarder: &Option<Forwarder>) -> Option<&Forwarder> {
    forwarder.as_ref().filter(|forwarder| forwarder.enabled)
}

/// See the module.
pub(crate) struct Target {
    app: AppId,
    kind: TargetKind,
    pace: Pace,
    inner: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    queue: Queue,
    destination: Destination,
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
        pace: Pace,
        mut queue: Queue,
        destination: Destination,
    ) -> Self {
        queue.configure(destination.is_fifo());
        let inner = Inner { queue, destination, generation: 0, last_error: None, told: false };
        Self { app, kind, pace, inner: Mutex::new(inner), wake: Notify::new() }
    }

    /// Takes over a configuration; what waits goes to where it points. Nothing happens where it is the same.
    pub(crate) fn configure(&self, destination: Destination) {
        let mut inner = self.inner.lock();
        if inner.destination == destination {
            return;
        }
        inner.queue.configure(destination.is_fifo());
        inner.destination = destination;
        inner.generation += 1;
        drop(inner);
        self.wake.notify_one();
    }

    pub(crate) fn is_configured_as(&self, destination: &Destination) -> bool {
        self.inner.lock().destination == *destination
    }

    /// Whatever was wrong may be mended.
    pub(crate) fn try_again(&self) {
        self.inner.lock().queue.try_again();
        self.wake.notify_one();
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
    consumers: Arc<Consumers>,
    /// The sender of a configuration, made with its first call.
    sender: Option<(u64, Arc<dyn Sender>)>,
    calls: JoinSet<Outcome>,
    /// Of the calls under way.
    batches: HashMap<Id, Batch>,
}

impl Driver {
    pub(crate) fn new(target: Arc<Target>, connect: Arc<dyn Connect>, consumers: Arc<Consumers>) -> Self {
        Self { target, connect, consumers, sender: None, calls: JoinSet::new(), batches: HashMap::new() }
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
        let Pace { call_timeout, late, .. } = self.target.pace;
        let messages = batch.messages.clone();
        let until = match self.target.kind {
            TargetKind::Sns | TargetKind::Sqs => Instant::now() + call_timeout,
            TargetKind::Stream => batch.deadline,
        };
        let call = async move {
            let called = timeout_at(until, sender.send(&messages)).await;
            called.unwrap_or_else(|_| Err(Failure::new(late)))
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
        let destination = inner.destination.clone();
        drop(inner);
        let Target { app, kind, .. } = &*self.target;
        let sender = destination.sender(*kind, app, &*self.connect, &self.consumers)?;
        self.sender = Some((generation, Arc::clone(&sender)));
        Ok(sender)
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = ended.unwrap_or_else(|error| (error.id(), Err(Failure::broken_down())));
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
