//! The places of a listener's connections: so many, and no more. When all are taken, the connection that has been
//! without a request for the longest gives way: whoever opens connections and sends nothing, or never the whole of a
//! request, holds them only until somebody needs them. On the gRPC port that goes for connections over which nobody
//! has been authenticated yet; the others keep their places, those of applications' callers three quarters of them.
//!
//! Never here: sockets. A connection that has to go is told, and ends itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// For one that was told to go to be gone: it is busy with nothing else.
const GOES_WITHIN: Duration = Duration::from_millis(100);

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    count: usize,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Idle>>,
    /// What applications' callers may keep of them.
    shares: Arc<Semaphore>,
}

/// Connections without a request, the longest first.
#[derive(Debug, Default)]
struct Idle {
    by_turn: BTreeMap<u64, CancellationToken>,
    next: u64,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let (free, shares) = (Arc::new(Semaphore::new(count)), Arc::new(Semaphore::new(count - count / 4)));
        Self { count, free, idle: Arc::default(), shares }
    }

    /// Waits for a place. Where none is free, one without a request is taken back.
    pub(crate) async fn take(&self) -> Place {
        loop {
            if let Some(place) = self.take_now().await {
                return place;
            }
            self.one_to_go().await;
        }
    }

    /// A place that is free, or is taken back; `None`: all are in use.
    pub(crate) async fn take_now(&self) -> Option<Place> {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return Some(Place::new(permit, Arc::clone(&self.idle), Arc::clone(&self.shares)));
            }
            let evicted = self.idle.lock().by_turn.pop_first();
            let (_, told) = evicted?;
            told.cancel();
            self.one_to_go().await;
        }
    }

    /// Waits until a place may have come free.
    async fn one_to_go(&self) {
        // The semaphore is never closed. What is over in time is asked for again.
        let _ = timeout(GOES_WITHIN, self.free.acquire()).await;
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.count - self.free.available_permits()
    }
}

/// A connection's place, from its acceptance to its end or its shard.
pub(crate) struct Place {
    idle: Arc<Mutex<Idle>>,
    shares: Arc<Semaphore>,
    told: CancellationToken,
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
}

struct State {
    /// Requests that are being served; HTTP/2 has several.
    requests: usize,
    /// Its key among the idle ones; used up where it is none of them.
    turn: u64,
    /// When it last became idle.
    since: Instant,
    /// Of an application's caller that keeps its place.
    share: Option<OwnedSemaphorePermit>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, idle: Arc<Mutex<Idle>>, shares: Arc<Semaphore>) -> Self {
        let told = CancellationToken::new();
        let turn = idle.lock().enter(&told);
        let state = Mutex::new(State { requests: 0, turn, since: Instant::now(), share: None });
        Self { idle, shares, told, state, _permit: permit }
    }

    /// Resolves when the connection has to go.
    pub(crate) fn taken_back(&self) -> impl Future<Output = ()> + use<> {
        self.told.clone().cancelled_owned()
    }

    /// Resolves when the connection has been without a request for so long.
    pub(crate) async fn idle_for(&self, time: Duration) {
        loop {
            let (is_idle, until) = {
                let state = self.state.lock();
                (state.requests == 0, state.since + time)
            };
            let now = Instant::now();
            if is_idle && until <= now {
                return;
            }
            // A request's end is looked for, rather than told: nothing hangs on the moment.
            sleep_until(until.max(now + time / 8)).await;
        }
    }

    /// Keeps the place as long as the answer is not made.
    pub(crate) fn request(&self) -> impl Drop + '_ {
        self.keep();
        Request(self)
    }

    /// Keeps the place to its end.
    pub(crate) fn keep(&self) {
        self.keep_in(&mut self.state.lock());
    }

    /// The same for an application's caller. `false`: others have all that there is to share; it has become the last of
    /// those that give way.
    pub(crate) fn keep_shared(&self) -> bool {
        let mut state = self.state.lock();
        if state.share.is_some() {
            return true;
        }
        state.share = Arc::clone(&self.shares).try_acquire_owned().ok();
        if state.share.is_some() {
            self.keep_in(&mut state);
            return true;
        }
        let mut idle = self.idle.lock();
        // Unless it has been told to go.
        if idle.by_turn.remove(&state.turn).is_some() {
            state.turn = idle.enter(&self.told);
        }
        false
    }

    fn keep_in(&self, state: &mut State) {
        state.requests += 1;
        if state.requests == 1 {
            self.idle.lock().by_turn.remove(&state.turn);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.idle.lock().by_turn.remove(&self.state.get_mut().turn);
    }
}

