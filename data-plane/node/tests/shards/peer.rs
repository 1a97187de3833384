//! A node and a peer made by hand, which does what no node does.

use std::time::{Duration, Instant};

use realtime_data_plane::{Publication, Target};
use realtime_proto::ErrorCode;
use realtime_proto::generated::discovery::Member;
use realtime_proto::generated::peer as wire;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::item::Kind;
use wire::peer_client::PeerClient;

use crate::mesh::Mesh;
use crate::node::DEADLINE;
use crate::presence::presence_of;

/// Less than the name of any node: it calls.
const NAME: &str = "a";
const UNCONFIRMED: &str = "realtime_unconfirmed_welcomes_total";

struct Peer {
    outgoing: mpsc::Sender<wire::LinkMessage>,
    incoming: Streaming<wire::LinkMessage>,
    items: Vec<wire::Item>,
}

impl Peer {
    /// Linked with the only node.
    async fn of(mesh: &Mesh) -> Self {
        let address = format!("http://{}", mesh.address(0));
        let (outgoing, messages) = mpsc::channel(8);
        let hello = wire::Hello {
            node_id: NAME.into(),
            incarnation: "by hand".into(),
            connection_id_prefix: "00000000".into(),
            version: String::new(),
        };
        outgoing.send(message([Kind::Hello(hello)])).await.expect("room");
        let mut client = PeerClient::connect(address).await.expect("connected");
        let link = client.link(ReceiverStream::new(messages)).await.expect("a link");
        let mut peer = Self { outgoing, incoming: link.into_inner(), items: Vec::new() };
        assert!(matches!(peer.next().await, Kind::Hello(_)));
        // The node's interest: from here on the link is in use.
        peer.interest().await;
        peer
    }

    async fn say<const N: usize>(&self, kinds: [Kind; N]) {
        self.outgoing.send(message(kinds)).await.expect("a link");
    }

    /// The next item that comes.
    async fn next(&mut self) -> Kind {
        while self.items.is_empty() {
            let message = timeout(DEADLINE, self.incoming.message()).await.expect("in time");
            self.items = message.expect("a message").expect("a link").items;
            self.items.reverse();
        }
        self.items.pop().and_then(|item| item.kind).expect("an item")
    }

    /// The next change of the node's interest.
    async fn interest(&mut self) -> wire::Interest {
        loop {
            if let Kind::Interest(interest) = self.next().await {
                return interest;
            }
        }
    }
}

fn message<const N: usize>(kinds: [Kind; N]) -> wire::LinkMessage {
    wire::LinkMessage { items: kinds.into_iter().map(|kind| wire::Item { kind: Some(kind) }).collect() }
}

/// The peer wants nothing.
fn nothing() -> Kind {
    Kind::Interest(wire::Interest { number: 1, begin: true, complete: true, ..wire::Interest::default() })
}

