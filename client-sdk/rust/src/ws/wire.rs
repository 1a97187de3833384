//! Frames of the client protocol: building requests, reading what the server sends.

use std::borrow::Cow;

use realtime_proto::{ConnectionId, ids, topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::event::{Message, Refusal, SendError};

/// A payload on its way to a topic or to the application's backend.
#[derive(Debug, Clone)]
pub struct Outgoing {
    payload: Box<RawValue>,
    id: Option<String>,
    message_type: Option<String>,
    compress: bool,
}

impl Outgoing {
    /// JSON text: an object, an array or a string.
    #[must_use]
    pub fn raw(payload: Box<RawValue>) -> Self {
        Self { payload, id: None, message_type: None, compress: false }
    }

    /// Serializes the payload: it must become an object, an array or a string.
    ///
    /// # Errors
    /// When it cannot be serialized.
    pub fn json<T: Serialize + ?Sized>(payload: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(payload).map(Self::raw)
    }

    /// Names the message; a random id otherwise.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Replaces `broadcast` as the message type that receivers see.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// Asks for compressed binary frames.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.compress = true;
        self
    }

    /// The request's frame and the id in it. `topic`: a publish; `None`: a message to the backend.
    pub(super) fn into_frame(self, topic: Option<&str>) -> Result<(String, String), SendError> {
        check(topic.is_none_or(topic::is_valid_topic), TOPIC_RULE)?;
        check(
            self.payload.get().starts_with(['{', '[', '"']),
            "the payload must be an object, an array or a string",
        )?;
        check(
            self.message_type.as_deref().is_none_or(topic::is_valid_message_type),
            "a message type has 1 to 128 bytes and no control characters",
        )?;
        let id = self.id.unwrap_or_else(|| ids::hex(&ids::random::<16>()));
        check(topic::is_valid_message_id(&id), "a message id has 1 to 128 bytes")?;
        let data = SendData {
            topic,
            payload: &self.payload,
            id: &id,
            message_type: self.message_type.as_deref(),
            compress: self.compress,
        };
        let kind = if topic.is_some() { "publish" } else { "message" };
        let frame = serde_json::to_string(&Request { kind, data })
            .map_err(|_| SendError::Invalid("the message cannot be written as JSON"))?;
        Ok((frame, id))
    }
}

const TOPIC_RULE: &str = "a topic has 1 to 255 bytes and no control characters";

fn check(ok: bool, rule: &'static str) -> Result<(), SendError> {
    if ok { Ok(()) } else { Err(SendError::Invalid(rule)) }
}

/// Whether a topic may be put into a request.
pub(super) fn check_topic(topic: &str) -> Result<(), SendError> {
    check(topic::is_valid_topic(topic), TOPIC_RULE)
}

#[derive(Serialize)]
struct Request<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SendData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    payload: &'a RawValue,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_type: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    compress: bool,
}

/// The frame that subscribes to a topic.
pub(super) fn subscribe(topic: &str) -> String {
    topic_request("subscribe", topic)
}

/// The frame that leaves a topic.
pub(super) fn unsubscribe(topic: &str) -> String {
    topic_request("unsubscribe", topic)
}

fn topic_request(kind: &str, topic: &str) -> String {
    serde_json::json!({ "type": kind, "data": { "topic": topic } }).to_string()
}

/// A frame from the server.
#[derive(Debug)]
pub(super) enum Incoming {
    Welcome { topic: String, connection: Option<ConnectionId> },
    Ack(String),
    Refused(Refusal),
    Message(Message),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct WelcomeData {
    connection: WelcomeConnection,
}

#[derive(Deserialize)]
struct WelcomeConnection {
    id: String,
}

/// An ack's `data` in either of its two forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum AckData {
    Id(String),
    Envelope { data: String },
}

/// Reads a frame. Nobody but the server can send these types on these topics, so the pair decides.
pub(super) fn read(text: &str) -> Result<Incoming, serde_json::Error> {
    let frame: Envelope<'_> = serde_json::from_str(text)?;
    match (&*frame.topic, &*frame.message_type) {
        (_, "welcome") => {
            let data: Option<WelcomeData> = serde_json::from_str(frame.data.get()).ok();
            let connection = data.and_then(|d| ConnectionId::parse(&d.connection.id));
            Ok(Incoming::Welcome { topic: frame.topic.into_owned(), connection })
        }
        (topic::ACKS, "ack") => Ok(Incoming::Ack(match serde_json::from_str(frame.data.get())? {
            AckData::Id(id) | AckData::Envelope { data: id } => id,
        })),
        (topic::ERRORS, "error") => serde_json::from_str(frame.data.get()).map(Incoming::Refused),
        _ => Ok(Incoming::Message(Message {
            topic: frame.topic.into_owned(),
            message_type: frame.message_type.into_owned(),
            data: frame.data.to_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn requests_have_the_documented_form() {
        let out = Outgoing::json(&serde_json::json!({"a": 1}))
            .unwrap()
            .id("7")
            .message_type("response")
            .compressed();
        let (frame, id) = out.into_frame(Some("t")).unwrap();
        assert_eq!(id, "7");
        assert_eq!(
            json(&frame),
            json(
                r#"{"type":"publish","data":{"topic":"t","payload":{"a":1},"id":"7","messageType":"response","compress":true}}"#
            )
        );
        let (frame, id) = Outgoing::json("").unwrap().into_frame(None).unwrap();
        assert_eq!(json(&frame)["type"], "message");
        assert_eq!(json(&frame)["data"]["payload"], "");
        assert_eq!(id.len(), 32);
        assert_eq!(json(&subscribe("a\"b")), json(r#"{"type":"subscribe","data":{"topic":"a\"b"}}"#));
    }

    #[test]
    fn what_would_close_the_session_is_not_sent() {
        let fine = || Outgoing::json("x").unwrap();
        for (out, topic) in [
            (Outgoing::json(&1).unwrap(), "t"),
            (Outgoing::json(&()).unwrap(), "t"),
            (Outgoing::json(&true).unwrap(), "t"),
            (fine(), ""),
            (fine(), "a\nb"),
            (fine().id(""), "t"),
            (fine().id("x".repeat(129)), "t"),
            (fine().message_type(""), "t"),
        ] {
            assert!(matches!(out.into_frame(Some(topic)), Err(SendError::Invalid(_))), "{topic:?}");
        }
    }

    #[test]
    fn acks_are_read_in_both_forms() {
        for data in [r#""52""#, r#"{"data":"52"}"#] {
            let text = format!(r#"{{"topic":"priv/acks","messageType":"ack","data":{data}}}"#);
            assert!(matches!(read(&text).unwrap(), Incoming::Ack(id) if id == "52"));
        }
    }

    #[test]
    fn message_data_is_kept_as_it_was_sent() {
        let text = r#"{"topic":"t","messageType":"broadcast","data":{"b":1.0,  "a":[ ]}}"#;
        match read(text).unwrap() {
            Incoming::Message(m) => assert_eq!(m.data.get(), r#"{"b":1.0,  "a":[ ]}"#),
            other => panic!("{other:?}"),
        }
        assert!(read("{}").is_err());
        assert!(read("nonsense").is_err());
    }
}
