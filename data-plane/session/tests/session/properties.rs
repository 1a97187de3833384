//! What holds for any bytes and any way to cut them.

use proptest::prelude::*;
use realtime_proto::{CloseCode, topic};
use realtime_session::Event;
use serde_json::{Map, Value, json};

use crate::support::*;

/// One step of a client that mostly keeps to the protocol.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just(r#"{"type":"subscribe","data":{"topic":"€/ä"}}"#.to_owned()),
        "[a-z]{1,300}"
            .prop_map(|s| format!(r#"{{"type":"publish","data":{{"topic":"t","payload":"{s}"}}}}"#)),
        Just(r#"{"type":"message","data":{"payload":{"deep":[[1,2],{"x":"\u20ac"}]},"id":"1"}}"#.to_owned()),
    ];
    prop_oneof![
        5 => (message.clone(), any::<[u8; 4]>()).prop_map(|(m, mask)| masked_frame(FIN | TEXT, m.as_bytes(), mask)),
        3 => message.clone().prop_map(|m| frame(FIN | RSV1 | BINARY, &deflate(m.as_bytes()))),
        3 => (message, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(m, at, compressed)| {
            let (first, bytes) = if compressed { (RSV1 | TEXT, deflate(m.as_bytes())) } else { (TEXT, m.into()) };
            let (head, tail) = bytes.split_at(at.index(bytes.len()));
            [frame(first, head), frame(FIN | PING, b"in between"), frame(FIN | CONTINUATION, tail)].concat()
        }),
        2 => prop::collection::vec(any::<u8>(), 0..125).prop_map(|payload| frame(FIN | PING, &payload)),
        1 => Just(frame(FIN | PONG, b"")),
        1 => any::<u16>().prop_map(|code| frame(FIN | CLOSE, &code.to_be_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|payload| frame(FIN | TEXT, &payload)),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

proptest! {
    #[test]
    fn cutting_the_input_anywhere_changes_nothing(
        steps in prop::collection::vec(step(), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        deflate: bool,
    ) {
        let bytes = steps.concat();
        let client = || if deflate { Client::deflating() } else { Client::new() };
        let whole = client().read(&bytes);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut cut = client();
        let in_parts: Vec<_> = cuts.windows(2).flat_map(|part| cut.read(&bytes[part[0]..part[1]])).collect();
        prop_assert_eq!(&in_parts, &whole);
        let mut cut = client();
        let in_bytes: Vec<_> = bytes.iter().flat_map(|byte| cut.read(&[*byte])).collect();
        prop_assert_eq!(&in_bytes, &whole);
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), deflate: bool) {
        let mut client = if deflate { Client::deflating() } else { Client::new() };
        client.read(&bytes);
    }

    #[test]
    fn any_text_is_a_request_or_the_documented_close(json in ".{0,200}") {
        let event = Client::new().one(&text(&json));
        prop_assert_eq!(event, Event::Close(CloseCode::InvalidMessage));
    }

    #[test]
    fn a_message_is_read_the_same_compressed_fragmented_or_whole(
        payload in "[ -~äöü€😀]{0,2000}", split: prop::sample::Index,
    ) {
        let json = json!({"type": "publish", "data": {"topic": "t", "payload": payload}}).to_string();
        let expected = Client::new().one(&text(&json));
        let is_publish = matches!(expected, Event::Publish { .. });
        prop_assert!(is_publish || json.len() > 5120);
        let compressed = deflate(json.as_bytes());
        prop_assert_eq!(Client::deflating().one(&frame(FIN | RSV1 | TEXT, &compressed)), expected);
        let at = split.index(json.len());
        let fragments = [frame(BINARY, &json.as_bytes()[..at]), frame(FIN | CONTINUATION, &json.as_bytes()[at..])];
        let expected = Client::new().one(&text(&json));
        prop_assert_eq!(Client::new().one(&fragments.concat()), expected);
    }
}

/// A value that is right or wrong for a field.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(subscribe|unsubscribe|publish|message)".prop_map(Value::from),
        "[a-z/]{0,3}".prop_map(Value::from),
        "\\PC{0,140}".prop_map(Value::from),
        any::<char>().prop_map(|c| Value::from(c.to_string())),
        Just(json!([1, {"topic": "x"}])),
        Just(json!({"topic": "a", "payload": []})),
    ]
}

/// Members that hit the rules more often than not.
fn object(required: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let good = prop_oneof!["[a-z]{1,5}".prop_map(Value::from), Just(Value::Null), Just(json!(["x"]))];
    let key = prop::sample::select(&["topic", "payload", "id", "messageType", "compress", "other"][..]);
    (
        prop::collection::vec(prop_oneof![4 => good, 1 => value()], required.len()),
        prop::collection::btree_map(key, prop_oneof![3 => Just(json!("x")), 2 => value()], 0..4),
    )
        .prop_map(|(values, more)| {
            let mut map: Map<_, _> = more.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            map.extend(required.iter().map(|key| (*key).to_owned()).zip(values));
            map
        })
}

/// Protocol.md 2.3 over a tree: whether the frame is valid.
fn is_valid(kind: &Value, data: &Map<String, Value>) -> bool {
    let get = |key: &str| data.get(key).unwrap_or(&Value::Null);
    let topic = get("topic").as_str().is_some_and(topic::is_valid_topic);
    let payload = matches!(get("payload"), Value::Object(_) | Value::Array(_) | Value::String(_));
    let optional = |key: &str, valid: fn(&str) -> bool| match get(key) {
        Value::Null => true,
        value => value.as_str().is_some_and(valid),
    };
    let content = payload
        && optional("id", topic::is_valid_message_id)
        && optional("messageType", topic::is_valid_message_type)
        && matches!(get("compress"), Value::Null | Value::Bool(_));
    match kind.as_str() {
        Some("subscribe" | "unsubscribe") => topic,
        Some("publish") => topic && content,
        Some("message") => content,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn validation_agrees_with_a_reading_of_the_whole_tree(
        kind in prop_oneof![8 => "(subscribe|unsubscribe|publish|message)".prop_map(Value::from), 1 => value()],
        data in object(&["topic", "payload"]),
        type_last: bool,
    ) {
        let members = Value::Object(data.clone());
        let json = if type_last {
            format!(r#"{{"data":{members},"type":{kind}}}"#)
        } else {
            format!(r#"{{"type":{kind},"data":{members}}}"#)
        };
        let event = Client::new().one(&text(&json));
        prop_assert_eq!(event != Event::Close(CloseCode::InvalidMessage), is_valid(&kind, &data), "{}", json);
        if let Event::Publish { payload, .. } | Event::Message { payload, .. } = event {
            prop_assert_eq!(&serde_json::from_str::<Value>(payload).unwrap(), &data["payload"]);
        }
    }
}
