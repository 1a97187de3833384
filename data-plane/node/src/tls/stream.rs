//! A TLS session on a tokio socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::{Acceptor, H2, RECORD_BYTES, SEALED_BYTES, Session};

/// Bytes taken from the socket at a time: a request fits, and each open connection holds as much.
const READ_BYTES: usize = 4096;
/// Sealed bytes that may wait before no more are made: bounds what a client that does not read costs.
const MAX_UNSENT_BYTES: usize = 64 * 1024;
/// The first byte of a handshake record.
const HANDSHAKE: u8 = 0x16;

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// The client does not speak TLS; its socket, so that it can be told.
    #[error("the client does not speak TLS")]
    Plain {
        /// The connection.
        socket: TcpStream,
        /// What it began with.
        first_byte: u8,
    },
    /// The socket broke, or the handshake failed; the client has been told.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: Box<Session>,
    /// Where sealed bytes are read into.
    sealed: Vec<u8>,
    /// Opened, and not read yet.
    plain: BytesMut,
}

impl Acceptor {
    /// Shakes hands. Takes as long as the client does: the caller bounds it.
    ///
    /// # Errors
    /// What kept the connection from being accepted.
    pub async fn accept(&self, socket: TcpStream) -> Result<TlsStream, NotAccepted> {
        let mut first = [0];
        // Before a byte is taken, so that one who speaks plain HTTP can be answered in kind.
        if socket.peek(&mut first).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if first[0] != HANDSHAKE {
            return Err(NotAccepted::Plain { socket, first_byte: first[0] });
        }
        let session = Session::new(self.0.clone()).map_err(io::Error::other)?;
        let mut stream =
            TlsStream { socket, session: Box::new(session), sealed: Vec::new(), plain: BytesMut::new() };
        while stream.session.is_handshaking() {
            if std::future::poll_fn(|cx| stream.poll_fill(cx)).await? == Filled::End {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            stream.flush().await?;
        }
        Ok(stream)
    }
}

/// What reading from the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Some,
    End,
}

impl TlsStream {
    /// Whether the client has chosen HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.session.protocol() == Some(H2)
    }

    /// The socket below.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The parts, and what was opened and not read. Nothing may be unsent: flush before.
    pub(crate) fn into_parts(self) -> (TcpStream, Box<Session>, Bytes) {
        (self.socket, self.session, self.plain.freeze())
    }

    /// Reads once from the socket and opens what came.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        let from = self.session.partial().len();
        self.sealed.resize(from + READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut self.sealed[from..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(Filled::End));
        }
        self.sealed[..from].copy_from_slice(self.session.partial());
        let received = self
            .session
            .receive(&mut self.sealed[..from + read], |plain| self.plain.extend_from_slice(plain));
        if let Err(error) = received {
            // The alert, if the socket takes it: nobody waits for a client that has broken the protocol.
            let _ = self.poll_send(cx);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(Filled::Some))
    }

    /// Sends all that is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.unsent().is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, self.session.unsent()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.taken(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.plain.is_empty() && !stream.session.client_is_done() {
            if ready!(stream.poll_fill(cx))? == Filled::End {
                return Poll::Ready(Ok(()));
            }
            // What TLS itself has to say goes out when it can; a read does not wait for that.
            if let Poll::Ready(sent) = stream.poll_send(cx) {
                sent?;
            }
        }
        let length = stream.plain.len().min(buffer.remaining());
        buffer.put_slice(&stream.plain[..length]);
        stream.plain.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.session.unsent().len() > MAX_UNSENT_BYTES {
            ready!(stream.poll_send(cx))?;
        }
        let record = &bytes[..bytes.len().min(RECORD_BYTES)];
        let mut sealed = vec![0; record.len() + SEALED_BYTES - RECORD_BYTES];
        let length = stream.session.seal(record, &mut sealed).ok_or(io::ErrorKind::BrokenPipe)?;
        stream.session.keep(&sealed[..length]);
        if let Poll::Ready(sent) = stream.poll_send(cx) {
            sent?;
        }
        Poll::Ready(Ok(record.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.session.close();
        ready!(stream.poll_send(cx))?;
        Pin::new(&mut stream.socket).poll_shutdown(cx)
    }
}
