//! Streams between nodes: in order, with a delay, until they are cut.

use std::collections::VecDeque;

use realtime_proto::generated::peer::LinkMessage;

/// Messages under way in one direction at most: what the driver's channel holds.
pub(crate) const WINDOW: usize = 2;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    messages: VecDeque<(u64, LinkMessage)>,
}

impl Pipe {
    pub(crate) fn has_room(&self) -> bool {
        self.messages.len() < WINDOW
    }

    /// Arrives at `at`, but not before what is ahead of it.
    pub(crate) fn push(&mut self, at: u64, message: LinkMessage) {
        let at = self.messages.back().map_or(at, |(last, _)| at.max(*last));
        self.messages.push_back((at, message));
    }

    /// What has arrived by now.
    pub(crate) fn pop(&mut self, now: u64) -> Option<LinkMessage> {
        self.messages.front().filter(|(at, _)| *at <= now)?;
        self.messages.pop_front().map(|(_, message)| message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A stream between two nodes, seen from both ends.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The nodes' places in the world, and which of their lives it belongs to.
    pub(crate) ends: [(usize, u64); 2],
    /// `pipes[0]` leads from `ends[0]` to `ends[1]`.
    pub(crate) pipes: [Pipe; 2],
    /// When each end has said hello and heard the other's; `None`: not yet.
    pub(crate) up: [Option<realtime_mesh::LinkId>; 2],
    /// When each end may know of the other's hello.
    pub(crate) hello_at: [u64; 2],
    /// Nothing passes any more; each end notices at its own time.
    pub(crate) cut: bool,
    pub(crate) notices_at: [u64; 2],
    pub(crate) closed: [bool; 2],
}

impl Stream {
    pub(crate) fn new(ends: [(usize, u64); 2], hello_at: [u64; 2]) -> Self {
        Self {
            ends,
            pipes: [Pipe::default(), Pipe::default()],
            up: [None, None],
            hello_at,
            cut: false,
            notices_at: [u64::MAX; 2],
            closed: [false; 2],
        }
    }

    pub(crate) fn joins(&self, a: usize, b: usize) -> bool {
        self.ends.iter().any(|(node, _)| *node == a) && self.ends.iter().any(|(node, _)| *node == b)
    }

    pub(crate) fn cut(&mut self, notices_at: [u64; 2]) {
        if !self.cut {
            self.cut = true;
            self.notices_at = notices_at;
        }
    }
}
