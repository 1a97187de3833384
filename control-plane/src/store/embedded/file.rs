//! Opening the database file: permissions, the wait for a predecessor's lock, and whose file it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::{Builder, Database, DatabaseError, StorageError};

/// How long a predecessor may hold the file: a killed process gives its locks up when the kernel has torn it
/// down, which takes milliseconds; a stopping one when its last transaction is done.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// The data is small; the default of 1 GiB is for databases.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why the embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file is damaged, or something else than a store.
    #[error("{} is not a store of this program, or is damaged ({reason}); restore it from a backup or move it away", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn not_a_store(path: &Path, reason: impl ToString) -> Self {
        Self::NotAStore { path: path.to_owned(), reason: reason.to_string() }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Creates `directory` (mode 0700 where it is new; an existing directory is its owner's business) and opens
/// the file in it, for its owner only, since it holds secrets.
pub(super) fn open(directory: &Path, name: &str) -> Result<(Database, PathBuf), OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| OpenError::io(directory, e))?;
    let path = directory.join(name);
    make_private(&path).map_err(|e| OpenError::io(&path, e))?;
    // The new file's name must survive a power cut as its content does.
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| OpenError::io(directory, e))?;
    let database = open_database(&path)?;
    Ok((database, path))
}

/// Leaves an (empty, if new) file that its owner alone may read.
fn make_private(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        // The integrity check reads the whole (small) file: damage shows now and as an error, not later.
        let result =
            Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path);
        match result {
            Ok(database) => return Ok(database),
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse(path.to_owned())),
            // redb says "invalid data" for a file of something else.
            Err(DatabaseError::Storage(StorageError::Io(e))) if e.kind() != io::ErrorKind::InvalidData => {
                return Err(OpenError::io(path, e));
            }
            Err(e) => return Err(OpenError::not_a_store(path, e)),
        }
    }
}
