//! What a fuzzer calls with any bytes. Each function checks properties that hold for every input and panics
//! where one does not; the binaries in `fuzz_targets/` hand libFuzzer's inputs to them, and the tests here run
//! them on seeds with a stable toolchain.

use flate2::{Compress, Compression, FlushCompress};
use realtime_auth::jwks::{KeySet, MAX_SET_KEYS};
use realtime_auth::keys::MAX_KEYS;
use realtime_proto::app::{Algorithm, RefusedSubscriptionPolicy};
use realtime_proto::{CloseCode, PermissionCase, Permissions, topic};
use realtime_session::handshake::accepts_deflate;
use realtime_session::{Codec, Event, Input, Policy, Session};
use serde::de::IgnoredAny;
use serde_json::Value;

/// FIN and a text frame.
const TEXT: u8 = 0x81;
/// The same, compressed.
const COMPRESSED_TEXT: u8 = 0xc1;
/// The limit that the sessions here have.
const MAX_MESSAGE_BYTES: u32 = 5120;

/// One of each family.
const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

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

/// A key set's document. Whatever it says, what comes out keeps the limits, no key serves a symmetric algorithm
/// or two, and reading it again gives the same set.
pub fn key_set(data: &[u8]) {
    let Ok(set) = KeySet::parse(data) else { return };
    let document: Value = serde_json::from_slice(data).expect("a key set is JSON");
    let entries = document["keys"].as_array().expect("a key set is a list");
    let ignored = set.ignored();
    let passed_over = ignored.purpose + ignored.kind + ignored.malformed + ignored.surplus;
    assert_eq!(set.len() as u64 + passed_over, entries.len() as u64, "every entry is used or counted");
    assert!(set.len() <= MAX_SET_KEYS);
    let kids = entries.iter().filter_map(|key| key.get("kid")?.as_str());
    for kid in kids.map(Some).chain([None]) {
        for algorithm in ALGORITHMS {
            let found = set.find(algorithm, kid);
            assert!(found.len() <= MAX_KEYS && (found.is_empty() || !algorithm.is_hmac()));
            for key in found.iter() {
                assert_eq!(key.algorithm(), algorithm);
                assert!(!key.verifies(data, &[0; 64]), "a signature of zeros");
            }
            assert!(kid.is_none_or(|kid| found.is_empty() || set.has(kid)));
        }
    }
    assert!(KeySet::parse(data).is_ok_and(|again| again.same_keys(&set)));
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
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 64);
    // The room is enough, and a fresh stream takes any input.
    let status =
        Compress::new(Compression::fast(), false).compress_vec(message, &mut out, FlushCompress::Sync);
    assert!(status.is_ok() && out.ends_with(&[0, 0, 0xff, 0xff]), "{status:?}");
    out.truncate(out.len() - 4);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGES: [&str; 8] = [
        r#"{"type":"subscribe","data":{"topic":"a/b"}}"#,
        r#"{"data":{"topic":"secure/x"},"type":"subscribe"}"#,
        r#"{"type":"publish","data":{"topic":"t","payload":{"a":[1,2]},"id":"1","compress":true}}"#,
        r#"{"type":"message","data":{"payload":"","messageType":"ack"}}"#,
        r#"{"type":"message","data":{"payload":null}}"#,
        r#"{"type":"publish","data":{"topic":"\u0061","payload":[],"x":{"y":1e999}}}"#,
        "{}",
        "",
    ];

    /// Sound and broken keys; the values are those of RFC 7515, appendix A.3, and RFC 8037, appendix A.1.
    const KEY_SETS: [&str; 5] = [
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"b","alg":"ES256","use":"sig",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
            {"kty":"oct","k":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["verify"]},7]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-521","x":"","y":""},{"kty":"EC","crv":"P-384","x":"AA==","y":"AA"}]}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"OKP","kty":"OKP"}],"keys":[]}"#,
    ];

    #[test]
    fn seeds_hold() {
        KEY_SETS.iter().for_each(|document| key_set(document.as_bytes()));
        for message in MESSAGES {
            client_message(message.as_bytes());
            for control in [0x01, 0x05, 0x85] {
                let frames = [
                    frame(TEXT, message.as_bytes()),
                    frame(0x89, b"ping"),
                    frame(COMPRESSED_TEXT, &deflated(message.as_bytes())),
                ];
                super::frames(&[vec![control], frames.concat()].concat());
            }
        }
        client_message(&[b' '; 6000]);
        client_message(b"\xff");
        for offer in
            ["permessage-deflate; client_max_window_bits=\"1\\5\"", "a\npermessage-deflate", "\"", ""]
        {
            deflate_offer(offer.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_hold(data in prop::collection::vec(any::<u8>(), 0..300)) {
            frames(&data);
            client_message(&data);
            deflate_offer(&data);
            key_set(&data);
        }

        #[test]
        fn broken_messages_hold(seed in 0..MESSAGES.len(), at: prop::sample::Index, byte: u8) {
            let mut message = MESSAGES[seed].as_bytes().to_vec();
            if !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
            }
            client_message(&message);
        }

        #[test]
        fn broken_key_sets_hold(seed in 0..KEY_SETS.len(), at: prop::sample::Index, byte: u8) {
            let mut document = KEY_SETS[seed].as_bytes().to_vec();
            let at = at.index(document.len());
            document[at] = byte;
            key_set(&document);
        }

        /// Members of every kind in every combination.
        #[test]
        fn made_up_keys_hold(keys in prop::collection::vec(made_up_key(), 0..130)) {
            key_set(serde_json::json!({"keys": keys}).to_string().as_bytes());
        }
    }

    fn made_up_key() -> impl Strategy<Value = Value> {
        const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let one_of =
            |values: &'static [&'static str]| prop::option::weighted(0.9, prop::sample::select(values));
        let members = (
            one_of(&["OKP", "OKP", "EC", "RSA", "oct", ""]),
            one_of(&["Ed25519", "Ed25519", "P-256", "P-521", "X25519"]),
            one_of(&[X, X, "AA", "?"]),
            one_of(&["a", "b", ""]),
            prop::option::weighted(0.2, prop::sample::select(&["EdDSA", "ES256", "HS256", "none"][..])),
            prop::option::weighted(0.2, prop::sample::select(&["sig", "enc"][..])),
        );
        members.prop_map(|(kty, crv, x, kid, alg, purpose)| {
            let members = [
                ("kty", kty),
                ("crv", crv),
                ("x", x),
                ("n", x),
                ("y", x),
                ("e", x),
                ("kid", kid),
                ("alg", alg),
                ("use", purpose),
            ];
            let present =
                members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
            Value::Object(present.collect())
        })
    }
}
