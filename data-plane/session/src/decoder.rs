//! RFC 6455 frames put together to messages: bytes in, whole messages and control frames out.
//!
//! A frame that is whole in the input is unmasked and used where it is. Only what a read cut off is copied,
//! and the copy goes when its message is complete: an idle connection holds no buffer.

use realtime_proto::CloseCode;

use crate::deflate::{InflateError, Inflater};
use crate::header::{Header, MAX_HEADER, Opcode};

/// What a session needs besides its own state; shared by all sessions of a thread.
#[derive(Debug)]
pub struct Codec {
    inflater: Inflater,
    inflated: Vec<u8>,
    assembled: Vec<u8>,
}

impl Codec {
    /// An inflater and scratch space.
    #[must_use]
    pub fn new() -> Self {
        Self { inflater: Inflater::new(), inflated: Vec::new(), assembled: Vec::new() }
    }

    /// The bytes of a unit that was decoded last.
    pub(crate) fn bytes<'e>(&'e self, place: Place<'e>) -> &'e [u8] {
        match place {
            Place::Input(bytes) => bytes,
            Place::Assembled => &self.assembled,
            Place::Inflated => &self.inflated,
        }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes as they were read from a connection; unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
}

impl<'b> Input<'b> {
    /// Wraps what was read.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes everything.
    pub(crate) fn clear(&mut self) {
        self.bytes = &mut [];
    }

    /// Takes up to `len` bytes.
    fn take(&mut self, len: u64) -> &'b mut [u8] {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(self.bytes.len());
        let (taken, rest) = std::mem::take(&mut self.bytes).split_at_mut(len);
        self.bytes = rest;
        taken
    }
}

/// Where the bytes of a [`Unit`] are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'b> {
    /// In the input, unmasked.
    Input(&'b [u8]),
    /// In the codec, put together from parts.
    Assembled,
    /// In the codec, inflated.
    Inflated,
}

