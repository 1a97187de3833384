//! What a socket did not take: whole frames, but for the rest of the one under way.
//!
//! Invariants: frames keep their order; a backlog takes about as much memory as it has bytes, so that a cap on its
//! bytes is one on its memory. A handle to a shared frame is larger than a pong: small frames are copied together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::counters::Cells;
use super::output::Flushed;
use super::poller::Transfer;
use super::stream::{Scratch, Stream};

/// Buffers per vectored write; the kernel takes 1,024, more than 64 gains nothing.
const MAX_SLICES: usize = 64;
/// Frames up to this size are copied: a handle and what it may keep alive are no smaller.
const SMALL_BYTES: usize = 128;
/// Small frames are copied together up to here: what a close frame may have to wait for stays short.
const BLOCK_BYTES: usize = 4096;

/// Frames that wait for the socket.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Shared frames, and blocks of small ones.
    frames: VecDeque<Bytes>,
    /// Bytes of the front frame that the socket has taken.
    offset: usize,
    /// Small frames after the others.
    block: Vec<u8>,
    len: usize,
}

impl Backlog {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a frame.
    pub(super) fn push(&mut self, frame: &Bytes) {
        self.len += frame.len();
        if frame.len() > SMALL_BYTES {
            self.seal();
            self.frames.push_back(frame.clone());
            return;
        }
        self.block.extend_from_slice(frame);
        if self.block.len() >= BLOCK_BYTES {
            self.seal();
        }
    }

    /// Begins an empty backlog with a frame of which the socket has taken the first bytes.
    pub(super) fn begin(&mut self, frame: Bytes, taken: usize) {
        self.len += frame.len() - taken;
        self.offset = taken;
        self.frames.push_back(frame);
    }

    /// Makes a frame of the block.
    fn seal(&mut self) {
        if !self.block.is_empty() {
            self.frames.push_back(Bytes::from(std::mem::take(&mut self.block)));
        }
    }

    /// Drops every frame of which the socket has taken nothing. A block counts as one frame.
    pub(super) fn drop_unsent(&mut self) {
        self.block = Vec::new();
        self.frames.truncate(usize::from(self.offset > 0));
        self.len = self.frames.front().map_or(0, |front| front.len() - self.offset);
    }

    /// Writes while the socket takes it.
    pub(super) fn write(&mut self, stream: &mut Stream, scratch: &mut Scratch, cells: &mut Cells) -> Flushed {
        self.seal();
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                let from = if count == 0 { self.offset } else { 0 };
                *slice = IoSlice::new(&frame[from..]);
                count += 1;
            }
            cells.writes += 1;
            match stream.write_vectored(&slices[..count], scratch) {
                Transfer::Done(n) => {
                    cells.bytes_sent += n as u64;
                    self.take(n);
                }
                Transfer::Blocked => return Flushed::Blocked,
                Transfer::Broken => return Flushed::Broken,
            }
        }
        if stream.unsent() == 0 { Flushed::All } else { Flushed::Blocked }
    }

    /// Forgets `n` bytes from the front.
    fn take(&mut self, n: usize) {
        self.len -= n;
        self.offset += n;
        while let Some(front) = self.frames.front() {
            if self.offset < front.len() {
                return;
            }
            self.offset -= front.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_unsent_keeps_only_the_rest_of_a_frame_that_is_under_way() {
        let mut backlog = Backlog::default();
        backlog.begin(Bytes::from_static(b"abcdef"), 2);
        backlog.push(&Bytes::from_static(b"ghi"));
        backlog.push(&Bytes::from(vec![0; 1000]));
        assert_eq!(backlog.len(), 1007);
        backlog.drop_unsent();
        assert_eq!(backlog.len(), 4);
        backlog.take(4);
        assert!(backlog.is_empty() && backlog.frames.is_empty());

        let mut fresh = Backlog::default();
        fresh.push(&Bytes::from_static(b"abc"));
        fresh.drop_unsent();
        assert!(fresh.is_empty());
    }

    #[test]
    fn small_frames_take_no_more_memory_than_their_bytes_and_keep_their_place() {
        let mut backlog = Backlog::default();
        let pong = Bytes::from_static(b"\x8a\x00");
        let large = Bytes::from(vec![1; 1000]);
        let mut expected = Vec::new();
        for n in 0..30_000 {
            let frame = if n % 10_000 == 5_000 { &large } else { &pong };
            backlog.push(frame);
            expected.extend_from_slice(frame);
        }
        assert_eq!(backlog.len(), expected.len());
        assert!(backlog.frames.len() < 24, "{} handles", backlog.frames.len());
        backlog.seal();
        assert_eq!(backlog.frames.iter().flatten().copied().collect::<Vec<_>>(), expected);
    }
}
