//! A connection's byte stream, plain or TLS. Everything above sees plain bytes; a plain connection pays one branch.
//!
//! A write to a TLS connection seals a record only when the socket has taken the last one. So at most one record,
//! 16 KiB, waits sealed: it can be neither dropped nor reordered, whatever the slow-consumer rule says.

use std::io::IoSlice;
use std::net::{Shutdown, TcpStream};

use super::output::Flushed;
use super::poller::{self, Transfer};
use super::{BUFFER_BYTES, READ_BYTES};
use crate::tls::{RECORD_BYTES, SEALED_BYTES, Session};

/// Where a shard seals and opens records: one buffer for all its connections, made with the first TLS one.
#[derive(Debug, Default)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    /// No more than what opened bytes are read into; more than the rest of a record, so that each read makes
    /// progress, and more than gathering and sealing take.
    const BYTES: usize = BUFFER_BYTES;

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
            None => poller::read(&self.socket, &mut buffer[..READ_BYTES]),
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
    let read = match poller::read(socket, &mut sealed[from..from + READ_BYTES]) {
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use rustls::{ClientConnection, StreamOwned};

    use super::super::counters::Cells;
    use super::super::output::{Output, Turn};
    use super::*;

    type Client = StreamOwned<ClientConnection, TcpStream>;

    /// A client, and our side of its connection after the handshake.
    fn pair() -> (Stream, Client) {
        let (client, session) = crate::tls::shaken(4096, |_| {});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        // Small, so that writes are cut in many places; smaller ones wait for acknowledgements most of the time.
        rustix::net::sockopt::set_socket_send_buffer_size(&server, 16 * 1024).unwrap();
        (Stream::sealed(server, Box::new(session)), StreamOwned::new(client, socket))
    }

    fn frame(n: u32) -> Bytes {
        // 4 to 300 bytes, and now and then more than a record.
        let length = if n % 5000 == 4999 { RECORD_BYTES + 1000 } else { 4 + (n as usize * 31) % 297 };
        let mut frame = n.to_be_bytes().to_vec();
        frame.resize(length, n as u8);
        frame.into()
    }

    /// The turns of a shard with one connection: some frames each, a look at what the socket takes, no cap.
    fn write_all(stream: &mut Stream, frames: u32) -> (Cells, u32) {
        let (mut turn, mut output, mut cells) = (Turn::new(), Output::new(), Cells::default());
        let (mut next, mut blocked) = (0, 0);
        while next < frames || output.unsent(stream) > 0 {
            let end = frames.min(next + 1 + next % 13);
            for n in next..end {
                let index = turn.add(frame(n));
                turn.enqueue(0, &mut output, index);
            }
            next = end;
            let dirty = turn.take_dirty();
            let flushed = turn.write(&mut output, stream, &mut cells);
            turn.end(dirty);
            if flushed == Flushed::Blocked {
                blocked += 1;
                assert!(stream.unsent() <= SEALED_BYTES, "one record waits sealed, and no more");
                std::thread::yield_now();
                let flushed = output.write_backlog(stream, &mut turn.scratch, &mut cells);
                assert_ne!(flushed, Flushed::Broken);
                assert_eq!(cells.unsent_bytes as usize, output.unsent(stream));
            }
        }
        (cells, blocked)
    }

    #[test]
    fn every_byte_of_a_hundred_thousand_frames_arrives_in_order_through_partial_writes() {
        const FRAMES: u32 = 100_000;
        let (mut stream, mut client) = pair();
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 2 * RECORD_BYTES];
            for n in 0..FRAMES {
                let expected = frame(n);
                client.read_exact(&mut buffer[..expected.len()]).unwrap();
                assert!(buffer[..expected.len()] == expected, "frame {n}");
            }
            assert_eq!(client.read(&mut buffer).unwrap(), 0, "the end in good order, and nothing more");
        });
        let (cells, blocked) = write_all(&mut stream, FRAMES);
        assert_eq!(cells.bytes_sent as usize, (0..FRAMES).map(|n| frame(n).len()).sum::<usize>());
        assert!(blocked > 100, "the socket must have blocked: {blocked}");
        while stream.finish() == Flushed::Blocked {
            std::thread::yield_now();
        }
        assert!(stream.shut_down());
        reader.join().unwrap();
    }

    #[test]
    fn what_a_client_sends_is_read_as_it_was_however_its_records_are_cut() {
        const BYTES: usize = 3_000_000;
        let (mut stream, mut client) = pair();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..BYTES / 1000 {
                    client.write_all(&[n as u8; 1000]).unwrap();
                }
                client.conn.send_close_notify();
                client.flush().unwrap();
                is_done.store(true, Ordering::Release);
            });
            let mut buffer = vec![0; super::super::BUFFER_BYTES];
            let (mut scratch, mut total) = (Scratch::default(), 0);
            loop {
                match stream.read(&mut buffer, &mut scratch) {
                    Transfer::Done(0) => break,
                    Transfer::Done(read) => {
                        let expected = (total..total + read).map(|at| (at / 1000) as u8);
                        assert!(buffer[..read].iter().copied().eq(expected), "bytes after {total}");
                        total += read;
                        if stream.client_is_done() {
                            break;
                        }
                    }
                    Transfer::Blocked => std::thread::yield_now(),
                    Transfer::Broken => panic!("broken after {total}"),
                }
            }
            assert_eq!(total, BYTES);
            assert_eq!(stream.unopened(), 0);
        });
        assert!(is_done.load(Ordering::Acquire));
    }

    #[test]
    fn a_slow_reader_that_is_given_up_gets_the_close_frame_after_the_frame_under_way() {
        let (mut stream, mut client) = pair();
        let (mut turn, mut output, mut cells) = (Turn::new(), Output::new(), Cells::default());
        let mut sent = 0;
        while output.unsent(&stream) < 100_000 {
            let index = turn.add(frame(sent));
            turn.enqueue(0, &mut output, index);
            let dirty = turn.take_dirty();
            turn.write(&mut output, &mut stream, &mut cells);
            turn.end(dirty);
            sent += 1;
        }
        output.drop_unsent(&mut cells);
        assert!(output.unsent(&stream) <= SEALED_BYTES + 300, "{} bytes", output.unsent(&stream));
        let index = turn.add(Bytes::from_static(b"\xff\xff\xff\xffgoodbye"));
        turn.enqueue(0, &mut output, index);
        let dirty = turn.take_dirty();
        turn.write(&mut output, &mut stream, &mut cells);
        turn.end(dirty);
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            bytes
        });
        while output.write_backlog(&mut stream, &mut turn.scratch, &mut cells) == Flushed::Blocked {
            std::thread::yield_now();
        }
        while stream.finish() == Flushed::Blocked {
            std::thread::yield_now();
        }
        assert!(stream.shut_down());
        let mut bytes = &reader.join().unwrap()[..];
        let whole = (0..sent).take_while(|&n| {
            let rest = bytes.strip_prefix(&frame(n)[..]);
            bytes = rest.unwrap_or(bytes);
            rest.is_some()
        });
        assert!(whole.count() > 0);
        assert_eq!(bytes, b"\xff\xff\xff\xffgoodbye", "whole frames, then the last one");
        turn.discard(&mut output, &stream, &mut cells);
        assert_eq!(cells.unsent_bytes, 0);
    }
}
