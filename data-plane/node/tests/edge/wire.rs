//! HTTP and WebSocket in raw bytes: what a client library would put right must reach the server as it is.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use realtime_testkit::route::{Connection, Route, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{AUTHORITY, within};

/// The key of RFC 6455's example, and what it must be answered with.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An opening for `target` with further header lines, each with its line end.
pub(crate) fn opening(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl HttpResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The problem's code; the rest of it is checked on the way.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status and problem code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.problem())
    }
}

/// A frame from the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(Value),
    Close(u16, String),
    Other(u8, Vec<u8>),
}

pub(crate) struct Client {
    stream: Connection,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(within(TcpStream::connect(address)).await.unwrap())
    }

    pub(crate) fn over(stream: impl Transport + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Connects with TLS.
    pub(crate) async fn secure(address: SocketAddr) -> Self {
        let route = Route { tls: Some(AUTHORITY.client(&["http/1.1"])), proxied_from: None };
        Self::over(within(route.connect(&address.to_string())).await.unwrap())
    }

    /// Connects, sends and reads the answer.
    pub(crate) async fn ask(address: SocketAddr, request: &str) -> HttpResponse {
        let mut client = Self::connect(address).await;
        client.send(request.as_bytes()).await;
        client.response().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    /// Reads more; `false` at the end of the stream.
    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = within(self.stream.read(&mut chunk)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// Whether anything has come, without waiting for it.
    pub(crate) fn has_bytes(&mut self) -> bool {
        let mut chunk = [0; 16];
        match self.stream.read(&mut chunk).now_or_never() {
            Some(Ok(read)) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                read > 0
            }
            Some(Err(_)) | None => false,
        }
    }

    /// Reads until these bytes have come.
    pub(crate) async fn read_until(&mut self, bytes: &[u8]) {
        while !self.buffer.windows(bytes.len()).any(|window| window == bytes) {
            assert!(self.fill().await, "the end before {bytes:?}");
        }
    }

    /// Waits for the server to end the connection; what it still sent is returned.
    pub(crate) async fn end(mut self) -> Vec<u8> {
        while self.fill().await {}
        self.buffer
    }

    pub(crate) async fn response(&mut self) -> HttpResponse {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await, "no answer: {}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = HttpResponse { status, head, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.fill().await, "the answer's body ends early");
        }
        response.body = self.buffer.drain(..length).collect();
        response
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        let (first, payload) = loop {
            if let Some((first, payload, length)) = parse_frame(&self.buffer) {
                self.buffer.drain(..length);
                break (first, payload);
            }
            assert!(self.fill().await, "the connection ends within a frame");
        };
        match first {
            0x81 => Frame::Text(serde_json::from_slice(&payload).unwrap()),
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(code, String::from_utf8(payload[2..].to_vec()).unwrap())
            }
            other => Frame::Other(other, payload),
        }
    }

    /// The first frame of an accepted opening.
    pub(crate) async fn json_after_upgrade(&mut self) -> Value {
        assert_eq!(self.response().await.status, 101);
        self.json().await
    }

    pub(crate) async fn json(&mut self) -> Value {
        match self.frame().await {
            Frame::Text(value) => value,
            other => panic!("not a text frame: {other:?}"),
        }
    }
}

/// First byte, payload and length of the whole frame; `None` while it is not all there.
fn parse_frame(buffer: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (first, second) = (*buffer.first()?, *buffer.get(1)?);
    assert!(second < 127, "a masked or huge frame from the server");
    let (length, start) = match second {
        126 => (usize::from(u16::from_be_bytes([*buffer.get(2)?, *buffer.get(3)?])), 4),
        short => (usize::from(short), 2),
    };
    Some((first, buffer.get(start..start + length)?.to_vec(), start + length))
}

/// A client's text frame, masked with zeros.
pub(crate) fn text(json: &Value) -> Vec<u8> {
    let payload = json.to_string().into_bytes();
    let mut frame = vec![0x81, 0x80 | u8::try_from(payload.len()).unwrap()];
    assert!(payload.len() < 126, "write a longer header for {json}");
    frame.extend_from_slice(&[0; 4]);
    frame.extend(payload);
    frame
}
