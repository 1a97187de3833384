//! permessage-deflate (RFC 7692) as a client does it: each message for itself, without what a sync flush ends with.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder};

/// What a sync flush ends with; left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The payload of a compressed message.
///
/// # Panics
/// Never: the sink is memory.
#[must_use]
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).expect("memory");
    encoder.flush().expect("memory");
    let bytes = encoder.get_ref();
    bytes.strip_suffix(&TAIL).expect("a sync flush at the end").to_vec()
}

/// The message in a compressed payload.
///
/// # Panics
/// When it is no deflate stream that stands for itself.
#[must_use]
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut decoder = DeflateDecoder::new(Vec::new());
    decoder.write_all(payload).expect("a deflate stream");
    decoder.write_all(&TAIL).expect("a deflate stream");
    decoder.flush().expect("a deflate stream");
    std::mem::take(decoder.get_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7692_7_2_3_is_inflated() {
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), b"Hello");
    }

    #[test]
    fn what_was_deflated_is_inflated() {
        let text = "again and again ".repeat(100);
        let bytes = deflate(text.as_bytes());
        assert!(bytes.len() < 100);
        assert_eq!(inflate(&bytes), text.as_bytes());
    }
}