fn confirmed(number: u64) -> Kind {
    Kind::Confirmed(wire::Confirmed { number })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up_within_five_seconds_named_and_what_it_missed_is_counted() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    let _silent = Peer::of(&mesh).await;
    let since = Instant::now();
    for n in 0..3 {
        node.cluster.publish(node.node.publication("t", &n.to_string())).expect("published");
    }
    let asked = node.cluster.disconnect(&mesh.app(), Target::Subject("nobody".into())).await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let partial = asked.expect_err("a partial answer");
    assert_eq!((partial.code, partial.partial), (ErrorCode::Partial, Some((vec![NAME.to_owned()], 0))));
    mesh.figures(node, |figures| figures.linked == 0 && figures.losses.in_flight == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_discovery_has_not_named_yet_is_sent_publishes_from_the_first_message_on() {
    let mesh = Mesh::start(1).await;
    let mut peer = Peer::of(&mesh).await;
    let node = &mesh.nodes[0];
    node.cluster.publish(node.node.publication("t", "1")).expect("published");
    let Kind::Publish(publish) = peer.next().await else { panic!("not a publish") };
    assert_eq!((&*publish.app_id, &*publish.topic), (&b"a"[..], &b"t"[..]));
    // Once it has said that it wants nothing, it is spared.
    peer.say([nothing()]).await;
    assert_eq!(peer.next().await, confirmed(1));
    node.cluster.publish(node.node.publication("t", "2")).expect("published");
    mesh.figures(node, |figures| (figures.published, figures.replicated) == (2, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_waits_for_every_peer_but_a_quarter_of_a_second_at_most() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0].node;
    let mut peer = Peer::of(&mesh).await;
    let since = Instant::now();
    let mut client = node.client("s");
    // The shard's clock counts whole milliseconds, and stands still for a turn, which may be under way.
    assert!(since.elapsed() >= Duration::from_millis(225), "{:?}", since.elapsed());
    node.eventually("the count", |node| node.counter(UNCONFIRMED) == 1);
    let mut told = 0;
    let mut number = 0;
    // `main` and the subject's own topic.
    while told < 2 {
        let interest = peer.interest().await;
        (told, number) = (told + interest.added.len(), interest.number);
    }
    peer.say([confirmed(number)]).await;
    // An answer in time decides when the welcome comes. On a busy machine it may be late, which the next topic is not.
    let (topic, unconfirmed) = loop {
        let unconfirmed = node.counter(UNCONFIRMED);
        let (topic, since) = (format!("t{unconfirmed}"), Instant::now());
        client.send(json!({"type": "subscribe", "data": {"topic": topic}}));
        let interest = peer.interest().await;
        assert_eq!(interest.added.len(), 1);
        let json = json!({"topic": topic, "messageType": "broadcast", "data": "before"}).to_string();
        let early = wire::Publish {
            app_id: "a".into(),
            topic: topic.clone().into(),
            json: json.into(),
            ..wire::Publish::default()
        };
        peer.say([Kind::Publish(early), confirmed(interest.number)]).await;
        let frames = [client.json(), client.json()];
        if since.elapsed() < Duration::from_millis(250) {
            assert_eq!(frames[0]["data"], "before");
            assert_eq!(frames[1]["messageType"], "welcome");
            break (topic, unconfirmed);
        }
    };
    // A topic that the peer knows already waits for nothing.
    client.subscribe(&topic);
    assert_eq!(node.counter(UNCONFIRMED), unconfirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_costs_its_queue_and_everything_beyond_is_counted() {
    const MESSAGES: u64 = 400;
    const QUEUE: u64 = 16 * 1024 * 1024;
    let mesh = Mesh::start(1).await;
    let (node, peer) = (&mesh.nodes[0], Peer::of(&mesh).await);
    let large = json!("x".repeat(64 * 1024)).to_string();
    for _ in 0..MESSAGES {
        let publication = Publication { message: large.clone().into(), ..node.node.publication("t", "") };
        node.cluster.publish(publication).expect("published");
    }
    mesh.figures(node, |figures| figures.published == MESSAGES).await;
    let figures = *node.peers.figures().borrow();
    assert!(figures.losses.queue_full > 0 && figures.queued_bytes <= QUEUE, "{figures:?}");
    drop(peer);
    mesh.figures(node, |figures| figures.linked == 0 && figures.losses.total() == MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_sessions_of_a_dead_peer_hold_up_nobody() {
    const SESSIONS: u64 = 20_000;
    const CHUNK: u64 = 500;
    let mut mesh = Mesh::start(1).await;
    mesh.nodes[0].node.app(json!({"enableWebSocketInboundTopic": true}));
    let mut backend = mesh.client(0, "backend");
    backend.subscribe("secure/inbound");
    let mut other = mesh.client(0, "other");
    assert_eq!(presence_of(&mut backend, "connected"), "other");
    other.subscribe("t");
    let member = Member {
        node_id: NAME.into(),
        incarnation: "by hand".into(),
        connection_id_prefix: "00000000".into(),
        peer: "nowhere".into(),
        ..Member::default()
    };
    let mut members = mesh.members();
    members.insert(NAME.into(), member);
    mesh.tell(members.clone());
    let peer = Peer::of(&mesh).await;
    for number in 1..=SESSIONS / CHUNK {
        let session = |n: u64| wire::Session {
            connection_id: u128::from(n).to_be_bytes().to_vec().into(),
            app_id: "a".into(),
            subject: format!("subject-{n}"),
            permissions: vec!["realtime:publisher:write:topic:*".into()],
        };
        let opened = ((number - 1) * CHUNK..number * CHUNK).map(session).collect();
        let (begin, complete) = (number == 1, number == SESSIONS / CHUNK);
        let update = wire::Mirror { number, epoch: 1, begin, complete, opened, ended: Vec::new() };
        peer.say([Kind::Mirror(update)]).await;
    }
    let node = &mesh.nodes[0];
    mesh.figures(node, |figures| figures.mirror.guarded == SESSIONS as usize).await;
    drop(peer);
    members.remove(NAME);
    mesh.tell(members);
    let reading = std::thread::spawn(move || {
        let mut gone: Vec<String> =
            (0..SESSIONS).map(|_| presence_of(&mut backend, "disconnected")).collect();
        gone.sort();
        gone.dedup();
        gone.len()
    });
    // Meanwhile publishes arrive as ever.
    let mut slowest = Duration::ZERO;
    while !reading.is_finished() {
        let since = Instant::now();
        node.cluster.publish(node.node.publication("t", "1")).expect("published");
        assert_eq!(other.json()["data"], 1);
        slowest = slowest.max(since.elapsed());
    }
    assert_eq!(reading.join().expect("every event"), SESSIONS as usize);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    mesh.figures(node, |figures| figures.departed == SESSIONS && figures.mirror.guarded == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_protocol_loses_its_link() {
    let mesh = Mesh::start(1).await;
    let node = &mesh.nodes[0];
    for violation in [confirmed(99), Kind::Received(wire::Received { publishes: 1 })] {
        let mut peer = Peer::of(&mesh).await;
        peer.say([violation]).await;
        let ended = async { while let Ok(Some(_)) = peer.incoming.message().await {} };
        timeout(DEADLINE, ended).await.expect("the end of the link");
        mesh.figures(node, |figures| figures.linked == 0).await;
    }
}
