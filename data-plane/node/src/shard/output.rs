//! From frames to sockets: the turn's shared frames, the connections' queues of them, one gathered write per
//! dirty connection at the end of the turn, and what a socket did not take.
//!
//! Invariants: an idle connection holds no queue; frame handles are cloned per connection only after a short
//! write; order within a connection is the order of `enqueue`.

use bytes::Bytes;

use super::backlog::Backlog;
use super::counters::Cells;
use super::poller::Transfer;
use super::stream::{Scratch, Stream};

/// A queue that passes this within a turn is written at once, so that a burst never closes a healthy reader
/// (ARCHITECTURE.md, "The hot path").
const WRITE_EARLY_BYTES: u32 = 32 * 1024;
/// Queues that keep their memory while free.
const POOLED_QUEUES: usize = 4096;
const NONE: u32 = u32::MAX;

/// A connection's side of the output.
#[derive(Debug)]
pub(super) struct Output {
    /// Its queue in the pool; `NONE` while nothing is queued.
    queue: u32,
    /// Bytes in the queue.
    queued: u32,
    /// What the socket refused to take; present while the socket is blocked.
    backlog: Option<Box<Backlog>>,
}

/// What an attempt to write left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing.
    All,
    /// A backlog: the socket must be watched for writability.
    Blocked,
    /// The connection is broken.
    Broken,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { queue: NONE, queued: 0, backlog: None }
    }

    /// Whether the socket has refused bytes that it has not taken since.
    fn is_blocked(&self, stream: &Stream) -> bool {
        self.backlog.is_some() || stream.unsent() > 0
    }

    /// Bytes that the socket refused to take.
    pub(super) fn unsent(&self, stream: &Stream) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.len()) + stream.unsent()
    }

    /// Drops every frame of the backlog of which the socket has taken nothing.
    pub(super) fn drop_unsent(&mut self, cells: &mut Cells) {
        if let Some(backlog) = &mut self.backlog {
            let before = backlog.len();
            backlog.drop_unsent();
            cells.unsent(before, backlog.len());
            if backlog.is_empty() {
                self.backlog = None;
            }
        }
    }

    /// Writes the backlog while the socket takes it.
    pub(super) fn write_backlog(
        &mut self,
        stream: &mut Stream,
        scratch: &mut Scratch,
        cells: &mut Cells,
    ) -> Flushed {
        let before = self.unsent(stream);
        let flushed = match &mut self.backlog {
            Some(backlog) => backlog.write(stream, scratch, cells),
            None => stream.flush(),
        };
        self.backlog.take_if(|backlog| backlog.is_empty());
        cells.unsent(before, self.unsent(stream));
        flushed
    }
}

/// A frame of this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameIndex(u32);

/// The turn's frames and the pool of queues.
pub(super) struct Turn {
    frames: Vec<Bytes>,
    /// Connections with a queue, in the order they got it.
    dirty: Vec<u32>,
    queues: Vec<Vec<FrameIndex>>,
    free: Vec<u32>,
    /// Copy of the frames in `gathered`, one after the other: consecutive equal lists are copied once.
    buffer: Vec<u8>,
    gathered: Vec<FrameIndex>,
    pub(super) scratch: Scratch,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            frames: Vec::new(),
            dirty: Vec::new(),
            queues: Vec::new(),
            free: Vec::new(),
            buffer: Vec::new(),
            gathered: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Makes a frame known for this turn.
    pub(super) fn add(&mut self, frame: Bytes) -> FrameIndex {
        self.frames.push(frame);
        FrameIndex((self.frames.len() - 1) as u32)
    }

