//! Runs one kind of abuse on a thread of its own, until it is stopped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use realtime_testkit::process::lower_priority;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::world::World;

/// The unit of what the server counts itself.
pub(crate) const FRAMES: &str = "frames";

/// One piece of abuse; returns how much of it was done, unless that is [`FRAMES`]. Errors are the server's good right.
pub(crate) type Step = fn(Arc<World>, usize) -> Pin<Box<dyn Future<Output = u64> + Send>>;

/// A kind of abuse.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// How many do it at one time.
    pub(crate) workers: usize,
    /// How often each begins a piece at most; zero: one after the other.
    pub(crate) pace: Duration,
    pub(crate) step: Step,
}

pub(crate) struct Flood {
    done: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Flood {
    pub(crate) fn start(kind: &'static Kind, world: &Arc<World>) -> Self {
        let (done, (stop, stopped)) = (Arc::new(AtomicU64::new(0)), watch::channel(false));
        let (count, world) = (done.clone(), world.clone());
        let thread = std::thread::spawn(move || {
            // What is measured shares the core, and must not wait for what it measures against.
            lower_priority();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(kind, world, count, stopped));
        });
        Self { done, stop, thread }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        joined.await.unwrap().expect("the abuse itself goes on");
    }
}

async fn run(
    kind: &'static Kind,
    world: Arc<World>,
    count: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut workers = JoinSet::new();
    for n in 0..kind.workers {
        let (world, count) = (world.clone(), count.clone());
        workers.spawn(async move {
            let period = kind.pace.max(Duration::from_nanos(1));
            let first = Instant::now() + kind.pace.mul_f64(n as f64 / kind.workers as f64);
            let mut pace = interval_at(first, period);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                if kind.pace.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    pace.tick().await;
                }
                count.fetch_add((kind.step)(world.clone(), n).await, Ordering::Relaxed);
            }
        });
    }
    let _ = stopped.wait_for(|stop| *stop).await;
    workers.shutdown().await;
}
