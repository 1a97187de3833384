//! A client's side: frames as a client writes them, and a session to feed them to.

use flate2::{Compress, Compression, FlushCompress};
use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{PermissionCase, Permissions};
use realtime_session::{Codec, Event, Input, Policy, Session};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;

pub(crate) const POLICY: Policy = Policy {
    max_message_bytes: 5120,
    messages_per_second: 0,
    inbound_enabled: true,
    refused_subscription: RefusedSubscriptionPolicy::Error,
};

/// Permissions to publish anywhere.
pub(crate) fn publisher() -> Permissions {
    permissions(&["realtime:publisher:write:topic:*"])
}

pub(crate) fn permissions(list: &[&str]) -> Permissions {
    Permissions::new(list.iter().collect(), PermissionCase::Insensitive)
}

/// A masked frame with the shortest length form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

pub(crate) fn masked_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

pub(crate) fn text(json: &str) -> Vec<u8> {
    frame(FIN | TEXT, json.as_bytes())
}

/// A message's payload as a client with permessage-deflate sends it.
pub(crate) fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 4 + 100);
    Compress::new(Compression::new(6), false)
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("a fresh stream");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// A session with what its caller holds.
pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) codec: Codec,
    pub(crate) policy: Policy,
    pub(crate) permissions: Permissions,
    pub(crate) now_ms: u64,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(Session::new(false))
    }

    pub(crate) fn deflating() -> Self {
        Self::with(Session::new(true))
    }

    fn with(session: Session) -> Self {
        Self { session, codec: Codec::new(), policy: POLICY, permissions: publisher(), now_ms: 0 }
    }

    /// The events of one read.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Event<'static>> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        let mut events = Vec::new();
        while let Some(event) =
            self.session.next(self.now_ms, &self.policy, &self.permissions, &mut input, &mut self.codec)
        {
            events.push(owned(event));
        }
        assert!(input.is_empty(), "all of a read is taken");
        events
    }

    /// The only event of one read.
    pub(crate) fn one(&mut self, bytes: &[u8]) -> Event<'static> {
        let mut events = self.read(bytes);
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

/// The event, detached from the buffers it points into. Leaks, which a test may.
fn owned(event: Event<'_>) -> Event<'static> {
    fn text(text: &str) -> &'static str {
        Box::leak(text.into())
    }
    match event {
        Event::Subscribe { topic } => Event::Subscribe { topic: text(&topic).into() },
        Event::Unsubscribe { topic } => Event::Unsubscribe { topic: text(&topic).into() },
        Event::Publish { topic, payload, id, message_type, compress } => Event::Publish {
            topic: text(&topic).into(),
            payload: text(payload),
            id: id.map(|id| text(&id).into()),
            message_type: message_type.map(|name| text(&name).into()),
            compress,
        },
        Event::Message { payload, id, message_type, compress } => Event::Message {
            payload: text(payload),
            id: id.map(|id| text(&id).into()),
            message_type: message_type.map(|name| text(&name).into()),
            compress,
        },
        Event::Refused { code, message, id, topic } => Event::Refused {
            code,
            message,
            id: id.map(|id| text(&id).into()),
            topic: topic.map(|topic| text(&topic).into()),
        },
        Event::Ping { payload } => Event::Ping { payload: Box::leak(payload.into()) },
        Event::Pong => Event::Pong,
        Event::Close(code) => Event::Close(code),
        Event::PeerClosed { code } => Event::PeerClosed { code },
    }
}
