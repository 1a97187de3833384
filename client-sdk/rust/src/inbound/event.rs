//! What comes, as a value: the body that SQS queues get, too (docs/contract.md 3).

use realtime_proto::ConnectionId;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::value::RawValue;

use super::answers::Receipt;

/// Something to process, and to answer.
///
/// Of one connection the next event comes once the one before it is answered, presence included: answer everything.
#[derive(Debug)]
#[must_use = "its client gets no ack before it is accepted"]
pub struct Delivery {
    /// What has happened.
    pub event: Event,
    /// A consumer that has left had it before, and may have processed it.
    pub redelivered: bool,
    /// To answer it by, here or in another task.
    pub receipt: Receipt,
}

impl Delivery {
    /// As [`Receipt::accept`].
    pub fn accept(self) {
        self.receipt.accept();
    }

    /// As [`Receipt::refuse`].
    pub fn refuse(self) {
        self.receipt.refuse();
    }
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client has sent a `message`.
    Message(Message),
    /// A client has come or gone.
    Presence(Presence),
}

/// What a client sent. What stands in `client` is the server's word, everything else the client's.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who sent it.
    pub client: Sender,
    /// The JSON text exactly as the client sent it: an object, an array or a string.
    pub payload: Box<RawValue>,
    /// The client's id of the message, or one that the server has made. What comes twice has the same one.
    pub id: String,
    /// What the client named; `None`: it named nothing.
    pub message_type: Option<String>,
}

impl Message {
    /// The payload as a type of one's own.
    ///
    /// # Errors
    /// When the client sent something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }
}

/// A client has come or gone. Best effort: what could not be told for 30 s is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub client: Sender,
    /// `false`: its connection has ended.
    pub is_connected: bool,
}

/// A client, as its token names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Its connection; `priv/{connection_id}` is the topic that it alone reads.
    #[serde(deserialize_with = "connection_id")]
    pub connection_id: ConnectionId,
    /// The token's `sub`.
    pub subject: String,
    /// The token's permissions.
    pub permissions: Vec<String>,
}

fn connection_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ConnectionId, D::Error> {
    let text = String::deserialize(deserializer)?;
    ConnectionId::parse(&text).ok_or_else(|| D::Error::custom("not a connection id"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    client: Sender,
    payload: Box<RawValue>,
    id: Option<String>,
    message_type: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

/// Reads a body. Clients name their messages' types as they like; only presence has no id.
pub(super) fn read(body: &[u8]) -> Result<Event, serde_json::Error> {
    let Body { client, payload, id, message_type } = serde_json::from_slice(body)?;
    match (id, message_type.as_deref()) {
        (Some(id), _) => Ok(Event::Message(Message { client, payload, id, message_type })),
        (None, Some("presence")) => {
            let Status { status } = serde_json::from_str(payload.get())?;
            Ok(Event::Presence(Presence { client, is_connected: status == "connected" }))
        }
        (None, _) => Err(serde_json::Error::custom("neither a message nor presence")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str =
        r#""client":{"connectionId":"0123456789abcdef0123456789abcdef","subject":"a","permissions":["p"]}"#;

    #[test]
    fn messages_keep_their_payload_as_it_was_sent() {
        let body = format!(r#"{{{CLIENT},"payload":{{"n" : 1.0}},"id":"7","messageType":"order"}}"#);
        let Event::Message(message) = read(body.as_bytes()).unwrap() else { panic!("{body}") };
        assert_eq!((message.payload.get(), &*message.id), (r#"{"n" : 1.0}"#, "7"));
        assert_eq!(message.message_type.as_deref(), Some("order"));
        assert_eq!((&*message.client.subject, &*message.client.permissions), ("a", &["p".to_owned()][..]));
        assert_eq!(message.client.connection_id.to_string(), "0123456789abcdef0123456789abcdef");
        assert_eq!(message.json::<serde_json::Value>().unwrap()["n"], 1.0);
    }

    #[test]
    fn a_client_cannot_pass_a_message_off_as_presence() {
        let body =
            format!(r#"{{{CLIENT},"payload":{{"status":"connected"}},"id":"7","messageType":"presence"}}"#);
        assert!(matches!(read(body.as_bytes()), Ok(Event::Message(_))));
    }

    #[test]
    fn presence_says_who_came_or_went() {
        for (code, status, is_connected) in [(0, "connected", true), (-1, "disconnected", false)] {
            let payload = format!(r#"{{"code":{code},"status":"{status}"}}"#);
            let body =
                format!(r#"{{{CLIENT},"subProtocol":1,"payload":{payload},"messageType":"presence"}}"#);
            let Event::Presence(presence) = read(body.as_bytes()).unwrap() else { panic!("{body}") };
            assert_eq!(presence.is_connected, is_connected);
        }
    }

    #[test]
    fn other_bodies_are_not_read() {
        let strange = CLIENT.replace("0123456789abcdef0123456789abcdef", "7");
        let message = r#""payload":"x","id":"7""#;
        for body in [
            "7".to_owned(),
            format!("{{{message}}}"),
            format!("{{{CLIENT}}}"),
            format!("{{{strange},{message}}}"),
            format!(r#"{{{CLIENT},"payload":"x","messageType":"other"}}"#),
            format!(r#"{{{CLIENT},"payload":{{}},"messageType":"presence"}}"#),
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
