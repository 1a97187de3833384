//! Several nodes in one process, linked by real gRPC streams.

use std::collections::HashMap;
use std::sync::Arc;

use realtime_data_plane::peers::{Connect, Figures};
use realtime_data_plane::{Cluster, MeshPort, Peers, PeersConfig, ShardsConfig, Target};
use realtime_discovery::Snapshot;
use realtime_mesh::InterestKey;
use realtime_proto::generated::discovery::Member;
use realtime_proto::{AppId, ErrorCode, NodePrefix, PatternSet, PermissionCase};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use crate::node::{Client, DEADLINE, Node};

pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) peers: Peers,
    pub(crate) cluster: Cluster,
    pub(crate) _serving: Serving,
}

pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The nodes, and what discovery tells them.
pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Peer>,
    members: watch::Sender<Option<Arc<Snapshot>>>,
}

pub(crate) fn name(n: usize) -> String {
    format!("node-{n}")
}

fn config(id: &str, prefix: NodePrefix) -> PeersConfig {
    let connect: Connect = Arc::new(|address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        Box::pin(async move {
            let channel = endpoint.map_err(|e| e.to_string())?.connect().await;
            channel.map_err(|e| e.to_string())
        })
    });
    PeersConfig {
        id: id.to_owned(),
        incarnation: format!("{id} the first"),
        prefix,
        key: InterestKey::new([3; 16]),
        connect: Arc::clone(&connect),
        connect_consumers: connect,
    }
}

impl Mesh {
    pub(crate) async fn start(count: usize) -> Self {
        let (members, _) = watch::channel(None);
        let mut mesh = Self { nodes: Vec::new(), members };
        for _ in 0..count {
            mesh.join().await;
        }
        mesh.linked().await;
        mesh
    }

    /// A further node; the others learn of it.
    async fn join(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address").to_string();
        let (id, prefix, port) = (name(self.nodes.len()), NodePrefix::generate(), MeshPort::default());
        let node =
            Node::with(ShardsConfig { threads: 2, mesh: Some(port.clone()), forwarders: None }, prefix);
        let config = config(&id, prefix);
        let peers = Peers::start(config, port, node.shards.clone(), self.members.subscribe());
        let server = Server::builder().add_service(peers.service().into_server());
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("serving");
        });
        let member = Member {
            incarnation: format!("{id} the first"),
            node_id: id.clone(),
            connection_id_prefix: prefix.to_string(),
            peer: address,
            ..Member::default()
        };
        let mut all = self.members();
        all.insert(id, member);
        self.tell(all);
        let cluster = peers.cluster();
        self.nodes.push(Peer { node, peers, cluster, _serving: Serving(serving) });
    }

    /// What discovery says.
    pub(crate) fn members(&self) -> HashMap<String, Member> {
        self.members.borrow().as_ref().map(|snapshot| snapshot.members.clone()).unwrap_or_default()
    }

    /// Where a node's peers call it.
    pub(crate) fn address(&self, node: usize) -> String {
        self.members()[&name(node)].peer.clone()
    }

    pub(crate) fn tell(&self, members: HashMap<String, Member>) {
        self.members.send_replace(Some(Arc::new(Snapshot { members, ..Snapshot::default() })));
    }

    /// Waits until every pair has a link.
    async fn linked(&self) {
        let others = self.nodes.len() as u64 - 1;
        for peer in &self.nodes {
            self.figures(peer, |figures| figures.linked == others).await;
            assert!(peer.peers.linked(DEADLINE).await);
        }
    }

    pub(crate) async fn figures(&self, peer: &Peer, condition: impl Fn(&Figures) -> bool) {
        let mut figures = peer.peers.figures();
        let reached = tokio::time::timeout(DEADLINE, figures.wait_for(|figures| condition(figures))).await;
        reached.expect("figures in time").expect("a running mesh");
    }

    pub(crate) fn client(&self, node: usize, subject: &str) -> Client {
        self.nodes[node].node.client(subject)
    }

    pub(crate) fn app(&self) -> AppId {
        self.nodes[0].node.publication("t", "1").app
    }
}

