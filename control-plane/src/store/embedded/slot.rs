//! The open database, and opening it anew. After an I/O error, a full disk for instance, redb refuses all further
//! work until the file is opened again: the writer does that here, under the readers.
//!
//! Never here: when to (the writer's), how to make a new file (`file`'s).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _};

use super::file::OpenError;
use super::{FORMAT, tables};
use crate::store::StoreError;

/// How to open the file.
pub(super) type Opener = Box<dyn Fn(&Path) -> Result<Database, OpenError> + Send + Sync>;

/// The file, open most of the time.
pub(super) struct Slot {
    path: PathBuf,
    /// The store's: a file that was put in the place of ours is not taken for it.
    id: String,
    open: Opener,
    /// `None` while it is opened anew, and after that has failed.
    database: Mutex<Option<Arc<Database>>>,
}

impl Slot {
    /// Opens the file, which must exist.
    pub(super) fn open(path: PathBuf, open: Opener) -> Result<Self, OpenError> {
        let database = open(&path)?;
        let id = store_id(&path, &database)?;
        Ok(Self { path, id, open, database: Mutex::new(Some(Arc::new(database))) })
    }

    /// The store's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The database, for one transaction: whoever keeps it longer keeps it from being opened anew.
    pub(super) fn get(&self) -> Result<Arc<Database>, StoreError> {
        let closed = || StoreError::Failed("its file could not be opened again after an error".into());
        self.database.lock().clone().ok_or_else(closed)
    }

    /// Closes the file, if it is open, and opens it again; waits for reads that are under way.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        drop(self.database.lock().take());
        let database = (self.open)(&self.path)?;
        if store_id(&self.path, &database)? != self.id {
            return Err(OpenError::not_a_store(&self.path, "another store's file is in its place"));
        }
        *self.database.lock() = Some(Arc::new(database));
        Ok(())
    }
}

/// Whose file it is: the id of a store in our format, or why it is none.
fn store_id(path: &Path, database: &Database) -> Result<String, OpenError> {
    match read_facts(database) {
        Ok(Ok(id)) => Ok(id),
        Ok(Err(foreign)) => Err(OpenError::not_a_store(path, foreign)),
        Err(error) => Err(OpenError::not_a_store(path, error)),
    }
}

fn read_facts(database: &Database) -> Result<Result<String, String>, redb::Error> {
    let txn = database.begin_read()?;
    let facts = match txn.open_table(tables::FACTS) {
        Ok(facts) => facts,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Ok(Err("it is a database of another program".into()));
        }
        Err(e) => return Err(e.into()),
    };
    Ok(match (facts.get("format")?, facts.get("store_id")?) {
        (Some(format), Some(id)) if format.value() == FORMAT => Ok(id.value().to_owned()),
        (Some(format), _) => Err(format!("its format is {:?}, not {FORMAT}", format.value())),
        (None, _) => Err("it does not name its format".into()),
    })
}
