//! A connection whose HTTP/2 preface has been read, as the gRPC server takes it: from its beginning.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tonic::transport::server::Connected;

use crate::places::Place;

/// What every client begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// For whoever begins with something else. A browser shows it, and a TLS client sees that no TLS is spoken here.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 22\r\nConnection: close\r\n\r\n\
    this port speaks gRPC\n";

/// A connection that speaks HTTP/2. Holds its place among the port's connections to its end.
pub struct GrpcStream<C> {
    connection: C,
    /// What has been read and is to be read again.
    preface: &'static [u8],
    _place: Place,
}

impl<C> GrpcStream<C> {
    /// A connection from which the preface was read.
    pub(super) fn new(connection: C, place: Place) -> Self {
        Self { connection, preface: PREFACE, _place: place }
    }
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

/// gRPC services see of the peer what they see without this.
impl<C: Connected> Connected for GrpcStream<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> C::ConnectInfo {
        self.connection.connect_info()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for GrpcStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
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
        Pin::new(&mut self.get_mut().connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }
}

impl<C> std::fmt::Debug for GrpcStream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcStream").finish_non_exhaustive()
    }
}