fn publish(client: &mut Client, topic: &str, payload: serde_json::Value) {
    client.send(json!({"type": "publish", "data": {"topic": topic, "payload": payload}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_node_takes_reaches_every_subscriber_once_and_in_order() {
    const MESSAGES: usize = 1000;
    let mesh = Mesh::start(3).await;
    let mut subscribers: Vec<Client> = (0..3).map(|n| mesh.client(n, &format!("s{n}"))).collect();
    subscribers.iter_mut().for_each(|client| client.subscribe("t"));
    let mut publishers: Vec<Client> = (0..3).map(|n| mesh.client(n, &format!("p{n}"))).collect();
    for n in 0..MESSAGES {
        for (at, publisher) in publishers.iter_mut().enumerate() {
            publish(publisher, "t", json!([at, n]));
        }
    }
    for (at, client) in subscribers.iter_mut().enumerate() {
        let mut next = [0; 3];
        for _ in 0..3 * MESSAGES {
            let message = client.json();
            let payload = &message["data"]["payload"];
            let from = payload[0].as_u64().expect("a publisher") as usize;
            assert_eq!(payload[1], next[from], "from {from} at {at}");
            next[from] += 1;
        }
        // Nothing comes twice: what is published last is the next thing that comes.
        mesh.nodes[at]
            .cluster
            .publish(mesh.nodes[at].node.publication(&format!("priv/s{at}"), "9"))
            .expect("published");
        assert_eq!(client.json()["data"], 9);
    }
    let lost: u64 = mesh.nodes.iter().map(|peer| peer.peers.figures().borrow().losses.total()).sum();
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_with_a_subscriber_are_sent_a_publish() {
    let mesh = Mesh::start(3).await;
    let mut subscriber = mesh.client(1, "s");
    subscriber.subscribe("t");
    for n in 0..10 {
        mesh.nodes[0]
            .cluster
            .publish(mesh.nodes[0].node.publication("t", &n.to_string()))
            .expect("published");
        assert_eq!(subscriber.json()["data"], n);
    }
    subscriber.send(json!({"type": "unsubscribe", "data": {"topic": "t"}}));
    mesh.figures(&mesh.nodes[1], |figures| figures.received == 10).await;
    mesh.figures(&mesh.nodes[0], |figures| figures.published == 10).await;
    assert_eq!(mesh.nodes[2].peers.figures().borrow().received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_topics_lead_to_the_connection_or_to_the_subject_wherever_they_are() {
    let mesh = Mesh::start(3).await;
    let mut first = mesh.nodes[1].node.arrive(Some("ann"), false);
    let id = first.json()["data"]["connection"]["id"].as_str().expect("an id").to_owned();
    let mut second = mesh.client(2, "ann");
    let from = &mesh.nodes[0];
    from.cluster.publish(from.node.publication("priv/ann", "1")).expect("published");
    assert_eq!((first.json()["data"].clone(), second.json()["data"].clone()), (json!(1), json!(1)));
    from.cluster.publish(from.node.publication(&format!("priv/{id}"), "2")).expect("published");
    from.cluster.publish(from.node.publication("priv/ann", "3")).expect("published");
    assert_eq!((first.json()["data"].clone(), first.json()["data"].clone()), (json!(2), json!(3)));
    assert_eq!(second.json()["data"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_and_receipts_count_over_the_cluster() {
    let mesh = Mesh::start(3).await;
    let mut clients: Vec<Client> = (0..9).map(|n| mesh.client(n % 3, &format!("s{n}"))).collect();
    clients.iter_mut().for_each(|client| client.subscribe("t"));
    let (app, cluster) = (mesh.app(), &mesh.nodes[0].cluster);
    let publication = mesh.nodes[0].node.publication("t", "1");
    let receipt = cluster.publish_with_receipt(publication).await.expect("a receipt");
    assert_eq!((receipt.nodes, receipt.sum.matched, receipt.sum.queued), (3, 9, 9));
    let topics = cluster.topics(&app, "", None, 10).await.expect("topics");
    assert_eq!(topics, [("main".to_owned(), 9), ("t".to_owned(), 9)]);
    let page = cluster.connections(&app, None, None, 5).await.expect("a page");
    let rest = cluster.connections(&app, None, Some(page[4].id), 10).await.expect("the rest");
    assert_eq!((page.len(), rest.len()), (5, 4));
    assert!(page.iter().chain(&rest).is_sorted_by_key(|row| row.id));
    let patterns = ["t".to_owned()];
    let compiled = PatternSet::new(["t"], PermissionCase::Insensitive);
    let gone = cluster.unsubscribe(&app, "s4", &patterns, compiled).await;
    assert_eq!(gone, Ok(1));
    let last = rest.last().expect("a connection").id;
    assert_eq!(cluster.disconnect(&app, Target::Connection(last)).await, Ok(1));
    assert_eq!(cluster.disconnect(&app, Target::Subject("nobody".into())).await, Ok(0));
    assert_eq!(cluster.disconnect(&app, Target::All).await, Ok(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_named_and_what_it_misses_is_counted_until_discovery_drops_it() {
    let mut mesh = Mesh::start(3).await;
    let mut far = mesh.client(2, "far");
    far.subscribe("t");
    let mut near = mesh.client(1, "near");
    near.subscribe("t");
    // Its links break with it.
    drop(mesh.nodes.pop());
    let (app, from) = (mesh.app(), &mesh.nodes[0]);
    mesh.figures(from, |figures| figures.unlinked == 1).await;
    from.cluster.publish(from.node.publication("t", "1")).expect("published");
    assert_eq!(near.json()["data"], 1, "the others go on");
    mesh.figures(from, |figures| figures.losses.unreachable == 1).await;
    let partial =
        from.cluster.disconnect(&app, Target::Subject("near".into())).await.expect_err("a partial answer");
    assert_eq!((partial.code, partial.partial), (ErrorCode::Partial, Some((vec![name(2)], 1))));
    let mut members = mesh.members();
    members.remove(&name(2));
    mesh.tell(members);
    mesh.figures(from, |figures| figures.unlinked == 0).await;
    assert_eq!(from.cluster.disconnect(&app, Target::All).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_knows_what_the_others_want_and_they_what_it_wants() {
    let mut mesh = Mesh::start(2).await;
    let mut old = mesh.client(0, "old");
    old.subscribe("t");
    mesh.join().await;
    mesh.linked().await;
    let mut new = mesh.client(2, "new");
    new.subscribe("t");
    publish(&mut new, "t", json!(["from the new one"]));
    assert_eq!(old.json()["data"]["payload"][0], "from the new one");
    assert_eq!(new.json()["data"]["payload"][0], "from the new one");
    publish(&mut old, "t", json!(["from the old one"]));
    assert_eq!(new.json()["data"]["payload"][0], "from the old one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_address_is_called_there_and_the_link_to_the_old_one_ends() {
    let mesh = Mesh::start(2).await;
    let mut subscriber = mesh.client(1, "s");
    subscriber.subscribe("t");
    let from = &mesh.nodes[0];
    let (right, mut members) = (mesh.address(1), mesh.members());
    // Taken, and nobody listens.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    members.get_mut(&name(1)).expect("a member").peer = nobody.local_addr().expect("an address").to_string();
    mesh.tell(members.clone());
    mesh.figures(from, |figures| figures.unlinked == 1).await;
    members.get_mut(&name(1)).expect("a member").peer = right;
    mesh.tell(members);
    mesh.figures(from, |figures| figures.linked == 1).await;
    from.cluster.publish(from.node.publication("t", "1")).expect("published");
    assert_eq!(subscriber.json()["data"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_hands_over_what_it_has_taken() {
    const MESSAGES: usize = 20_000;
    let mut mesh = Mesh::start(2).await;
    let mut subscriber = mesh.client(1, "s");
    subscriber.subscribe("t");
    let Peer { node, peers, cluster, _serving } = mesh.nodes.remove(0);
    for n in 0..MESSAGES {
        cluster.publish(node.publication("t", &n.to_string())).expect("published");
    }
    let reader = std::thread::spawn(move || {
        (0..MESSAGES).for_each(|n| assert_eq!(subscriber.json()["data"], n));
    });
    peers.stop().await;
    reader.join().expect("every message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_the_mesh_takes_nothing_from_reads_nothing_from_its_clients_until_it_does() {
    // A subscription that comes and goes is two changes; the mesh's queue holds 65,536.
    const TIMES: usize = 33_000;
    let (prefix, port) = (NodePrefix::generate(), MeshPort::default());
    let node = Node::with(ShardsConfig { threads: 1, mesh: Some(port.clone()), forwarders: None }, prefix);
    let mut client = node.client("s");
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        for _ in 0..TIMES {
            writer.send(json!({"type": "subscribe", "data": {"topic": "t"}}));
            writer.send(json!({"type": "unsubscribe", "data": {"topic": "t"}}));
        }
    });
    let reading = std::thread::spawn(move || {
        (0..TIMES).for_each(|_| assert_eq!(client.json()["messageType"], "welcome"));
    });
    node.eventually("a full queue", |node| node.counter("realtime_stalled_turns_total") > 0);
    let (_members, snapshots) = watch::channel(Some(Arc::default()));
    let peers = Peers::start(config("node", prefix), port, node.shards.clone(), snapshots);
    writing.join().expect("everything is read");
    reading.join().expect("every welcome");
    peers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_discovery_calls_replaced_gets_no_link_unless_discovery_takes_it_back() {
    let mesh = Mesh::start(2).await;
    let (from, right) = (&mesh.nodes[0], mesh.members());
    let mut other = right.clone();
    other.get_mut(&name(1)).expect("a member").incarnation = "another".into();
    mesh.tell(other);
    mesh.figures(from, |figures| figures.unlinked == 1).await;
    mesh.tell(right);
    mesh.figures(from, |figures| figures.linked == 1).await;
}
