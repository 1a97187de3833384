//! HTTP/2 on one connection: the bounds of its streams, and who owns their tasks.
//!
//! Never here: routes and answers, which are those of HTTP/1.1.

use std::future::Future;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connection::PARSER_HEAD_BYTES;

/// Requests of one connection at a time. Clients send a hundred before they have read how many they may, as RFC 9113
/// advises servers to allow at least (6.5.2).
const STREAMS: u32 = 128;
/// Request bodies that may come before they are read, of one request and of the connection. The largest body that
/// any route takes is 256 KiB.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Of each answer, what may wait in memory for the client to read it.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that a client may reset before we have got round to them, and for which we had to: a flood of resets
/// costs the flooder its connection (CVE-2023-44487, CVE-2025-8671).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 256;
/// A client that has vanished is noticed within 40 s.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// The protocol with its bounds. A WebSocket needs HTTP/1.1: extended CONNECT is not advertised.
pub(super) fn builder(streams: &Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(PARSER_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// The tasks of one connection's streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Streams {
    /// Ends them with what is returned.
    pub(super) fn end_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Ends what the connection has left.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled_owned(stream).await;
        });
    }
}
