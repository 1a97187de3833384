//! A shard: one OS thread that owns its connections, its topic index and its timers outright. No lock, channel
//! or task per connection on the delivery path.
//!
//! A turn: read what is ready and let sessions turn it into events; take what other threads have put into the
//! inbox; append shared frames to the queues of connections; hand batches to the other shards; write each dirty
//! connection once. Clients and the inbox each have a share of a turn, bounded in frames and bytes; what is left over
//! comes first in the next one.

pub(crate) mod admin;
mod admission;
mod backlog;
mod connection;
pub(crate) mod counters;
mod drain;
mod fanout;
mod hub;
mod inbound;
pub(crate) mod inbox;
mod interest;
mod lifecycle;
mod mirror;
mod output;
mod pace;
mod poller;
mod random;
mod replies;
mod slab;
mod stack_text;
pub(crate) mod stream;
mod subjects;
mod topics;
mod wheel;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_session::Codec;

use self::counters::Published;
use self::hub::Hub;
use self::inbox::{Command, Inbox};
use self::poller::{Events, Poller, Readiness};
use crate::shards::NodeShared;

/// Bytes read from a connection per turn: one read, no read until the socket is empty, so that nobody starves. No more
/// than a TLS record needs: what the frames of one read cost, hundreds of them, everybody else waits.
const READ_BYTES: usize = 20 * 1024;
/// Where they are read to; a TLS connection's may be preceded by the beginning of a record.
const BUFFER_BYTES: usize = 64 * 1024;
/// Connections adopted per turn, so that a storm of new ones does not hold up deliveries.
const ADOPTIONS_PER_TURN: usize = 64;

/// A shard before its thread runs: what others need to reach it.
pub(crate) struct Seat {
    poller: Poller,
    inbox: Arc<Inbox>,
    published: Arc<Published>,
}

impl Seat {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let inbox = Arc::new(Inbox::new(poller.waker()));
        Ok(Self { poller, inbox, published: Arc::default() })
    }

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Runs the shard on this thread until it is told to stop.
    ///
    /// # Errors
    /// When the poller fails, which leaves nothing to go on with.
    pub(crate) fn run(self, number: u8, shared: Arc<NodeShared>) -> io::Result<()> {
        let shard = Shard {
            hub: Hub::new(number, self.poller, shared),
            inbox: self.inbox,
            published: self.published,
            codec: Codec::new(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            events: Events::new(),
            ready: VecDeque::new(),
            pending: VecDeque::new(),
            inbox_is_empty: false,
            started: Instant::now(),
        };
        shard.run()
    }
}

struct Shard {
    hub: Hub,
    inbox: Arc<Inbox>,
    published: Arc<Published>,
    codec: Codec,
    buffer: Box<[u8]>,
    /// What the poller reported and no turn has got round to.
    events: Events,
    ready: VecDeque<Readiness>,
    /// What was taken from the inbox and no turn has got round to.
    pending: VecDeque<Command>,
    /// The inbox was found empty after the last wake: only then may the shard sleep.
    inbox_is_empty: bool,
    started: Instant,
}

impl Shard {
    fn run(mut self) -> io::Result<()> {
        loop {
            self.poll()?;
            self.hub.set_now(self.started.elapsed().as_millis() as u64);
            // Before anything is read: what a client sends after it has heard of a change meets the change, and
            // no flood of publishes in the inbox holds it up.
            self.hub.take_table();
            self.read_ready();
            if self.take_inbox() {
                return Ok(());
            }
            self.hub.run_timers();
            self.hub.finish_turn();
            self.hub.take_stock();
            self.published.store(&self.hub.cells);
        }
    }

    /// Waits for something to do, unless the last turn left something.
    fn poll(&mut self) -> io::Result<()> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let timeout = if !self.inbox_is_empty || self.hub.is_stalled() {
            Some(Duration::ZERO)
        } else {
            let now = self.started.elapsed().as_millis() as u64;
            self.hub.next_deadline_ms().map(|at| Duration::from_millis(at.saturating_sub(now)))
        };
        self.hub.poller.wait(timeout, &mut self.events, &mut self.ready)
    }

    fn read_ready(&mut self) {
        if self.hub.is_stalled() {
            // Another shard's inbox is full: its turn has to come before more is read from clients.
            self.hub.cells.stalled_turns += 1;
            self.ready.clear();
            std::thread::yield_now();
            return;
        }
        self.hub.start_share();
        while !self.hub.share_is_used() {
            let Some(ready) = self.ready.pop_front() else { return };
            self.hub.on_ready(ready, &mut self.buffer, &mut self.codec);
        }
    }

    fn next_command(&mut self) -> Option<Command> {
        if self.pending.is_empty() {
            self.inbox.take(&mut self.pending);
        }
        self.pending.pop_front()
    }

    /// Applies what other threads sent; `true`: stop.
    fn take_inbox(&mut self) -> bool {
        self.hub.start_share();
        self.inbox_is_empty = false;
        let mut adoptions = 0;
        while !self.hub.share_is_used() && adoptions < ADOPTIONS_PER_TURN {
            match self.next_command() {
                None => {
                    self.inbox_is_empty = true;
                    break;
                }
                Some(Command::Stop) => return true,
                Some(Command::Adopt(adoption)) => {
                    adoptions += 1;
                    self.hub.adopt(*adoption, &mut self.codec);
                }
                Some(Command::Publish { delivery, first, receipt }) => {
                    self.inbox.release(1);
                    self.hub.cells.publishes += u64::from(first);
                    self.hub.cells.encodings += u64::from(first);
                    let outcome = self.hub.deliver(&delivery);
                    if let Some(receipt) = receipt {
                        // The asker may have gone; the publish is done either way.
                        let _ = receipt.send(outcome);
                    }
                }
                Some(Command::Batch(batch)) => {
                    self.inbox.release(batch.len());
                    for delivery in &batch {
                        self.hub.deliver(delivery);
                    }
                }
                Some(command) => self.hub.administer(command),
            }
        }
        false
    }
}
