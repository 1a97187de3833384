//! The tables of the database file, and one write transaction over them.

use std::ops::ControlFlow;

use bytes::Bytes;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use crate::store::{Changes, Commit, Condition, Entry, Event, LeaseId, Listing, Op, StoreError};

/// Facts about the store: `format` and `store_id`.
pub(super) const FACTS: TableDefinition<'_, &str, &str> = TableDefinition::new("facts");
/// `revision`: of the last commit; `compacted`: the newest one that has left the log; `log_bytes`.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// Key → revision, lease (0: none), value.
const ENTRIES: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");
/// Revision and position in it → key, lease, value (`None`: deleted).
const LOG: TableDefinition<'_, LogKey, LogValue<'_>> = TableDefinition::new("log");
/// The keys of each lease.
const LEASED: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("leased");

type LogKey = (u64, u32);
type LogValue<'a> = (&'a str, u64, Option<&'a [u8]>);

/// How much of the past the log keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogLimits {
    /// Most events.
    pub events: u64,
    /// Most bytes of keys and values.
    pub bytes: u64,
}

/// Any error of redb's, as a failure of the store.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string())
}

/// Creates the tables of a new file, so that readers may rely on them.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(FACTS)?;
    txn.open_table(COUNTERS)?;
    txn.open_table(ENTRIES)?;
    txn.open_table(LOG)?;
    txn.open_table(LEASED)?;
    Ok(())
}

/// The store's revision.
pub(super) fn revision(database: &Database) -> Result<u64, redb::Error> {
    counter(&database.begin_read()?, "revision")
}

/// The leases that keys in the file hang on.
pub(super) fn leases(database: &Database) -> Result<Vec<LeaseId>, redb::Error> {
    let mut leases = Vec::new();
    for row in database.begin_read()?.open_table(LEASED)?.iter()? {
        let (lease, _) = row?.0.value();
        if leases.last() != Some(&LeaseId(lease)) {
            leases.push(LeaseId(lease));
        }
    }
    Ok(leases)
}

pub(super) fn get(database: &Database, key: &str) -> Result<Option<Entry>, redb::Error> {
    let table = database.begin_read()?.open_table(ENTRIES)?;
    Ok(table.get(key)?.map(|row| entry(key, row.value())))
}

pub(super) fn list(database: &Database, prefix: &str) -> Result<Listing, redb::Error> {
    let txn = database.begin_read()?;
    let revision = counter(&txn, "revision")?;
    let mut entries = Vec::new();
    for row in txn.open_table(ENTRIES)?.range(prefix..)? {
        let (key, value) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(entry(key.value(), value.value()));
    }
    Ok(Listing { revision, entries })
}

/// Up to `limit` revisions' changes under `prefix` from `from` on. The last item is the newest revision that
/// was looked at. `None`: the store has not reached `from`.
pub(super) fn changes(
    database: &Database,
    prefix: &str,
    from: u64,
    limit: usize,
) -> Result<Option<Vec<Changes>>, StoreError> {
    let txn = database.begin_read().map_err(failed)?;
    let through = counter(&txn, "compacted").map_err(failed)?;
    if from <= through {
        return Err(StoreError::Compacted { through });
    }
    if counter(&txn, "revision").map_err(failed)? < from {
        return Ok(None);
    }
    let mut log = LogReader { prefix, limit, items: Vec::new(), scanned: 0 };
    for row in txn.open_table(LOG).map_err(failed)?.range((from, 0)..).map_err(failed)? {
        let (at, change) = row.map_err(failed)?;
        if log.take(at.value().0, change.value()).is_break() {
            break;
        }
    }
    Ok(Some(log.items))
}

/// Collects log rows into one item for each revision with a match, and one for a tail without.
struct LogReader<'a> {
    prefix: &'a str,
    limit: usize,
    items: Vec<Changes>,
    scanned: usize,
}

impl LogReader<'_> {
    fn take(&mut self, revision: u64, (key, lease, value): LogValue<'_>) -> ControlFlow<()> {
        match self.items.last_mut() {
            Some(last) if last.revision == revision => {}
            _ if self.scanned >= self.limit => return ControlFlow::Break(()),
            Some(last) if last.events.is_empty() => last.revision = revision,
            _ => self.items.push(Changes { revision, events: Vec::new() }),
        }
        self.scanned += 1;
        if let Some(last) = self.items.last_mut().filter(|_| key.starts_with(self.prefix)) {
            last.events.push(match value {
                Some(value) => Event::Put(entry(key, (revision, lease, value))),
                None => Event::Delete { key: key.to_owned() },
            });
        }
        ControlFlow::Continue(())
    }
}

fn counter(txn: &ReadTransaction, name: &str) -> Result<u64, redb::Error> {
    Ok(txn.open_table(COUNTERS)?.get(name)?.map_or(0, |v| v.value()))
}

fn entry(key: &str, (revision, lease, value): (u64, u64, &[u8])) -> Entry {
    let lease = (lease != 0).then_some(LeaseId(lease));
    Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value), revision, lease }
}

/// Runs `work` in one durable transaction; a transaction that changed nothing is not written.
/// Answers what `work` answered, and the revision now.
pub(super) fn transact<T>(
    database: &Database,
    limits: LogLimits,
    work: impl FnOnce(&mut Batch<'_>) -> Result<T, redb::Error>,
) -> Result<(T, u64), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let (answer, is_changed, after) = {
        let mut batch = Batch::open(&txn)?;
        let before = batch.revision;
        let answer = work(&mut batch)?;
        let is_changed = batch.revision != before || batch.compacted.is_some();
        let after = batch.revision;
        if is_changed {
            batch.finish(limits)?;
        }
        (answer, is_changed, after)
    };
    if is_changed {
        txn.commit()?;
    } else {
        txn.abort()?;
    }
    Ok((answer, after))
}

