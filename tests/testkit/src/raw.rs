//! A WebSocket at the level of bytes, for frames that no library would send and for what only bytes show.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::{Headers, Response, parse_head};
use crate::route::{Connection, Transport, connect};
use crate::wait::within;

/// Continuation frame.
pub const CONTINUATION: u8 = 0;
/// Text frame.
pub const TEXT: u8 = 1;
/// Binary frame.
pub const BINARY: u8 = 2;
/// Close frame.
pub const CLOSE: u8 = 8;
/// Ping frame.
pub const PING: u8 = 9;
/// Pong frame.
pub const PONG: u8 = 10;
/// The final bit of a frame's first byte.
pub const FIN: u8 = 0x80;
/// The first reserved bit: compressed.
pub const RSV1: u8 = 0x40;
/// The second reserved bit, which nothing uses.
pub const RSV2: u8 = 0x20;
/// The third reserved bit, which nothing uses.
pub const RSV3: u8 = 0x10;

/// A key as a client would send it.
const SEC_WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What the server must answer to it (RFC 6455, 1.3).
const SEC_WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// FIN, reserved bits and opcode.
    pub first_byte: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The opcode.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first_byte & 0x0f
    }

    /// Whether RSV1 is set.
    #[must_use]
    pub fn compressed(&self) -> bool {
        self.first_byte & RSV1 != 0
    }

    /// Code and reason of a close frame.
    ///
    /// # Panics
    /// When it is none, or a malformed one.
    #[must_use]
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.first_byte, FIN | CLOSE, "a close frame was due, not {self:?}");
        match self.payload.as_slice() {
            [] => (1005, String::new()),
            [high, low, reason @ ..] => {
                (u16::from_be_bytes([*high, *low]), String::from_utf8(reason.to_vec()).expect("UTF-8"))
            }
            [_] => panic!("a close frame of one byte"),
        }
    }
}

/// An upgraded connection.
pub struct RawSocket<S = Connection> {
    /// The connection itself.
    pub stream: S,
    buffer: Vec<u8>,
    headers: Headers,
}

impl<S> std::fmt::Debug for RawSocket<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawSocket").field("buffer", &self.buffer).finish_non_exhaustive()
    }
}

impl RawSocket {
    /// Asks for the upgrade with more headers; a header given here replaces the one of that name.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When no well-formed answer comes.
    pub async fn open(address: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        let stream = connect(address).await.expect("a connection");
        Self::upgrade_at(stream, address, path, headers).await
    }
}

impl<S: Transport> RawSocket<S> {
    /// The same on a connection that is there already.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When no well-formed answer comes.
    pub async fn upgrade(stream: S, path: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        Self::upgrade_at(stream, "localhost", path, headers).await
    }

    async fn upgrade_at(
        mut stream: S,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
        let usual = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", SEC_WEBSOCKET_KEY),
        ];
        let replaced = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        for (name, value) in usual.iter().filter(|(name, _)| !replaced(name)).chain(headers) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        stream.flush().await.expect("the request is taken");
        Self::answered(stream).await
    }

    /// Reads the answer to a request for the upgrade that the test has written itself.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When no well-formed answer comes.
    pub async fn answered(mut stream: S) -> Result<Self, Response> {
        let mut buffer = Vec::new();
        loop {
            if let Some((status, headers, rest)) = parse_head(&buffer) {
                if status == 101 {
                    let rest = rest.to_vec();
                    let socket = Self { stream, buffer: rest, headers };
                    assert_eq!(socket.header("sec-websocket-accept"), Some(SEC_WEBSOCKET_ACCEPT));
                    return Ok(socket);
                }
                if let Some(refusal) = Response::whole(&buffer) {
                    return Err(refusal);
                }
            }
            let n = stream.read_buf(&mut buffer).await.expect("an answer");
            assert!(n > 0, "the connection ended in the answer {:?}", String::from_utf8_lossy(&buffer));
        }
    }

    /// A header of the server's answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn write(&mut self, bytes: &[u8]) {
        within("the server to take bytes", self.send(bytes)).await.expect("an open connection");
    }

    /// Writes one frame, masked as a client must.
    pub async fn write_frame(&mut self, first_byte: u8, payload: &[u8]) {
        self.write(&encode(first_byte, payload)).await;
    }

    /// Writes one text frame.
    pub async fn write_text(&mut self, text: &str) {
        self.write_frame(FIN | TEXT, text.as_bytes()).await;
    }

    /// Writes bytes in pieces of `size`, each with a call of its own.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn write_chops(&mut self, bytes: &[u8], size: usize) {
        for chop in bytes.chunks(size) {
            self.write(chop).await;
        }
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn read_frame(&mut self) -> Option<RawFrame> {
        within("a frame", self.next_frame()).await
    }

    /// The same, however long it takes. May be dropped at any time.
    pub async fn next_frame(&mut self) -> Option<RawFrame> {
        loop {
            if let Some((frame, used)) = decode(&self.buffer) {
                self.buffer.drain(..used);
                return Some(frame);
            }
            // A connection that is reset has ended as well.
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(n) if n > 0) {
                return None;
            }
        }
    }

    /// The next frame that is no ping.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn expect_frame(&mut self) -> RawFrame {
        loop {
            let frame = self.read_frame().await.expect("a frame was due, not the end of the connection");
            if frame.opcode() != PING {
                return frame;
            }
        }
    }

    /// Frames are dropped until the close comes; then the server must end the connection. Returns code and reason.
    ///
    /// # Panics
    /// When the connection ends without a close frame, or goes on after it.
    pub async fn expect_close(&mut self) -> (u16, String) {
        loop {
            let frame =
                self.read_frame().await.expect("a close frame was due, not the end of the connection");
            if frame.opcode() == CLOSE {
                return self.expect_end(frame).await;
            }
        }
    }

    /// The same, but nothing may come before the close, save a ping.
    pub async fn expect_close_next(&mut self) -> (u16, String) {
        let frame = self.expect_frame().await;
        self.expect_end(frame).await
    }

    /// Answers the server's close, after which it must end the connection.
    async fn expect_end(&mut self, frame: RawFrame) -> (u16, String) {
        let close = frame.close();
        // RFC 6455 asks for the answer; the server may already be gone.
        let _ = self.send(&encode(FIN | CLOSE, &frame.payload[..2])).await;
        assert_eq!(self.read_frame().await, None, "nothing follows a close frame");
        close
    }
}

/// A masked frame with the shortest length form.
#[must_use]
pub fn encode(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first_byte];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The first whole frame of a server, and its length.
///
/// # Panics
/// When it is masked, which no server may do.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(RawFrame, usize)> {
    let [first_byte, second, rest @ ..] = bytes else { return None };
    assert!(second & 0x80 == 0, "a server's frame was masked");
    let (length, head) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)).ok()?, 10),
        length => (usize::from(length), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    Some((RawFrame { first_byte: *first_byte, payload }, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, head) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            assert_eq!(encode(FIN | TEXT, &vec![b'x'; length]).len(), head + length, "{length}");
        }
    }

    #[test]
    fn the_masked_example_of_rfc_6455_5_7_comes_out() {
        let expected = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(encode(FIN | TEXT, b"Hello"), expected);
    }

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let bytes = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o', 0x88];
        assert_eq!(decode(&bytes[..6]), None);
        let (frame, used) = decode(&bytes).unwrap();
        assert_eq!((frame.payload.as_slice(), used), (&b"Hello"[..], 7));
    }
}
