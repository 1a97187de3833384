//! The parts of the opening handshake that are arithmetic.

/// What the server answers to an acceptable permessage-deflate offer.
pub const DEFLATE_RESPONSE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The `Sec-WebSocket-Accept` value for a `Sec-WebSocket-Key`; `None` when the key is not 16 bytes of base64.
#[must_use]
pub fn accept_key(_key: &str) -> Option<String> {
    todo!()
}

/// Whether one of the offers in the `Sec-WebSocket-Extensions` values can be accepted with [`DEFLATE_RESPONSE`].
/// An offer with an unknown parameter, a repeated one, a bad value or `server_max_window_bits` below 15 is declined.
#[must_use]
pub fn accepts_deflate<'a>(_offers: impl IntoIterator<Item = &'a str>) -> bool {
    todo!()
}
