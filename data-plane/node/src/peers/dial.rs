//! Calling the peers with greater ids, each by a task of its own that tries until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use realtime_mesh::Member;
use realtime_proto::generated::peer as wire;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use wire::peer_client::PeerClient;

use super::link::{self, LinkEvent, Outgoing};
use super::{Connect, Identity};

/// Pauses between attempts: doubling, so that a peer that is away costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For connection, call and hellos: an address that swallows everything is tried again in time.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(5);
/// A link that lived this long begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(10);
/// As the mesh's own bound, with room for what a message adds.
pub(super) const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// How long to wait before the next attempt at a peer.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// After an attempt, or a stream that has lived so long; whether that was a steady one.
    pub(crate) fn after(&mut self, lived: Duration) -> (Duration, bool) {
        let steady = lived > STEADY;
        if steady {
            self.0 = FIRST_PAUSE;
        }
        // Half of the pause is chance, so that nodes that lost each other together do not return together.
        let jitter = u32::from(realtime_proto::ids::random::<1>()[0]);
        let pause = self.0 / 2 + self.0 * jitter / 512;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        (pause, steady)
    }
}

/// Keeps a link to the peer at `address` until `stop`.
pub(super) async fn keep(
    address: String,
    peer: Arc<str>,
    identity: Arc<Identity>,
    connect: Connect,
    events: mpsc::Sender<LinkEvent>,
    stop: CancellationToken,
) {
    let mut pauses = Pauses::default();
    let mut reported = false;
    loop {
        let started = Instant::now();
        let called = tokio::select! {
            called = timeout(CALL_WITHIN, call(&address, &peer, &identity, &connect)) => called,
            () = stop.cancelled() => return,
        };
        match called.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            // Not cut short by `stop`: the link ends with it by itself, and tells the mesh.
            Ok((member, outgoing, incoming)) => {
                link::run(member, outgoing, incoming, events.clone(), stop.child_token()).await;
            }
            Err(error) if !std::mem::replace(&mut reported, true) => {
                // Once for each outage.
                tracing::warn!(%peer, address, error, "cannot reach a peer; trying again");
            }
            Err(_) => {}
        }
        let (pause, steady) = pauses.after(started.elapsed());
        reported &= !steady;
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Opens a link, up to the hellos.
async fn call(
    address: &str,
    peer: &str,
    identity: &Identity,
    connect: &Connect,
) -> Result<(Member, Outgoing, Streaming<wire::LinkMessage>), String> {
    let channel: Channel = connect(address).await?;
    let mut client = PeerClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let (outgoing, messages) = link::outgoing(identity.hello(), Arc::clone(&identity.room));
    let response = client.link(messages).await.map_err(|status| status.message().to_owned())?;
    let mut incoming = response.into_inner();
    let member = link::hear_hello(&mut incoming).await.map_err(|status| status.message().to_owned())?;
    if *member.id != *peer {
        return Err(format!("the node there is {}", member.id));
    }
    Ok((member, outgoing, incoming))
}
