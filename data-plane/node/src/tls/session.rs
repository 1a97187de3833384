//! One TLS connection without a socket: sealed bytes in, plain bytes out, and the other way round.
//!
//! The TLS library's unbuffered interface: it works on the caller's buffers, so that a quiet connection holds its
//! keys and no buffer. All that a read brought is opened at once; nothing that could be read stays inside, which a
//! level-triggered poller would never report.
//!
//! Invariants: sealed bytes go out in the order in which they were made, so nothing may be sealed while some are
//! unsent; between two reads there is at most the beginning of a record or of a handshake message.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};

/// Plain bytes in one record at most (RFC 8446, 5.1).
pub(crate) const RECORD_BYTES: usize = 16 * 1024;
/// What a record may be longer than its content, with a key update that may have to go before it: 22 bytes in TLS
/// 1.3, 29 in TLS 1.2, and 27 of the update.
const OVERHEAD_BYTES: usize = 256;
/// Room that sealing one record takes.
pub(crate) const SEALED_BYTES: usize = RECORD_BYTES + OVERHEAD_BYTES;
/// What of a record or handshake message may wait for its rest: a record is 18,437 bytes at most, a client's
/// handshake message has no reason to be longer.
const MAX_PARTIAL_BYTES: usize = 20 * 1024;

/// A connection's keys and state.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// What came of a record whose rest has not come.
    partial: Vec<u8>,
    /// Sealed bytes that the socket has not taken.
    unsent: Vec<u8>,
    /// How many of them it has taken since.
    sent: usize,
    /// The client has said that nothing more will come from it.
    client_is_done: bool,
    /// We have said so.
    is_closed: bool,
    /// An error has ended it: the library's places in the bytes mean nothing any more.
    has_failed: bool,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            client_is_done: false,
            is_closed: false,
            has_failed: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What the handshake has agreed on to speak.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// Whether the client has ended its side in good order.
    pub(crate) fn client_is_done(&self) -> bool {
        self.client_is_done
    }

    /// What must stand before the next bytes that [`Self::receive`] gets.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Opens what came: [`Self::partial`] and new bytes behind it. Plain bytes go to `plain`, record by record;
    /// what the client must be told, an alert on an error too, is in [`Self::unsent`] then.
    ///
    /// # Errors
    /// What ends the connection.
    pub(crate) fn receive(&mut self, bytes: &mut [u8], mut plain: impl FnMut(&[u8])) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::General("the connection has failed before".into()));
        }
        let mut from = 0;
        loop {
            let status = self.connection.process_tls_records(&mut bytes[from..]);
            let UnbufferedStatus { mut discard, state } = status;
            let looked = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break Ok(true),
                        Some(Ok(record)) => {
                            plain(record.payload);
                            discard += record.discard;
                        }
                        Some(Err(error)) => break Err(error),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    append(&mut self.unsent, data);
                    Ok(true)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.client_is_done = true;
                    Ok(true)
                }
                // Early data is never accepted; further states can only come with another release of the library.
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            };
            from += discard;
            let goes_on = looked.inspect_err(|_| self.fail(&mut bytes[from..]))?;
            if !goes_on {
                break;
            }
        }
        let rest = if self.client_is_done { &[] } else { &bytes[from..] };
        if rest.len() > MAX_PARTIAL_BYTES {
            self.has_failed = true;
            return Err(Error::PeerSentOversizedRecord);
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// Seals up to [`RECORD_BYTES`] into `out`, which has [`SEALED_BYTES`]; how many came of it. `None`: nothing can
    /// be sent on this connection any more.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        self.write(out, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Seals the end of what we send, once. Nothing may be sealed afterwards.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let mut out = [0; OVERHEAD_BYTES];
        if let Some(sealed) = self.write(&mut out, |traffic, out| traffic.queue_close_notify(out)) {
            self.keep(&out[..sealed]);
        }
    }

    fn write(
        &mut self,
        out: &mut [u8],
        seal: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Option<usize> {
        if self.has_failed {
            return None;
        }
        let mut sealed = 0;
        loop {
            // The bytes are looked at again, without effect: the library keeps places in them.
            let status = self.connection.process_tls_records(&mut self.partial);
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return Some(sealed + seal(&mut traffic, &mut out[sealed..]).ok()?);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    sealed += data.encode(&mut out[sealed..]).ok()?
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// An error's alert comes out of a further look, which reads nothing while there is one.
    fn fail(&mut self, rest: &mut [u8]) {
        self.has_failed = true;
        self.partial = Vec::new();
        while self.connection.wants_write() {
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(data)) => append(&mut self.unsent, data),
                _ => return,
            }
        }
    }

    /// Sealed bytes that wait for the socket.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.unsent[self.sent..]
    }

    /// Keeps sealed bytes that the socket has not taken.
    pub(crate) fn keep(&mut self, sealed: &[u8]) {
        self.unsent.extend_from_slice(sealed);
    }

    /// The socket has taken the first bytes of [`Self::unsent`].
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.unsent.len() {
            self.unsent = Vec::new();
            self.sent = 0;
        }
    }
}

fn append(unsent: &mut Vec<u8>, mut data: EncodeTlsData<'_, ServerConnectionData>) {
    let at = unsent.len();
    // The library says how much room it needs by refusing too little.
    unsent.resize(at + OVERHEAD_BYTES, 0);
    let encoded = match data.encode(&mut unsent[at..]) {
        Err(rustls::unbuffered::EncodeError::InsufficientSize(needed)) => {
            unsent.resize(at + needed.required_size, 0);
            data.encode(&mut unsent[at..])
        }
        encoded => encoded,
    };
    unsent.truncate(at + encoded.unwrap_or(0));
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
