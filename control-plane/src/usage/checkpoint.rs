//! Usage in the store: one document per month, application and replica, `{"counts":{INCARNATION:[BYTES,
//! MESSAGES]}}`. Each replica writes what was reported to it, without conditions; reading merges them.

use std::collections::BTreeMap;

use realtime_proto::{Month, UsageCounts};
use serde::{Deserialize, Serialize};

use super::ledger::{Ledger, Reported};
use crate::keys;
use crate::store::{Entry, MAX_COMMIT_PARTS, Op, Store, StoreError};

/// Most bytes of one commit, but for a document that is larger by itself: etcd takes 1.5 MiB.
const COMMIT_BYTES: usize = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    /// API usage in bytes and inbound messages, by incarnation.
    counts: BTreeMap<String, (u64, u64)>,
}

/// Reads all checkpoints that count in `month`, or are still of interest in it.
pub(super) async fn load(
    store: &dyn Store,
    ledger: &mut Ledger,
    replica: &str,
    month: Month,
) -> Result<(), StoreError> {
    for entry in store.list(keys::USAGE).await?.entries {
        read(ledger, &entry, month, |of| if of == replica { Reader::Writer } else { Reader::Other });
    }
    ledger.written(ledger.version());
    Ok(())
}

/// Takes what another replica has written; what is not such a checkpoint is passed by.
pub(super) fn learn(ledger: &mut Ledger, entry: &Entry, replica: &str, month: Month) {
    read(ledger, entry, month, |of| if of == replica { Reader::Nobody } else { Reader::Other });
}

/// Who reads a checkpoint.
enum Reader {
    /// The replica that wrote it.
    Writer,
    Other,
    /// Nobody: it holds nothing new.
    Nobody,
}

fn read(ledger: &mut Ledger, entry: &Entry, month: Month, reader: impl Fn(&str) -> Reader) {
    let Some((of, app_id, replica)) = keys::usage_of(&entry.key) else { return };
    let merge = match reader(replica) {
        Reader::Writer => Ledger::report,
        Reader::Other => Ledger::learn,
        Reader::Nobody => return,
    };
    if of < month.previous() {
        return;
    }
    match serde_json::from_slice::<Document>(&entry.value) {
        Ok(document) => {
            for (incarnation, (api_bytes, inbound_messages)) in document.counts {
                merge(ledger, of, &app_id, &incarnation, UsageCounts { api_bytes, inbound_messages });
            }
        }
        // Counting anew lets the application use more; not starting would stop everybody.
        Err(error) => tracing::error!(key = entry.key, %error, "a usage checkpoint is not readable"),
    }
}

/// Writes pages, in as few commits as the store takes.
pub(super) async fn write(store: &dyn Store, replica: &str, pages: &[Reported]) -> Result<(), StoreError> {
    let mut ops = Vec::new();
    let mut bytes = 0;
    for page in pages {
        let (op, size) = put(replica, page)?;
        if ops.len() == MAX_COMMIT_PARTS || (bytes + size > COMMIT_BYTES && bytes > 0) {
            store.commit(Vec::new(), std::mem::take(&mut ops)).await?;
            bytes = 0;
        }
        bytes += size;
        ops.push(op);
    }
    if !ops.is_empty() {
        store.commit(Vec::new(), ops).await?;
    }
    Ok(())
}

/// The put of a page, and its size.
fn put(replica: &str, page: &Reported) -> Result<(Op, usize), StoreError> {
    let pair = |counts: &UsageCounts| (counts.api_bytes, counts.inbound_messages);
    let counts = page.counts.iter().map(|(name, counts)| (name.clone(), pair(counts))).collect();
    let document = serde_json::to_vec(&Document { counts }).map_err(|e| StoreError::Failed(e.to_string()))?;
    let key = keys::usage(page.month, &page.app_id, replica);
    let bytes = key.len() + document.len();
    Ok((Op::put(key, document), bytes))
}

