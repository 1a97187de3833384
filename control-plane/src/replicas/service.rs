//! `realtime.replica.v1.Replica`: what nodes say here, told to the other replicas.

use std::time::Duration;

use realtime_proto::generated::replica as wire;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::replica_server::Replica;

use crate::shared::Shared;
use crate::usage::Reported;

/// The contract's shortest time between messages.
const EVERY: Duration = Duration::from_secs(1);
/// Counts, or statuses, of one message. A status with a refusal is the largest, with some 300 bytes.
const ITEMS: usize = 2048;
/// Messages between a stream's task and the transport.
const OUTBOUND: usize = 4;

/// Serves `realtime.replica.v1.Replica`.
#[derive(Debug, Clone)]
pub struct ReplicaService {
    shared: Shared,
}

impl ReplicaService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

type Outbound = mpsc::Sender<Result<wire::Heard, Status>>;

#[tonic::async_trait]
impl Replica for ReplicaService {
    type FollowStream = ReceiverStream<Result<wire::Heard, Status>>;

    async fn follow(
        &self,
        request: Request<wire::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let request = request.into_inner();
        if self.shared.stop.is_cancelled() {
            return Err(Status::unavailable("the control plane is stopping"));
        }
        if request.store_id != self.shared.store.id() {
            return Err(Status::failed_precondition("this replica has another store"));
        }
        let (out, responses) = mpsc::channel(OUTBOUND);
        let shared = self.shared.clone();
        // The task ends with the stream, or with the control plane, which waits for it.
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = out.closed() => {}
                () = tell(&shared, &out) => {}
            }
            tracing::debug!(replica = request.replica, "a replica follows no longer");
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// Tells what there is, then what changes, until the receiver has gone.
async fn tell(shared: &Shared, out: &Outbound) {
    let (mut usage, mut registry) = (shared.usage.versions(), shared.registry.versions());
    let (mut counted_to, mut heard_to) = (0, 0);
    loop {
        usage.mark_unchanged();
        registry.mark_unchanged();
        let (reported, nodes);
        (reported, counted_to) = shared.usage.reported_since(counted_to);
        (nodes, heard_to) = shared.registry.heard_since(heard_to);
        for message in messages(&reported, nodes) {
            if out.send(Ok(message)).await.is_err() {
                return;
            }
        }
        sleep(EVERY).await;
        // Both senders are in `shared`.
        tokio::select! {
            _ = usage.changed() => {}
            _ = registry.changed() => {}
        }
    }
}

fn messages(reported: &[Reported], nodes: Vec<wire::NodeStatus>) -> Vec<wire::Heard> {
    let counts: Vec<wire::Count> = reported.iter().flat_map(counts).collect();
    let counted =
        counts.chunks(ITEMS).map(|counted| wire::Heard { counted: counted.to_vec(), nodes: Vec::new() });
    let heard = nodes.chunks(ITEMS).map(|nodes| wire::Heard { counted: Vec::new(), nodes: nodes.to_vec() });
    counted.chain(heard).collect()
}

fn counts(page: &Reported) -> impl Iterator<Item = wire::Count> + '_ {
    page.counts.iter().map(|(incarnation, counts)| wire::Count {
        app_id: page.app_id.as_str().to_owned(),
        month: page.month.index(),
        incarnation: incarnation.clone(),
        api_bytes: counts.api_bytes,
        inbound_messages: counts.inbound_messages,
    })
}
