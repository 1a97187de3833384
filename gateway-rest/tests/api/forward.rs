//! A gateway in a process of its own, between nodes that serve, are gone, die in the middle of a call or drain.

use std::collections::HashMap;
use std::sync::Arc;

use realtime_auth::{Behalf, Caller};
use realtime_discovery::Snapshot;
use realtime_gateway::forward::{Counters, DataPlane};
use realtime_proto::generated::discovery::{Member, NodeState};
use realtime_proto::generated::pubsub::pub_sub_server::{PubSub as _, PubSubServer};
use realtime_proto::generated::pubsub::{
    ListConnectionsRequest, ListConnectionsResponse, PublishRequest, PublishResponse,
};
use realtime_proto::{ApiError, ErrorCode};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::services::Node;

/// Stands in every call as it is.
const APP: &str = "the-application-that-all-calls-name";

/// A gateway's view of nodes `a` and `b`.
struct Cluster {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    plane: DataPlane,
    counters: Arc<Counters>,
    a: Arc<Node>,
    b: Arc<Node>,
    members: HashMap<String, Member>,
    /// The servers; they end with the value.
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Both serve.
    async fn start() -> Self {
        let (snapshots, receiver) = watch::channel(None);
        let counters = Arc::new(Counters::default());
        let dial = Arc::new(|address: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
            Ok(endpoint.connect_lazy())
        });
        let plane = DataPlane::new(receiver, dial, Arc::clone(&counters));
        let (a, b) = (Arc::<Node>::default(), Arc::<Node>::default());
        let (members, tasks) = (HashMap::new(), JoinSet::new());
        let mut cluster = Self { snapshots, plane, counters, a, b, members, tasks };
        for (id, node) in [("a", Arc::clone(&cluster.a)), ("b", Arc::clone(&cluster.b))] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let service = InterceptedService::new(PubSubServer::from_arc(node), vouched);
            let server = Server::builder().add_service(service);
            cluster.tasks.spawn(async move {
                server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
            });
            cluster.set(id, &address, NodeState::Ready);
        }
        cluster
    }

    /// Discovery says so of a node.
    fn set(&mut self, id: &str, address: &str, state: NodeState) {
        let member = Member {
            node_id: id.into(),
            incarnation: format!("{id} at {address}"),
            peer: address.into(),
            state: state.into(),
            ..Member::default()
        };
        self.members.insert(id.into(), member);
        self.tell(self.members.clone());
    }

    fn tell(&self, members: HashMap<String, Member>) {
        self.snapshots.send_replace(Some(Arc::new(Snapshot { members, ..Snapshot::default() })));
    }

    async fn publish(&self, topic: &str) -> Result<Response<PublishResponse>, Status> {
        let (app_id, topic) = (APP.to_owned(), topic.to_owned());
        let publish = PublishRequest { app_id, topic, message_json: "1".into(), ..PublishRequest::default() };
        self.plane.publish(checked(publish)).await
    }

    async fn connections(&self) -> Result<Response<ListConnectionsResponse>, Status> {
        let list = ListConnectionsRequest { app_id: APP.into(), ..ListConnectionsRequest::default() };
        self.plane.list_connections(checked(list)).await
    }

    /// A topic whose publishes go to the first node while it is there.
    async fn topic_of_a(&self) -> String {
        for number in 0.. {
            let topic = format!("topic-{number}");
            self.publish(&topic).await.unwrap();
            if published(&self.a).contains(&topic) {
                return topic;
            }
        }
        unreachable!("one of so many topics")
    }

    /// Calls passed on, unanswered, refused.
    fn counted(&self) -> (u64, u64, u64) {
        (self.counters.passed_on(), self.counters.unknown(), self.counters.refused())
    }

    /// Takes the first node's place, takes every call, and dies of it.
    async fn a_dies_of_calls(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.set("a", &listener.local_addr().unwrap().to_string(), NodeState::Ready);
        self.tasks.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                // The call is there, message and all: it may have been processed.
                while !read.windows(APP.len()).any(|window| window == APP.as_bytes()) {
                    if socket.read_buf(&mut read).await.unwrap() == 0 {
                        break;
                    }
                }
            }
        });
    }
}

/// As the routes pass a call on.
fn checked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::Operator { name: "ann".into() });
    request
}

/// As a node's port takes it.
#[allow(clippy::result_large_err, reason = "tonic's type")]
fn vouched(mut request: Request<()>) -> Result<Request<()>, Status> {
    let behalf = request.metadata().get(Behalf::METADATA).and_then(|name| name.to_str().ok());
    let behalf = behalf.and_then(Behalf::from_name).ok_or_else(|| Status::unauthenticated("on no behalf"))?;
    request.extensions_mut().insert(Caller::Cluster { behalf });
    Ok(request)
}

