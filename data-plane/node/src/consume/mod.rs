//! The inbound stream of an application, for one consumer: what this node's clients send, and what every other node's
//! do, in one sequence.
//!
//! At each node the consumer is one of its group, as if it were connected there; that node keeps what is not answered,
//! and gives it to another consumer when this one is gone. Here is only which sequence number is whose. Nothing is kept
//! for long: while the consumer has all that it may have, nothing is taken from the nodes.

mod reach;
mod remote;
pub(crate) mod serve;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use realtime_discovery::Snapshot;
use realtime_forwarders::Consumer;
use realtime_proto::{ApiError, AppId, ErrorCode};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub(crate) use reach::Reach;
use remote::{Event, Line, News, Remote};

use crate::Shards;

/// How long a consumer waits for the other nodes before it is told which ones are missing: they answer within
/// milliseconds, or are away.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// What other nodes have sent and the consumer has not taken.
const NEWS: usize = 64;
/// Messages at a time that each other node may send at least, however many nodes there are.
const LEAST_WINDOW: usize = 16;

/// What a consumer asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) app: AppId,
    pub(crate) group: String,
    /// Messages at a time that are not answered.
    pub(crate) window: usize,
}

/// A message for the consumer.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sequence: u64,
    pub(crate) body: Bytes,
    pub(crate) redelivered: bool,
}

/// Whose a message is, and its number there.
#[derive(Debug)]
enum Origin {
    Here(u64),
    /// Of that stream from another node; of an earlier one nobody waits for the answer.
    There {
        node: Arc<str>,
        stream: u64,
        sequence: u64,
    },
}

/// A consumer's stream. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Consumption {
    wanted: Wanted,
    here: Consumer,
    /// `None`: there are no other nodes.
    reach: Option<Arc<Reach>>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    remotes: HashMap<Arc<str>, Remote>,
    /// One for each of `remotes`; ends with its number when its node is gone.
    tasks: JoinSet<(Arc<str>, u64)>,
    news: mpsc::Receiver<News>,
    news_in: mpsc::Sender<News>,
    /// What came before the consumer could be told that it is ready.
    early: VecDeque<News>,
    unanswered: BTreeMap<u64, Origin>,
    last_sequence: u64,
}

impl Consumption {
    /// Makes the consumer known here, and goes to the other nodes.
    ///
    /// # Errors
    /// `unavailable` where the application has too many consumers or groups, or the node no targets.
    pub(crate) fn start(
        shards: &Shards,
        reach: Option<Arc<Reach>>,
        wanted: Wanted,
    ) -> Result<Self, ApiError> {
        let forwarders = shards.forwarders();
        let here = forwarders.and_then(|all| all.consume(&wanted.app, &wanted.group, wanted.window));
        let here = here.ok_or_else(|| {
            let why = "the application has too many consumers, or too many groups, on this node";
            ApiError::new(ErrorCode::Unavailable, why)
        })?;
        let (news_in, news) = mpsc::channel(NEWS);
        let snapshots = match &reach {
            Some(reach) => reach.snapshots(),
            // Never changes.
            None => watch::channel(None).1,
        };
        let mut consumption = Self {
            wanted,
            here,
            reach,
            snapshots,
            remotes: HashMap::new(),
            tasks: JoinSet::new(),
            news,
            news_in,
            early: VecDeque::new(),
            unanswered: BTreeMap::new(),
            last_sequence: 0,
        };
        consumption.follow_members();
        Ok(consumption)
    }

    /// Resolves when every other node has answered, or after a second. Returns how many nodes the stream is of, and
    /// which ones are missing.
    pub(crate) async fn ready(&mut self) -> (usize, Vec<String>) {
        let until = Instant::now() + READY_WITHIN;
        while self.remotes.values().any(|remote| remote.line.is_none()) {
            // One sender is kept here.
            let Ok(Some(news)) = timeout_at(until, self.news.recv()).await else { break };
            match news {
                News { node, event: Event::Ready(line), .. } => self.came(&node, line),
                // A window's worth of each node at most.
                message => self.early.push_back(message),
            }
        }
        let (there, missing): (Vec<_>, Vec<_>) =
            self.remotes.iter().partition(|(_, remote)| remote.line.is_some());
        let mut missing: Vec<String> = missing.into_iter().map(|(node, _)| node.to_string()).collect();
        missing.sort_unstable();
        (1 + there.len(), missing)
    }

