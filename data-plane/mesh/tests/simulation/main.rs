//! The mesh in a simulated cluster: virtual time, one seed, and between any two steps links that break or stall, nodes
//! that crash and return, partitions, and a discovery that is late or away.
//!
//! What must hold at every step: no publish reaches a node twice; what one publisher publishes on one topic arrives in
//! order; a publish on a topic whose subscriber has been welcomed arrives, unless the link that it was queued for
//! breaks; and what does not arrive was counted. In the end, once everything is healed, interest is the same at both
//! ends of every link and nothing is left over.
//!
//! `SIMULATION_SEED=n` repeats one run, `SIMULATION_RUNS=n` makes more of them.

mod network;
mod node;
mod random;
mod world;

use world::{Plan, World};

/// Runs by default: some seconds in a debug build.
const RUNS: u64 = 40;

fn seeds() -> std::ops::Range<u64> {
    let read = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match read("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..read("SIMULATION_RUNS").unwrap_or(RUNS),
    }
}

/// Runs every seed; a failure names its own.
fn run(plan: impl Fn(u64) -> Plan + std::panic::RefUnwindSafe) {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| World::new(plan(seed)).run());
        assert!(outcome.is_ok(), "failed with SIMULATION_SEED={seed}");
    }
}

#[test]
fn a_cluster_in_which_anything_may_break_keeps_its_promises() {
    run(|seed| Plan { seed, nodes: 2 + seed as usize % 4, steps: 1200, ..Plan::everything() });
}

#[test]
fn a_stable_cluster_loses_nothing() {
    run(|seed| Plan { seed, nodes: 3, steps: 600, ..Plan::stable() });
}

#[test]
fn queues_that_are_too_small_lose_what_they_count() {
    run(|seed| Plan { seed, nodes: 3, steps: 600, queue_bytes: 200, ..Plan::everything() });
}

#[test]
fn a_run_is_repeated_by_its_seed() {
    let trace = || World::new(Plan { seed: 7, nodes: 4, steps: 800, ..Plan::everything() }).run();
    assert_eq!(trace(), trace());
}
