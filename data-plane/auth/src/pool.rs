//! The threads that verify asymmetric signatures (up to 0.7 ms each), away from shards and the async runtime.
//!
//! Owns its threads: dropping the pool refuses what waits and joins them. What does not fit the queue is
//! refused at once, never awaited.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use realtime_proto::AppId;
use tokio::sync::oneshot;

use crate::fair_queue::{FairQueue, Full};

/// Work for a thread. It answers through a channel of its own.
type Job = Box<dyn FnOnce() + Send>;

/// The verification threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    queue: FairQueue<Job>,
    open: bool,
}

/// Why a job has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PoolError {
    /// The queue, or the application's half of it, is full.
    Full,
    /// The pool has ended.
    Closed,
}

impl Pool {
    /// Starts `threads` threads, at least one.
    ///
    /// # Panics
    /// When the operating system gives no thread at the start, which leaves nothing to serve with.
    pub(crate) fn start(threads: usize, queue: usize) -> Self {
        let state = Mutex::new(State { queue: FairQueue::new(queue), open: true });
        let shared = Arc::new(Shared { state, wake: Condvar::new() });
        let threads = (0..threads.max(1))
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name(format!("verify-{n}"))
                    .spawn(move || shared.work())
                    .expect("a verification thread")
            })
            .collect();
        Self { shared, threads }
    }

    /// Runs `work` on a thread when the application's turn comes. Work whose caller has gone is skipped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        app: &AppId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        self.enqueue(app, work)?.await.map_err(|_| PoolError::Closed)
    }

    fn enqueue<T: Send + 'static>(
        &self,
        app: &AppId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, PoolError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !answer.is_closed() {
                // A caller that goes meanwhile needs no answer.
                drop(answer.send(work()));
            }
        });
        self.shared.state.lock().queue.push(app, job).map_err(|Full| PoolError::Full)?;
        self.shared.wake.notify_one();
        Ok(answered)
    }

    /// Jobs that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().queue.len()
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// Waits for a job; `None` once the pool has ended.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if !state.open {
                return None;
            }
            if let Some(job) = state.queue.pop() {
                return Some(job);
            }
            self.wake.wait(&mut state);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let abandoned = {
            let mut state = self.shared.state.lock();
            state.open = false;
            std::mem::replace(&mut state.queue, FairQueue::new(0))
        };
        drop(abandoned);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a verification thread panicked");
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, waiting) = (self.threads.len(), self.waiting());
        f.debug_struct("Pool").field("threads", &threads).field("waiting", &waiting).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool whose only thread is busy until the sender is dropped.
    async fn busy_pool(queue: usize) -> (Pool, mpsc::Sender<()>) {
        let pool = Pool::start(1, queue);
        let (release, released) = mpsc::channel::<()>();
        let (started, starts) = oneshot::channel();
        let hold = move || {
            started.send(()).unwrap();
            let _ = released.recv();
        };
        // Its answer has to be awaited by someone, or the work would be skipped.
        let answer = pool.enqueue(&app("blocker"), hold).unwrap();
        tokio::spawn(answer);
        starts.await.unwrap();
        (pool, release)
    }

    fn app(name: &str) -> AppId {
        AppId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn work_runs_on_a_named_thread_of_the_pool() {
        let pool = Pool::start(2, 4);
        let name = pool.run(&app("a"), || thread::current().name().map(str::to_owned)).await;
        assert!(name.unwrap().unwrap().starts_with("verify-"));
    }

    #[tokio::test]
    async fn a_flood_of_one_application_leaves_room_and_turns_to_others() {
        let (pool, release) = busy_pool(8).await;
        let (done, order) = mpsc::channel();
        let enqueue = |name: &'static str| {
            let done = done.clone();
            pool.enqueue(&app(name), move || done.send(name).unwrap())
        };
        let mut answers: Vec<_> = (0..4).map(|_| enqueue("flood").unwrap()).collect();
        assert_eq!(enqueue("flood").err(), Some(PoolError::Full));
        answers.push(enqueue("quiet").unwrap());
        assert_eq!(pool.waiting(), 5);
        drop(release);
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["flood", "quiet", "flood", "flood", "flood"]);
    }

    #[tokio::test]
    async fn the_whole_queue_is_bounded() {
        let (pool, _release) = busy_pool(2).await;
        let _first = pool.enqueue(&app("a"), || ()).unwrap();
        let _second = pool.enqueue(&app("b"), || ()).unwrap();
        assert_eq!(pool.run(&app("c"), || ()).await, Err(PoolError::Full));
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_is_skipped() {
        let (pool, release) = busy_pool(4).await;
        let (done, ran) = mpsc::channel();
        drop(pool.enqueue(&app("a"), move || done.send(()).unwrap()).unwrap());
        drop(release);
        pool.run(&app("a"), || ()).await.unwrap();
        assert_eq!(ran.try_iter().count(), 0);
    }

    #[tokio::test]
    async fn dropping_the_pool_refuses_what_waits_and_ends_its_threads() {
        let (pool, release) = busy_pool(4).await;
        let shared = Arc::downgrade(&pool.shared);
        let waiting = pool.enqueue(&app("a"), || ()).unwrap();
        let dropping = thread::spawn(move || drop(pool));
        assert!(waiting.await.is_err(), "refused while the thread is still busy");
        drop(release);
        dropping.join().unwrap();
        assert!(shared.upgrade().is_none(), "no thread is left");
    }
}
