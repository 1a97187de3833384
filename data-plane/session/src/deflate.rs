//! permessage-deflate (RFC 7692) without context takeover: one compressor and one inflater serve all
//! connections of a thread, and one compressed frame serves all receivers.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sync flush ends with; left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Measured on JSON of 200 B to 5 KB: within 2 % of level 6's size, at 5 KB in two thirds of its time. Level 1 takes
/// a third to a half of that, but every receiver gets 20 to 40 % more, and the work is done once for all of them.
const LEVEL: u32 = 3;

/// First allocation of an inflated message: what most messages fit into.
const FIRST_INFLATED: usize = 4096;

/// A compressor that is reset for every message.
pub struct Deflater {
    compress: Compress,
    scratch: Vec<u8>,
    messages: u64,
}

impl Deflater {
    /// A compressor with a 15-bit window.
    #[must_use]
    pub fn new() -> Self {
        Self { compress: Compress::new(Compression::new(LEVEL), false), scratch: Vec::new(), messages: 0 }
    }

    /// Messages that this compressor has compressed.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The payload of an RSV1 frame for this message.
    pub(crate) fn deflate(&mut self, message: &[u8]) -> &[u8] {
        self.messages += 1;
        self.compress.reset();
        self.scratch.clear();
        let mut rest = message;
        loop {
            // Room for incompressible input, so that one call does nearly always.
            self.scratch.reserve(rest.len() + rest.len() / 8 + 64);
            let before = self.compress.total_in();
            let status = self.compress.compress_vec(rest, &mut self.scratch, FlushCompress::Sync);
            // The only error is a stream in a wrong state, which a reset one is not.
            debug_assert!(status.is_ok(), "{status:?}");
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken..];
            let flushed = rest.is_empty() && self.scratch.len() < self.scratch.capacity();
            if flushed || status.is_err() {
                break;
            }
        }
        self.scratch.strip_suffix(&TAIL).unwrap_or(&self.scratch)
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// Why a compressed message could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// Longer than the limit; nothing beyond it was kept.
    TooBig,
    /// Not a deflate stream.
    Corrupt,
}

/// An inflater that is reset for every message.
pub(crate) struct Inflater {
    decompress: Decompress,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self { decompress: Decompress::new(false) }
    }

    /// Inflates a message's compressed payload into `out`, which is emptied first, up to `limit` bytes.
    pub(crate) fn inflate(
        &mut self,
        payload: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        self.decompress.reset(false);
        out.clear();
        self.feed(payload, limit, out)?;
        self.feed(&TAIL, limit, out)
    }

    fn feed(&mut self, mut rest: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        loop {
            if out.len() == out.capacity() {
                // Doubles up to one byte over the limit, which is how an overrun shows.
                let room = out.len().max(FIRST_INFLATED).min(limit.saturating_add(1) - out.len());
                out.reserve_exact(room);
            }
            let (read, written) = (self.decompress.total_in(), out.len());
            let status = self
                .decompress
                .decompress_vec(rest, out, FlushDecompress::Sync)
                .map_err(|_| InflateError::Corrupt)?;
            let taken = usize::try_from(self.decompress.total_in() - read).unwrap_or(rest.len());
            rest = &rest[taken..];
            if out.len() > limit {
                return Err(InflateError::TooBig);
            }
            if status == Status::StreamEnd {
                // A block marked final ends the stream, not the message (RFC 7692 section 7.2.3.4).
                self.decompress.reset(false);
                if rest.is_empty() {
                    return Ok(());
                }
            } else if rest.is_empty() && out.len() < out.capacity() {
                return Ok(());
            } else if taken == 0 && out.len() == written {
                return if rest.is_empty() { Ok(()) } else { Err(InflateError::Corrupt) };
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut out = Vec::new();
        Inflater::new().inflate(payload, limit, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_rfc_7692_inflate_to_hello() {
        let one_block = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        for payload in [&one_block[..], &stored, &final_block, &two_blocks] {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(&b"Hello"[..]), "{payload:02x?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = Deflater::new().deflate(&vec![b' '; 10 << 20]).to_vec();
        let mut out = Vec::new();
        assert_eq!(Inflater::new().inflate(&bomb, 5120, &mut out), Err(InflateError::TooBig));
        assert!(out.capacity() <= 5121, "{}", out.capacity());
    }

    #[test]
    fn the_limit_itself_passes_and_one_more_byte_does_not() {
        let payload = Deflater::new().deflate(&[b'x'; 5120]).to_vec();
        assert_eq!(inflate(&payload, 5120).map(|m| m.len()), Ok(5120));
        assert_eq!(inflate(&payload, 5119), Err(InflateError::TooBig));
    }

    #[test]
    fn a_corrupt_stream_is_no_message_and_spoils_none_after_it() {
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        // A block of the reserved type.
        assert_eq!(inflater.inflate(&[0x07, 0xff], 100, &mut out), Err(InflateError::Corrupt));
        let good = Deflater::new().deflate(b"good").to_vec();
        assert_eq!(inflater.inflate(&good, 100, &mut out), Ok(()));
        assert_eq!(out, b"good");
    }

    #[test]
    fn nothing_is_carried_over_between_messages() {
        let mut deflater = Deflater::new();
        let first = deflater.deflate(b"the same text twice").to_vec();
        assert_eq!(deflater.deflate(b"the same text twice"), first);
        assert_eq!(inflate(&first, 100).as_deref(), Ok(&b"the same text twice"[..]));
    }

    proptest! {
        #[test]
        fn what_is_deflated_inflates_to_itself(message in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let payload = Deflater::new().deflate(&message).to_vec();
            prop_assert_eq!(inflate(&payload, message.len()), Ok(message));
        }

        #[test]
        fn any_bytes_end_within_the_limit(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = inflate(&payload, 1000) {
                prop_assert!(message.len() <= 1000);
            }
        }
    }
}
