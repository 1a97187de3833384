//! The JSON texts that the server sends (protocol.md 2.2), each in one place. `out` is appended to.

use realtime_proto::ErrorCode;
use realtime_proto::app::AckFormat;

/// Who sent a message.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Sender<'a> {
    /// 32 hex digits.
    pub connection_id: &'a str,
    pub subject: &'a str,
}

/// `{"topic":T,"messageType":"welcome","data":{"connection":{"id","appId","remoteAddress"}}}`
pub fn welcome(_out: &mut Vec<u8>, _topic: &str, _connection_id: &str, _app_id: &str, _remote_address: &str) {
    todo!()
}

/// A service's publish: `data` is the message as posted.
pub fn service_publish(_out: &mut Vec<u8>, _topic: &str, _message_type: &str, _message_json: &[u8]) {
    todo!()
}

/// A client's publish: `data` is `{"client":{"connectionId","subject"},"payload","id"}`.
pub fn client_publish(
    _out: &mut Vec<u8>,
    _topic: &str,
    _message_type: &str,
    _sender: Sender<'_>,
    _payload_json: &str,
    _id: &str,
) {
    todo!()
}

/// A client's message on `secure/inbound`: as [`client_publish`] with `client.permissions`.
pub fn inbound_message(
    _out: &mut Vec<u8>,
    _message_type: &str,
    _sender: Sender<'_>,
    _permissions: &[Box<str>],
    _payload_json: &str,
    _id: &str,
) {
    todo!()
}

/// A presence event on `secure/inbound`.
pub fn presence(_out: &mut Vec<u8>, _sender: Sender<'_>, _permissions: &[Box<str>], _connected: bool) {
    todo!()
}

/// An ack on `priv/acks`.
pub fn ack(_out: &mut Vec<u8>, _id: &str, _format: AckFormat) {
    todo!()
}

/// A refusal on `priv/errors`.
pub fn error(_out: &mut Vec<u8>, _code: ErrorCode, _message: &str, _id: Option<&str>, _topic: Option<&str>) {
    todo!()
}
