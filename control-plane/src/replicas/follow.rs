//! Following the other replicas: one task for each that is registered.

use std::collections::BTreeMap;
use std::time::Duration;

use realtime_proto::generated::replica as wire;
use realtime_proto::{AppId, Month, UsageCounts};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use wire::replica_client::ReplicaClient;

use super::{Peering, Replica};
use crate::shared::Shared;
use crate::usage::Reported;

/// Between attempts at a replica: one that starts again is back within seconds, and meanwhile nodes that were
/// its own say everything to the others.
const RETRY: Duration = Duration::from_secs(1);

/// Follows all replicas but the one named `own`, as they come and go, until the control plane stops.
pub(crate) async fn follow_all(shared: Shared, own: String, peering: Peering) {
    let mut revisions = shared.model.revisions();
    let mut tasks = JoinSet::new();
    let mut followed: BTreeMap<String, (Replica, DropGuard)> = BTreeMap::new();
    loop {
        let others: BTreeMap<String, Replica> = {
            let state = shared.model.read();
            state
                .replicas
                .iter()
                .filter(|(name, _)| **name != own)
                .map(|(n, r)| (n.clone(), r.clone()))
                .collect()
        };
        followed.retain(|name, (replica, _)| others.get(name) == Some(replica));
        for (name, replica) in others {
            followed.entry(name).or_insert_with_key(|name| {
                let end = CancellationToken::new();
                let following =
                    follow(shared.clone(), own.clone(), name.clone(), replica.clone(), peering.clone());
                tasks.spawn(end.clone().run_until_cancelled_owned(following));
                (replica, end.drop_guard())
            });
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = revisions.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Follows one replica for good.
async fn follow(shared: Shared, own: String, name: String, replica: Replica, peering: Peering) {
    let mut failures = 0_u32;
    loop {
        let (status, heard) = stream(&shared, &own, &replica.address, &peering).await;
        failures = if heard { 1 } else { failures.saturating_add(1) };
        let (address, reason) = (&replica.address, status.message());
        // The first is what the end of a replica looks like, until its key is gone.
        if failures == 2 {
            tracing::warn!(
                replica = name,
                address,
                reason,
                "a replica cannot be followed; what its nodes use is known from its checkpoints only"
            );
        } else {
            tracing::debug!(replica = name, address, reason, "a replica cannot be followed");
        }
        sleep(RETRY).await;
    }
}

/// One stream; why it has ended, and whether it has brought anything.
async fn stream(shared: &Shared, own: &str, address: &str, peering: &Peering) -> (Status, bool) {
    let mut heard_any = false;
    let ended: Result<(), Status> = async {
        let channel = (peering.dial)(address).map_err(Status::unavailable)?;
        let request = wire::FollowRequest { replica: own.to_owned(), store_id: shared.store.id().to_owned() };
        let mut messages = ReplicaClient::new(channel).follow(request).await?.into_inner();
        while let Some(heard) = messages.message().await? {
            heard_any = true;
            take(shared, heard);
        }
        Ok(())
    }
    .await;
    (ended.err().unwrap_or_else(|| Status::unavailable("it has ended the stream")), heard_any)
}

fn take(shared: &Shared, heard: wire::Heard) {
    let reported: Vec<Reported> = heard.counted.into_iter().filter_map(reported).collect();
    if !reported.is_empty() {
        shared.usage.learn(&reported);
    }
    for node in heard.nodes {
        shared.registry.learn(node);
    }
}

/// A count, unless it is of a kind that this release does not know.
fn reported(count: wire::Count) -> Option<Reported> {
    let counts = UsageCounts { api_bytes: count.api_bytes, inbound_messages: count.inbound_messages };
    Some(Reported {
        month: Month::from_index(count.month)?,
        app_id: AppId::parse(&count.app_id).ok()?,
        counts: [(count.incarnation, counts)].into(),
    })
}
