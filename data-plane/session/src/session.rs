//! The session state machine: bytes in, events out.

use std::borrow::Cow;

use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{CloseCode, ErrorCode, Permissions};

/// What a session needs besides its own state; shared by all sessions of a thread.
#[derive(Debug)]
pub struct Codec {}

impl Codec {
    /// An inflater and scratch space.
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }
}

/// The application's rules that a session applies; shared by the sessions of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest message after inflating, in bytes.
    pub max_message_bytes: u32,
    /// Rate of `publish` and `message`, and again of `subscribe` and `unsubscribe`; burst is twice the rate; 0: unlimited.
    pub messages_per_second: u32,
    /// Whether `message` has a target.
    pub inbound_enabled: bool,
    /// What a refused `secure/` subscription does.
    pub refused_subscription: RefusedSubscriptionPolicy,
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
}

/// What the client wants, validated and permitted; what is left to the caller is in each variant's words.
#[derive(Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Event<'e> {
    /// Subscribe (the caller checks the limits) and welcome.
    Subscribe { topic: Cow<'e, str> },
    /// Unsubscribe.
    Unsubscribe { topic: Cow<'e, str> },
    /// Publish on a topic and ack.
    Publish {
        topic: Cow<'e, str>,
        /// JSON text, exactly as sent.
        payload: &'e str,
        /// `None`: the caller generates one.
        id: Option<Cow<'e, str>>,
        /// `None`: `broadcast`.
        message_type: Option<Cow<'e, str>>,
        compress: bool,
    },
    /// Hand to the inbound targets and ack.
    Message {
        payload: &'e str,
        id: Option<Cow<'e, str>>,
        message_type: Option<Cow<'e, str>>,
        compress: bool,
    },
    /// Send an error frame; the session goes on.
    Refused { code: ErrorCode, message: &'static str, id: Option<Cow<'e, str>>, topic: Option<Cow<'e, str>> },
    /// Answer with a pong of the same payload.
    Ping { payload: &'e [u8] },
    /// A pong came.
    Pong,
    /// Send a close frame with this code and end the connection. The session takes nothing more.
    Close(CloseCode),
    /// The client closed: echo its code (1000 where it gave none) and end the connection.
    PeerClosed { code: u16 },
}

/// One connection's protocol state after its welcome. Small: an idle one holds no buffer.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session; `deflate`: permessage-deflate was negotiated.
    #[must_use]
    pub fn new(_deflate: bool) -> Self {
        todo!()
    }

    /// Whether permessage-deflate was negotiated.
    #[must_use]
    pub fn deflate(&self) -> bool {
        todo!()
    }

    /// The next event in `input`, or `None` when all of it is taken (a partial frame is kept inside).
    /// `now_ms` is any monotonic clock in milliseconds. After `Close` or `PeerClosed` it returns `None`.
    pub fn next<'e>(
        &mut self,
        _now_ms: u64,
        _policy: &Policy,
        _permissions: &Permissions,
        _input: &'e mut Input<'_>,
        _codec: &'e mut Codec,
    ) -> Option<Event<'e>> {
        todo!()
    }
}
