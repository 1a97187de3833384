//! gRPC between the roles of one process: the same services, streams and messages as between machines, over
//! pipes in memory instead of sockets. Nobody else can reach it, so that it needs no certificates.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// What one direction holds before its writer waits: more than a chunk of a snapshot gains nothing.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that may wait to be accepted; there is one client.
const BACKLOG: usize = 4;

/// The accepting side, for `serve_with_incoming`.
pub(super) type Incoming =
    tokio_stream::adapters::Map<ReceiverStream<DuplexStream>, fn(DuplexStream) -> io::Result<DuplexStream>>;

/// A channel and the stream at which its connections arrive. The channel connects when it is first used, and
/// again after a connection was lost.
pub(super) fn transport() -> (Channel, Incoming) {
    let (connections, arriving) = mpsc::channel(BACKLOG);
    let connector = service_fn(move |_| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = duplex(PIPE_BYTES);
            connections.send(theirs).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    // The name is never looked up.
    let channel = Endpoint::from_static("http://in-process").connect_with_connector_lazy(connector);
    (channel, ReceiverStream::new(arriving).map(Ok as fn(_) -> _))
}
