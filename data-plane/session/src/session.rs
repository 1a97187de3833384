//! The session state machine: bytes in, events out.
//!
//! A frame is judged in this order: format, rate, permission, whether inbound messaging is enabled.

use std::borrow::Cow;

use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{CloseCode, ErrorCode, Permissions, topic};

pub use crate::decoder::{Codec, Input};
use crate::decoder::{Decoder, Unit};
use crate::rate::Bucket;
use crate::request::{self, Content, Request};

/// The application's rules that a session applies; shared by the sessions of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest message after inflating, in bytes; 0: unlimited, which is what 32 bits hold.
    pub max_message_bytes: u32,
    /// Rate of `publish` and `message`, and again of `subscribe` and `unsubscribe`; burst is twice the rate; 0: unlimited.
    pub messages_per_second: u32,
    /// Whether `message` has a target.
    pub inbound_enabled: bool,
    /// What a refused `secure/` subscription does.
    pub refused_subscription: RefusedSubscriptionPolicy,
}

impl Policy {
    fn message_limit(&self) -> usize {
        match self.max_message_bytes {
            0 => u32::MAX as usize,
            limit => limit as usize,
        }
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
    Message { payload: &'e str, id: Option<Cow<'e, str>>, message_type: Option<Cow<'e, str>>, compress: bool },
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
pub struct Session {
    decoder: Decoder,
    publishes: Bucket,
    subscribes: Bucket,
    closed: bool,
}

impl Session {
    /// A session; `deflate`: permessage-deflate was negotiated.
    #[must_use]
    pub fn new(deflate: bool) -> Self {
        Self {
            decoder: Decoder::new(deflate),
            publishes: Bucket::default(),
            subscribes: Bucket::default(),
            closed: false,
        }
    }

    /// Whether permessage-deflate was negotiated.
    #[must_use]
    pub fn deflate(&self) -> bool {
        self.decoder.deflate()
    }

    /// Memory of the part of a frame or message that is kept, waiting for the rest; 0: none is.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.decoder.held_bytes()
    }

    /// The next event in `input`, or `None` when all of it is taken (a partial frame is kept inside).
    /// `now_ms` is any monotonic clock in milliseconds. After `Close` or `PeerClosed` it returns `None`.
    pub fn next<'e>(
        &mut self,
        now_ms: u64,
        policy: &Policy,
        permissions: &Permissions,
        input: &'e mut Input<'_>,
        codec: &'e mut Codec,
    ) -> Option<Event<'e>> {
        if self.closed {
            input.clear();
            return None;
        }
        let event = match self.decoder.next(policy.message_limit(), input, codec) {
            Ok(None) => return None,
            Ok(Some(Unit::Ping(payload))) => Event::Ping { payload: codec.bytes(payload) },
            Ok(Some(Unit::Pong)) => Event::Pong,
            Ok(Some(Unit::Close(payload))) => peer_close(codec.bytes(payload)),
            Ok(Some(Unit::Message { text, payload })) => match request(text, codec.bytes(payload)) {
                Ok(request) => self.judge(now_ms, policy, permissions, request),
                Err(code) => Event::Close(code),
            },
            Err(code) => Event::Close(code),
        };
        if matches!(event, Event::Close(_) | Event::PeerClosed { .. }) {
            self.closed = true;
            self.decoder.clear();
        }
        Some(event)
    }

    /// Rate, then permission, then whether there is a target.
    fn judge<'e>(
        &mut self,
        now_ms: u64,
        policy: &Policy,
        permissions: &Permissions,
        request: Request<'e>,
    ) -> Event<'e> {
        let bucket = match request {
            Request::Publish { .. } | Request::Message(_) => &mut self.publishes,
            Request::Subscribe { .. } | Request::Unsubscribe { .. } => &mut self.subscribes,
        };
        let refusal = if bucket.take(now_ms, policy.messages_per_second) {
            refusal(policy, permissions, &request)
        } else {
            Some(Refusal::RATE)
        };
        match refusal {
            None => accepted(request),
            Some(refusal) if refusal.closes => Event::Close(CloseCode::SecureTopicForbidden),
            Some(refusal) => refusal.event(request),
        }
    }
}

/// The frame in a whole message. A binary one is taken like text, but that it is UTF-8 is then a question of its
/// format and not of RFC 6455.
fn request(text: bool, bytes: &[u8]) -> Result<Request<'_>, CloseCode> {
    let json = simdutf8::basic::from_utf8(bytes)
        .map_err(|_| if text { CloseCode::NotUtf8 } else { CloseCode::InvalidMessage })?;
    request::parse(json).ok_or(CloseCode::InvalidMessage)
}

