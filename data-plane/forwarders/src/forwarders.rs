//! The targets of all applications of a process.
//!
//! Owns the tasks: they end with [`Forwarders::drain`], or at once with the value.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use realtime_proto::{AppConfig, AppId, ids};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::aws::{AmbientCredentials, Aws};
use crate::backoff::Jitter;
use crate::failure::{Class, Failure};
use crate::limits::Limits;
use crate::message::{Message, TargetKind};
use crate::queue::Queue;
use crate::sender::Connect;
use crate::stats::{Budget, Counters, Stats, TargetStatus};
use crate::stream::{Consumer, Consumers};
use crate::target::{Destination, Driver, Target};
use crate::test_message::UnderTest;

/// What the operator says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Limits and times.
    pub limits: Limits,
    /// An application's `endpointUrl` may be plain HTTP and at any address. Otherwise it must be HTTPS, at an address
    /// of the public internet.
    pub allow_insecure_endpoints: bool,
    /// Lent to applications without credentials of their own; `None`: those are refused.
    pub ambient_credentials: Option<AmbientCredentials>,
}

/// See the crate.
pub struct Forwarders {
    pub(crate) limits: Arc<Limits>,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) under_test: UnderTest,
    apps: RwLock<HashMap<AppId, App>>,
    /// By [`TargetKind`].
    counters: [Arc<Counters>; TargetKind::ALL.len()],
    budget: Arc<Budget>,
    runtime: Handle,
    tasks: TaskTracker,
    cancelled: CancellationToken,
    _ends_tasks: DropGuard,
    /// Set by the drain.
    ends_at: Mutex<Option<Instant>>,
}

/// An application's targets.
struct App {
    /// Of the application whose messages these targets have: an application that was deleted and created again is
    /// another one.
    period: String,
    /// By [`TargetKind`].
    targets: [Option<Arc<Target>>; TargetKind::ALL.len()],
}