/// A write transaction in which several commits are applied one after another.
pub(super) struct Batch<'t> {
    counters: Table<'t, &'static str, u64>,
    entries: Table<'t, &'static str, (u64, u64, &'static [u8])>,
    log: Table<'t, LogKey, LogValue<'static>>,
    leased: Table<'t, (u64, &'static str), ()>,
    revision: u64,
    log_bytes: u64,
    /// The newest revision that this transaction has taken out of the log.
    compacted: Option<u64>,
}

impl<'t> Batch<'t> {
    fn open(txn: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let counters = txn.open_table(COUNTERS)?;
        let read = |name| Ok::<_, redb::Error>(counters.get(name)?.map_or(0, |v| v.value()));
        let (revision, log_bytes) = (read("revision")?, read("log_bytes")?);
        Ok(Self {
            counters,
            entries: txn.open_table(ENTRIES)?,
            log: txn.open_table(LOG)?,
            leased: txn.open_table(LEASED)?,
            revision,
            log_bytes,
            compacted: None,
        })
    }

    /// Applies one commit. Nothing is changed when a condition does not hold.
    pub(super) fn commit(&mut self, conditions: &[Condition], ops: &[Op]) -> Result<Commit, redb::Error> {
        for condition in conditions {
            if !self.holds(condition)? {
                return Ok(Commit::Conflict);
            }
        }
        let revision = self.revision + 1;
        let mut changed = 0;
        for op in ops {
            changed += u32::from(self.apply(revision, changed, op)?);
        }
        if changed > 0 {
            self.revision = revision;
        }
        Ok(Commit::Committed { revision: self.revision })
    }

    /// Deletes the lease's keys, as one commit.
    pub(super) fn end_lease(&mut self, lease: LeaseId) -> Result<Commit, redb::Error> {
        let mut ops = Vec::new();
        for row in self.leased.range((lease.0, "")..)? {
            let row = row?;
            let (owner, key) = row.0.value();
            if owner != lease.0 {
                break;
            }
            ops.push(Op::Delete(key.to_owned()));
        }
        self.commit(&[], &ops)
    }

    fn holds(&self, condition: &Condition) -> Result<bool, redb::Error> {
        Ok(match condition {
            Condition::Absent(key) => self.entries.get(key.as_str())?.is_none(),
            Condition::Revision(key, revision) => {
                self.entries.get(key.as_str())?.is_some_and(|row| row.value().0 == *revision)
            }
            Condition::PrefixEmpty(prefix) => match self.entries.range(prefix.as_str()..)?.next() {
                Some(row) => !row?.0.value().starts_with(prefix.as_str()),
                None => true,
            },
        })
    }

    /// Whether the operation changed something.
    fn apply(&mut self, revision: u64, position: u32, op: &Op) -> Result<bool, redb::Error> {
        let (key, lease, value) = match op {
            Op::Put { key, value, lease } => (key.as_str(), lease.map_or(0, |l| l.0), Some(&value[..])),
            Op::Delete(key) => (key.as_str(), 0, None),
        };
        let old_lease = match value {
            Some(value) => self.entries.insert(key, (revision, lease, value))?.map_or(0, |row| row.value().1),
            None => match self.entries.remove(key)? {
                Some(row) => row.value().1,
                None => return Ok(false),
            },
        };
        if old_lease != 0 {
            self.leased.remove((old_lease, key))?;
        }
        if lease != 0 {
            self.leased.insert((lease, key), ())?;
        }
        self.log.insert((revision, position), (key, lease, value))?;
        self.log_bytes += logged_bytes(key, value);
        Ok(true)
    }

    /// Takes the changes before a revision out of the log; the newest always stays.
    pub(super) fn forget(&mut self, before: u64) -> Result<Commit, redb::Error> {
        while let Some((oldest, size)) = self.oldest_logged()? {
            if oldest.0 >= before.min(self.revision) {
                break;
            }
            self.drop_logged(oldest, size)?;
        }
        Ok(Commit::Committed { revision: self.revision })
    }

    fn drop_logged(&mut self, at: LogKey, size: u64) -> Result<(), redb::Error> {
        self.log.remove(at)?;
        self.log_bytes -= size;
        self.compacted = Some(at.0);
        Ok(())
    }

    /// Writes the counters and shortens the log, whole revisions at a time; the newest always stays.
    fn finish(mut self, limits: LogLimits) -> Result<(), redb::Error> {
        let mut events = redb::ReadableTableMetadata::len(&self.log)?;
        while let Some((oldest, size)) = self.oldest_logged()? {
            let started = self.compacted == Some(oldest.0);
            let full = events > limits.events || self.log_bytes > limits.bytes;
            if oldest.0 == self.revision || !(started || full) {
                break;
            }
            self.drop_logged(oldest, size)?;
            events -= 1;
        }
        if let Some(compacted) = self.compacted {
            self.counters.insert("compacted", compacted)?;
        }
        self.counters.insert("revision", self.revision)?;
        self.counters.insert("log_bytes", self.log_bytes)?;
        Ok(())
    }

    fn oldest_logged(&self) -> Result<Option<(LogKey, u64)>, redb::Error> {
        Ok(self.log.first()?.map(|(at, change)| {
            let (key, _, value) = change.value();
            (at.value(), logged_bytes(key, value))
        }))
    }
}

fn logged_bytes(key: &str, value: Option<&[u8]>) -> u64 {
    (key.len() + value.map_or(0, <[u8]>::len)) as u64
}
