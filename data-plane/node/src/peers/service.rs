//! `realtime.peer.v1.Peer`: the side that is called.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use realtime_proto::generated::peer as wire;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use wire::peer_server::{Peer, PeerServer};

use super::Identity;
use super::dial::MAX_MESSAGE;
use super::link::{self, LinkEvent};
use crate::Shards;
use crate::consume::serve;

/// The service. Whoever mounts it on a transport sees to it that only the cluster's members reach it.
#[derive(Debug, Clone)]
pub struct PeerService {
    pub(super) identity: Arc<Identity>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) stop: CancellationToken,
    pub(super) shards: Arc<Shards>,
    pub(super) tasks: TaskTracker,
}

impl PeerService {
    /// For a transport.
    #[must_use]
    pub fn into_server(self) -> PeerServer<Self> {
        PeerServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<wire::LinkMessage, Status>> + Send + 'static>>;

    async fn link(
        &self,
        request: Request<Streaming<wire::LinkMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let mut incoming = request.into_inner();
        let member = link::hear_hello(&mut incoming).await?;
        if member.id >= self.identity.id {
            return Err(Status::failed_precondition("the node with the smaller id calls"));
        }
        let (outgoing, messages) = link::outgoing(self.identity.hello(), Arc::clone(&self.identity.room));
        let stop = self.stop.child_token();
        let ended = stop.clone().cancelled_owned();
        self.tasks.spawn(link::run(member, outgoing, incoming, self.events.clone(), stop));
        Ok(Response::new(Box::pin(messages.map(Ok).take_until(ended))))
    }

    type ConsumeStream = serve::Responses;

    async fn consume(
        &self,
        request: Request<Streaming<wire::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let stop = self.stop.child_token();
        Ok(Response::new(serve::serve(&self.shards, request.into_inner(), stop).await?))
    }
}
