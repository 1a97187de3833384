//! A case as a script of bytes to write and frames to expect, and the server that it is played against.

use realtime_testkit::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, encode};
use realtime_testkit::{Client, RawFrame, RawSocket, Server, TestApp, deflate};
use serde_json::{Value, json};

/// What the settings allow at most.
pub(crate) const LARGEST: usize = 1024 * 1024;

const PUBLISH: &str = "realtime:publisher:write:topic:*";
const HEAD: &[u8] = br#"{"type":"publish","data":{"topic":"main","payload":""#;
const TAIL: &[u8] = br#""}}"#;
/// Makes the frames of the message binary.
const COMPRESS_TAIL: &[u8] = br#"","compress":true}}"#;

/// A message that must come back: a publish of one text.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    opcode: u8,
    /// The text inside the quotes, as it stands on the wire.
    text: Vec<u8>,
}

impl Message {
    /// A message around these bytes, which stand in a JSON string as they are.
    pub(crate) fn new(opcode: u8, text: impl AsRef<[u8]>) -> Self {
        Self { opcode, text: text.as_ref().to_vec() }
    }

    /// A text message.
    pub(crate) fn text(text: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, text)
    }

    /// A message of exactly `length` bytes.
    pub(crate) fn of_length(opcode: u8, length: usize) -> Self {
        let mut message = Self::new(opcode, "");
        message.text = vec![b'*'; length - message.bytes().len()];
        message
    }

    /// The whole message.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tail = if self.opcode == TEXT { TAIL } else { COMPRESS_TAIL };
        [HEAD, &self.text, tail].concat()
    }

    /// In one frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        encode(FIN | self.opcode, &self.bytes())
    }

    /// In one compressed frame.
    pub(crate) fn deflated(&self) -> Vec<u8> {
        encode(FIN | RSV1 | self.opcode, &deflate::deflate(&self.bytes()))
    }

    /// In frames of `size` bytes of the message.
    pub(crate) fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        fragments(self.opcode, &self.bytes(), size)
    }

    /// In compressed frames of `size` bytes.
    pub(crate) fn deflated_fragments(&self, size: usize) -> Vec<Vec<u8>> {
        fragments(RSV1 | self.opcode, &deflate::deflate(&self.bytes()), size)
    }

    /// In `count` frames of about the same size.
    pub(crate) fn parts(&self, count: usize) -> Vec<Vec<u8>> {
        self.fragments(self.bytes().len().div_ceil(count))
    }

    /// Whether the frame's payload tells of this message.
    fn is_told_by(&self, payload: &[u8]) -> bool {
        const MARK: &[u8] = br#""},"payload":""#;
        let Some(at) = payload.windows(MARK.len()).position(|window| window == MARK) else { return false };
        payload.starts_with(br#"{"topic":"main","messageType":"broadcast","data":{"client":"#)
            && payload[at + MARK.len()..]
                .strip_prefix(self.text.as_slice())
                .is_some_and(|rest| rest.starts_with(br#"","id":""#) && rest.ends_with(br#""}}"#))
    }

    /// What a library's user reads.
    fn value(&self) -> Value {
        serde_json::from_slice(&[b"\"", self.text.as_slice(), b"\""].concat()).unwrap()
    }
}

fn fragments(first_byte: u8, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = bytes.len().div_ceil(size) - 1;
    let part = |(i, part): (usize, &[u8])| {
        let opcode = if i == 0 { first_byte } else { CONTINUATION };
        encode(if i == last { FIN | opcode } else { opcode }, part)
    };
    bytes.chunks(size).enumerate().map(part).collect()
}

/// A masked ping.
pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    encode(FIN | PING, payload)
}

/// A masked close frame with a code.
pub(crate) fn close(code: u16) -> Vec<u8> {
    encode(FIN | CLOSE, &code.to_be_bytes())
}

#[derive(Debug)]
enum Step {
    Write { bytes: Vec<u8>, chop: usize },
    Pong(Vec<u8>),
    Echo(Message),
}

/// A case. Unless it says otherwise, the client closes with 1000 after it, and gets 1000 back.
#[derive(Debug)]
pub(crate) struct Case {
    number: String,
    steps: Vec<Step>,
    closes: Option<u16>,
}

impl Case {
    pub(crate) fn new(number: impl Into<String>) -> Self {
        Self { number: number.into(), steps: Vec::new(), closes: None }
    }

    /// Writes all at once.
    pub(crate) fn write(self, bytes: impl AsRef<[u8]>) -> Self {
        self.chops(bytes, usize::MAX)
    }

    /// Writes byte by byte.
    pub(crate) fn octets(self, bytes: impl AsRef<[u8]>) -> Self {
        self.chops(bytes, 1)
    }

    /// Writes piece by piece.
    pub(crate) fn chops(mut self, bytes: impl AsRef<[u8]>, chop: usize) -> Self {
        self.steps.push(Step::Write { bytes: bytes.as_ref().to_vec(), chop });
        self
    }

    /// Writes frame by frame.
    pub(crate) fn frames(self, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        frames.into_iter().fold(self, Self::write)
    }

    /// The next frame is a pong.
    pub(crate) fn pong(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Pong(payload.as_ref().to_vec()));
        self
    }

    /// The next frame tells of this message.
    pub(crate) fn echo(mut self, message: &Message) -> Self {
        self.steps.push(Step::Echo(message.clone()));
        self
    }

    /// The server's close comes next, and nothing after it.
    pub(crate) fn closes(mut self, code: u16) -> Self {
        self.closes = Some(code);
        self
    }
}

