//! A well-behaved WebSocket client: a task reads (and so answers pings) while the test is busy elsewhere.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::route::{Connection, connect};
use crate::wait::within;

/// Frames that may wait for the test; beyond it the client stops reading, as any client would.
const UNREAD_FRAMES: usize = 65_536;

/// A frame of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Whether it came as a binary frame.
    pub binary: bool,
    /// The whole JSON object.
    pub json: Value,
}

impl Frame {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.json["topic"].as_str().unwrap_or_default()
    }

    /// The message type.
    #[must_use]
    pub fn message_type(&self) -> &str {
        self.json["messageType"].as_str().unwrap_or_default()
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Value {
        &self.json["data"]
    }
}

/// What a session brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A frame.
    Frame(Frame),
    /// The server's close frame.
    Closed {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// The connection ended without a close frame.
    Lost(String),
}

/// An open session. Dropping it drops the connection.
pub struct Client {
    id: String,
    welcome: Value,
    sink: SplitSink<WebSocketStream<Connection>, Message>,
    incoming: mpsc::Receiver<Incoming>,
    reader: JoinHandle<()>,
    fences: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a session on `path` and takes its welcome.
    ///
    /// # Panics
    /// When the first frame is no welcome on `main`.
    pub async fn open(address: &str, path: &str) -> Self {
        Self::open_unwelcomed(address, path).await.welcomed().await
    }

    /// Takes the welcome, which must come next.
    ///
    /// # Panics
    /// When the first frame is no welcome on `main`.
    pub async fn welcomed(mut self) -> Self {
        let client = &mut self;
        let welcome = client.expect("main", "welcome").await;
        let id = welcome["connection"]["id"].as_str().expect("`connection.id` of the welcome");
        client.id = id.to_owned();
        client.welcome = welcome;
        self
    }

