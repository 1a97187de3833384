//! RFC 6455 frames: decoding what clients send, encoding what the server sends.

use bytes::Bytes;

use crate::deflate::Deflater;

/// A message on its way to many receivers: encoded once per wire variant, shared by handle.
/// Clones share the encodings, across threads too.
#[derive(Debug, Clone)]
pub struct Frame {}

impl Frame {
    /// A text frame around a JSON text.
    #[must_use]
    pub fn text(_json: &[u8]) -> Self {
        todo!()
    }

    /// A binary frame that connections with permessage-deflate get compressed (`compress: true`).
    #[must_use]
    pub fn compressible(_json: &[u8]) -> Self {
        todo!()
    }

    /// Whether connections with and without permessage-deflate get different bytes.
    #[must_use]
    pub fn has_deflated_variant(&self) -> bool {
        todo!()
    }

    /// The whole frame, uncompressed: header and payload.
    #[must_use]
    pub fn plain(&self) -> &Bytes {
        todo!()
    }

    /// The whole frame for a connection that negotiated permessage-deflate; made at the first call.
    /// The plain one where there is no such variant.
    pub fn deflated(&self, _deflater: &mut Deflater) -> &Bytes {
        todo!()
    }
}

/// Appends a close frame.
pub fn write_close(_out: &mut Vec<u8>, _code: u16, _reason: &str) {
    todo!()
}

/// Appends a ping frame without payload.
pub fn write_ping(_out: &mut Vec<u8>) {
    todo!()
}

/// Appends a pong frame; a control payload is at most 125 bytes.
pub fn write_pong(_out: &mut Vec<u8>, _payload: &[u8]) {
    todo!()
}

/// Appends a text frame around a JSON text.
pub fn write_text(_out: &mut Vec<u8>, _json: &[u8]) {
    todo!()
}
