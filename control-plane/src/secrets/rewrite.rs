//! Brings what is stored under the first key: documents from before there was one, or under an older one. Without
//! this, a secret of an application that nobody changes would stay in the clear for ever, and no key could be retired.
//!
//! Every replica does so once, when it starts; each write happens on the condition that nobody else has written.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::document::Opened;
use super::keys::SecretKeys;
use crate::keys;
use crate::store::{Commit, Condition, Entry, Op, Store, StoreError};

/// Between attempts where the store does not answer. Nothing waits for this.
const REWRITE_RETRY: Duration = Duration::from_secs(10);
/// Attempts at one document that others write. Who writes encrypts, unless it is a replica without the key, which
/// does this itself once it has been started with it.
const ATTEMPTS: usize = 8;

/// What a pass has found and done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pass {
    rewritten: usize,
    /// The revision of the last document that was rewritten.
    through: Option<u64>,
    /// Documents that are not usable, or whose secrets could not be decrypted.
    left: usize,
}

/// Goes over all applications until that has succeeded once, or until `stop`. Answers the revision through which the
/// store's history has what was replaced, if something was.
pub(crate) async fn run(store: &dyn Store, keys: &SecretKeys, stop: &CancellationToken) -> Option<u64> {
    // Nothing could be decrypted, and nothing is to be encrypted.
    if keys.is_empty() {
        return None;
    }
    let mut warned = false;
    let once = async {
        loop {
            match pass(store, keys).await {
                Ok(pass) => {
                    told(&pass, keys);
                    return pass.through;
                }
                Err(error) if warned => tracing::debug!(%error, "secrets could not be encrypted anew"),
                Err(error) => {
                    tracing::warn!(%error, "secrets could not be encrypted anew; trying until that works");
                    warned = true;
                }
            }
            sleep(REWRITE_RETRY).await;
        }
    };
    stop.run_until_cancelled(once).await.flatten()
}

fn told(pass: &Pass, keys: &SecretKeys) {
    let Pass { rewritten, left, .. } = *pass;
    let key = keys.writing().map_or("none", |key| &key.id);
    if left > 0 {
        tracing::warn!(
            key,
            rewritten,
            left,
            "secrets of some applications could not be brought under the key"
        );
    } else {
        tracing::info!(key, rewritten, "all stored secrets are under the key");
    }
}

/// One document at a time: the store serves others meanwhile.
async fn pass(store: &dyn Store, keys: &SecretKeys) -> Result<Pass, StoreError> {
    let mut pass = Pass::default();
    for entry in store.list(keys::APPS).await?.entries {
        match renew(store, keys, entry).await? {
            Renewed::At(revision) => {
                pass.rewritten += 1;
                pass.through = Some(revision);
            }
            Renewed::NotNeeded => {}
            Renewed::Failed => pass.left += 1,
        }
    }
    Ok(pass)
}

/// What has become of a document.
enum Renewed {
    /// Written anew, in this revision.
    At(u64),
    /// It is as it should be, or gone.
    NotNeeded,
    /// It could not be read, or others write it all the time.
    Failed,
}

async fn renew(store: &dyn Store, keys: &SecretKeys, mut entry: Entry) -> Result<Renewed, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(app_id) = keys::app_of(&entry.key) else { return Ok(Renewed::NotNeeded) };
        let read = |opened: Opened| opened.config(app_id).map(|config| (opened, config));
        // The model says what is wrong with it.
        let Ok((opened, config)) = Opened::read(&entry, app_id, keys).and_then(read) else {
            return Ok(Renewed::Failed);
        };
        let sealed = opened.sealed_anew(&config, keys).map_err(|e| StoreError::Failed(e.to_string()))?;
        let Some(sealed) = sealed else { return Ok(Renewed::NotNeeded) };
        let unchanged = Condition::Revision(entry.key.clone(), entry.revision);
        let put = Op::put(entry.key.clone(), sealed);
        if let Commit::Committed { revision } = store.commit(vec![unchanged], vec![put]).await? {
            return Ok(Renewed::At(revision));
        }
        match store.get(&entry.key).await? {
            Some(now) => entry = now,
            None => return Ok(Renewed::NotNeeded),
        }
    }
    Ok(Renewed::Failed)
}

/// An application whose secrets are encrypted, if there is one: a store with such must not get a new key in the place
/// of one that is gone.
///
/// # Errors
/// The store's failure.
pub async fn encrypted_app(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let none = SecretKeys::default();
    let entries = store.list(keys::APPS).await?.entries;
    Ok(entries.iter().find_map(|entry| {
        let app_id = keys::app_of(&entry.key)?;
        let opened = Opened::read(entry, app_id, &none).ok()?;
        opened.has_encrypted().then(|| app_id.to_owned())
    }))
}
