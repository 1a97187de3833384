//! The header of a client's frame (RFC 6455 section 5.2) and its mask.

use realtime_proto::CloseCode;

use crate::frame::MAX_CONTROL;

/// Longest header of a client's frame: 2 bytes, 8 of length, 4 of mask.
pub(crate) const MAX_HEADER: usize = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A client's frame up to its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// RSV1: the message that begins here is compressed.
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
    /// Length of the payload.
    pub(crate) len: u64,
    mask: [u8; 4],
}

impl Header {
    /// Reads a header and says how long it is; `None` while more bytes are needed. What is wrong with a
    /// header shows as soon as the byte is there.
    pub(crate) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Self, usize)>, CloseCode> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(CloseCode::ProtocolError)?;
        // RSV1 stands on the first frame of a compressed data message and nowhere else (RFC 7692 section 6).
        let rsv1_fits = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (compressed && !rsv1_fits) || (opcode.is_control() && !fin) {
            return Err(CloseCode::ProtocolError);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        if !masked || (opcode.is_control() && usize::from(short) > MAX_CONTROL) {
            return Err(CloseCode::ProtocolError);
        }

        let rest = &bytes[2..];
        let (len, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            _ => (u64::from(short), rest),
        };
        // The fewest bytes that hold the length must be used, and its highest bit is 0.
        let fits = match short {
            126 => len >= 126,
            127 => len > 0xffff && len >> 63 == 0,
            _ => true,
        };
        if !fits {
            return Err(CloseCode::ProtocolError);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Self { fin, compressed, opcode, len, mask: *mask }, bytes.len() - rest.len())))
    }

    /// Unmasks a part of the payload that begins `at` bytes into it.
    pub(crate) fn unmask(&self, part: &mut [u8], at: u64) {
        let mut mask = self.mask;
        mask.rotate_left((at % 4) as usize);
        let word = u32::from_ne_bytes(mask);
        let (words, rest) = part.as_chunks_mut();
        for bytes in words {
            *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, CloseCode> {
        Header::parse(bytes, false)
    }

    #[test]
    fn each_length_form_is_read() {
        for (bytes, len) in [
            (&b"\x81\x85mask"[..], 5),
            (b"\x81\xfe\x00\x7emask", 126),
            (b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00mask", 65_536),
        ] {
            let (header, used) = parse(bytes).unwrap().unwrap();
            assert_eq!((header.len, used, header.mask), (len, bytes.len(), *b"mask"));
            for part in 0..bytes.len() {
                assert_eq!(parse(&bytes[..part]), Ok(None), "{part} bytes");
            }
        }
    }

    #[test]
    fn violations_show_at_the_byte_that_makes_them() {
        let bad: [&[u8]; 12] = [
            b"\x91",                                         // RSV3
            b"\xa1",                                         // RSV2
            b"\xc1",                                         // RSV1, not negotiated
            b"\x83",                                         // reserved data opcode
            b"\x8b",                                         // reserved control opcode
            b"\x09",                                         // fragmented control frame
            b"\x81\x05",                                     // not masked
            b"\x89\xfe",                                     // control frame over 125 bytes
            b"\x81\xfe\x00\x7d",                             // 125 in the 16-bit form
            b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",     // 65,535 in the 64-bit form
            b"\x81\xff\x80\x00\x00\x00\x00\x01\x00\x00",     // highest bit
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", // all bits
        ];
        for bytes in bad {
            assert_eq!(parse(bytes), Err(CloseCode::ProtocolError), "{bytes:02x?}");
        }
    }

    #[test]
    fn rsv1_stands_only_on_the_first_frame_of_a_data_message() {
        for (first, good) in
            [(0xc1, true), (0x41, true), (0xc2, true), (0xc0, false), (0xc9, false), (0xc8, false)]
        {
            assert_eq!(Header::parse(&[first], true).is_ok(), good, "{first:02x}");
        }
    }

    proptest! {
        #[test]
        fn unmasking_in_parts_is_unmasking_at_once(
            mut bytes in prop::collection::vec(any::<u8>(), 0..100), mask: [u8; 4], split in 0_usize..100,
        ) {
            let header = Header { fin: true, compressed: false, opcode: Opcode::Text, len: 0, mask };
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
            let split = split.min(bytes.len());
            let (head, tail) = bytes.split_at_mut(split);
            header.unmask(head, 0);
            header.unmask(tail, split as u64);
            prop_assert_eq!(bytes, expected);
        }
    }
}