    /// Opens a session and leaves all that comes, the welcome included, to the test.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn open_unwelcomed(address: &str, path: &str) -> Self {
        let connection = connect(address).await.expect("a connection");
        Self::open_over(connection, address, path).await
    }

    /// The same over a connection that exists, to the server that `host` names.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn open_over(connection: Connection, host: &str, path: &str) -> Self {
        let url = format!("ws://{host}{path}");
        let request = url.as_str().into_client_request().expect("a WebSocket URL");
        let (stream, _) = within("the upgrade", client_async(request, connection)).await.expect("an upgrade");
        let (sink, stream) = stream.split();
        let (sender, incoming) = mpsc::channel(UNREAD_FRAMES);
        let reader = tokio::spawn(read(stream, sender));
        Self { id: String::new(), welcome: Value::Null, sink, incoming, reader, fences: 0 }
    }

    /// The connection id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `data` of the session's welcome.
    #[must_use]
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Sends a text frame.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.sink.send(Message::text(text.into())).await.expect("an open connection");
    }

    /// Sends a binary frame.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send_binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.sink.send(Message::binary(bytes.into())).await.expect("an open connection");
    }

    /// Sends a client frame `{"type","data"}`.
    pub async fn send(&mut self, kind: &str, data: Value) {
        self.send_text(json!({"type": kind, "data": data}).to_string()).await;
    }

    /// The same; `false` when the session has ended.
    pub async fn try_send(&mut self, kind: &str, data: Value) -> bool {
        self.sink.send(Message::text(json!({"type": kind, "data": data}).to_string())).await.is_ok()
    }

    /// Subscribes and takes the welcome, which must come next.
    pub async fn subscribe(&mut self, topic: &str) {
        self.send("subscribe", json!({"topic": topic})).await;
        self.expect(topic, "welcome").await;
    }

    /// Publishes `payload` on a topic.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Value>) {
        self.send("publish", json!({"topic": topic, "payload": payload.into()})).await;
    }

    /// Closes the session in good order and waits for the server's answer.
    ///
    /// # Panics
    /// When the server does not answer the close.
    pub async fn close(mut self) {
        self.sink.send(Message::Close(None)).await.expect("an open connection");
        loop {
            match self.next().await {
                Incoming::Frame(_) => {}
                Incoming::Closed { .. } => return,
                Incoming::Lost(why) => panic!("no answer to the close: {why}"),
            }
        }
    }

    /// The next thing that comes.
    pub async fn next(&mut self) -> Incoming {
        let next = within("the next frame", self.incoming.recv()).await;
        next.unwrap_or_else(|| Incoming::Lost("ended before".into()))
    }

    /// What comes until a moment; `None`: nothing. After the end of the session, that again.
    pub async fn next_until(&mut self, at: Instant) -> Option<Incoming> {
        let next = timeout_at(at, self.incoming.recv()).await.ok()?;
        Some(next.unwrap_or_else(|| Incoming::Lost("ended before".into())))
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the session ends instead.
    pub async fn frame(&mut self) -> Frame {
        match self.next().await {
            Incoming::Frame(frame) => frame,
            other => panic!("a frame was due, not {other:?}"),
        }
    }

    /// The next frame, which must be of this topic and type; returns its `data`.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn expect(&mut self, topic: &str, message_type: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!((frame.topic(), frame.message_type()), (topic, message_type), "{}", frame.json);
        frame.data().clone()
    }

    /// The next frame, which must be an error frame of this code; returns its `data`.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let data = self.expect("priv/errors", "error").await;
        assert_eq!(data["code"], code, "{data}");
        assert!(data["message"].as_str().is_some_and(|m| !m.is_empty()), "{data}");
        data
    }

    /// The end of the session, which must come next; returns code and reason.
    ///
    /// # Panics
    /// When a frame comes, or the connection ends without a close frame.
    pub async fn expect_close(&mut self) -> (u16, String) {
        match self.next().await {
            Incoming::Closed { code, reason } => (code, reason),
            other => panic!("a close was due, not {other:?}"),
        }
    }

    /// Frames are dropped until the close comes; returns its code and reason.
    ///
    /// # Panics
    /// When the connection ends without a close frame.
    pub async fn drain_to_close(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Incoming::Frame(_) => {}
                Incoming::Closed { code, reason } => return (code, reason),
                Incoming::Lost(why) => panic!("the connection ended without a close frame: {why}"),
            }
        }
    }

    /// Checks that nothing is on its way: the answer to a new subscription must be the very next frame.
    /// Holds for everything that the server did for this session, and for publishes already answered over HTTP.
    pub async fn expect_nothing(&mut self) {
        self.fences += 1;
        let fence = format!("fence/{}", self.fences);
        self.subscribe(&fence).await;
        self.send("unsubscribe", json!({"topic": fence})).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut stream: SplitStream<WebSocketStream<Connection>>, sender: mpsc::Sender<Incoming>) {
    loop {
        let incoming = match stream.next().await {
            Some(Ok(Message::Text(text))) => frame(false, text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => frame(true, &bytes),
            Some(Ok(Message::Close(close))) => match close {
                Some(close) => Incoming::Closed { code: close.code.into(), reason: close.reason.to_string() },
                None => Incoming::Closed { code: 1005, reason: String::new() },
            },
            Some(Ok(_)) => continue,
            Some(Err(error)) => Incoming::Lost(error.to_string()),
            None => return,
        };
        let last = !matches!(incoming, Incoming::Frame(_));
        if sender.send(incoming).await.is_err() {
            return;
        }
        if last {
            // Finishes the close handshake.
            while let Some(Ok(_)) = stream.next().await {}
            return;
        }
    }
}

fn frame(binary: bool, bytes: &[u8]) -> Incoming {
    match serde_json::from_slice(bytes) {
        Ok(json) => Incoming::Frame(Frame { binary, json }),
        Err(error) => Incoming::Lost(format!("no JSON: {error} in {:?}", String::from_utf8_lossy(bytes))),
    }
}