impl Forwarders {
    /// Starts with no targets. The tasks run on the runtime that this is called in; everything else may be called
    /// from any thread and never blocks.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let aws = Aws::new(options.allow_insecure_endpoints, options.ambient_credentials);
        Self::start_with(options.limits, Arc::new(aws))
    }

    pub(crate) fn start_with(limits: Limits, connect: Arc<dyn Connect>) -> Self {
        let cancelled = CancellationToken::new();
        Self {
            budget: Arc::new(Budget::new(limits.total_bytes)),
            limits: Arc::new(limits),
            connect,
            consumers: Arc::default(),
            under_test: UnderTest::default(),
            apps: RwLock::default(),
            counters: Default::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            _ends_tasks: cancelled.clone().drop_guard(),
            cancelled,
            ends_at: Mutex::default(),
        }
    }

    /// Takes over an application's configuration, a new or a changed one. A target whose forwarder has changed keeps
    /// its queue and goes on with new clients; one that is no longer enabled is ended like those of [`Self::remove`].
    ///
    /// To be called before sessions are judged by the configuration: what is forwarded to a target that is not known
    /// here fails.
    pub fn configure(&self, config: &AppConfig) {
        let mut apps = self.apps.write();
        let mut old = apps.remove(&config.app_id);
        let same_period = old.as_ref().is_some_and(|app| app.period == config.period);
        let targets = TargetKind::ALL.map(|kind| {
            let had = old.as_mut().and_then(|app| app.targets[index(kind)].take());
            match (Destination::of(config, kind), had) {
                (Some(to), Some(had)) if same_period || had.is_configured_as(&to) => {
                    had.configure(to);
                    Some(had)
                }
                (to, had) => {
                    if let Some(had) = had {
                        self.retire(&had);
                    }
                    to.map(|to| self.open(&config.app_id, kind, to))
                }
            }
        });
        if targets.iter().any(Option::is_some) {
            apps.insert(config.app_id.clone(), App { period: config.period.clone(), targets });
        }
    }

    /// Ends the targets of an application that is gone, or disabled: they take nothing more, and have
    /// [`Limits::retire_time`] for what they hold. Nothing happens where the application has been enabled again since,
    /// in another period.
    pub fn remove(&self, config: &AppConfig) {
        let mut apps = self.apps.write();
        if apps.get(&config.app_id).is_none_or(|app| app.period != config.period) {
            return;
        }
        let gone = apps.remove(&config.app_id);
        for target in gone.iter().flat_map(|app| app.targets.iter().flatten()) {
            self.retire(target);
        }
    }

    /// Forwards a message to every target that the configuration enables. The order of calls for one connection is
    /// the order in which FIFO targets get its messages. The message is on its way when this returns; the future,
    /// which may be dropped, is ready when every target has accepted the message, or with the first failure.
    ///
    /// A target that fails keeps the message from no other.
    pub fn forward(
        &self,
        config: &AppConfig,
        message: Message,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let message = Arc::new(message);
        let [sns, sqs, stream] = TargetKind::ALL.map(|kind| {
            if !Destination::is_set(config, kind) {
                return None;
            }
            let (reply, answer) = oneshot::channel();
            match self.target(config, kind) {
                Some(target) => target.push(Arc::clone(&message), reply),
                None => {
                    self.counters[index(kind)].failed(Class::Stopped);
                    // The other end is in this function.
                    let _ = reply.send(Err(Failure::new(Class::Stopped)));
                }
            }
            Some(answer)
        });
        async move { tokio::try_join!(answered(sns), answered(sqs), answered(stream)).map(|_| ()) }
    }

    /// The same; `then` is called with the answer, in a task of the forwarders' own.
    pub fn forward_then(
        &self,
        config: &AppConfig,
        message: Message,
        then: impl FnOnce(Result<(), Failure>) + Send + 'static,
    ) {
        let answer = self.forward(config, message);
        self.tasks.spawn_on(async move { then(answer.await) }, &self.runtime);
    }

    /// A consumer of an application's stream, of a group; it has at most `window` messages at a time that it has not
    /// acknowledged. Messages come as long as the application has its stream enabled. `None`: the application has too
    /// many consumers, or groups, here.
    #[must_use]
    pub fn consume(&self, app: &AppId, group: &str, window: usize) -> Option<Consumer> {
        let consumer = Consumer::join(&self.consumers, app, group, window)?;
        let apps = self.apps.read();
        let target = apps.get(app).and_then(|app| app.targets[index(TargetKind::Stream)].as_ref());
        // What was missing is there.
        target.iter().for_each(|target| target.try_again());
        Some(consumer)
    }

    /// Takes nothing more, sends what is there, and returns when everything is answered: at the latest at `deadline`,
    /// when what remains fails. Sessions that shall still get their acks are closed after this.
    pub async fn drain(&self, deadline: Instant) {
        *self.ends_at.lock() = Some(deadline);
        for app in self.apps.read().values() {
            app.targets.iter().flatten().for_each(|target| target.end_at(deadline));
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How an application's targets are; empty where it has none.
    #[must_use]
    pub fn status(&self, app: &AppId) -> Vec<TargetStatus> {
        let apps = self.apps.read();
        let targets = apps.get(app).into_iter().flat_map(|app| app.targets.iter().flatten());
        targets.map(|target| target.status()).collect()
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let by_kind = TargetKind::ALL.map(|kind| self.counters[index(kind)].stats());
        Stats { by_kind, bytes: self.budget.used() }
    }

    fn target(&self, config: &AppConfig, kind: TargetKind) -> Option<Arc<Target>> {
        let apps = self.apps.read();
        let app = apps.get(&config.app_id).filter(|app| app.period == config.period)?;
        app.targets[index(kind)].clone()
    }

    fn open(&self, app: &AppId, kind: TargetKind, to: Destination) -> Arc<Target> {
        let jitter = Jitter::seeded(u64::from_le_bytes(ids::random()));
        let (limits, budget) = (Arc::clone(&self.limits), Arc::clone(&self.budget));
        let pace = limits.pace(kind);
        let queue = Queue::new(limits, pace, Arc::clone(&self.counters[index(kind)]), budget, jitter);
        let target = Arc::new(Target::new(app.clone(), kind, pace, queue, to));
        if let Some(at) = *self.ends_at.lock() {
            target.end_at(at);
        }
        let (connect, consumers) = (Arc::clone(&self.connect), Arc::clone(&self.consumers));
        let driver = Driver::new(Arc::clone(&target), connect, consumers);
        self.tasks.spawn_on(driver.run(self.cancelled.clone()), &self.runtime);
        target
    }

    fn retire(&self, target: &Target) {
        target.end_at(Instant::now() + self.limits.retire_time);
    }
}

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarders").field("apps", &self.apps.read().len()).finish_non_exhaustive()
    }
}

const fn index(kind: TargetKind) -> usize {
    kind as usize
}

/// The answer of a target; at once without one.
async fn answered(answer: Option<oneshot::Receiver<Result<(), Failure>>>) -> Result<(), Failure> {
    match answer {
        // A task that has ended without an answer has not sent the message.
        Some(answer) => answer.await.unwrap_or_else(|_| Err(Failure::new(Class::Stopped))),
        None => Ok(()),
    }
}
