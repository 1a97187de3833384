//! A connection's byte stream, plain or TLS. Everything above sees plain bytes; a plain connection pays one branch.
//!
//! A write to a TLS connection seals a record only when the socket has taken the last one. So at most one record,
//! 16 KiB, waits sealed: it can be neither dropped nor reordered, whatever the slow-consumer rule says.

use std::io::IoSlice;
use std::net::{Shutdown, TcpStream};

use super::output::Flushed;
use super::poller::{self, Transfer};
use crate::tls::{RECORD_BYTES, SEALED_BYTES, Session};

/// Where a shard seals and opens records: one buffer for all its connections, made with the first TLS one.
#[derive(Debug, Default)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// No more than what opened bytes are read into; more than the rest of a record, so that each read makes
    /// progress, and more than gathering and sealing take.
    const BYTES: usize = super::READ_BYTES;

    fn buffer(&mut self) -> &mut [u8] {
        self.0.resize(Self::BYTES, 0);
        &mut self.0
    }
}

/// A connection's bytes.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<Session>>,
}

/// A plain connection; non-blocking.
impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }
}

impl Stream {
    /// A connection after its TLS handshake; non-blocking.
    pub(crate) fn sealed(socket: TcpStream, session: Box<Session>) -> Self {
        Self { socket, tls: Some(session) }
    }

    /// What the poller watches.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// One read from the socket. `Done(0)` is the end of the stream.
    #[inline]
    pub(super) fn read(&mut self, buffer: &mut [u8], scratch: &mut Scratch) -> Transfer {
        match &mut self.tls {
            None => poller::read(&self.socket, buffer),
            Some(tls) => read_sealed(&self.socket, tls, buffer, scratch.buffer()),
        }
    }

    /// Whether the client has said that nothing more will come from it, which a socket does not tell.
    pub(super) fn client_is_done(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_is_done())
    }

    /// Writes, or begins to. What is done may still be [`Self::unsent`] in part.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8], scratch: &mut Scratch) -> Transfer {
        match &mut self.tls {
            None => poller::write(&self.socket, bytes),
            Some(tls) => write_sealed(&self.socket, tls, bytes, scratch.buffer()),
        }
    }

    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>], scratch: &mut Scratch) -> Transfer {
        let Some(tls) = &mut self.tls else { return poller::write_vectored(&self.socket, slices) };
        let (gathered, sealed) = scratch.buffer().split_at_mut(RECORD_BYTES);
        let mut length = 0;
        for slice in slices {
            let taken = slice.len().min(RECORD_BYTES - length);
            gathered[length..length + taken].copy_from_slice(&slice[..taken]);
            length += taken;
        }
        write_sealed(&self.socket, tls, &gathered[..length], sealed)
    }

    /// Sealed bytes that the socket refused to take.
    #[inline]
    pub(super) fn unsent(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent().len())
    }

    /// Bytes of a record whose rest has not come.
    #[inline]
    pub(super) fn unopened(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.partial().len())
    }

    /// Writes sealed bytes while the socket takes them.
    pub(super) fn flush(&mut self) -> Flushed {
        match &mut self.tls {
            None => Flushed::All,
            Some(tls) => flush(&self.socket, tls),
        }
    }

    /// Seals the end of what we send, once; then as [`Self::flush`].
    pub(super) fn finish(&mut self) -> Flushed {
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
        self.flush()
    }

    /// Writes the last bytes to a connection that no shard has. It is fresh and takes them; if not, the client sees
    /// it end.
    pub(crate) fn end_with(mut self, bytes: &[u8]) {
        if matches!(self.write(bytes, &mut Scratch::default()), Transfer::Done(_)) {
            self.finish();
        }
    }

    /// Ends our side of the connection; `false`: the other is gone.
    pub(super) fn shut_down(&self) -> bool {
        self.socket.shutdown(Shutdown::Write).is_ok()
    }
}

fn read_sealed(socket: &TcpStream, tls: &mut Session, buffer: &mut [u8], sealed: &mut [u8]) -> Transfer {
    let from = tls.partial().len();
    let read = match poller::read(socket, &mut sealed[from..]) {
        Transfer::Done(read) if read > 0 => read,
        other => return other,
    };
    if tls.client_is_done() {
        return Transfer::Blocked;
    }
    sealed[..from].copy_from_slice(tls.partial());
    let mut length = 0;
    // Opened bytes are fewer than sealed ones, and the buffer is no smaller.
    let opened = tls.receive(&mut sealed[..from + read], |plain| {
        buffer[length..length + plain.len()].copy_from_slice(plain);
        length += plain.len();
    });
    match opened {
        Ok(()) => {
            // What TLS itself answers; if the socket takes no more, it goes out with the next write.
            if flush(socket, tls) == Flushed::Broken {
                return Transfer::Broken;
            }
            if length > 0 || tls.client_is_done() { Transfer::Done(length) } else { Transfer::Blocked }
        }
        Err(error) => {
            tracing::debug!(%error, "TLS");
            // The alert; whether it arrives is the client's affair.
            flush(socket, tls);
            Transfer::Broken
        }
    }
}

fn write_sealed(socket: &TcpStream, tls: &mut Session, bytes: &[u8], buffer: &mut [u8]) -> Transfer {
    match flush(socket, tls) {
        Flushed::All => {}
        Flushed::Blocked => return Transfer::Blocked,
        Flushed::Broken => return Transfer::Broken,
    }
    let mut taken = 0;
    for record in bytes.chunks(RECORD_BYTES) {
        let Some(length) = tls.seal(record, &mut buffer[..SEALED_BYTES]) else { return Transfer::Broken };
        taken += record.len();
        let sent = match poller::write(socket, &buffer[..length]) {
            Transfer::Done(sent) => sent,
            Transfer::Blocked => 0,
            Transfer::Broken => return Transfer::Broken,
        };
        if sent < length {
            tls.keep(&buffer[sent..length]);
            break;
        }
    }
    Transfer::Done(taken)
}

fn flush(socket: &TcpStream, tls: &mut Session) -> Flushed {
    while !tls.unsent().is_empty() {
        match poller::write(socket, tls.unsent()) {
            Transfer::Done(sent) => tls.taken(sent),
            Transfer::Blocked => return Flushed::Blocked,
            Transfer::Broken => return Flushed::Broken,
        }
    }
    Flushed::All
}