/// A control frame or a whole message.
#[derive(Debug)]
pub(crate) enum Unit<'b> {
    Close(Place<'b>),
    Ping(Place<'b>),
    Pong,
    Message { text: bool, payload: Place<'b> },
}

/// The decoder of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    deflate: bool,
    /// What earlier reads left unfinished.
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// A header that is not complete.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// A frame whose payload is not complete, and how much of it was taken.
    frame: Option<(Header, u64)>,
    /// The taken part of a control frame.
    control: Vec<u8>,
    /// The taken part of a message. A control frame may come between its frames.
    message: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    compressed: bool,
    bytes: Vec<u8>,
    /// How many of the bytes are known to be UTF-8.
    valid: usize,
}

impl Fragments {
    fn push(&mut self, part: &[u8]) -> Result<(), CloseCode> {
        self.bytes.extend_from_slice(part);
        if self.text && !self.compressed {
            match std::str::from_utf8(&self.bytes[self.valid..]) {
                Ok(_) => self.valid = self.bytes.len(),
                Err(e) if e.error_len().is_some() => return Err(CloseCode::NotUtf8),
                // A character that the next part may complete.
                Err(e) => self.valid += e.valid_up_to(),
            }
        }
        Ok(())
    }
}

impl Decoder {
    pub(crate) fn new(deflate: bool) -> Self {
        Self { deflate, partial: None }
    }

    pub(crate) fn deflate(&self) -> bool {
        self.deflate
    }

    /// Forgets what is unfinished.
    pub(crate) fn clear(&mut self) {
        self.partial = None;
    }

    /// Memory of the unfinished frame or message.
    #[inline]
    pub(crate) fn held_bytes(&self) -> usize {
        let bytes = |p: &Partial| {
            size_of::<Partial>() + p.control.capacity() + p.message.as_ref().map_or(0, |m| m.bytes.capacity())
        };
        self.partial.as_deref().map_or(0, bytes)
    }

    /// The next control frame or message; `None` when the whole input is taken.
    pub(crate) fn next<'b>(
        &mut self,
        limit: usize,
        input: &mut Input<'b>,
        codec: &mut Codec,
    ) -> Result<Option<Unit<'b>>, CloseCode> {
        loop {
            let (header, at) = match self.partial.as_ref().and_then(|partial| partial.frame) {
                Some(begun) => begun,
                None => match self.header(input)? {
                    Some(header) => {
                        self.admit(&header, limit)?;
                        (header, 0)
                    }
                    None => return Ok(None),
                },
            };
            let part = input.take(header.len - at);
            header.unmask(part, at);
            let taken = at + part.len() as u64;
            if taken < header.len {
                self.hold(&header, part)?.frame = Some((header, taken));
                return Ok(None);
            }
            if let Some(unit) = self.complete(&header, at, part, limit, codec)? {
                return Ok(Some(unit));
            }
        }
    }

    /// The next header, from the input or from what an earlier read left and the input.
    fn header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, CloseCode> {
        if self.partial.as_ref().is_none_or(|partial| partial.header_len == 0) {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((header, used)) = Header::parse(input.bytes, self.deflate)? {
                input.take(used as u64);
                return Ok(Some(header));
            }
        }
        let partial = self.partial.get_or_insert_default();
        while let Some(&byte) = input.bytes.first() {
            input.take(1);
            // In bounds: a header is complete with its 14th byte at the latest.
            partial.header[partial.header_len] = byte;
            partial.header_len += 1;
            if let Some((header, _)) = Header::parse(&partial.header[..partial.header_len], self.deflate)? {
                partial.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Whether the frame may come now, and its message stays within the limit. Asked before any of its payload
    /// is kept.
    fn admit(&self, header: &Header, limit: usize) -> Result<(), CloseCode> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        if message.is_some() != (header.opcode == Opcode::Continuation) {
            return Err(CloseCode::ProtocolError);
        }
        let compressed = message.map_or(header.compressed, |message| message.compressed);
        let held = message.map_or(0, |message| message.bytes.len());
        let bound = if compressed { compressed_bound(limit) } else { limit };
        if header.len > bound.saturating_sub(held) as u64 {
            return Err(CloseCode::TooBig);
        }
        Ok(())
    }

    /// Keeps a part of a frame.
    fn hold(&mut self, header: &Header, part: &[u8]) -> Result<&mut Partial, CloseCode> {
        let partial = self.partial.get_or_insert_default();
        if header.opcode.is_control() {
            partial.control.extend_from_slice(part);
        } else {
            let message = partial.message.get_or_insert_with(|| Fragments {
                text: header.opcode == Opcode::Text,
                compressed: header.compressed,
                bytes: Vec::new(),
                valid: 0,
            });
            message.push(part)?;
        }
        Ok(partial)
    }

    /// Takes the last part of a frame, which begins `at` bytes into it. A frame that ends no message is no unit.
    fn complete<'b>(
        &mut self,
        header: &Header,
        at: u64,
        part: &'b [u8],
        limit: usize,
        codec: &mut Codec,
    ) -> Result<Option<Unit<'b>>, CloseCode> {
        let control = header.opcode.is_control();
        let single = header.fin && header.opcode != Opcode::Continuation;
        // All of it in this input. A message begun with no byte taken has nothing to put together either.
        if at == 0 && (control || single) {
            if let Some(partial) = &mut self.partial {
                partial.frame = None;
                if !control {
                    partial.message = None;
                }
            }
            self.release();
            let (text, compressed) = (header.opcode == Opcode::Text, header.compressed);
            return unit(header.opcode, text, compressed, Place::Input(part), limit, codec).map(Some);
        }

        let partial = self.hold(header, part)?;
        partial.frame = None;
        let unit = if control {
            codec.assembled = std::mem::take(&mut partial.control);
            unit(header.opcode, false, false, Place::Assembled, limit, codec).map(Some)
        } else if header.fin
            && let Some(message) = partial.message.take()
        {
            codec.assembled = message.bytes;
            unit(header.opcode, message.text, message.compressed, Place::Assembled, limit, codec).map(Some)
        } else {
            Ok(None)
        };
        self.release();
        unit
    }

    /// Gives the memory back when nothing is unfinished.
    fn release(&mut self) {
        let unfinished = |p: &Partial| p.header_len > 0 || p.frame.is_some() || p.message.is_some();
        if !self.partial.as_deref().is_some_and(unfinished) {
            self.partial = None;
        }
    }
}

/// The unit around a complete payload, inflated where it has to be.
fn unit<'b>(
    opcode: Opcode,
    text: bool,
    compressed: bool,
    payload: Place<'b>,
    limit: usize,
    codec: &mut Codec,
) -> Result<Unit<'b>, CloseCode> {
    match opcode {
        Opcode::Close => return Ok(Unit::Close(payload)),
        Opcode::Ping => return Ok(Unit::Ping(payload)),
        Opcode::Pong => return Ok(Unit::Pong),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
    }
    if !compressed {
        return Ok(Unit::Message { text, payload });
    }
    let Codec { inflater, inflated, assembled } = codec;
    let bytes = if let Place::Input(bytes) = payload { bytes } else { assembled };
    match inflater.inflate(bytes, limit, inflated) {
        Ok(()) => Ok(Unit::Message { text, payload: Place::Inflated }),
        Err(InflateError::TooBig) => Err(CloseCode::TooBig),
        // RFC 7692 leaves the code open. 1002 rather than 1007, which speaks of the text inside.
        Err(InflateError::Corrupt) => Err(CloseCode::ProtocolError),
    }
}

/// How long the compressed form of a message within the limit may be: the worst of deflate's fixed code is
/// 9/8 of the text; the rest leaves room for flushes.
fn compressed_bound(limit: usize) -> usize {
    limit.saturating_add(limit / 4).saturating_add(256)
}
