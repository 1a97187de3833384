//! A control plane whose streams are driven by the test.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use realtime_auth::JwksCache;
use realtime_discovery::{Discovery, Registration};
use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppConfig, Settings};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use wire::discovery_server::{Discovery as Service, DiscoveryServer};
use wire::{stream_request, stream_response};

/// Fails a test that waits for what never comes.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("within 20 seconds")
}

type Responses = mpsc::Sender<Result<wire::StreamResponse, Status>>;

pub(crate) struct ControlPlane {
    endpoint: Endpoint,
    streams: mpsc::Receiver<ServedStream>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One stream, seen from the server.
pub(crate) struct ServedStream {
    requests: Streaming<wire::StreamRequest>,
    responses: Responses,
}

struct FakeService(mpsc::Sender<ServedStream>);

#[tonic::async_trait]
impl Service for FakeService {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<wire::StreamResponse, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (responses, out) = mpsc::channel(16);
        let served = ServedStream { requests: request.into_inner(), responses };
        self.0.send(served).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (sender, streams) = mpsc::channel(16);
        let service = DiscoveryServer::new(FakeService(sender));
        let serving =
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { endpoint, streams, server }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    pub(crate) fn client(&self) -> Discovery {
        realtime_discovery::start(self.channel(), registration(), JwksCache::offline())
    }

    /// The next stream and its hello.
    pub(crate) async fn accept(&mut self) -> (wire::Hello, ServedStream) {
        let mut stream = within(self.streams.recv()).await.unwrap();
        match stream.next().await {
            stream_request::Kind::Hello(hello) => (hello, stream),
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// The next stream, registered.
    pub(crate) async fn registered(&mut self) -> ServedStream {
        self.accept().await.1.register("0a1b2c3d").await
    }
}

impl ServedStream {
    pub(crate) async fn register(self, prefix: &str) -> Self {
        let registered = wire::Registered {
            connection_id_prefix: prefix.into(),
            interest_key: if prefix.is_empty() { Default::default() } else { vec![7; 16].into() },
        };
        self.send(stream_response::Kind::Registered(registered)).await;
        self
    }

    pub(crate) async fn send(&self, kind: stream_response::Kind) {
        within(self.responses.send(Ok(wire::StreamResponse { kind: Some(kind) }))).await.unwrap();
    }

    /// Ends the stream from the server's side.
    pub(crate) async fn fail(self, status: Status) {
        within(self.responses.send(Err(status))).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> stream_request::Kind {
        within(self.requests.message()).await.unwrap().expect("the client has ended the stream").kind.unwrap()
    }

    /// Waits until the client has ended the stream.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(_)) = within(self.requests.message()).await {}
    }
}

pub(crate) fn registration() -> Registration {
    Registration {
        role: wire::Role::Node,
        id: "n1".into(),
        listen: "127.0.0.1:1".into(),
        peer: "127.0.0.1:2".into(),
    }
}

pub(crate) fn revision(number: u64) -> wire::Revision {
    wire::Revision { store_id: "store".into(), number }
}

pub(crate) fn snapshot(
    number: u64,
    nonce: u64,
    last: bool,
    resources: impl IntoIterator<Item = wire::Resource>,
) -> stream_response::Kind {
    let resources = resources.into_iter().collect();
    stream_response::Kind::Snapshot(wire::Snapshot {
        revision: Some(revision(number)),
        nonce,
        last,
        resources,
    })
}

pub(crate) fn delta(
    number: u64,
    nonce: u64,
    changed: impl IntoIterator<Item = wire::Resource>,
    removed: impl IntoIterator<Item = wire::Removed>,
) -> stream_response::Kind {
    stream_response::Kind::Delta(wire::Delta {
        revision: Some(revision(number)),
        nonce,
        changed: changed.into_iter().collect(),
        removed: removed.into_iter().collect(),
    })
}

pub(crate) fn removed<const A: usize, const N: usize>(
    apps: [&str; A],
    nodes: [&str; N],
) -> Vec<wire::Removed> {
    let apps = apps.into_iter().map(|id| wire::removed::Kind::AppId(id.into()));
    let nodes = nodes.into_iter().map(|id| wire::removed::Kind::NodeId(id.into()));
    apps.chain(nodes).map(|kind| wire::Removed { kind: Some(kind) }).collect()
}

pub(crate) fn app(id: &str, version: u64, name: &str) -> wire::Resource {
    let key = json!({"source": "raw", "key": "0123456789abcdef0123456789abcdef", "algorithms": ["HS256"]});
    let document = json!({"appId": id, "name": name, "authKey": key, "adminKey": key});
    let config = AppConfig::create(&document, "2026-11-01T00:00:00.000Z").unwrap();
    app_document(id, version, config.to_stored().to_string())
}

/// An app whose `authKey` no release would accept.
pub(crate) fn bad_app(id: &str, version: u64) -> wire::Resource {
    let key = json!({"source": "raw", "key": "0123456789abcdef0123456789abcdef", "algorithms": ["none"]});
    let document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
    app_document(id, version, document.to_string())
}

fn app_document(id: &str, version: u64, document: String) -> wire::Resource {
    let app = wire::App { app_id: id.into(), version, document_json: document.into() };
    wire::Resource { kind: Some(wire::resource::Kind::App(app)) }
}

pub(crate) fn settings(telemetry_retention_days: u32) -> wire::Resource {
    let settings = Settings { telemetry_retention_days, ..Settings::default() };
    let document_json = settings.to_json().to_string().into();
    let settings = wire::Settings { version: 1, document_json };
    wire::Resource { kind: Some(wire::resource::Kind::Settings(settings)) }
}

pub(crate) fn member(id: &str) -> wire::Resource {
    let member = wire::Member {
        node_id: id.into(),
        incarnation: "i".into(),
        connection_id_prefix: "0a1b2c3d".into(),
        listen: "127.0.0.1:1".into(),
        peer: String::new(),
        state: wire::NodeState::Ready.into(),
    };
    wire::Resource { kind: Some(wire::resource::Kind::Member(member)) }
}

pub(crate) fn drain() -> stream_response::Kind {
    command(wire::command::Kind::Drain(wire::Drain {}))
}

pub(crate) fn undrain() -> stream_response::Kind {
    command(wire::command::Kind::Undrain(wire::Undrain {}))
}

fn command(kind: wire::command::Kind) -> stream_response::Kind {
    stream_response::Kind::Command(wire::Command { kind: Some(kind) })
}
