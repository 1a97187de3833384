//! One stream between this node and a peer, from the hellos to its end. Both sides are alike once it is up: a reader
//! that hands messages to the mesh, and a short queue that the mesh fills and the transport empties.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use realtime_mesh::Member;
use realtime_proto::NodePrefix;
use realtime_proto::generated::peer as wire;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::item::Kind;

/// Messages between the mesh and the transport: one on its way, one ready. More would only be older news.
const OUTGOING: usize = 2;
/// A peer says hello at once.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A peer says something every second; one that has not for so long is given up, less than 5 s after it went. The
/// time counts only while this side is ready to read.
const SILENCE: Duration = Duration::from_secs(4);

/// What links tell the mesh.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Both have said hello. Answered by the link's place, unless the mesh wants none with this process.
    Up {
        member: Member,
        outgoing: Outgoing,
        stop: CancellationToken,
        answer: oneshot::Sender<Option<realtime_mesh::LinkId>>,
    },
    /// A message has come.
    Message(realtime_mesh::LinkId, wire::LinkMessage),
    /// The stream has ended.
    Down(realtime_mesh::LinkId),
    /// What a peer asked is done.
    Answer(realtime_mesh::LinkId, wire::Response),
}

/// The mesh's end of a link's queue.
#[derive(Debug)]
pub(super) struct Outgoing(mpsc::Sender<wire::LinkMessage>);

impl Outgoing {
    /// Room for one message, if there is.
    pub(super) fn room(&self) -> Option<mpsc::Permit<'_, wire::LinkMessage>> {
        self.0.try_reserve().ok()
    }
}

/// The transport's end: our hello, then what the mesh sends. Whenever a message is taken, `room` is told.
pub(super) fn outgoing(
    hello: wire::Hello,
    room: Arc<Notify>,
) -> (Outgoing, impl Stream<Item = wire::LinkMessage> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(OUTGOING);
    let first = wire::LinkMessage { items: vec![wire::Item { kind: Some(Kind::Hello(hello)) }] };
    let rest = ReceiverStream::new(receiver).inspect(move |_| room.notify_one());
    (Outgoing(sender), futures_util::stream::iter([first]).chain(rest))
}

/// The peer's hello.
pub(super) async fn hear_hello(incoming: &mut Streaming<wire::LinkMessage>) -> Result<Member, Status> {
    let first = timeout(HELLO_WITHIN, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello"))??;
    let mut items = first.unwrap_or_default().items;
    let hello = match (items.pop().and_then(|item| item.kind), items.is_empty()) {
        (Some(Kind::Hello(hello)), true) => hello,
        _ => return Err(Status::invalid_argument("the first message is not a hello")),
    };
    let prefix = NodePrefix::parse(&hello.connection_id_prefix)
        .ok_or_else(|| Status::invalid_argument("connection_id_prefix: 8 lower-case hex digits"))?;
    if hello.node_id.is_empty() || hello.incarnation.is_empty() {
        return Err(Status::invalid_argument("node_id and incarnation must not be empty"));
    }
    Ok(Member { id: hello.node_id.into(), incarnation: hello.incarnation.into(), prefix })
}

/// Announces the link and reads it to its end. `Err`: the mesh does not want it.
pub(super) async fn run(
    member: Member,
    outgoing: Outgoing,
    mut incoming: Streaming<wire::LinkMessage>,
    events: mpsc::Sender<LinkEvent>,
    stop: CancellationToken,
) {
    let (answer, place) = oneshot::channel();
    let peer = Arc::clone(&member.id);
    let up = LinkEvent::Up { member, outgoing, stop: stop.clone(), answer };
    // A mesh that has ended wants nothing.
    if events.send(up).await.is_err() {
        return;
    }
    let Ok(Some(link)) = place.await else { return };
    let reason = loop {
        let message = tokio::select! {
            message = timeout(SILENCE, incoming.message()) => message,
            () = stop.cancelled() => break "replaced or stopping".to_owned(),
        };
        match message {
            Ok(Ok(Some(message))) => {
                if events.send(LinkEvent::Message(link, message)).await.is_err() {
                    return;
                }
            }
            Ok(Ok(None)) => break "closed by the peer".to_owned(),
            Ok(Err(status)) => break status.message().to_owned(),
            Err(_) => break "the peer is silent".to_owned(),
        }
    };
    tracing::info!(%peer, reason, "the link to a peer has ended");
    // A mesh that has ended knows.
    let _ = events.send(LinkEvent::Down(link)).await;
}
