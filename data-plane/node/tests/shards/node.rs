//! A node's shards with a configuration, and clients that have real sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use realtime_auth::{App, Identity, JwksCache};
use realtime_data_plane::{Arrival, Publication, Shards, ShardsConfig};
use realtime_discovery::Snapshot;
use realtime_proto::{AppConfig, NodePrefix, PermissionCase, Permissions, Settings};
use serde_json::{Value, json};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A node without HTTP and gRPC: its shards and what is in force.
pub(crate) struct Node {
    pub(crate) shards: Arc<Shards>,
    pub(crate) snapshot: Snapshot,
}

impl Node {
    pub(crate) fn start(threads: usize) -> Self {
        Self::with(ShardsConfig { threads, mesh: None, forwarders: None }, NodePrefix::generate())
    }

    pub(crate) fn with(config: ShardsConfig, prefix: NodePrefix) -> Self {
        let shards = Shards::start(config, prefix).expect("shards");
        let mut node = Self { shards, snapshot: Snapshot::default() };
        node.settings(json!({}));
        node.app(json!({}));
        node
    }

    pub(crate) fn settings(&mut self, document: Value) {
        self.snapshot.settings = Arc::new(Settings::parse(&document).expect("settings"));
        self.shards.configure(&self.snapshot);
    }

    /// Puts the app `a` in force with these attributes besides the required ones: creates or replaces it.
    pub(crate) fn app(&mut self, attributes: Value) {
        let held = self.snapshot.apps.get("a").map(|app| app.config.clone());
        self.put(held.as_ref(), attributes);
    }

    /// Puts the app `a` in force as what became of `held`.
    pub(crate) fn put(&mut self, held: Option<&AppConfig>, attributes: Value) {
        let key = json!({"source": "raw", "key": "secret", "algorithms": ["HS256"], "issuer": []});
        let mut document =
            json!({"appId": "a", "name": "A", "tier": "unlimited", "authKey": key, "adminKey": key});
        for (name, value) in attributes.as_object().expect("an object") {
            document[name] = value.clone();
        }
        let now = "2026-01-01T00:00:00.000Z";
        let config = match held {
            Some(held) => held.replace(&document, now),
            None => AppConfig::create(&document, now),
        };
        let config = config.expect("a configuration");
        let app = Arc::new(App::compile(config.clone(), 1, &JwksCache::offline()).expect("keys"));
        self.snapshot.apps = [(config.app_id, app)].into_iter().collect();
        self.shards.configure(&self.snapshot);
    }

    pub(crate) fn arrive(&self, subject: Option<&str>, deflate: bool) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let stream = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (socket, _) = listener.accept().expect("accept");
        socket.set_nonblocking(true).expect("non-blocking");
        let all = ["realtime:publisher:write:topic:*", "realtime:subscriber:read:topic:*"];
        let list = all.into_iter().collect();
        let identity = Identity {
            subject: subject.map(Into::into),
            permissions: Arc::new(Permissions::new(list, PermissionCase::Insensitive)),
            expires_at: None,
        };
        let arrival = Arrival {
            stream: socket.into(),
            read_ahead: Bytes::new(),
            app: self.shards.app("a").expect("the app"),
            identity: Arc::new(identity),
            remote_address: [127, 0, 0, 1].into(),
            deflate,
            ack_envelope: false,
        };
        self.shards.adopt(arrival).expect("a place");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        Client { stream, buffer: Vec::new() }
    }

    /// A client that has its welcome.
    pub(crate) fn client(&self, subject: &str) -> Client {
        let mut client = self.arrive(Some(subject), false);
        assert_eq!(client.json()["messageType"], "welcome");
        client
    }

    pub(crate) fn publication(&self, topic: &str, message: &str) -> Publication {
        Publication {
            app: self.shards.app("a").expect("the app").app.config.app_id.clone(),
            topic: topic.into(),
            message: Bytes::from(message.to_owned()),
            compress: false,
            message_type: String::new(),
        }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.shards.counters();
        counters.iter().find(|c| c.0 == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    pub(crate) fn eventually(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < end, "{what} did not come true");
            std::thread::yield_now();
        }
    }
}

/// A WebSocket client after its upgrade.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// The same connection, for another thread to write.
    pub(crate) fn writer(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a second handle"), buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, frame: Value) {
        self.send_raw(0x81, frame.to_string().as_bytes());
    }

    pub(crate) fn send_raw(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            n @ 0..=125 => frame.push(0x80 | n as u8),
            n => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).expect("write");
    }

    /// The next frame: first byte and payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some((first, header, len)) = self.header()
                && self.buffer.len() >= header + len
            {
                let payload = self.buffer[header..header + len].to_vec();
                self.buffer.drain(..header + len);
                return (first, payload);
            }
            let mut chunk = [0; 65536];
            let n = self.stream.read(&mut chunk).expect("a frame in time");
            assert!(n > 0, "the connection ended");
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }

    fn header(&self) -> Option<(u8, usize, usize)> {
        match self.buffer[..] {
            [first, 126, a, b, ..] => Some((first, 4, usize::from(a) << 8 | usize::from(b))),
            [first, len, ..] if len < 126 => Some((first, 2, usize::from(len))),
            _ => None,
        }
    }

    pub(crate) fn json(&mut self) -> Value {
        let (_, payload) = self.frame();
        serde_json::from_slice(&payload).expect("JSON")
    }

    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.frame() {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    pub(crate) fn subscribe(&mut self, topic: &str) {
        self.send(json!({"type": "subscribe", "data": {"topic": topic}}));
        let welcome = self.json();
        assert_eq!((&welcome["topic"], &welcome["messageType"]), (&json!(topic), &json!("welcome")));
    }
}
