//! Many light clients that come back elsewhere when their session ends, as real ones do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use realtime_testkit::{RawSocket, TestApp, route, unix_now};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::recorder::answer;

/// Openings under way at one time: the machine that plays two thousand clients has two cores.
const OPENINGS: usize = 32;
/// Longer than any test.
const TOKEN_SECONDS: u64 = 600;
/// A node that drains.
const GOING_AWAY: u16 = 1001;

/// The clients. Dropping it drops their connections.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// The application at each node.
    places: Vec<TestApp>,
    open: Vec<AtomicUsize>,
    /// Where clients may go.
    welcome: Vec<AtomicBool>,
    closed: AtomicUsize,
    openings: Semaphore,
}

impl Crowd {
    /// Clients spread over the nodes, at which the app is reached as `places` say.
    #[must_use]
    pub fn start(places: Vec<TestApp>, clients: usize) -> Self {
        let shared = Arc::new(Shared {
            open: places.iter().map(|_| AtomicUsize::new(0)).collect(),
            welcome: places.iter().map(|_| AtomicBool::new(true)).collect(),
            closed: AtomicUsize::new(0),
            openings: Semaphore::new(OPENINGS),
            places,
        });
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            tasks.spawn(live(client, Arc::clone(&shared)));
        }
        Self { shared, tasks }
    }

    /// Open sessions, by node.
    #[must_use]
    pub fn open(&self) -> Vec<usize> {
        self.shared.open.iter().map(|open| open.load(Ordering::SeqCst)).collect()
    }

    /// Clients go to this node, or pass it by, as those behind a load balancer do.
    pub fn send_to(&self, node: usize, welcome: bool) {
        self.shared.welcome[node].store(welcome, Ordering::SeqCst);
    }

    /// Sessions that have ended so far.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Checks that no client has given up.
    ///
    /// # Panics
    /// When one has panicked.
    pub fn is_whole(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            panic!("a client has given up: {ended:?}");
        }
    }
}

/// One client: a session, and after its end the next one, elsewhere.
async fn live(client: usize, shared: Arc<Shared>) {
    let subject = format!("client-{client}");
    let exp = unix_now() + TOKEN_SECONDS;
    let token = shared.places[0].sign(json!({"sub": subject, "permissions": [], "exp": exp}));
    let mut node = client % shared.places.len();
    loop {
        let Some(mut socket) = open(&shared, node, &token).await else {
            node = (node + 1) % shared.places.len();
            continue;
        };
        shared.open[node].fetch_add(1, Ordering::SeqCst);
        let code = until_closed(&mut socket).await;
        shared.open[node].fetch_sub(1, Ordering::SeqCst);
        shared.closed.fetch_add(1, Ordering::SeqCst);
        assert_eq!(code, Some(GOING_AWAY), "{subject} at node {node}");
        node = (node + 1) % shared.places.len();
    }
}

async fn open(shared: &Shared, node: usize, token: &str) -> Option<RawSocket> {
    let _turn = shared.openings.acquire().await.ok()?;
    // Lets others have their turn while every node is refused.
    tokio::task::yield_now().await;
    if !shared.welcome[node].load(Ordering::SeqCst) {
        return None;
    }
    let app = &shared.places[node];
    let connection = route::connect(app.address()).await.ok()?;
    let mut socket = RawSocket::upgrade(connection, &app.path(token), &[]).await.ok()?;
    socket.read_frame().await?;
    Some(socket)
}

async fn until_closed(socket: &mut RawSocket) -> Option<u16> {
    loop {
        let frame = socket.next_frame().await?;
        if !answer(socket, &frame).await {
            return Some(frame.close().0);
        }
    }
}
