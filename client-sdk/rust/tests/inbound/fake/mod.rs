//! Servers for the consumer's tests: the real gRPC service over in-memory pipes, so that time can be paused: nothing
//! waits for the operating system. What they answer is the test's business.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_client::{ApiError, Dial, Dialing, ErrorCode, InboundOptions, Stream};
use realtime_proto::generated::pubsub as wire;
use service::Calls;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use wire::inbound_request::Kind as Say;
use wire::inbound_response::Kind as Heard;
use wire::pub_sub_server::PubSubServer;

mod service;

pub const ID: &str = "0123456789abcdef0123456789abcdef";
/// Room for what a test sends before it looks.
const ROOM: usize = 1024;

/// The servers `http://a` and `http://b`.
pub struct Servers {
    calls: mpsc::UnboundedReceiver<Call>,
    connections: Arc<Mutex<Connections>>,
    _servers: JoinSet<()>,
}

/// A stream that is asked for.
pub struct Call {
    pub server: &'static str,
    pub authorization: String,
    requests: Streaming<wire::InboundRequest>,
    decision: oneshot::Sender<Result<mpsc::Receiver<Result<wire::InboundResponse, Status>>, Status>>,
}

/// A stream under way.
pub struct Peer {
    pub start: wire::InboundStart,
    requests: Streaming<wire::InboundRequest>,
    responses: mpsc::Sender<Result<wire::InboundResponse, Status>>,
}

#[derive(Debug)]
struct Pipes {
    hosts: HashMap<&'static str, mpsc::UnboundedSender<io::Result<DuplexStream>>>,
    connections: Arc<Mutex<Connections>>,
}

/// The open connections. A task of each carries its bytes, until it is aborted, which breaks the connection, or frozen.
#[derive(Debug, Default)]
struct Connections {
    tasks: JoinSet<()>,
    freeze: CancellationToken,
}

impl Dial for Pipes {
    fn dial<'a>(&'a self, host: &'a str, _port: u16) -> Dialing<'a> {
        let ((ours, mut near), (mut far, theirs)) = (duplex(64 << 10), duplex(64 << 10));
        let arrived = self.hosts.get(host).is_some_and(|host| host.send(Ok(theirs)).is_ok());
        if arrived {
            let mut connections = self.connections.lock().unwrap();
            let frozen = connections.freeze.clone().cancelled_owned();
            connections.tasks.spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = frozen => std::future::pending().await,
                }
            });
        }
        let ours = arrived.then_some(ours).ok_or_else(|| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { ours.map(|ours| Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Two servers, and options to consume `demo` from them. A third one, `http://away`, does not answer.
pub fn servers(addresses: &[&str]) -> (InboundOptions, Servers) {
    let (sender, calls) = mpsc::unbounded_channel();
    let (mut hosts, mut running) = (HashMap::new(), JoinSet::new());
    for name in ["a", "b"] {
        let (host, arrivals) = mpsc::unbounded_channel();
        hosts.insert(name, host);
        let service = PubSubServer::new(Calls { name, calls: sender.clone() });
        running.spawn(async move {
            let arrivals = UnboundedReceiverStream::new(arrivals);
            Server::builder().add_service(service).serve_with_incoming(arrivals).await.unwrap();
        });
    }
    let connections = Arc::default();
    let pipes = Pipes { hosts, connections: Arc::clone(&connections) };
    let addresses = addresses.iter().map(|name| format!("http://{name}"));
    let options = InboundOptions::new(addresses, "demo", "token-1").dial(pipes);
    (options, Servers { calls, connections, _servers: running })
}

impl Servers {
    /// The next stream that is asked for.
    pub async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("a call")
    }

    /// The next stream, which is ready.
    pub async fn ready(&mut self) -> Peer {
        self.call().await.ready().await
    }

    /// Breaks every connection.
    pub fn break_connections(&self) {
        self.connections.lock().unwrap().tasks.abort_all();
    }

    /// Nothing comes over the present connections any more, and nothing breaks them.
    pub fn freeze_connections(&self) {
        std::mem::take(&mut self.connections.lock().unwrap().freeze).cancel();
    }

    /// Whether nobody calls within an hour.
    pub async fn are_left_alone(&mut self) -> bool {
        !matches!(tokio::time::timeout(Duration::from_secs(3600), self.calls.recv()).await, Ok(Some(_)))
    }
}

impl Call {
    pub fn refuse(self, code: ErrorCode) {
        let _ = self.decision.send(Err(refusal(code)));
    }

    /// Takes the call and says that the stream is ready.
    pub async fn ready(mut self) -> Peer {
        let (responses, outgoing) = mpsc::channel(ROOM);
        self.decision.send(Ok(outgoing)).map_err(drop).expect("the caller waits");
        let first = self.requests.message().await.unwrap().expect("a request");
        let Some(Say::Start(start)) = first.kind else { panic!("{first:?}") };
        let peer = Peer { start, requests: self.requests, responses };
        let missing_nodes = vec!["n3".to_owned()];
        peer.say(Heard::Ready(wire::InboundReady { nodes: 2, missing_nodes })).await;
        peer
    }
}

impl Peer {
    async fn say(&self, kind: Heard) {
        self.responses
            .send(Ok(wire::InboundResponse { kind: Some(kind) }))
            .await
            .expect("the stream is open");
    }

    pub async fn body(&self, sequence: u64, body: &str) {
        let body_json = body.to_owned().into();
        self.say(Heard::Message(wire::InboundMessage { sequence, body_json, redelivered: false })).await;
    }

    /// A message whose payload is `"hello"`.
    pub async fn message(&self, sequence: u64, id: &str) {
        self.body(sequence, &body(id)).await;
    }

    pub async fn message_again(&self, sequence: u64, id: &str) {
        let body_json = body(id).into();
        self.say(Heard::Message(wire::InboundMessage { sequence, body_json, redelivered: true })).await;
    }

    /// The next answers: what was accepted, and what was refused; `None`: the consumer has left.
    pub async fn answers(&mut self) -> Option<(Vec<u64>, Vec<u64>)> {
        let request = self.requests.message().await.ok()??;
        match request.kind {
            Some(Say::Answer(answer)) => Some((answer.accepted, answer.refused)),
            other => panic!("{other:?}"),
        }
    }

    pub async fn end(self, code: ErrorCode) {
        let _ = self.responses.send(Err(refusal(code))).await;
    }
}

fn refusal(code: ErrorCode) -> Status {
    ApiError::new(code, "as the test wants").into()
}

fn body(id: &str) -> String {
    let client = format!(r#"{{"connectionId":"{ID}","subject":"alice","permissions":["p"]}}"#);
    format!(r#"{{"client":{client},"payload":"hello","id":"{id}"}}"#)
}

/// Hands a call over to the test and waits for its decision.
async fn decided(
    name: &'static str,
    calls: &mpsc::UnboundedSender<Call>,
    request: Request<Streaming<wire::InboundRequest>>,
) -> Result<Response<ReceiverStream<Result<wire::InboundResponse, Status>>>, Status> {
    let authorization = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
    let (decision, decided) = oneshot::channel();
    let call = Call { server: name, authorization, requests: request.into_inner(), decision };
    calls.send(call).map_err(drop).expect("the test goes on");
    let outgoing = decided.await.map_err(|_| Status::internal("the test has dropped the call"))??;
    Ok(Response::new(ReceiverStream::new(outgoing)))
}
