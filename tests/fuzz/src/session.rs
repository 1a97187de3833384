//! What a connection's bytes go through: frames, messages, and the offer of compression before them.

use flate2::{Compress, Compression, FlushCompress};
use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{CloseCode, PermissionCase, Permissions, topic};
use realtime_session::handshake::accepts_deflate;
use realtime_session::{Codec, Event, Input, Policy, Session};
use serde::de::IgnoredAny;

/// FIN and a text frame.
pub(crate) const TEXT: u8 = 0x81;
/// The same, compressed.
pub(crate) const COMPRESSED_TEXT: u8 = 0xc1;
/// The limit that the sessions here have.
const MAX_MESSAGE_BYTES: u32 = 5120;

/// A connection's bytes. However they are cut into reads, the same events come out, each within the limits, and
/// nothing after a close. The first byte says how to cut and whether permessage-deflate was negotiated.
pub fn frames(data: &[u8]) {
    let Some((&control, stream)) = data.split_first() else { return };
    let deflate = control & 0x80 != 0;
    let read = usize::from(control & 0x7f).max(1);

    let whole = Peer::new(deflate).events(std::iter::once(stream));
    let cut = Peer::new(deflate).events(stream.chunks(read));
    assert_eq!(cut, whole, "reads of {read} bytes change the events");
    let ends = |event: &String| event.starts_with("Close(") || event.starts_with("PeerClosed");
    let end = whole.iter().position(ends);
    assert!(end.is_none_or(|end| end + 1 == whole.len()), "events after a close: {whole:?}");
}

/// A message's text. A request comes out only of valid JSON, its parts keep the rules, and the same comes out of
/// the compressed form.
pub fn client_message(data: &[u8]) {
    let plain = Peer::new(false).events(std::iter::once(&frame(TEXT, data)[..]));
    let compressed = Peer::new(true).events(std::iter::once(&frame(COMPRESSED_TEXT, &deflated(data))[..]));
    assert_eq!(plain, compressed, "compression changes the events");
    assert_eq!(plain.len(), 1, "one message makes one event: {plain:?}");

    let expected_close = if data.len() > MAX_MESSAGE_BYTES as usize {
        Some(CloseCode::TooBig)
    } else if std::str::from_utf8(data).is_err() {
        Some(CloseCode::NotUtf8)
    } else if serde_json::from_slice::<IgnoredAny>(data).is_err() {
        Some(CloseCode::InvalidMessage)
    } else {
        None
    };
    if let Some(code) = expected_close {
        assert_eq!(plain[0], format!("{:?}", Event::Close(code)));
    }
}

/// The values of `Sec-WebSocket-Extensions`, one a line. Another header never spoils an acceptable offer, and
/// nothing is accepted that was not offered.
pub fn deflate_offer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let accepted = accepts_deflate(text.lines());
    assert!(!accepted || text.contains("permessage-deflate"), "accepted without an offer");
    assert!(accepts_deflate(text.lines().chain(["permessage-deflate"])), "a later offer is lost");
    assert_eq!(accepts_deflate(text.lines().rev()), accepted, "the order of headers decides");
}

/// A session and what its caller holds.
struct Peer {
    session: Session,
    codec: Codec,
    policy: Policy,
    permissions: Permissions,
}

impl Peer {
    fn new(deflate: bool) -> Self {
        let list = ["realtime:publisher:write:topic:*", "realtime:subscriber:read:topic:secure/a*"];
        let policy = Policy {
            max_message_bytes: MAX_MESSAGE_BYTES,
            messages_per_second: 0,
            inbound_enabled: true,
            refused_subscription: RefusedSubscriptionPolicy::Error,
        };
        Self {
            session: Session::new(deflate),
            codec: Codec::new(),
            policy,
            permissions: Permissions::new(list.into_iter().collect(), PermissionCase::Insensitive),
        }
    }

    /// The events of some reads, each checked and then written down.
    fn events<'a>(&mut self, reads: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let mut events = Vec::new();
        for read in reads {
            let mut bytes = read.to_vec();
            let mut input = Input::new(&mut bytes);
            while let Some(event) =
                self.session.next(0, &self.policy, &self.permissions, &mut input, &mut self.codec)
            {
                check(&event);
                events.push(format!("{event:?}"));
            }
            assert!(input.is_empty(), "a read that is not taken");
        }
        events
    }
}

/// What holds for an event whatever it came from.
fn check(event: &Event<'_>) {
    let (checked_topic, payload, id, message_type) = match event {
        Event::Subscribe { topic } | Event::Unsubscribe { topic } => {
            assert!(!topic::is_private(topic), "{topic}");
            (Some(topic), None, None, None)
        }
        Event::Publish { topic, payload, id, message_type, .. } => {
            assert!(!topic::is_server_only(topic), "{topic}");
            (Some(topic), Some(payload), id.as_ref(), message_type.as_ref())
        }
        Event::Message { payload, id, message_type, .. } => {
            (None, Some(payload), id.as_ref(), message_type.as_ref())
        }
        Event::Refused { id, topic, .. } => (topic.as_ref(), None, id.as_ref(), None),
        Event::Ping { payload } => {
            assert!(payload.len() <= 125);
            return;
        }
        Event::Pong | Event::Close(_) | Event::PeerClosed { .. } => return,
    };
    assert!(checked_topic.is_none_or(|topic| topic::is_valid_topic(topic)));
    assert!(id.is_none_or(|id| topic::is_valid_message_id(id)));
    assert!(message_type.is_none_or(|name| {
        topic::is_valid_message_type(name) && !topic::SERVER_MESSAGE_TYPES.contains(&&**name)
    }));
    if let Some(payload) = payload {
        assert!(payload.len() <= MAX_MESSAGE_BYTES as usize);
        assert!(payload.starts_with(['{', '[', '"']), "{payload}");
        assert!(serde_json::from_str::<IgnoredAny>(payload).is_ok(), "{payload}");
    }
}

/// A client's frame, masked with the mask that changes nothing.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A message as a client with permessage-deflate sends it.
pub(crate) fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 64);
    // The room is enough, and a fresh stream takes any input.
    let status =
        Compress::new(Compression::fast(), false).compress_vec(message, &mut out, FlushCompress::Sync);
    assert!(status.is_ok() && out.ends_with(&[0, 0, 0xff, 0xff]), "{status:?}");
    out.truncate(out.len() - 4);
    out
}