/// A request that is being served.
struct Request<'p>(&'p Place);

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let Self(place) = self;
        let mut state = place.state.lock();
        state.requests -= 1;
        if state.requests == 0 {
            state.turn = place.idle.lock().enter(&place.told);
            state.since = Instant::now();
        }
    }
}

impl Idle {
    /// Enters a connection as the last that has become idle.
    fn enter(&mut self, told: &CancellationToken) -> u64 {
        let turn = self.next;
        self.next += 1;
        self.by_turn.insert(turn, told.clone());
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    async fn is_taken_back(place: &Place) -> bool {
        timeout(Duration::ZERO, place.taken_back()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_for_the_longest_gives_way() {
        let places = Places::new(3);
        let (first, second, third) = (places.take().await, places.take().await, places.take().await);
        // The first has had a request since.
        drop(first.request());
        let mut newcomer = pin!(places.take());
        assert!(timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
        assert!(!is_taken_back(&first).await && is_taken_back(&second).await && !is_taken_back(&third).await);
        drop(second);
        newcomer.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let time = Duration::from_secs(30);
        let place = Places::new(1).take().await;
        let started = Instant::now();
        place.idle_for(time).await;
        assert_eq!(started.elapsed().as_secs(), 30);
        let mut idle = pin!(place.idle_for(time));
        let request = place.request();
        assert!(timeout(10 * time, idle.as_mut()).await.is_err());
        drop(request);
        let ended = Instant::now();
        idle.await;
        assert!((30..=40).contains(&ended.elapsed().as_secs()), "{:?}", ended.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn those_with_a_request_keep_their_places() {
        let places = Places::new(1);
        let place = places.take().await;
        let (one, two) = (place.request(), place.request());
        let mut newcomer = pin!(places.take());
        assert!(timeout(GOES_WITHIN * 10, newcomer.as_mut()).await.is_err());
        drop(one);
        assert!(timeout(GOES_WITHIN * 10, newcomer.as_mut()).await.is_err());
        assert!(!is_taken_back(&place).await);
        drop(two);
        assert!(timeout(GOES_WITHIN * 10, newcomer.as_mut()).await.is_err(), "it has not gone yet");
        assert!(is_taken_back(&place).await);
        drop(place);
        newcomer.await;
        assert!(places.idle.lock().by_turn.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_at_once_is_a_free_one_or_an_idle_ones() {
        let places = Places::new(2);
        let (kept, idle) = (places.take_now().await.unwrap(), places.take_now().await.unwrap());
        kept.keep();
        let mut newcomer = pin!(places.take_now());
        assert!(timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
        assert!(is_taken_back(&idle).await && !is_taken_back(&kept).await);
        drop(idle);
        let newcomer = newcomer.await.unwrap();
        newcomer.keep();
        assert!(places.take_now().await.is_none());
        drop(kept);
        assert_eq!(places.taken(), 1);
        assert!(places.take_now().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn applications_callers_keep_three_quarters_and_the_others_go_by_their_last_call() {
        let places = Places::new(8);
        let mut callers = Vec::new();
        for n in 0..8 {
            callers.push(places.take().await);
            assert_eq!(callers[n].keep_shared(), n < 6, "{n}");
        }
        assert!(callers[0].keep_shared(), "it has its share");
        // The last but one calls again.
        assert!(!callers[6].keep_shared());
        let mut newcomer = pin!(places.take());
        assert!(timeout(Duration::ZERO, newcomer.as_mut()).await.is_err());
        assert!(is_taken_back(&callers[7]).await && !is_taken_back(&callers[6]).await);
        assert!(!callers[7].keep_shared(), "it goes all the same");
        callers.truncate(5);
        assert!(newcomer.await.keep_shared(), "a share that has come free");
        assert!(places.idle.lock().by_turn.is_empty());
    }
}
