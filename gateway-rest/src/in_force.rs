//! A write is answered once this gateway has it in force, so that the caller's next call finds it.

use std::time::Duration;

use realtime_proto::generated::admin::apps_server::Apps;
use realtime_proto::generated::admin::settings_server::Settings;
use realtime_proto::generated::pubsub::pub_sub_server::PubSub;
use tokio::time::timeout;

use crate::Shared;

/// How long a successful write waits. Changes arrive within 100 ms; an outage of the discovery stream must not
/// hold answers for long.
const IN_FORCE: Duration = Duration::from_millis(500);

/// Waits, within bounds, for the configuration of a write's version (the store's revision) or a later one. The
/// write stands either way.
pub(crate) async fn wait<P: PubSub, A: Apps, S: Settings>(state: &Shared<P, A, S>, version: u64) {
    let mut snapshots = state.snapshots.clone();
    let arrived =
        snapshots.wait_for(|held| held.as_ref().is_some_and(|snapshot| snapshot.revision >= version));
    if timeout(IN_FORCE, arrived).await.is_err() {
        tracing::warn!(version, "a configuration change is stored but not yet in force on this gateway");
    }
}
