//! Waiting: for a future with a deadline, or for a condition to become true.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long anything that should happen may take before a test fails. Far above what it takes, since the
/// machine may be busy: reaching it means that it never happens.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Between two attempts of [`eventually`].
const POLL: Duration = Duration::from_millis(5);

/// Waits for `future` at most [`DEADLINE`].
///
/// # Panics
/// Naming `what`, when the deadline passes.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Asks again and again until `attempt` gives a value.
///
/// # Panics
/// Naming `what`, when [`DEADLINE`] passes.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        sleep(POLL).await;
    }
}

/// Asks again and again until `attempt` gives `expected`.
///
/// # Panics
/// Naming `what` and the last answer, when [`DEADLINE`] passes.
pub async fn eventually_equal<T: PartialEq + Debug>(
    what: &str,
    expected: T,
    mut attempt: impl AsyncFnMut() -> T,
) {
    let start = Instant::now();
    loop {
        let got = attempt().await;
        if got == expected {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: {expected:?} was due within {DEADLINE:?}, not {got:?}");
        sleep(POLL).await;
    }
}
