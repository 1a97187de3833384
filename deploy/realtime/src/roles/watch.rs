//! Files that count again when they change: their stamps, looked at from time to time.
//!
//! Polled rather than watched by inotify: a look is one system call, and it finds every way of replacing a file, also
//! the swapped symbolic links of Kubernetes' volumes and files on network shares.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How soon a changed file counts.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells one content of a file from the next; `None`: it cannot be looked at. The time is that of the inode's
/// change and not of the content's: a copy may keep the latter, and a file that could not be read, because a renewal
/// set its mode only afterwards, is to be tried again then.
type Stamp = Option<(i64, i64, u64, u64)>;

/// Files as they were when last looked at.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl Watched {
    /// To be made before the files are read, so that no change is missed.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = stamps(&paths);
        Self { paths, seen }
    }

    /// Calls `read_again` after every change, for ever.
    pub(super) async fn follow(mut self, mut read_again: impl FnMut()) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let now = stamps(&self.paths);
            if now != self.seen {
                self.seen = now;
                read_again();
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ctime(), metadata.ctime_nsec(), metadata.len(), metadata.ino()))
    };
    paths.iter().map(stamp).collect()
}

fn ticks() -> Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_way_of_replacing_a_file_is_a_change_and_a_look_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("link"));
        fs::write(&path, "one").unwrap();
        symlink(&path, &link).unwrap();
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        let watched = Watched::new(vec![link.clone()]);
        let task = tokio::spawn(watched.follow(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let look = async |expected| {
            tokio::time::sleep(LOOK_EVERY * 2).await;
            assert_eq!(changes.load(Ordering::Relaxed), expected);
        };
        look(0).await;
        fs::write(&path, "other").unwrap();
        look(1).await;
        // As Kubernetes does it: the link comes to lead to another file, in one step.
        fs::write(dir.path().join("b"), "other").unwrap();
        symlink(dir.path().join("b"), dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), &link).unwrap();
        look(2).await;
        // A renewal that lets the server's user read the file as its last step.
        fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o640)).unwrap();
        look(3).await;
        // A copy that keeps length and time.
        let then = fs::metadata(dir.path().join("b")).unwrap().modified().unwrap();
        fs::write(dir.path().join("b"), "third").unwrap();
        fs::File::options().append(true).open(dir.path().join("b")).unwrap().set_modified(then).unwrap();
        look(4).await;
        fs::remove_file(&link).unwrap();
        look(5).await;
        look(5).await;
        task.abort();
    }
}
