//! Reading: keys and entries as etcd has them, and listings of any size, page by page as of one revision.

use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse, KeyValue, ResponseHeader};

use super::endpoints::{CallError, Endpoints};
use super::txn::full;
use crate::store::{Entry, LeaseId, Listing};

/// Entries of one answer: with every document at its limit of 256 KiB, well below what a connection takes.
const PAGE: i64 = 128;

/// All entries below a prefix.
pub(super) async fn list(endpoints: &Endpoints, root: &str, prefix: &str) -> Result<Listing, CallError> {
    let end = end_of(&full(root, prefix));
    let mut listing = Listing { revision: 0, entries: Vec::new() };
    let mut from = full(root, prefix).into_bytes();
    loop {
        let at = i64::try_from(listing.revision).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(at);
        let page = endpoints
            .call(|mut connection, _| {
                let (from, options) = (from.clone(), options.clone());
                async move { connection.kv.get(from, Some(options)).await }
            })
            .await?;
        if listing.revision == 0 {
            listing.revision = revision(page.header());
        }
        listing.entries.extend(entries(root, &page));
        match page.kvs().last() {
            Some(last) if page.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            Some(_) | None => return Ok(listing),
        }
    }
}

/// An answer's entries; keys that are not text are none of ours.
pub(super) fn entries<'a>(root: &'a str, answer: &'a GetResponse) -> impl Iterator<Item = Entry> + 'a {
    answer.kvs().iter().filter_map(|kv| Some(entry(key(root, kv)?, kv)))
}

/// The store's revision, by an answer.
pub(super) fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, ResponseHeader::revision).unsigned_abs()
}

/// The key below the root.
pub(super) fn key(root: &str, kv: &KeyValue) -> Option<String> {
    std::str::from_utf8(kv.key()).ok()?.strip_prefix(root).map(str::to_owned)
}

/// The entry of a key.
pub(super) fn entry(key: String, kv: &KeyValue) -> Entry {
    let lease = (kv.lease() != 0).then(|| LeaseId(kv.lease().unsigned_abs()));
    let value = Bytes::copy_from_slice(kv.value());
    Entry { key, value, revision: kv.mod_revision().unsigned_abs(), lease }
}

/// The end of the range of all keys with a prefix. No byte of UTF-8 is the greatest one.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
