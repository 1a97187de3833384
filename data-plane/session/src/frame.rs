//! RFC 6455 frames that the server sends. What clients send is decoded in `header` and `decoder`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::deflate::Deflater;

/// FIN, and the opcodes (RFC 6455 section 5.2).
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Longest payload of a control frame.
pub(crate) const MAX_CONTROL: usize = 125;

/// Longest header of an unmasked frame.
const MAX_HEADER: usize = 10;

/// A message on its way to many receivers: encoded once per wire variant, shared by handle.
/// Clones share the encodings, across threads too.
#[derive(Debug, Clone)]
pub struct Frame {
    plain: Bytes,
    deflated: Option<Arc<OnceLock<Bytes>>>,
}

impl Frame {
    /// A text frame around a JSON text.
    #[must_use]
    pub fn text(json: &[u8]) -> Self {
        Self { plain: whole(FIN | TEXT, json), deflated: None }
    }

    /// A binary frame that connections with permessage-deflate get compressed (`compress: true`).
    #[must_use]
    pub fn compressible(json: &[u8]) -> Self {
        Self { plain: whole(FIN | BINARY, json), deflated: Some(Arc::default()) }
    }

    /// Whether connections with and without permessage-deflate get different bytes.
    #[must_use]
    pub fn has_deflated_variant(&self) -> bool {
        self.deflated.is_some()
    }

    /// The whole frame, uncompressed: header and payload.
    #[must_use]
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// The JSON text in it, shared.
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.plain.slice_ref(payload_of(&self.plain))
    }

    /// The whole frame for a connection that negotiated permessage-deflate; made at the first call.
    /// The plain one where there is no such variant.
    pub fn deflated(&self, deflater: &mut Deflater) -> &Bytes {
        match &self.deflated {
            None => &self.plain,
            Some(cell) => cell.get_or_init(|| {
                // Sent compressed even where that is longer: the client sees the same message, and the
                // caller of `compress: true` asked for it.
                whole(FIN | RSV1 | BINARY, deflater.deflate(payload_of(&self.plain)))
            }),
        }
    }

    /// How many encodings of the message were made so far, by all clones together: 1 or 2.
    #[must_use]
    pub fn encodings(&self) -> usize {
        1 + usize::from(self.deflated.as_ref().is_some_and(|cell| cell.get().is_some()))
    }
}

/// Appends a close frame. A reason that does not fit is cut at a character's border.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    header(out, FIN | CLOSE, reason.len() + 2);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a ping frame without payload.
pub fn write_ping(out: &mut Vec<u8>) {
    header(out, FIN | PING, 0);
}

/// Appends a pong frame; a control payload is at most 125 bytes.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    header(out, FIN | PONG, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a text frame around a JSON text.
pub fn write_text(out: &mut Vec<u8>, json: &[u8]) {
    header(out, FIN | TEXT, json.len());
    out.extend_from_slice(json);
}

/// A frame in a buffer of its own, of exactly its size.
fn whole(first: u8, payload: &[u8]) -> Bytes {
    let mut head = Vec::with_capacity(header_len(payload.len()) + payload.len());
    header(&mut head, first, payload.len());
    head.extend_from_slice(payload);
    Bytes::from(head)
}

const fn header_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => MAX_HEADER,
    }
}

/// First byte and length, unmasked.
fn header(out: &mut Vec<u8>, first: u8, payload: usize) {
    out.push(first);
    match payload {
        0..=125 => out.push(payload as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// The payload of a frame that [`whole`] made.
fn payload_of(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[MAX_HEADER..],
        _ => &frame[2..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn golden_control_and_text_frames() {
        assert_eq!(written(write_ping), [0x89, 0x00]);
        assert_eq!(written(|out| write_pong(out, b"Hello")), b"\x8a\x05Hello");
        assert_eq!(written(|out| write_close(out, 1000, "")), [0x88, 0x02, 0x03, 0xe8]);
        assert_eq!(
            written(|out| write_close(out, 1008, "Invalid message format!")),
            b"\x88\x19\x03\xf0Invalid message format!"
        );
        assert_eq!(written(|out| write_text(out, b"Hello")), b"\x81\x05Hello");
        assert_eq!(&Frame::text(b"Hello").plain()[..], b"\x81\x05Hello");
        assert_eq!(&Frame::compressible(b"Hello").plain()[..], b"\x82\x05Hello");
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        for (len, head) in [
            (0, &b"\x81\x00"[..]),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let payload = vec![b'x'; len];
            let frame = Frame::text(&payload);
            assert_eq!(frame.plain().strip_prefix(head), Some(&payload[..]), "{len}");
            assert_eq!(written(|out| write_text(out, &payload)), frame.plain()[..]);
        }
    }

    #[test]
    fn control_payloads_never_pass_125_bytes() {
        let close = written(|out| write_close(out, 1008, &"ä".repeat(80)));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(written(|out| write_pong(out, &[0; 200])).len(), 2 + 125);
    }

    #[test]
    fn a_text_frame_is_the_same_for_every_connection() {
        let frame = Frame::text(b"{}");
        assert!(!frame.has_deflated_variant());
        assert_eq!(frame.deflated(&mut Deflater::new()), frame.plain());
        assert_eq!(frame.encodings(), 1);
    }

    #[test]
    fn the_deflated_variant_is_made_once_for_all_clones() {
        let frame = Frame::compressible(&[b'x'; 1000]);
        let clones: Vec<_> = (0..4).map(|_| frame.clone()).collect();
        assert!(frame.has_deflated_variant());
        assert_eq!(frame.encodings(), 1);
        let addresses: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = clones
                .iter()
                .map(|clone| scope.spawn(|| clone.deflated(&mut Deflater::new()).as_ptr() as usize))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(addresses.iter().all(|&address| address == addresses[0]));
        assert_eq!(frame.encodings(), 2);
        assert_eq!(frame.plain().as_ptr(), clones[0].plain().as_ptr());
    }

    #[test]
    fn the_deflated_variant_has_rsv1_and_inflates_to_the_message() {
        for len in [0, 1, 100, 126, 5_000, 70_000] {
            let message: Vec<u8> =
                (0..len).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let frame = Frame::compressible(&message);
            let deflated = frame.deflated(&mut Deflater::new());
            assert_eq!(deflated[0], 0xc2);
            let mut payload = payload_of(deflated).to_vec();
            payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
            let mut out = Vec::with_capacity(message.len() + 1);
            Decompress::new(false).decompress_vec(&payload, &mut out, FlushDecompress::Sync).unwrap();
            assert_eq!(out, message, "{len}");
        }
    }
}
