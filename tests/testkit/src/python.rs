//! The Python that has the packages of `tests/clients/requirements.txt`.

use std::env;
use std::path::{Path, PathBuf};

/// Names the Python that has the packages of `tests/clients/requirements.txt`; `tests/run` sets it.
const PYTHON_VARIABLE: &str = "REALTIME_TEST_PYTHON";

/// That Python, or the one that `tests/run` has made beside this program.
#[must_use]
pub fn python() -> PathBuf {
    if let Some(path) = env::var_os(PYTHON_VARIABLE) {
        return path.into();
    }
    // This program is TARGET/PROFILE/deps/NAME.
    let target = env::current_exe().ok().and_then(|exe| exe.ancestors().nth(3).map(Path::to_owned));
    target.unwrap_or_default().join("test-venv/bin/python")
}
