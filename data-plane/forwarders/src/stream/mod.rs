//! The target that is no AWS: backends that read an application's inbound stream (docs/contract.md 3).
//!
//! Consumers form groups. A message goes to every group, and within a group to the consumer with the most room in its
//! window; it is accepted when every group has acknowledged it. What a consumer that leaves has not acknowledged goes
//! to another one of its group. A group that has lost its last consumer is waited for a moment, then it is no group;
//! without any group a message waits for as long.
//!
//! The queue before this one keeps the order: of each connection only one message is on its way.

mod consumer;
mod group;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use realtime_proto::AppId;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::{Class, Failure};
use crate::message::Message;
use crate::sender::Sender;
use consumer::Handed;
pub use consumer::{Consumer, Delivery};
use group::Group;

/// How long a group whose last consumer has left is still one, and how long a message waits for the first consumer of
/// all: a restart of the backend, or its way to another node.
const RETURN_WITHIN: Duration = Duration::from_secs(5);
/// How often whoever waits for a group looks whether it still is one.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Consumers of one application on one node, those of other nodes' backends too.
const MAX_CONSUMERS: usize = 1024;
/// Groups of one application on one node, those that are waited for too: every message waits in each of them.
const MAX_GROUPS: usize = 64;

/// What has become of a message in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A consumer has acknowledged it.
    Accepted,
    /// A consumer does not want it.
    Refused,
    /// The group is no more.
    Gone,
}

/// The consumers of all applications of a process.
#[derive(Debug, Default)]
pub(crate) struct Consumers(Mutex<HashMap<AppId, Groups>>);

/// The groups of an application.
#[derive(Debug, Default)]
struct Groups {
    by_name: HashMap<Box<str>, Group>,
    /// Numbers consumers.
    next: u64,
    /// Told when a consumer has come, to whoever waits for the first one.
    arrivals: Arc<Notify>,
}

impl Consumers {
    /// A consumer's place; `None`: the application has too many, or too many groups.
    fn join(&self, app: &AppId, group: &str, window: usize) -> Option<(u64, mpsc::Receiver<Handed>)> {
        let mut apps = self.0.lock();
        let groups = apps.entry(app.clone()).or_default();
        groups.expire(Instant::now());
        let consumers: usize = groups.by_name.values().map(Group::consumers).sum();
        let is_one_too_many = groups.by_name.len() >= MAX_GROUPS && !groups.by_name.contains_key(group);
        if consumers >= MAX_CONSUMERS || is_one_too_many {
            return None;
        }
        groups.next += 1;
        let incoming = groups.by_name.entry(group.into()).or_default().join(groups.next, window);
        groups.arrivals.notify_waiters();
        Some((groups.next, incoming))
    }

    fn leave(&self, app: &AppId, group: &str, consumer: u64) {
        self.with(app, |groups| {
            if let Some(group) = groups.by_name.get_mut(group) {
                group.leave(consumer, Instant::now());
            }
        });
    }

    /// Notes what a consumer says of a message; `false`: it does not have it.
    fn settle(&self, app: &AppId, group: &str, consumer: u64, sequence: u64, verdict: Verdict) -> bool {
        let settled = self.with(app, |groups| {
            groups.by_name.get_mut(group).is_some_and(|group| group.settle(consumer, sequence, verdict))
        });
        settled.unwrap_or(false)
    }

    /// Hands a message to every group.
    fn offer(&self, app: &AppId, message: &Arc<Message>) -> Vec<oneshot::Receiver<Verdict>> {
        let answers = self.with(app, |groups| {
            groups.expire(Instant::now());
            groups.by_name.values_mut().map(|group| group.offer(message)).collect()
        });
        answers.unwrap_or_default()
    }

    /// What tells of an application's consumers that come.
    fn arrivals(&self, app: &AppId) -> Arc<Notify> {
        Arc::clone(&self.0.lock().entry(app.clone()).or_default().arrivals)
    }