/// Removes what was written for the months before `oldest`, by whichever replica.
pub(super) async fn clear(store: &dyn Store, oldest: Month) -> Result<(), StoreError> {
    let entries = store.list(keys::USAGE).await?.entries;
    let is_old = |key: &str| keys::usage_of(key).is_some_and(|(month, _, _)| month < oldest);
    let old: Vec<_> = entries.into_iter().map(|entry| entry.key).filter(|key| is_old(key)).collect();
    for keys in old.chunks(MAX_COMMIT_PARTS) {
        store.commit(Vec::new(), keys.iter().cloned().map(Op::Delete).collect()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use realtime_proto::AppId;
    use tempfile::TempDir;

    use super::*;
    use crate::store::EmbeddedStore;
    use crate::usage::{Row, Usage, this_month};

    fn app() -> AppId {
        AppId::parse("a").unwrap()
    }

    fn bytes(api_bytes: u64) -> UsageCounts {
        UsageCounts { api_bytes, inbound_messages: 1 }
    }

    async fn store(directory: &TempDir) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(directory.path()).await.unwrap())
    }

    #[tokio::test]
    async fn checkpoints_of_several_replicas_merge() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory).await;
        let month = this_month();
        let (one, two) =
            (Usage::open(store.clone(), "1").await.unwrap(), Usage::open(store.clone(), "2").await.unwrap());
        // A node that moved from one replica to the other, and one that died before.
        one.report("moved", &[Row::new(month, app(), bytes(10))]);
        one.report("dead", &[Row::new(month, app(), bytes(5))]);
        two.report("moved", &[Row::new(month, app(), bytes(30))]);
        one.checkpoint().await;
        two.checkpoint().await;
        let merged = Usage::open(store, "3").await.unwrap();
        let (rows, _) = merged.elsewhere("new", 0);
        let counts = UsageCounts { api_bytes: 35, inbound_messages: 2 };
        assert_eq!(rows, [Row::new(month, app(), counts)]);
    }

    #[tokio::test]
    async fn a_month_is_kept_for_one_more_and_then_removed() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory).await;
        let month = this_month();
        let before_last = month.previous().previous();
        let page = |month| Reported { month, app_id: app(), counts: [("i".to_owned(), bytes(1))].into() };
        write(&*store, "1", &[page(before_last), page(month.previous())]).await.unwrap();
        let usage = Usage::open(store.clone(), "1").await.unwrap();
        usage.report("j", &[Row::new(month, app(), bytes(1)), Row::new(before_last, app(), bytes(1))]);
        usage.checkpoint().await;
        let keys: Vec<_> = store.list("usage/").await.unwrap().entries.into_iter().map(|e| e.key).collect();
        assert_eq!(keys, [keys::usage(month.previous(), &app(), "1"), keys::usage(month, &app(), "1")]);
    }

    #[tokio::test]
    async fn without_a_change_nothing_is_written() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory).await;
        let usage = Usage::open(store.clone(), "1").await.unwrap();
        usage.report("i", &[Row::new(this_month(), app(), bytes(1))]);
        usage.checkpoint().await;
        let revision = store.list("").await.unwrap().revision;
        usage.report("i", &[Row::new(this_month(), app(), bytes(1))]);
        usage.checkpoint().await;
        assert_eq!(store.list("").await.unwrap().revision, revision);
        let again = Usage::open(store.clone(), "1").await.unwrap();
        again.checkpoint().await;
        assert_eq!(store.list("").await.unwrap().revision, revision);
    }

    #[tokio::test]
    async fn large_checkpoints_are_written_in_several_commits() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory).await;
        let page = |i: usize, incarnations: usize| {
            let counts = (0..incarnations).map(|n| (format!("{n:032}"), bytes(u64::MAX))).collect();
            Reported { month: this_month(), app_id: AppId::parse(&format!("app-{i}")).unwrap(), counts }
        };
        let pages: Vec<_> = (0..150).map(|i| page(i, 1)).collect();
        write(&*store, "1", &pages).await.unwrap();
        let listing = store.list("usage/").await.unwrap();
        assert_eq!((listing.entries.len(), listing.revision), (150, 2), "by their number");
        let pages: Vec<_> = (0..10).map(|i| page(i, 4000)).collect();
        write(&*store, "1", &pages).await.unwrap();
        assert_eq!(store.list("").await.unwrap().revision, 5, "by their bytes");
    }

    #[tokio::test]
    async fn a_damaged_checkpoint_does_not_keep_the_others_from_being_read() {
        let directory = TempDir::new().unwrap();
        let store = store(&directory).await;
        let month = this_month();
        let bad = AppId::parse("bad").unwrap();
        store.commit(Vec::new(), vec![Op::put(keys::usage(month, &bad, "1"), "{")]).await.unwrap();
        let page = Reported { month, app_id: app(), counts: [("i".to_owned(), bytes(7))].into() };
        write(&*store, "1", &[page]).await.unwrap();
        let (rows, _) = Usage::open(store, "1").await.unwrap().elsewhere("new", 0);
        assert_eq!(rows, [Row::new(month, app(), bytes(7))]);
    }
}
