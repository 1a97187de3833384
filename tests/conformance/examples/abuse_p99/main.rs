//! What the abuse of one application does to the round trips of another: the server on core 0, the abuse and the
//! measuring client on core 1, the abuse with the lower priority there. Prints a table for `docs/benchmarks.md`.
//!
//! ```sh
//! cargo run --release -p realtime-conformance --example abuse_p99 -- [SECONDS [KIND…]]
//! ```
//!
//! Never here: whether the answers are right and everything is given back, which the tests of the suite ask.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program: a panic is the report")]

mod flood;
mod kinds;
mod probe;
mod world;

use std::sync::Arc;
use std::time::Duration;

use realtime_testkit::Server;
use realtime_testkit::process::pin_to_core;
use tokio::runtime::Builder;

use flood::{FRAMES, Flood, Kind};
use kinds::KINDS;
use probe::{Probe, Times};
use world::World;

/// What the round trips of others may take at most, where twice the quiet figure is less.
const LIMIT: Duration = Duration::from_millis(20);
/// For an abuse to come up to speed.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(10, |text| text.parse().expect("a number of seconds"));
    let chosen: Vec<String> = arguments.collect();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    // The server inherits the core of the thread that starts it.
    pin_to_core(0);
    let server = runtime.block_on(Server::start());
    pin_to_core(1);
    runtime.block_on(measure(&server, Duration::from_secs(seconds), &chosen));
}

/// How much of the abuse has been done. Frames are counted by the server: not all that are sent are read.
async fn done(server: &Server, kind: &Kind, flood: &Flood) -> u64 {
    match kind.unit {
        FRAMES => server.metric("realtime_frames_received_total").await,
        _ => flood.done(),
    }
}

async fn measure(server: &Server, time: Duration, chosen: &[String]) {
    let world = Arc::new(World::prepare(server).await);
    let mut probe = Probe::of(server).await;
    println!("| abuse | p50 | p99 | longest | abuse a second | limit |");
    println!("|---|---|---|---|---|---|");
    let quiet = probe.measure(time).await;
    println!("| none | {quiet} | – | – |");
    let limit = LIMIT.max(2 * quiet.p99);
    for kind in
        KINDS.iter().filter(|kind| chosen.is_empty() || chosen.iter().any(|c| kind.name.contains(c.as_str())))
    {
        let flood = Flood::start(kind, &world);
        tokio::time::sleep(WARM_UP).await;
        let before = done(server, kind, &flood).await;
        let times: Times = probe.measure(time).await;
        let rate = (done(server, kind, &flood).await - before) as f64 / time.as_secs_f64();
        flood.stop().await;
        let verdict = if times.p99 <= limit { "kept" } else { "**over**" };
        println!("| {} | {times} | {rate:.0} {} | {verdict} |", kind.name, kind.unit);
        world.calm_down(server).await;
    }
    println!("| none, afterwards | {} | – | – |", probe.measure(time).await);
}