/// A server, and a client that sees what is relayed.
#[derive(Debug)]
pub(crate) struct Bench {
    _server: Server,
    app: TestApp,
    observer: Client,
}

impl Bench {
    /// With the contract's limits.
    pub(crate) async fn start() -> Self {
        Self::on(Server::start().await).await
    }

    /// With messages as large as the settings allow.
    pub(crate) async fn with_large_messages() -> Self {
        let server = Server::start().await;
        server
            .change_settings(|settings| {
                settings["limits"]["maxMessageBytes"] = json!(LARGEST);
                settings["limits"]["maxUnsentBytes"] = json!(0);
            })
            .await;
        Self::on(server).await
    }

    async fn on(server: Server) -> Self {
        let app = server.app().set("tier", "unlimited").create().await;
        let observer = app.connect("observer", &[]).await;
        Self { _server: server, app, observer }
    }

    pub(crate) fn app(&self) -> &TestApp {
        &self.app
    }

    /// A connection that has had its welcome.
    pub(crate) async fn connect(&self, headers: &[(&str, &str)]) -> RawSocket {
        let token = self.app.sign(json!({"permissions": [PUBLISH]}));
        let mut socket = self.app.connect_raw(&token, headers).await;
        assert_eq!(socket.expect_frame().await.first_byte, FIN | TEXT, "the welcome");
        socket
    }

    /// Plays cases one after another, each on a connection of its own.
    pub(crate) async fn run(&mut self, cases: impl IntoIterator<Item = Case>) {
        for case in cases {
            // Shown where the test fails.
            println!("case {}", case.number);
            let mut socket = self.connect(&[]).await;
            self.play(&mut socket, case).await;
        }
    }

    async fn play(&mut self, socket: &mut RawSocket, case: Case) {
        let mut echoes = Vec::new();
        for step in case.steps {
            match step {
                Step::Write { bytes, chop } => socket.write_chops(&bytes, chop).await,
                Step::Pong(payload) => {
                    assert_eq!(socket.expect_frame().await, RawFrame { first_byte: FIN | PONG, payload });
                }
                Step::Echo(message) => {
                    expect_echo(socket, &message).await;
                    echoes.push(message);
                }
            }
        }
        let code = match case.closes {
            Some(code) => code,
            None => {
                socket.write(&close(1000)).await;
                1000
            }
        };
        assert_eq!(socket.expect_close_next().await.0, code);
        self.expect_relayed(&echoes).await;
    }

    /// The observer got these messages and no others.
    pub(crate) async fn expect_relayed(&mut self, messages: &[Message]) {
        for message in messages {
            let frame = self.observer.frame().await;
            assert_eq!((frame.topic(), frame.binary), ("main", message.opcode == BINARY));
            assert_eq!(frame.data()["payload"], message.value());
        }
        // Twice: the answer to the first says that a turn of the observer's shard is over, in which it took what the
        // sender's shard had given it.
        self.observer.expect_nothing().await;
        self.observer.expect_nothing().await;
    }
}

/// The next frame tells of this message, uncompressed.
pub(crate) async fn expect_echo(socket: &mut RawSocket, message: &Message) {
    let frame = socket.expect_frame().await;
    assert_eq!(frame.first_byte, FIN | message.opcode, "{}", shown(&frame.payload));
    assert!(message.is_told_by(&frame.payload), "{}", shown(&frame.payload));
}

/// The next frame tells of this message, which is binary, and is compressed.
pub(crate) async fn expect_deflated_echo(socket: &mut RawSocket, message: &Message) {
    let frame = socket.expect_frame().await;
    assert_eq!(frame.first_byte, FIN | RSV1 | BINARY, "{}", shown(&frame.payload));
    let payload = deflate::inflate(&frame.payload);
    assert!(message.is_told_by(&payload), "{}", shown(&payload));
}

/// The beginning of a frame, for a report.
fn shown(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[..payload.len().min(300)]).into_owned()
}
