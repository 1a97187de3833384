//! The mesh in a simulated cluster: virtual time, one seed, and between any two steps links that break or stall, nodes
//! that crash and return, partitions, and a discovery that is late or away.
//!
//! What must hold at every step: no publish reaches a node twice; what one publisher publishes on one topic arrives in
//! order; a publish on a topic whose subscriber has been welcomed arrives, unless the link that it was queued for
//! breaks; and what does not arrive was counted. In the end, once everything is healed, interest is the same at both
//! ends of every link: what is published then goes to the nodes with a subscriber and to no other. Nothing is left over.
//!
//! Of mirrored sessions: an open one is never announced as ended; one that its node's guardian had confirmed is announced
//! once the node has died, if the guardian lives; and none is announced twice, or after its node has announced it, but by
//! a node that was cut off from who knows better.
//!
//! `SIMULATION_SEED=n` repeats one run, `SIMULATION_RUNS=n` makes more of them.

mod ledger;
mod network;
mod node;
mod plan;
mod presence;
mod random;
mod world;

use plan::Plan;
use world::World;

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
fn what_a_dead_node_had_mirrored_is_announced() {
    run(|seed| {
        // Crashes are as rare as a lease is long, so that guardians outlive their wards.
        let plan = Plan { seed, nodes: 3 + seed as usize % 3, steps: 1500, ..Plan::everything() };
        Plan { crash: 300, cut: 20, partition: 300, outage: 800, ..plan }
    });
}

#[test]
fn a_run_is_repeated_by_its_seed() {
    let trace = || World::new(Plan { seed: 7, nodes: 4, steps: 800, ..Plan::everything() }).run();
    assert_eq!(trace(), trace());
}
