//! What a cluster costs: a measurement, not a test. Prints a table for each question and asserts only that nothing was
//! lost meanwhile.
//!
//! ```sh
//! cargo build --release --workspace --bin realtime --example cluster_bench
//! REALTIME_BIN=target/release/realtime target/release/examples/cluster_bench
//! ```
//!
//! Arguments: the questions (`replication`, `latency`, `subscribe`, `interest`, `links`, `change`, `start`); all, if there is none.

#![allow(clippy::unwrap_used, reason = "a measurement that fails reports by panicking")]

mod change;
mod interest;
mod latency;
mod links;
mod replication;
mod start;
mod subscribe;
mod times;

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |question: &str| asked.is_empty() || asked.iter().any(|one| one == question);
    if is_asked("replication") {
        replication::measure().await;
    }
    if is_asked("latency") {
        latency::measure().await;
    }
    if is_asked("subscribe") {
        subscribe::measure().await;
    }
    if is_asked("interest") {
        interest::measure().await;
    }
    if is_asked("links") {
        links::measure().await;
    }
    if is_asked("change") {
        change::measure().await;
    }
    if is_asked("start") {
        start::measure().await;
    }
}