    /// Queues a frame for connection `index`; `true` when the queue should be written at once.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32, output: &mut Output, frame: FrameIndex) -> bool {
        if output.queue == NONE {
            output.queue = self.free.pop().unwrap_or_else(|| {
                self.queues.push(Vec::new());
                (self.queues.len() - 1) as u32
            });
            self.dirty.push(index);
        }
        self.queues[output.queue as usize].push(frame);
        output.queued += self.frames[frame.0 as usize].len() as u32;
        output.queued > WRITE_EARLY_BYTES
    }

    /// Connections to write, in the order they became dirty. The caller gives the list back with [`Self::end`].
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty)
    }

    /// Ends the turn: every queue has been written.
    pub(super) fn end(&mut self, mut dirty: Vec<u32>) {
        dirty.clear();
        self.dirty = dirty;
        self.frames.clear();
        self.gathered.clear();
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
    }

    /// Frames made known in this turn.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Gives back what a connection that goes has queued.
    pub(super) fn discard(&mut self, output: &mut Output, stream: &Stream, cells: &mut Cells) {
        cells.unsent(output.unsent(stream), 0);
        if output.queue != NONE {
            let queue = std::mem::replace(&mut output.queue, NONE);
            let list = std::mem::take(&mut self.queues[queue as usize]);
            self.recycle(queue, list);
        }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Writes a connection's queue, or appends it to the backlog of a blocked one.
    pub(super) fn write(&mut self, output: &mut Output, stream: &mut Stream, cells: &mut Cells) -> Flushed {
        let is_blocked = output.is_blocked(stream);
        if output.queue == NONE {
            return if is_blocked { Flushed::Blocked } else { Flushed::All };
        }
        let queue = output.queue;
        output.queue = NONE;
        let queued = std::mem::take(&mut output.queued) as usize;
        let list = std::mem::take(&mut self.queues[queue as usize]);
        let flushed = if is_blocked {
            self.stash(output, &list, 0, cells);
            Flushed::Blocked
        } else {
            self.write_list(output, &list, queued, stream, cells)
        };
        self.recycle(queue, list);
        flushed
    }

    fn write_list(
        &mut self,
        output: &mut Output,
        list: &[FrameIndex],
        queued: usize,
        stream: &mut Stream,
        cells: &mut Cells,
    ) -> Flushed {
        let bytes = match list {
            [only] => &self.frames[only.0 as usize][..],
            _ => {
                if self.gathered != list {
                    self.buffer.clear();
                    for frame in list {
                        self.buffer.extend_from_slice(&self.frames[frame.0 as usize]);
                    }
                    self.gathered.clear();
                    self.gathered.extend_from_slice(list);
                }
                &self.buffer
            }
        };
        cells.writes += 1;
        let taken = match stream.write(bytes, &mut self.scratch) {
            Transfer::Done(n) => n,
            Transfer::Blocked => 0,
            Transfer::Broken => return Flushed::Broken,
        };
        cells.bytes_sent += taken as u64;
        // None were before, or the list would have been stashed.
        cells.unsent(0, stream.unsent());
        if taken < queued {
            self.stash(output, list, taken, cells);
            return Flushed::Blocked;
        }
        if stream.unsent() == 0 { Flushed::All } else { Flushed::Blocked }
    }

    /// Keeps what the socket did not take of a list.
    fn stash(&self, output: &mut Output, list: &[FrameIndex], mut taken: usize, cells: &mut Cells) {
        let before = output.backlog.as_ref().map_or(0, |backlog| backlog.len());
        for frame in list {
            let frame = &self.frames[frame.0 as usize];
            if taken >= frame.len() {
                taken -= frame.len();
                continue;
            }
            let backlog = output.backlog.get_or_insert_default();
            match std::mem::take(&mut taken) {
                0 => backlog.push(frame),
                under_way => backlog.begin(frame.clone(), under_way),
            }
        }
        cells.unsent(before, output.backlog.as_ref().map_or(0, |backlog| backlog.len()));
    }

    fn recycle(&mut self, queue: u32, mut list: Vec<FrameIndex>) {
        list.clear();
        if self.free.len() < POOLED_QUEUES {
            self.queues[queue as usize] = list;
        }
        self.free.push(queue);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        server.set_nonblocking(true).expect("non-blocking");
        (server.into(), client)
    }

    #[test]
    fn a_blocked_socket_gets_every_byte_in_order_once_it_takes_them() {
        let (mut server, mut client) = pair();
        let (mut turn, mut output, mut cells) = (Turn::new(), Output::new(), Cells::default());
        let mut sent = Vec::new();
        let mut blocked_rounds = 0;
        for round in 0..200u8 {
            for part in 0..3u8 {
                let frame = Bytes::from(vec![round ^ part; 20_000 + usize::from(part)]);
                sent.extend_from_slice(&frame);
                let index = turn.add(frame);
                turn.enqueue(1, &mut output, index);
            }
            let dirty = turn.take_dirty();
            if turn.write(&mut output, &mut server, &mut cells) == Flushed::Blocked {
                blocked_rounds += 1;
            }
            turn.end(dirty);
        }
        assert!(blocked_rounds > 10, "the socket must have blocked");
        let expected = sent.clone();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).expect("all bytes");
            assert!(got == expected, "bytes differ");
        });
        server.socket().set_nonblocking(false).expect("blocking");
        assert_eq!(output.write_backlog(&mut server, &mut Scratch::default(), &mut cells), Flushed::All);
        assert_eq!(output.unsent(&server), 0);
        assert_eq!(cells.bytes_sent as usize, sent.len());
        reader.join().expect("reader");
    }

    #[test]
    fn what_piled_up_behind_a_socket_that_was_blocked_is_taken_once_its_reader_has_caught_up() {
        let (mut server, mut client) = pair();
        let (mut turn, mut output, mut cells) = (Turn::new(), Output::new(), Cells::default());
        let mut put = |output: &mut Output, server: &mut Stream, cells: &mut Cells| {
            let frame = turn.add(Bytes::from(vec![7; 10_000]));
            turn.enqueue(1, output, frame);
            let dirty = turn.take_dirty();
            let flushed = turn.write(output, server, cells);
            turn.end(dirty);
            flushed
        };
        while put(&mut output, &mut server, &mut cells) == Flushed::All {}
        let mut taken = vec![0; cells.bytes_sent as usize];
        client.read_exact(&mut taken).expect("what the socket took");
        for _ in 0..7 {
            assert_eq!(
                put(&mut output, &mut server, &mut cells),
                Flushed::Blocked,
                "only readiness or the cap asks the socket again"
            );
        }
        assert!(output.unsent(&server) > 65_536);
        assert_eq!(output.write_backlog(&mut server, &mut Scratch::default(), &mut cells), Flushed::All);
        assert!(!output.is_blocked(&server));
    }

    #[test]
    fn equal_lists_are_gathered_once_and_written_with_one_call_each() {
        let (mut a, mut from_a) = pair();
        let (mut b, mut from_b) = pair();
        let (mut turn, mut cells) = (Turn::new(), Cells::default());
        let (mut one, mut two) = (Output::new(), Output::new());
        let frames = [turn.add(Bytes::from_static(b"hello ")), turn.add(Bytes::from_static(b"world"))];
        for frame in frames {
            turn.enqueue(1, &mut one, frame);
            turn.enqueue(2, &mut two, frame);
        }
        assert_eq!(turn.write(&mut one, &mut a, &mut cells), Flushed::All);
        assert_eq!(turn.write(&mut two, &mut b, &mut cells), Flushed::All);
        assert_eq!(cells.writes, 2);
        for client in [&mut from_a, &mut from_b] {
            let mut got = [0; 11];
            client.read_exact(&mut got).expect("frames");
            assert_eq!(&got, b"hello world");
        }
    }
}
