//! The database file: making it in one step, permissions, the wait for a predecessor's lock, and whose file it is.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
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

/// Creates `directory` (mode 0700 where it is new; an existing directory is its owner's business) and the file in
/// it, for its owner only, since it holds secrets. Answers the file's path.
pub(super) fn prepare(
    directory: &Path,
    name: &str,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<PathBuf, OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| OpenError::io(directory, e))?;
    let path = directory.join(name);
    if is_absent(&path)? {
        let handle = File::open(directory).map_err(|e| OpenError::io(directory, e))?;
        // Held until the handle is dropped: of two processes that start at once, one makes the file.
        lock(&handle, directory)?;
        if is_absent(&path)? {
            make(&path, fill)?;
            // The new file's name must survive a power cut as its content does.
            handle.sync_all().map_err(|e| OpenError::io(directory, e))?;
        }
    }
    make_private(&path).map_err(|e| OpenError::io(&path, e))?;
    Ok(path)
}

/// Whether there is no file. An empty one is damage, not a start that was cut short: see [`make`].
fn is_absent(path: &Path) -> Result<bool, OpenError> {
    match fs::metadata(path) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(OpenError::io(path, e)),
    }
}

fn lock(handle: &File, directory: &Path) -> Result<(), OpenError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(directory.to_owned())),
            // redb's own lock on the file is all there is on such a file system.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(OpenError::io(directory, e)),
        }
    }
}

/// Makes the file under another name and renames it when it is complete: redb takes a file that a killed
/// process has begun to write for something else's, and would refuse it for ever.
fn make(path: &Path, fill: impl FnOnce(&Database) -> Result<(), redb::Error>) -> Result<(), OpenError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(OpenError::io(&unfinished, e)),
        Ok(()) | Err(_) => {}
    }
    make_private(&unfinished).map_err(|e| OpenError::io(&unfinished, e))?;
    let database = Builder::new().create(&unfinished).map_err(|e| failure(&unfinished, e))?;
    fill(&database).map_err(|e| match e {
        redb::Error::Io(e) => OpenError::io(&unfinished, e),
        other => OpenError::not_a_store(&unfinished, other),
    })?;
    drop(database);
    fs::rename(&unfinished, path).map_err(|e| OpenError::io(path, e))
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

/// Opens the file, once whoever has it has let go of it.
pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        // The integrity check reads the whole (small) file: damage shows now and as an error, not later.
        let result = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path);
        match result {
            Ok(database) => return Ok(database),
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
            Err(e) => return Err(failure(path, e)),
        }
    }
}

fn failure(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        // redb says "invalid data" for a file of something else.
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() != io::ErrorKind::InvalidData => {
            OpenError::io(path, e)
        }
        other => OpenError::not_a_store(path, other),
    }
}
