//! Many at once.

use std::future::Future;

use realtime_testkit::raw::RawSocket;
use realtime_testkit::{TestApp, within};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

/// How many are being made at one time: below the kernel's backlog.
const AT_ONCE: usize = 64;

/// Makes `count` of something, many at a time.
pub(crate) async fn crowd<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    make: impl Fn(usize) -> F,
) -> Vec<T> {
    let mut made = Vec::with_capacity(count);
    let mut making = JoinSet::new();
    for n in 0..count {
        if making.len() >= AT_ONCE {
            made.push(making.join_next().await.unwrap().unwrap());
        }
        making.spawn(make(n));
    }
    while let Some(done) = making.join_next().await {
        made.push(done.unwrap());
    }
    made
}

/// A connection, from one of the loopback's many addresses: each has ports of its own.
pub(crate) async fn connect_from(address: &str, source: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, source], 0).into()).unwrap();
    within("a TCP connection", socket.connect(address.parse().unwrap())).await.unwrap()
}

/// A session whose welcome is still to be read.
pub(crate) async fn session_from(address: &str, path: &str, source: u8) -> RawSocket<TcpStream> {
    let stream = connect_from(address, source).await;
    within("the upgrade", RawSocket::upgrade(stream, path, &[]))
        .await
        .unwrap_or_else(|refusal| panic!("the upgrade was refused: {}", refusal.text()))
}

/// Sessions of one app, each with its welcome read.
pub(crate) async fn sessions(app: &TestApp, count: usize) -> Vec<RawSocket<TcpStream>> {
    let token = app.sign(serde_json::json!({}));
    crowd(count, |_| {
        let (address, path) = (app.address().to_owned(), app.path(&token));
        async move {
            let mut socket = session_from(&address, &path, 1).await;
            socket.expect_frame().await;
            socket
        }
    })
    .await
}

/// Reads until the connection ends, however it does.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it counts.
    let _ = within("the connection's end", stream.read_to_end(&mut bytes)).await;
    bytes
}

/// Sockets that the tests of this program may have at one time. Both sides' descriptors may be limited to 20,000,
/// and the tests run side by side.
static SOCKETS: Semaphore = Semaphore::const_new(14_000);

/// Waits until there is room for so many sockets.
pub(crate) async fn reserve_sockets(count: usize) -> SemaphorePermit<'static> {
    SOCKETS.acquire_many(u32::try_from(count).unwrap()).await.unwrap()
}
