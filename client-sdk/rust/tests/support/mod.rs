//! A server for the client's tests: real WebSocket framing over in-memory pipes, so that time can be
//! paused: nothing waits for the operating system.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use realtime_client::{Client, Dial, Dialing, Event, Events, Options, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

pub const ID: &str = "0123456789abcdef0123456789abcdef";

#[derive(Debug)]
struct Pipe(mpsc::UnboundedSender<DuplexStream>);

impl Dial for Pipe {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> Dialing<'a> {
        let (ours, theirs) = duplex(64 << 10);
        let sent = self.0.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { sent.map(|()| Box::new(ours) as Box<dyn Stream>) })
    }
}

/// The listening side.
pub struct Server(mpsc::UnboundedReceiver<DuplexStream>);

/// Options whose connections arrive at the server.
pub fn server() -> (Options, Server) {
    let (sender, arrivals) = mpsc::unbounded_channel();
    (Options::new("ws://test", "demo", "token-1").dial(Pipe(sender)), Server(arrivals))
}

/// One accepted connection.
pub struct Peer {
    pub socket: WebSocketStream<DuplexStream>,
    pub path: String,
    pub authorization: String,
}

impl Server {
    /// Upgrades the next connection without a word.
    pub async fn accept(&mut self) -> Peer {
        let stream = self.0.recv().await.expect("the client dials");
        let (mut path, mut authorization) = (String::new(), String::new());
        #[allow(clippy::result_large_err)]
        let socket = accept_hdr_async(stream, |request: &Request, response: Response| {
            path = request.uri().path().to_owned();
            authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
            Ok(response)
        })
        .await
        .unwrap();
        Peer { socket, path, authorization }
    }

    /// Upgrades the next connection and welcomes it.
    pub async fn welcome(&mut self) -> Peer {
        let mut peer = self.accept().await;
        peer.welcome("main").await;
        peer
    }

    /// Refuses the next connection before the upgrade.
    pub async fn refuse(&mut self, head: &str, body: &str) {
        let mut stream = self.0.recv().await.expect("the client dials");
        let response = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(response.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    /// Whether nobody dials within an hour.
    pub async fn is_left_alone(&mut self) -> bool {
        !matches!(tokio::time::timeout(Duration::from_secs(3600), self.0.recv()).await, Ok(Some(_)))
    }
}

impl Peer {
    pub async fn send(&mut self, topic: &str, message_type: &str, data: Value) {
        let frame = json!({ "topic": topic, "messageType": message_type, "data": data });
        self.socket.send(Frame::text(frame.to_string())).await.unwrap();
    }

    pub async fn welcome(&mut self, topic: &str) {
        self.send(
            topic,
            "welcome",
            json!({ "connection": { "id": ID, "appId": "demo", "remoteAddress": "::1" } }),
        )
        .await;
    }

    /// The next request.
    pub async fn request(&mut self) -> Value {
        loop {
            match self.socket.next().await.expect("a request").unwrap() {
                Frame::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Frame::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Closes with a code and waits for the answer.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

pub fn connect(options: Options) -> (Client, Events) {
    Client::connect(options).unwrap()
}

/// The next event as a short text; a delay only as far as there is one.
pub async fn event(events: &mut Events) -> String {
    match events.next().await.expect("an event") {
        Event::Connected { connection_id } => format!("connected {connection_id}"),
        Event::Welcome { topic } => format!("welcome {topic}"),
        Event::Message(m) => format!("{} {} {}", m.topic, m.message_type, m.data),
        Event::Ack { id } => format!("ack {id}"),
        Event::Refused(r) => format!("refused {} {:?} {:?}", r.code, r.id, r.topic),
        Event::Disconnected { code, reason, retry_in } => {
            format!("disconnected {code:?} {reason:?} {}", if retry_in.is_some() { "again" } else { "final" })
        }
    }
}
