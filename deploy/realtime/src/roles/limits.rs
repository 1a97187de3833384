//! The limits that the operating system sets the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Every connection is an open file, and the usual limit of 1,024 is a default for programs that know no better:
/// raises it to what the administrator allows.
pub(super) fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays at {current:?}"),
    }
}
