//! A connection whose HTTP/2 preface has been read, as the gRPC server takes it: from its beginning.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use realtime_auth::{ProvisionalConnection, Standing};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tonic::body::Body;
use tonic::transport::server::Connected;

use super::{Counters, Turned};
use crate::places::Place;

/// What every client begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// For whoever begins with something else. A browser shows it, and a TLS client sees that no TLS is spoken here.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 22\r\nConnection: close\r\n\r\n\
    this port speaks gRPC\n";

/// A connection that speaks HTTP/2. Holds its place among the port's connections to its end, which comes when another
/// one needs the place and nobody has been authenticated over this one.
pub struct GrpcStream<C> {
    connection: C,
    /// What has been read and is to be read again.
    preface: &'static [u8],
    place: Arc<Place>,
    /// Done once the place is kept.
    kept: Arc<Once>,
    taken_back: Pin<Box<dyn Future<Output = ()> + Send>>,
    gave_way: bool,
    counters: Arc<Counters>,
}

impl<C> GrpcStream<C> {
    /// A connection from which the preface was read.
    pub(super) fn new(connection: C, place: Place, counters: Arc<Counters>) -> Self {
        let taken_back = Box::pin(place.taken_back());
        Self {
            connection,
            preface: PREFACE,
            place: Arc::new(place),
            kept: Arc::new(Once::new()),
            taken_back,
            gave_way: false,
            counters,
        }
    }

    /// Fails when the connection has to give way. Asked wherever the server waits: a client that reads nothing keeps
    /// it from reading.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.gave_way && !self.kept.is_completed() && self.taken_back.as_mut().poll(cx).is_ready() {
            self.gave_way = true;
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        if self.gave_way {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, Turned::GaveWay));
        }
        Ok(())
    }

    fn provisional(&self) -> ProvisionalConnection {
        let (place, kept) = (Arc::downgrade(&self.place), Arc::clone(&self.kept));
        // Without the connection there is no place to keep.
        ProvisionalConnection::new(move |standing| {
            let Some(place) = place.upgrade().filter(|_| !kept.is_completed()) else { return };
            match standing {
                Standing::Operator => kept.call_once(|| place.keep()),
                Standing::Application if place.keep_shared() => kept.call_once(|| {}),
                Standing::Application => {}
            }
        })
    }
}

/// What the port knows of a connection's client.
#[derive(Debug, Clone)]
pub struct GrpcCaller<I> {
    /// What is known without the port.
    info: I,
    connection: ProvisionalConnection,
}

/// Puts both where services look for them.
pub(super) fn with_caller<I: Clone + Send + Sync + 'static>(
    mut request: http::Request<Body>,
) -> http::Request<Body> {
    if let Some(GrpcCaller { info, connection }) = request.extensions_mut().remove::<GrpcCaller<I>>() {
        request.extensions_mut().insert(info);
        request.extensions_mut().insert(connection);
    }
    request
}

/// Reads the preface, and not a byte more. What does not begin with it is answered, and the connection ends.
pub(super) async fn after_preface<C: AsyncRead + AsyncWrite + Unpin>(mut connection: C) -> io::Result<C> {
    let mut read = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < PREFACE.len() {
        match connection.read(&mut read[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
        if read[..filled] != PREFACE[..filled] {
            turn_away(connection).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
        }
    }
    Ok(connection)
}

/// Answers, and reads until the client hangs up: bytes left unread would reset the connection, and the answer with it.
async fn turn_away<C: AsyncRead + AsyncWrite + Unpin>(mut connection: C) -> io::Result<()> {
    connection.write_all(ANSWER).await?;
    connection.shutdown().await?;
    let mut sink = [0; 1024];
    while connection.read(&mut sink).await? > 0 {}
    Ok(())
}

impl<C: Connected> Connected for GrpcStream<C> {
    type ConnectInfo = GrpcCaller<C::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        GrpcCaller { info: self.connection.connect_info(), connection: self.provisional() }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for GrpcStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.poll_place(cx)?;
        if stream.preface.is_empty() {
            return Pin::new(&mut stream.connection).poll_read(cx, buffer);
        }
        let (now, later) = stream.preface.split_at(stream.preface.len().min(buffer.remaining()));
        buffer.put_slice(now);
        stream.preface = later;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for GrpcStream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.poll_place(cx)?;
        Pin::new(&mut stream.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.poll_place(cx)?;
        Pin::new(&mut stream.connection).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.poll_place(cx)?;
        Pin::new(&mut stream.connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.poll_place(cx)?;
        Pin::new(&mut stream.connection).poll_shutdown(cx)
    }
}

impl<C> std::fmt::Debug for GrpcStream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcStream").finish_non_exhaustive()
    }
}
