//! The JSON texts that the server sends (docs/contract.md 2.2), each in one place. `out` is appended to.
//!
//! Payloads, messages and nothing else are taken as JSON text that was validated before; every other text is
//! escaped here.

use realtime_proto::app::AckFormat;
use realtime_proto::{ErrorCode, Texts, topic};

/// Who sent a message.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Sender<'a> {
    /// 32 hex digits.
    pub connection_id: &'a str,
    pub subject: &'a str,
}

/// `{"topic":T,"messageType":"welcome","data":{"connection":{"id","appId","remoteAddress"}}}`
pub fn welcome(out: &mut Vec<u8>, topic: &str, connection_id: &str, app_id: &str, remote_address: &str) {
    open(out, topic, "welcome");
    out.extend_from_slice(br#"{"connection":{"id":"#);
    string(out, connection_id);
    out.extend_from_slice(br#","appId":"#);
    string(out, app_id);
    out.extend_from_slice(br#","remoteAddress":"#);
    string(out, remote_address);
    out.extend_from_slice(b"}}}");
}

/// A service's publish: `data` is the message as posted.
pub fn service_publish(out: &mut Vec<u8>, topic: &str, message_type: &str, message_json: &[u8]) {
    out.reserve(message_json.len() + topic.len() + message_type.len() + 48);
    open(out, topic, message_type);
    out.extend_from_slice(message_json);
    out.push(b'}');
}

/// A client's publish: `data` is `{"client":{"connectionId","subject"},"payload","id"}`.
pub fn client_publish(
    out: &mut Vec<u8>,
    topic: &str,
    message_type: &str,
    sender: Sender<'_>,
    payload_json: &str,
    id: &str,
) {
    let texts = topic.len() + message_type.len() + sender.subject.len() + payload_json.len() + id.len();
    out.reserve(texts + 160);
    open(out, topic, message_type);
    client(out, sender, None);
    payload_and_id(out, payload_json, id);
}

/// A client's message on `secure/inbound`: as [`client_publish`] with `client.permissions`.
pub fn inbound_message(
    out: &mut Vec<u8>,
    message_type: &str,
    sender: Sender<'_>,
    permissions: &Texts,
    payload_json: &str,
    id: &str,
) {
    open(out, topic::INBOUND, message_type);
    client(out, sender, Some(permissions));
    payload_and_id(out, payload_json, id);
}

/// A presence event on `secure/inbound`.
pub fn presence(out: &mut Vec<u8>, sender: Sender<'_>, permissions: &Texts, connected: bool) {
    open(out, topic::INBOUND, "presence");
    client(out, sender, Some(permissions));
    out.extend_from_slice(presence_payload(connected));
    out.extend_from_slice(b"}}");
}

/// A client's message as SNS and SQS get it (docs/contract.md 3): what `secure/inbound` has as `data`, and the
/// `messageType` where the client set one.
#[must_use]
pub fn forwarded_message(
    message_type: Option<&str>,
    sender: Sender<'_>,
    permissions: &Texts,
    payload_json: &str,
    id: &str,
) -> String {
    let mut out = Vec::with_capacity(payload_json.len() + 256);
    client(&mut out, sender, Some(permissions));
    out.extend_from_slice(br#","payload":"#);
    out.extend_from_slice(payload_json.as_bytes());
    out.extend_from_slice(br#","id":"#);
    string(&mut out, id);
    if let Some(message_type) = message_type {
        out.extend_from_slice(br#","messageType":"#);
        string(&mut out, message_type);
    }
    out.push(b'}');
    storable(out)
}

/// A presence event as SNS and SQS get it.
#[must_use]
pub fn forwarded_presence(sender: Sender<'_>, permissions: &Texts, connected: bool) -> String {
    let mut out = Vec::with_capacity(256);
    client(&mut out, sender, Some(permissions));
    out.extend_from_slice(presence_payload(connected));
    out.extend_from_slice(br#","messageType":"presence"}"#);
    storable(out)
}

/// A test message as SNS and SQS get it: no client's. Its `subject` is empty and it has a member `test`, neither of
/// which any client can bring about; the type is for consumers that look at nothing else.
#[must_use]
pub fn forwarded_test(app_id: &str, id: &str) -> String {
    let mut out = Vec::with_capacity(256);
    let nobody = Sender { connection_id: NO_CONNECTION, subject: "" };
    client(&mut out, nobody, Some(&Texts::default()));
    out.extend_from_slice(br#","payload":{"appId":"#);
    string(&mut out, app_id);
    out.extend_from_slice(br#"},"id":"#);
    string(&mut out, id);
    out.extend_from_slice(br#","messageType":"test","test":true}"#);
    storable(out)
}

/// The connection id of messages that are no client's.
const NO_CONNECTION: &str = "00000000000000000000000000000000";

/// Text as AWS stores it: that of XML, which has no U+FFFE and U+FFFF. In JSON they stand in strings only, where their
/// escapes mean the same.
fn storable(json: Vec<u8>) -> String {
    let text = String::from_utf8(json).expect("whole texts were written");
    if text.contains(['\u{fffe}', '\u{ffff}']) {
        return text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
    }
    text
}

fn presence_payload(connected: bool) -> &'static [u8] {
    if connected {
        br#","subProtocol":1,"payload":{"code":0,"status":"connected"}"#
    } else {
        br#","subProtocol":1,"payload":{"code":-1,"status":"disconnected"}"#
    }
}

/// An ack on `priv/acks`.
pub fn ack(out: &mut Vec<u8>, id: &str, format: AckFormat) {
    open(out, topic::ACKS, "ack");
    match format {
        AckFormat::Id => string(out, id),
        AckFormat::Envelope => {
            out.extend_from_slice(br#"{"data":"#);
            string(out, id);
            out.push(b'}');
        }
    }
    out.push(b'}');
}

/// A refusal on `priv/errors`.
pub fn error(out: &mut Vec<u8>, code: ErrorCode, message: &str, id: Option<&str>, topic: Option<&str>) {
    open(out, topic::ERRORS, "error");
    out.extend_from_slice(br#"{"code":"#);
    string(out, code.name());
    out.extend_from_slice(br#","message":"#);
    string(out, message);
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        string(out, id);
    }
    if let Some(topic) = topic {
        out.extend_from_slice(br#","topic":"#);
        string(out, topic);
    }
    out.extend_from_slice(b"}}");
}

/// `{"topic":T,"messageType":M,"data":`
fn open(out: &mut Vec<u8>, topic: &str, message_type: &str) {
    out.extend_from_slice(br#"{"topic":"#);
    string(out, topic);
    out.extend_from_slice(br#","messageType":"#);
    string(out, message_type);
    out.extend_from_slice(br#","data":"#);
}

/// `{"client":{…}` of `data`, left open.
fn client(out: &mut Vec<u8>, sender: Sender<'_>, permissions: Option<&Texts>) {
    out.extend_from_slice(br#"{"client":{"connectionId":"#);
    string(out, sender.connection_id);
    out.extend_from_slice(br#","subject":"#);
    string(out, sender.subject);
    if let Some(permissions) = permissions {
        out.extend_from_slice(br#","permissions":["#);
        for (i, permission) in permissions.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            string(out, permission);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// The rest of `data`, and the end of the frame.
fn payload_and_id(out: &mut Vec<u8>, payload_json: &str, id: &str) {
    out.extend_from_slice(br#","payload":"#);
    out.extend_from_slice(payload_json.as_bytes());
    out.extend_from_slice(br#","id":"#);
    string(out, id);
    out.extend_from_slice(b"}}");
}

/// A JSON string. Runs without a character to escape, mostly the whole text, are copied at once.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const SENDER: Sender<'_> = Sender { connection_id: "0a1b2c3d4e5f60718293a4b5c6d7e8f9", subject: "alice" };

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_welcome_names_the_connection() {
        assert_eq!(
            text(|out| welcome(out, "main", SENDER.connection_id, "demo", "127.0.0.1")),
            r#"{"topic":"main","messageType":"welcome","data":{"connection":{"id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","appId":"demo","remoteAddress":"127.0.0.1"}}}"#
        );
    }

    #[test]
    fn a_service_publish_carries_the_message_as_posted() {
        assert_eq!(
            text(|out| service_publish(out, "a/b", "broadcast", br#"{ "n" : 1.0 }"#)),
            r#"{"topic":"a/b","messageType":"broadcast","data":{ "n" : 1.0 }}"#
        );
    }

    #[test]
    fn a_client_publish_names_its_sender_without_permissions() {
        assert_eq!(
            text(|out| client_publish(out, "t", "response", SENDER, r#"[1,"x"]"#, "m1")),
            r#"{"topic":"t","messageType":"response","data":{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice"},"payload":[1,"x"],"id":"m1"}}"#
        );
    }

    #[test]
    fn an_inbound_message_has_the_permissions_too() {
        let permissions = vec!["p:1", "p:2"].into();
        assert_eq!(
            text(|out| inbound_message(out, "broadcast", SENDER, &permissions, r#""""#, "m1")),
            r#"{"topic":"secure/inbound","messageType":"broadcast","data":{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":["p:1","p:2"]},"payload":"","id":"m1"}}"#
        );
    }

    #[test]
    fn presence_says_connected_or_disconnected() {
        assert_eq!(
            text(|out| presence(out, SENDER, &Texts::default(), true)),
            r#"{"topic":"secure/inbound","messageType":"presence","data":{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":[]},"subProtocol":1,"payload":{"code":0,"status":"connected"}}}"#
        );
        assert_eq!(
            text(|out| presence(out, SENDER, &vec!["p"].into(), false)),
            r#"{"topic":"secure/inbound","messageType":"presence","data":{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":["p"]},"subProtocol":1,"payload":{"code":-1,"status":"disconnected"}}}"#
        );
    }

    #[test]
    fn a_forwarded_message_is_the_data_and_the_type_that_the_client_set() {
        let permissions = vec!["p:1", "p:\"2"].into();
        assert_eq!(
            forwarded_message(None, SENDER, &permissions, r#"{"a":[1.0,"x"]}"#, "m1"),
            r#"{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":["p:1","p:\"2"]},"payload":{"a":[1.0,"x"]},"id":"m1"}"#
        );
        assert_eq!(
            forwarded_message(Some("order"), SENDER, &Texts::default(), r#""""#, "m\n1"),
            r#"{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":[]},"payload":"","id":"m\n1","messageType":"order"}"#
        );
    }

    #[test]
    fn a_forwarded_presence_event_says_what_it_is() {
        assert_eq!(
            forwarded_presence(SENDER, &vec!["p"].into(), true),
            r#"{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":["p"]},"subProtocol":1,"payload":{"code":0,"status":"connected"},"messageType":"presence"}"#
        );
        assert_eq!(
            forwarded_presence(SENDER, &Texts::default(), false),
            r#"{"client":{"connectionId":"0a1b2c3d4e5f60718293a4b5c6d7e8f9","subject":"alice","permissions":[]},"subProtocol":1,"payload":{"code":-1,"status":"disconnected"},"messageType":"presence"}"#
        );
    }

    #[test]
    fn a_forwarded_test_is_no_clients() {
        assert_eq!(
            forwarded_test("demo", "m1"),
            r#"{"client":{"connectionId":"00000000000000000000000000000000","subject":"","permissions":[]},"payload":{"appId":"demo"},"id":"m1","messageType":"test","test":true}"#
        );
    }

    #[test]
    fn characters_that_aws_does_not_store_are_escaped() {
        let payload = "\"a\u{fffe}b\u{ffff}\u{fffd}\"";
        let body = forwarded_message(None, SENDER, &Texts::default(), payload, "m\u{ffff}");
        assert!(!body.contains(['\u{fffe}', '\u{ffff}']) && body.contains('\u{fffd}'), "{body}");
        let read: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["payload"], json!("a\u{fffe}b\u{ffff}\u{fffd}"));
        assert_eq!(read["id"], json!("m\u{ffff}"));
    }

    #[test]
    fn an_ack_is_the_id_or_an_envelope_around_it() {
        assert_eq!(
            text(|out| ack(out, "m1", AckFormat::Id)),
            r#"{"topic":"priv/acks","messageType":"ack","data":"m1"}"#
        );
        assert_eq!(
            text(|out| ack(out, "m1", AckFormat::Envelope)),
            r#"{"topic":"priv/acks","messageType":"ack","data":{"data":"m1"}}"#
        );
    }

    #[test]
    fn an_error_has_the_id_and_the_topic_where_there_are_any() {
        assert_eq!(
            text(|out| error(out, ErrorCode::RateLimited, "Slow down", Some("m1"), Some("t"))),
            r#"{"topic":"priv/errors","messageType":"error","data":{"code":"rate_limited","message":"Slow down","id":"m1","topic":"t"}}"#
        );
        assert_eq!(
            text(|out| error(out, ErrorCode::InboundDisabled, "None", None, None)),
            r#"{"topic":"priv/errors","messageType":"error","data":{"code":"inbound_disabled","message":"None"}}"#
        );
    }

    #[test]
    fn every_control_character_quote_and_backslash_is_escaped() {
        let all: String = (0..=0x7f_u8).map(char::from).collect();
        let written = text(|out| string(out, &all));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), all);
        assert_eq!(written, serde_json::to_string(&all).unwrap());
    }

    proptest! {
        #[test]
        fn any_texts_make_one_json_object(topic in ".*", kind in ".*", subject in ".*", id in ".*") {
            let sender = Sender { subject: &subject, ..SENDER };
            let frame = text(|out| client_publish(out, &topic, &kind, sender, "{}", &id));
            let expected = json!({"topic": topic, "messageType": kind, "data": {
                "client": {"connectionId": SENDER.connection_id, "subject": subject}, "payload": {}, "id": id}});
            prop_assert_eq!(serde_json::from_str::<Value>(&frame).unwrap(), expected);
        }
    }
}
