//! The frames that clients send (docs/contract.md 2.3): JSON text in, a request out. No tree is built: texts are
//! borrowed and the payload is checked to be JSON and kept as it was sent.

use std::borrow::Cow;
use std::fmt;

use realtime_proto::nesting::nests_too_deep;
use realtime_proto::topic;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A well-formed frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    Subscribe { topic: Cow<'a, str> },
    Unsubscribe { topic: Cow<'a, str> },
    Publish { topic: Cow<'a, str>, content: Content<'a> },
    Message(Content<'a>),
}

/// What `publish` and `message` share.
#[derive(Debug, PartialEq)]
pub(crate) struct Content<'a> {
    pub(crate) payload: &'a str,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) message_type: Option<Cow<'a, str>>,
    pub(crate) compress: bool,
}

/// Reads a frame; `None` when it fails validation in any way.
pub(crate) fn parse(text: &str) -> Option<Request<'_>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let envelope = json.deserialize_map(EnvelopeVisitor).ok()?;
    json.end().ok()?;
    let data = envelope.data?;
    Some(match &*string(envelope.kind?)? {
        "subscribe" => Request::Subscribe { topic: data.topic()? },
        "unsubscribe" => Request::Unsubscribe { topic: data.topic()? },
        "publish" => Request::Publish { topic: data.topic()?, content: data.content()? },
        "message" => Request::Message(data.content()?),
        _ => return None,
    })
}

/// The frame's members as they stand. Which of them a frame needs is known with its type, which may come last.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a RawValue>,
    data: Option<Data<'a>>,
}

#[derive(Default)]
struct Data<'a> {
    topic: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    message_type: Option<&'a RawValue>,
    compress: Option<&'a RawValue>,
}

impl<'a> Data<'a> {
    fn topic(&self) -> Option<Cow<'a, str>> {
        string(self.topic?).filter(|topic| topic::is_valid_topic(topic))
    }

    fn content(&self) -> Option<Content<'a>> {
        let payload = self.payload?.get();
        if !payload.starts_with(['{', '[', '"']) || nests_too_deep(payload.as_bytes()) {
            return None;
        }
        let compress = match self.compress.map(RawValue::get) {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => return None,
        };
        let id = optional_string(self.id, topic::is_valid_message_id)?;
        let message_type = optional_string(self.message_type, topic::is_valid_message_type)?;
        Some(Content { payload, id, message_type, compress })
    }
}

/// The text of a JSON string, borrowed unless it has escapes; `None` for any other value.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(inner.into())
    }
}

/// The same for a member that may be absent or `null`; `None` when it is there and bad.
fn optional_string<'a>(raw: Option<&'a RawValue>, valid: fn(&str) -> bool) -> Option<Option<Cow<'a, str>>> {
    match raw {
        None => Some(None),
        Some(raw) if raw.get() == "null" => Some(None),
        Some(raw) => string(raw).filter(|text| valid(text)).map(Some),
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        let mut unknown = UnknownKeys::default();
        while let Some(key) = map.next_key_seed(Key)? {
            match &*key {
                "type" => refuse(envelope.kind.replace(map.next_value()?).is_some())?,
                "data" => refuse(envelope.data.replace(map.next_value_seed(DataVisitor)?).is_some())?,
                _ => unknown.skip(key, &mut map)?,
            }
        }
        refuse(unknown.repeat())?;
        Ok(envelope)
    }
}

struct DataVisitor;

impl<'de> DeserializeSeed<'de> for DataVisitor {
    type Value = Data<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame's data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut data = Data::default();
        let mut unknown = UnknownKeys::default();
        while let Some(key) = map.next_key_seed(Key)? {
            let member = match &*key {
                "topic" => &mut data.topic,
                "payload" => &mut data.payload,
                "id" => &mut data.id,
                "messageType" => &mut data.message_type,
                "compress" => &mut data.compress,
                _ => {
                    unknown.skip(key, &mut map)?;
                    continue;
                }
            };
            refuse(member.replace(map.next_value()?).is_some())?;
        }
        refuse(unknown.repeat())?;
        Ok(data)
    }
}

fn refuse<E: serde::de::Error>(repeated: bool) -> Result<(), E> {
    if repeated { Err(E::custom("a key stands twice")) } else { Ok(()) }
}

/// Keys without a meaning. They are ignored, but a repeated one is still a repeated key.
/// Sorted at the end, so that many of them cost no more than their length allows.
#[derive(Default)]
struct UnknownKeys<'de>(Vec<Cow<'de, str>>);

impl<'de> UnknownKeys<'de> {
    fn skip<A: MapAccess<'de>>(&mut self, key: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        self.0.push(key);
        map.next_value::<IgnoredAny>().map(drop)
    }

    fn repeat(mut self) -> bool {
        self.0.sort_unstable();
        self.0.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// An object's key, borrowed unless it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