/// The topics of what a node was asked to publish.
fn published(node: &Node) -> Vec<String> {
    node.publishes.lock().unwrap().iter().map(|publish| publish.topic.clone()).collect()
}

#[tokio::test]
async fn a_topic_has_one_node_and_another_when_that_cannot_be_reached() {
    let mut cluster = Cluster::start().await;
    let topic = cluster.topic_of_a().await;
    for _ in 0..5 {
        cluster.publish(&topic).await.unwrap();
    }
    assert!(!published(&cluster.b).contains(&topic));
    assert_eq!(cluster.counted(), (0, 0, 0));
    // Taken, and nobody listens.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    cluster.set("a", &nobody.local_addr().unwrap().to_string(), NodeState::Ready);
    for _ in 0..5 {
        cluster.publish(&topic).await.unwrap();
    }
    assert_eq!(published(&cluster.b).iter().filter(|published| **published == topic).count(), 5);
    // It is asked last for a while.
    assert_eq!(cluster.counted(), (1, 0, 0));
}

#[tokio::test]
async fn a_publish_that_was_sent_and_has_no_answer_is_not_sent_again() {
    let mut cluster = Cluster::start().await;
    let topic = cluster.topic_of_a().await;
    cluster.a_dies_of_calls().await;
    let error = ApiError::from(&cluster.publish(&topic).await.unwrap_err());
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.detail.contains("may have been carried out"), "{error:?}");
    assert!(!published(&cluster.b).contains(&topic), "it was published twice, for all that anybody knows");
    assert_eq!(cluster.counted(), (0, 1, 0));
    // The next one goes elsewhere.
    cluster.publish(&topic).await.unwrap();
    assert!(published(&cluster.b).contains(&topic));
}

#[tokio::test]
async fn what_only_reads_is_asked_again_elsewhere() {
    let mut cluster = Cluster::start().await;
    cluster.a_dies_of_calls().await;
    for _ in 0..4 {
        assert_eq!(cluster.connections().await.unwrap().into_inner().items.len(), 1);
    }
    assert_eq!(cluster.counted(), (1, 0, 0));
    assert_eq!(cluster.b.connection_lists.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_draining_node_is_passed_by() {
    let mut cluster = Cluster::start().await;
    let topic = cluster.topic_of_a().await;
    let before = published(&cluster.a).len();
    // It knows before the gateway does.
    *cluster.a.refusal.lock().unwrap() = Some(ApiError::new(ErrorCode::Draining, "draining"));
    cluster.publish(&topic).await.unwrap();
    assert_eq!(cluster.counted(), (1, 0, 0));
    // The gateway knows.
    let address = cluster.members["a"].peer.clone();
    cluster.set("a", &address, NodeState::Draining);
    cluster.publish(&topic).await.unwrap();
    assert_eq!(cluster.counted(), (1, 0, 0));
    assert_eq!(published(&cluster.a).len(), before);
    assert_eq!(published(&cluster.b).iter().filter(|published| **published == topic).count(), 2);
}

#[tokio::test]
async fn a_refusal_is_the_answer_and_nobody_else_is_asked() {
    let cluster = Cluster::start().await;
    let topic = cluster.topic_of_a().await;
    for code in [ErrorCode::QuotaExceeded, ErrorCode::Unavailable] {
        *cluster.a.refusal.lock().unwrap() = Some(ApiError::new(code, "no"));
        assert_eq!(ApiError::from(&cluster.publish(&topic).await.unwrap_err()).code, code);
    }
    assert!(!published(&cluster.b).contains(&topic));
    assert_eq!(cluster.counted(), (0, 0, 0));
}

#[tokio::test]
async fn without_any_node_nothing_is_done_and_a_store_that_lost_all_leases_takes_none_away() {
    let cluster = Cluster::start().await;
    let members = cluster.members.clone();
    cluster.tell(HashMap::new());
    let error = ApiError::from(&cluster.publish("t").await.unwrap_err());
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.detail.contains("nothing was done"), "{error:?}");
    assert_eq!(cluster.counted(), (0, 0, 1));
    cluster.tell(members);
    cluster.publish("t").await.unwrap();
    cluster.tell(HashMap::new());
    cluster.publish("t").await.unwrap();
    assert_eq!(cluster.counted(), (0, 0, 1));
}
