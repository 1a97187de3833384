//! Keeps the store's history short. Etcd keeps every version of every key; what nobody needs any more is forgotten
//! here, unless the operator leaves that to etcd.
//!
//! One key, `compaction`, marks where the next compaction begins: whoever of the replicas has seen one mark for a
//! whole period puts the next one, on the condition that it is still that mark, and forgets what is older than the
//! one before. So one replica does it, whichever, without a leader and without comparing clocks; if it dies in
//! between, the next mark makes up for it; and a period to two of history are kept.
//!
//! A mark's revision deletes nothing. That matters: some releases of etcd, asked for the changes from the very
//! revision of a compaction on, leave out its deletions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::keys;
use crate::store::{Commit, Condition, Op, Store, StoreError};

/// How often the mark is looked at, in a period.
const LOOKS: u32 = 10;
/// Revisions after which a mark is old whatever its age. With documents of 2 KiB that is 20 MiB of history; with the
/// largest ones, of 256 KiB, etcd's default quota of 2 GiB would be in reach of twice as many.
const REVISIONS: u64 = 4096;

/// The mark as this replica sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: u64,
    since: Instant,
}

/// Compacts until `stop`.
pub(crate) async fn run(store: Arc<dyn Store>, period: Duration, stop: CancellationToken) {
    let mut looks = interval((period / LOOKS).max(Duration::from_millis(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    let mut warned = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let Some(looked) = stop.run_until_cancelled(look(&*store, period, seen)).await else { return };
        match looked {
            Ok(now) => (seen, warned) = (Some(now), false),
            Err(error) if warned => tracing::debug!(%error, "the store's history could not be compacted"),
            Err(error) => {
                tracing::warn!(%error, "the store's history could not be compacted; it grows until that works");
                warned = true;
            }
        }
    }
}

/// Puts the next mark where this one is old.
async fn look(store: &dyn Store, period: Duration, seen: Option<Seen>) -> Result<Seen, StoreError> {
    // The listing of one key tells the store's revision as well.
    let listing = store.list(keys::COMPACTION).await?;
    let mark = listing.entries.iter().find(|entry| entry.key == keys::COMPACTION).map(|entry| entry.revision);
    let now = Instant::now();
    let seen = seen.filter(|seen| Some(seen.revision) == mark);
    let condition = match (mark, seen) {
        (None, _) => Condition::Absent(keys::COMPACTION.to_owned()),
        (Some(mark), Some(seen)) if now - seen.since >= period || listing.revision - mark >= REVISIONS => {
            Condition::Revision(keys::COMPACTION.to_owned(), mark)
        }
        (Some(mark), seen) => return Ok(seen.unwrap_or(Seen { revision: mark, since: now })),
    };
    let put = Op::put(keys::COMPACTION, Vec::new());
    match (store.commit(vec![condition], vec![put]).await?, mark) {
        (Commit::Committed { revision }, Some(before)) => {
            store.compact(before).await?;
            tracing::debug!(before, "the store's history has been compacted");
            Ok(Seen { revision, since: now })
        }
        (Commit::Committed { revision }, None) => Ok(Seen { revision, since: now }),
        // Another replica was faster: its mark is looked at the next time.
        (Commit::Conflict, mark) => Ok(Seen { revision: mark.unwrap_or_default(), since: now }),
    }
}
