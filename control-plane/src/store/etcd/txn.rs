//! Commits as etcd's transactions, and what became of one that was not answered.
//!
//! A transaction whose answer is lost may have happened. Sending it again is safe, since it changes what its
//! conditions are about: at most one of the two happens. If the second meets a conflict, its other branch reads
//! the keys that it would have written: if they hold what the first would have put, the first has happened (or
//! another commit has done exactly the same, which is as good). If they hold something else, nobody can tell.

use etcd_client::{Compare, CompareOp, GetResponse, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use crate::store::{Commit, Condition, LeaseId, Op, StoreError};

/// The transaction; `again`: an earlier attempt at it was not answered.
pub(super) fn txn(root: &str, conditions: &[Condition], ops: &[Op], again: bool) -> Txn {
    let compares: Vec<_> = conditions.iter().map(|condition| compare(root, condition)).collect();
    let changes: Vec<_> = ops.iter().map(|op| change(root, op)).collect();
    let txn = Txn::new().when(compares).and_then(changes);
    if !again {
        return txn;
    }
    txn.or_else(ops.iter().map(|op| TxnOp::get(full(root, op.key()), None)).collect::<Vec<_>>())
}

/// What the answer says.
pub(super) fn outcome(ops: &[Op], response: &TxnResponse, again: bool) -> Result<Commit, StoreError> {
    let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision).unsigned_abs();
    if response.succeeded() {
        return Ok(Commit::Committed { revision });
    }
    if !again {
        return Ok(Commit::Conflict);
    }
    let found = response.op_responses();
    let mut done_at = None;
    for (op, found) in ops.iter().zip(&found) {
        let TxnOpResponse::Get(found) = found else { return Err(unknown()) };
        match held(op, found) {
            Some(at) => done_at = done_at.max(at),
            None => return Err(unknown()),
        }
    }
    Ok(Commit::Committed { revision: done_at.unwrap_or(revision) })
}

/// Whether the key is as the operation leaves it, and since which revision where that shows.
#[allow(clippy::option_option)] // As it says: whether, and since when.
fn held(op: &Op, found: &GetResponse) -> Option<Option<u64>> {
    match (op, found.kvs()) {
        (Op::Delete(_), []) => Some(None),
        (Op::Put { value, lease, .. }, [kv]) => {
            let same = kv.value() == &value[..] && kv.lease() == lease.map_or(0, to_etcd);
            same.then(|| Some(kv.mod_revision().unsigned_abs()))
        }
        (Op::Delete(_) | Op::Put { .. }, _) => None,
    }
}

fn unknown() -> StoreError {
    StoreError::Failed("etcd did not answer a commit in time; whether it happened is unknown".into())
}

fn compare(root: &str, condition: &Condition) -> Compare {
    match condition {
        Condition::Absent(key) => Compare::create_revision(full(root, key), CompareOp::Equal, 0),
        Condition::Revision(key, revision) => match i64::try_from(*revision) {
            Ok(revision) if revision > 0 => {
                Compare::mod_revision(full(root, key), CompareOp::Equal, revision)
            }
            // To etcd, an absent key has the revision 0; here no revision is 0, so that this never holds.
            Ok(_) | Err(_) => Compare::mod_revision(full(root, key), CompareOp::Less, 0),
        },
        // Holds for every key of the range, and so for none.
        Condition::PrefixEmpty(prefix) => {
            Compare::create_revision(full(root, prefix), CompareOp::Equal, 0).with_prefix()
        }
    }
}

fn change(root: &str, op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(to_etcd(lease)));
            TxnOp::put(full(root, key), &value[..], options)
        }
        Op::Delete(key) => TxnOp::delete(full(root, key), None),
    }
}

/// A key as etcd has it.
pub(super) fn full(root: &str, key: &str) -> String {
    format!("{root}{key}")
}

/// A lease as etcd has it. Of another store's making, it may not be one of etcd's: then there is none like it.
pub(super) fn to_etcd(lease: LeaseId) -> i64 {
    i64::try_from(lease.0).unwrap_or(i64::MAX)
}