/// A close frame's payload: nothing, or a code and a reason (RFC 6455 section 5.5.1).
fn peer_close(payload: &[u8]) -> Event<'static> {
    if payload.is_empty() {
        return Event::PeerClosed { code: CloseCode::Normal.code() };
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Event::Close(CloseCode::ProtocolError);
    };
    let code = u16::from_be_bytes(*code);
    // 1004 and 1016 to 2999 are reserved; 1005, 1006 and 1015 never stand in a frame (RFC 6455 section 7.4).
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Event::Close(CloseCode::ProtocolError);
    }
    if std::str::from_utf8(reason).is_err() {
        return Event::Close(CloseCode::NotUtf8);
    }
    Event::PeerClosed { code }
}

/// Why a well-formed request is not done.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: ErrorCode,
    message: &'static str,
    /// The session goes with it.
    closes: bool,
}

impl Refusal {
    const RATE: Self = Self::new(ErrorCode::RateLimited, "Too many messages per second");
    const SERVER_TYPE: Self =
        Self::new(ErrorCode::PermissionDenied, "This message type is reserved for the server");
    const SERVER_TOPIC: Self =
        Self::new(ErrorCode::TopicForbidden, "Only the server publishes on this topic");
    const PRIVATE_TOPIC: Self =
        Self::new(ErrorCode::TopicForbidden, "Private topics are subscribed by the server alone");
    const PUBLISH: Self = Self::new(ErrorCode::PermissionDenied, "No permission to publish on this topic");
    const SUBSCRIBE: Self =
        Self::new(ErrorCode::PermissionDenied, "No permission to subscribe to this topic");
    const INBOUND: Self = Self::new(ErrorCode::InboundDisabled, "The application takes no messages");

    const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message, closes: false }
    }

    fn event(self, request: Request<'_>) -> Event<'_> {
        let (id, topic) = match request {
            Request::Subscribe { topic } | Request::Unsubscribe { topic } => (None, Some(topic)),
            Request::Publish { topic, content } => (content.id, Some(topic)),
            Request::Message(content) => (content.id, None),
        };
        Event::Refused { code: self.code, message: self.message, id, topic }
    }
}

/// What forbids the request, if anything does (docs/contract.md 2.2, 2.4).
fn refusal(policy: &Policy, permissions: &Permissions, request: &Request<'_>) -> Option<Refusal> {
    match request {
        Request::Subscribe { topic } if topic::is_private(topic) => Some(Refusal::PRIVATE_TOPIC),
        Request::Subscribe { topic } if topic::is_secure(topic) && !permissions.may_subscribe(topic) => {
            let closes = policy.refused_subscription == RefusedSubscriptionPolicy::Close;
            Some(Refusal { closes, ..Refusal::SUBSCRIBE })
        }
        Request::Unsubscribe { topic } if topic::is_private(topic) => Some(Refusal::PRIVATE_TOPIC),
        Request::Subscribe { .. } | Request::Unsubscribe { .. } => None,
        Request::Publish { content, .. } if has_server_type(content) => Some(Refusal::SERVER_TYPE),
        Request::Publish { topic, .. } if topic::is_server_only(topic) => Some(Refusal::SERVER_TOPIC),
        Request::Publish { topic, .. } => (!permissions.may_publish(topic)).then_some(Refusal::PUBLISH),
        Request::Message(content) if has_server_type(content) => Some(Refusal::SERVER_TYPE),
        Request::Message(_) => (!policy.inbound_enabled).then_some(Refusal::INBOUND),
    }
}

fn has_server_type(content: &Content<'_>) -> bool {
    content.message_type.as_deref().is_some_and(|name| topic::SERVER_MESSAGE_TYPES.contains(&name))
}

fn accepted(request: Request<'_>) -> Event<'_> {
    match request {
        Request::Subscribe { topic } => Event::Subscribe { topic },
        Request::Unsubscribe { topic } => Event::Unsubscribe { topic },
        Request::Publish { topic, content: Content { payload, id, message_type, compress } } => {
            Event::Publish { topic, payload, id, message_type, compress }
        }
        Request::Message(Content { payload, id, message_type, compress }) => {
            Event::Message { payload, id, message_type, compress }
        }
    }
}
