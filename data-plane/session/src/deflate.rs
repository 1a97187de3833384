//! permessage-deflate (RFC 7692) without context takeover: one compressor and one inflater serve all
//! connections of a thread, and one compressed frame serves all receivers.

/// A compressor that is reset for every message.
#[derive(Debug)]
pub struct Deflater {}

impl Deflater {
    /// A compressor with a 15-bit window.
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }
}