    /// The next message. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let has_room = self.unanswered.len() < self.wanted.window;
            if has_room
                && let Some(news) = self.early.pop_front()
                && let Some(message) = self.take(news)
            {
                return message;
            }
            tokio::select! {
                delivery = self.here.next(), if has_room => {
                    let body = Bytes::copy_from_slice(delivery.body().as_bytes());
                    return self.numbered(Origin::Here(delivery.sequence), body, delivery.redelivered);
                }
                Some(news) = self.news.recv(), if has_room => {
                    if let Some(message) = self.take(news) {
                        return message;
                    }
                }
                Ok(()) = self.snapshots.changed() => self.follow_members(),
                // A node alone with a full window waits for answers only.
                () = std::future::pending::<()>() => {}
                Some(ended) = self.tasks.join_next() => {
                    if let Ok((node, number)) = ended {
                        self.remotes.retain(|id, remote| *id != node || remote.number != number);
                    }
                }
            }
        }
    }

    fn take(&mut self, news: News) -> Option<Message> {
        let News { node, event } = news;
        match event {
            Event::Ready(line) => {
                self.came(&node, line);
                None
            }
            Event::Message { stream, sequence, body, redelivered } => {
                Some(self.numbered(Origin::There { node, stream, sequence }, body, redelivered))
            }
        }
    }

    /// What the consumer says of a message. One that it does not have is passed over.
    pub(crate) fn answer(&mut self, sequence: u64, accepted: bool) {
        match self.unanswered.remove(&sequence) {
            Some(Origin::Here(sequence)) => {
                // It has it: it is among the unanswered.
                let _ = if accepted { self.here.accept(sequence) } else { self.here.refuse(sequence) };
            }
            Some(Origin::There { node, stream, sequence }) => {
                let line = self.remotes.get(&node).and_then(|remote| remote.line.as_ref());
                line.iter().for_each(|line| line.answer(stream, sequence, accepted));
            }
            None => {}
        }
    }

    fn numbered(&mut self, origin: Origin, body: Bytes, redelivered: bool) -> Message {
        self.last_sequence += 1;
        self.unanswered.insert(self.last_sequence, origin);
        Message { sequence: self.last_sequence, body, redelivered }
    }

    /// Goes to nodes that have joined. One that discovery has dropped is left once its stream has broken: it may be
    /// only the control plane that has lost sight of it.
    fn follow_members(&mut self) {
        let Some(reach) = &self.reach else { return };
        let members = reach.others(&mut self.snapshots);
        let share = self.wanted.window / (members.len() + 1);
        let window = share.max(LEAST_WINDOW).min(self.wanted.window);
        for (node, remote) in &self.remotes {
            if members.get(node) != Some(&remote.address) {
                remote.let_go();
            }
        }
        for (node, address) in members {
            let follows = |remote: &Remote| remote.address == address && !remote.is_let_go();
            if self.remotes.get(&node).is_some_and(follows) {
                continue;
            }
            let wanted = Wanted { window, ..self.wanted.clone() };
            let (remote, following) =
                Remote::new(Arc::clone(reach), Arc::clone(&node), address, wanted, self.news_in.clone());
            self.tasks.spawn(following);
            self.remotes.insert(node, remote);
        }
    }

    /// A stream from another node has begun.
    fn came(&mut self, node: &Arc<str>, line: Line) {
        if let Some(remote) = self.remotes.get_mut(node).filter(|remote| remote.number == line.number()) {
            remote.line = Some(line);
        }
    }
}
