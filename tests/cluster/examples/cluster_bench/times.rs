//! Percentiles.

use std::time::Duration;

/// Columns of [`row`].
pub(crate) const COLUMNS: &str = "p50 | p99 | longest | samples";

/// Percentiles in milliseconds, as the cells of a table.
pub(crate) fn row(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    format!("{:.2} ms | {:.2} ms | {:.2} ms | {}", at(0.5), at(0.99), at(1.0), times.len())
}