    /// Forgets groups that have not come back.
    fn expire(&self, app: &AppId) {
        self.with(app, |groups| groups.expire(Instant::now()));
    }

    /// What is left without any group, and nobody waits for, is forgotten.
    fn with<T>(&self, app: &AppId, act: impl FnOnce(&mut Groups) -> T) -> Option<T> {
        let mut apps = self.0.lock();
        let groups = apps.get_mut(app)?;
        let result = act(groups);
        if groups.by_name.is_empty() && Arc::strong_count(&groups.arrivals) == 1 {
            apps.remove(app);
        }
        Some(result)
    }
}

impl Groups {
    fn expire(&mut self, now: Instant) {
        self.by_name.retain(|_, group| group.left_at().is_none_or(|at| now < at + RETURN_WITHIN));
    }
}

/// Sends to the consumers of an application.
pub(crate) struct StreamSender {
    pub(crate) app: AppId,
    pub(crate) consumers: Arc<Consumers>,
}

#[async_trait]
impl Sender for StreamSender {
    async fn send(&self, messages: &[Arc<Message>]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let mut results = Vec::with_capacity(messages.len());
        for message in messages {
            results.push(self.deliver(message).await?);
        }
        Ok(results)
    }
}

impl StreamSender {
    /// `Err`: there is nobody to take messages.
    async fn deliver(&self, message: &Arc<Message>) -> Result<Result<(), Failure>, Failure> {
        let (mut accepted, mut refused) = (false, false);
        for answer in self.offer(message).await {
            match self.verdict(answer).await {
                Verdict::Accepted => accepted = true,
                Verdict::Refused => refused = true,
                Verdict::Gone => {}
            }
        }
        match (accepted, refused) {
            (_, true) => Ok(Err(Failure::new(Class::Refused))),
            (true, false) => Ok(Ok(())),
            (false, false) => {
                // Nobody waits any more: nothing of the application is kept.
                self.consumers.expire(&self.app);
                Err(Failure::new(Class::NoConsumer))
            }
        }
    }

    /// Hands the message to every group; empty where none has come in time.
    async fn offer(&self, message: &Arc<Message>) -> Vec<oneshot::Receiver<Verdict>> {
        let answers = self.consumers.offer(&self.app, message);
        if !answers.is_empty() {
            return answers;
        }
        let (until, arrivals) = (Instant::now() + RETURN_WITHIN, self.consumers.arrivals(&self.app));
        loop {
            let arrival = arrivals.notified();
            let answers = self.consumers.offer(&self.app, message);
            if !answers.is_empty() || timeout_at(until, arrival).await.is_err() {
                return answers;
            }
        }
    }

    /// A group's answer. That a group has not come back is looked at here: nobody else waits for it.
    async fn verdict(&self, mut answer: oneshot::Receiver<Verdict>) -> Verdict {
        loop {
            tokio::select! {
                verdict = &mut answer => return verdict.unwrap_or(Verdict::Gone),
                () = sleep(LOOK_EVERY) => self.consumers.expire(&self.app),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use realtime_proto::ConnectionId;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_applications_without_consumers() {
        let consumers = Arc::new(Consumers::default());
        let app = AppId::parse("a").unwrap();
        let sender = StreamSender { app: app.clone(), consumers: Arc::clone(&consumers) };
        let message = [Arc::new(Message::inbound(ConnectionId([1; 16]), "m", "m".into()))];
        assert_eq!(sender.send(&message).await.unwrap_err().class(), Class::NoConsumer);
        assert!(consumers.0.lock().is_empty());
        // Whoever comes to one application wakes those of that one alone.
        let waiting = consumers.arrivals(&app);
        let (mut mine, others) = (Box::pin(waiting.notified()), AppId::parse("b").unwrap());
        mine.as_mut().enable();
        assert!(consumers.join(&others, "g", 1).is_some());
        assert!(timeout_at(Instant::now(), &mut mine).await.is_err());
        assert!(consumers.join(&app, "g", 1).is_some());
        mine.await;
    }
}
