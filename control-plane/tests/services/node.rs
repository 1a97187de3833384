//! A node, or gateway, played by hand over the generated client.

use std::collections::BTreeMap;
use std::time::Duration;

use realtime_proto::generated::discovery as wire;
use realtime_proto::ids::{hex, random};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use wire::discovery_client::DiscoveryClient;
use wire::stream_request::Kind as RequestKind;
use wire::stream_response::Kind as ResponseKind;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) requests: mpsc::Sender<wire::StreamRequest>,
    responses: Streaming<wire::StreamResponse>,
    pub(crate) hello: wire::Hello,
}

/// An update as its receiver sees it: everything, or what has changed.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) snapshot: bool,
    pub(crate) revision: wire::Revision,
    pub(crate) nonce: u64,
    /// Documents by id.
    pub(crate) apps: BTreeMap<String, Value>,
    pub(crate) settings: Option<Value>,
    pub(crate) members: BTreeMap<String, wire::Member>,
    pub(crate) removed: Vec<String>,
}

pub(crate) fn hello(id: &str) -> wire::Hello {
    wire::Hello {
        role: wire::Role::Node.into(),
        id: id.into(),
        incarnation: hex(&random::<8>()),
        listen: format!("{id}.example:8080"),
        peer: format!("{id}.example:7071"),
        version: "0.1.0".into(),
        held: None,
        state: wire::NodeState::Ready.into(),
        connection_id_prefix: String::new(),
    }
}

impl Node {
    /// Opens a stream and says hello; what comes next is up to the test.
    pub(crate) async fn open(channel: &Channel, hello: wire::Hello) -> Self {
        let node = Self::open_silent(channel, hello.clone()).await;
        node.send(RequestKind::Hello(hello)).await;
        node
    }

    pub(crate) async fn open_silent(channel: &Channel, hello: wire::Hello) -> Self {
        let (requests, outbound) = mpsc::channel(8);
        let mut client = DiscoveryClient::new(channel.clone());
        let responses = client.stream(ReceiverStream::new(outbound)).await.unwrap().into_inner();
        Self { requests, responses, hello }
    }

    /// Opens a stream and registers; `hello` then says what a reconnect would.
    pub(crate) async fn register(channel: &Channel, hello: wire::Hello) -> Self {
        let mut node = Self::open(channel, hello).await;
        let ResponseKind::Registered(registered) = node.next().await else {
            panic!("Registered comes first")
        };
        node.hello.connection_id_prefix = registered.connection_id_prefix;
        node
    }

    /// Registers and takes the first update, acknowledged.
    pub(crate) async fn up(channel: &Channel, hello: wire::Hello) -> (Self, Update) {
        let mut node = Self::register(channel, hello).await;
        let update = node.update().await;
        node.ack(&update).await;
        (node, update)
    }

    pub(crate) async fn send(&self, kind: RequestKind) {
        self.requests.send(wire::StreamRequest { kind: Some(kind) }).await.unwrap();
    }

    pub(crate) async fn ack(&mut self, update: &Update) {
        self.hello.held = Some(update.revision.clone());
        self.send(RequestKind::Ack(wire::Ack { nonce: update.nonce })).await;
    }

    pub(crate) async fn nack(&self, update: &Update, app_id: &str, reason: &str) {
        let rejections = vec![wire::Rejection { app_id: app_id.into(), reason: reason.into() }];
        self.send(RequestKind::Nack(wire::Nack { nonce: update.nonce, rejections })).await;
    }

    pub(crate) async fn report(&self, state: wire::NodeState, connections: u64) {
        self.send(RequestKind::Report(wire::Report { state: state.into(), connections })).await;
    }

    pub(crate) async fn next(&mut self) -> ResponseKind {
        let message = timeout(PATIENCE, self.responses.message()).await.expect("a message in time");
        message.expect("an open stream").expect("a message").kind.expect("a kind")
    }

    /// The next command; updates before it are acknowledged.
    pub(crate) async fn command(&mut self) -> wire::NodeState {
        loop {
            let nonce = match self.next().await {
                ResponseKind::Command(command) => {
                    return match command.kind.expect("a kind") {
                        wire::command::Kind::Drain(_) => wire::NodeState::Draining,
                        wire::command::Kind::Undrain(_) => wire::NodeState::Ready,
                    };
                }
                ResponseKind::Delta(delta) => delta.nonce,
                ResponseKind::Snapshot(chunk) if chunk.last => chunk.nonce,
                _ => continue,
            };
            self.send(RequestKind::Ack(wire::Ack { nonce })).await;
        }
    }

    /// The status that ends the stream.
    pub(crate) async fn end(&mut self) -> Code {
        loop {
            match timeout(PATIENCE, self.responses.message()).await.expect("an end in time") {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }

    /// The next update, whole.
    pub(crate) async fn update(&mut self) -> Update {
        match self.next().await {
            ResponseKind::Delta(delta) => {
                let mut update = Update::new(false, delta.revision, delta.nonce);
                update.put(delta.changed);
                for removed in delta.removed {
                    let (wire::removed::Kind::AppId(id) | wire::removed::Kind::NodeId(id)) =
                        removed.kind.unwrap();
                    update.removed.push(id);
                }
                update
            }
            ResponseKind::Snapshot(mut chunk) => {
                let mut update = Update::new(true, chunk.revision.clone(), chunk.nonce);
                loop {
                    assert_eq!(chunk.nonce, update.nonce, "chunks share the nonce");
                    update.put(std::mem::take(&mut chunk.resources));
                    if chunk.last {
                        return update;
                    }
                    let ResponseKind::Snapshot(next) = self.next().await else { panic!("the next chunk") };
                    chunk = next;
                }
            }
            other => panic!("an update, not {other:?}"),
        }
    }

    /// Takes and acknowledges updates until one has what the test waits for.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Update) -> bool) -> Update {
        loop {
            let update = self.update().await;
            self.ack(&update).await;
            if wanted(&update) {
                return update;
            }
        }
    }
}

impl Update {
    fn new(snapshot: bool, revision: Option<wire::Revision>, nonce: u64) -> Self {
        Self {
            snapshot,
            revision: revision.expect("a revision"),
            nonce,
            apps: BTreeMap::new(),
            settings: None,
            members: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    fn put(&mut self, resources: Vec<wire::Resource>) {
        for resource in resources {
            match resource.kind.expect("a kind") {
                wire::resource::Kind::App(app) => {
                    self.apps.insert(app.app_id, serde_json::from_slice(&app.document_json).unwrap());
                }
                wire::resource::Kind::Settings(settings) => {
                    self.settings = Some(serde_json::from_slice(&settings.document_json).unwrap());
                }
                wire::resource::Kind::Member(member) => {
                    self.members.insert(member.node_id.clone(), member);
                }
            }
        }
    }

    pub(crate) fn app_ids(&self) -> Vec<&str> {
        self.apps.keys().map(String::as_str).collect()
    }
}
