//! The client's frames of docs/contract.md 2.3: what is taken, and that everything else closes with 1008.

use realtime_proto::CloseCode;
use realtime_session::Event;

use crate::support::*;

fn of(json: &str) -> Event<'static> {
    Client::new().one(&text(json))
}

fn assert_invalid(frames: &[&str]) {
    for json in frames {
        assert_eq!(of(json), Event::Close(CloseCode::InvalidMessage), "{json}");
    }
}

fn published(payload: &'static str) -> Event<'static> {
    Event::Publish { topic: "t".into(), payload, id: None, message_type: None, compress: false }
}

#[test]
fn the_close_is_1008_with_the_documented_reason() {
    assert_eq!(CloseCode::InvalidMessage.code(), 1008);
    assert_eq!(CloseCode::InvalidMessage.reason(), "Invalid message format!");
}

#[test]
fn golden_requests() {
    assert_eq!(
        of(r#"{"type":"subscribe","data":{"topic":"a/b"}}"#),
        Event::Subscribe { topic: "a/b".into() }
    );
    assert_eq!(
        of(r#"{"type":"unsubscribe","data":{"topic":"main"}}"#),
        Event::Unsubscribe { topic: "main".into() }
    );
    assert_eq!(of(r#"{"type":"publish","data":{"topic":"t","payload":{"a":1}}}"#), published(r#"{"a":1}"#));
    assert_eq!(
        of(
            r#"{"type":"publish","data":{"topic":"t","payload":["x"],"id":"m1","messageType":"response","compress":true}}"#
        ),
        Event::Publish {
            topic: "t".into(),
            payload: r#"["x"]"#,
            id: Some("m1".into()),
            message_type: Some("response".into()),
            compress: true
        }
    );
    assert_eq!(
        of(r#"{"type":"message","data":{"payload":"hi","id":"m2","messageType":"m","compress":false}}"#),
        Event::Message {
            payload: r#""hi""#,
            id: Some("m2".into()),
            message_type: Some("m".into()),
            compress: false
        }
    );
}

#[test]
fn payloads_are_kept_exactly_as_sent() {
    for payload in [
        r#"{}"#,
        r#"[]"#,
        r#""""#,
        r#"{ "b" : 1.00e+2, "a":[ ] }"#,
        r#"{"k":1,"k":2}"#,
        r#""\u00e4\ud83d\ude00\ud800""#,
        r#"[12345678901234567890123456789, 1e999, -0]"#,
        "[\n\t\"\u{7f}\u{2028}\"]",
    ] {
        let json = format!(r#"{{"type":"publish","data":{{"topic":"t","payload": {payload} }}}}"#);
        assert_eq!(of(&json), published(Box::leak(payload.into())));
    }
}

#[test]
fn a_payload_nests_a_hundred_levels_at_most() {
    let frame = |depth: usize| {
        let payload = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        (format!(r#"{{"type":"publish","data":{{"topic":"t","payload":{payload}}}}}"#), payload)
    };
    let (json, payload) = frame(100);
    assert_eq!(of(&json), published(Box::leak(payload.into())));
    for depth in [101, 2500] {
        assert_eq!(of(&frame(depth).0), Event::Close(CloseCode::InvalidMessage));
    }
    // Unknown keys are skipped without a bound: nobody receives them.
    let (deep, _) = frame(2400);
    let json = deep.replace("payload", "unknown").replacen("topic", "payload\":[],\"topic", 1);
    assert_eq!(of(&json), published("[]"));
}

#[test]
fn keys_come_in_any_order_and_whitespace_is_free() {
    assert_eq!(
        of("\t{ \"data\" : { \"payload\":[], \"topic\":\"t\" } ,\r\n \"type\" : \"publish\" } \n"),
        published("[]")
    );
}

#[test]
fn unknown_keys_are_ignored_and_so_are_those_of_other_types() {
    let subscribed = Event::Subscribe { topic: "a".into() };
    for json in [
        r#"{"type":"subscribe","v":1,"data":{"topic":"a","x":{"topic":["b"]},"y":null}}"#,
        r#"{"type":"subscribe","data":{"topic":"a","payload":5,"id":7,"messageType":"","compress":"no"}}"#,
        r#"{"data":{"data":{},"type":"publish","topic":"a"},"type":"subscribe","topic":"b"}"#,
    ] {
        assert_eq!(of(json), subscribed, "{json}");
    }
    let message = Event::Message { payload: "[]", id: None, message_type: None, compress: false };
    assert_eq!(of(r#"{"type":"message","data":{"topic":5,"payload":[]}}"#), message);
}

#[test]
fn null_for_an_optional_field_counts_as_absent() {
    assert_eq!(
        of(
            r#"{"type":"publish","data":{"topic":"t","payload":[],"id":null,"messageType":null,"compress":null}}"#
        ),
        published("[]")
    );
}

#[test]
fn escapes_in_keys_and_texts_are_read() {
    assert_eq!(
        of(r#"{"\u0074ype":"sub\u0073cribe","data":{"t\u006fpic":"\u00e4\/\"\\ü😀"}}"#),
        Event::Subscribe { topic: "ä/\"\\ü😀".into() }
    );
}

#[test]
fn lengths_and_characters_at_their_bounds() {
    let topic = format!("{}a", "ä".repeat(127));
    let subscribe = |topic: &str| of(&format!(r#"{{"type":"subscribe","data":{{"topic":"{topic}"}}}}"#));
    assert_eq!(subscribe(&topic), Event::Subscribe { topic: topic.clone().into() });
    let name = "n".repeat(128);
    let json = format!(
        r#"{{"type":"message","data":{{"payload":[],"id":"{name}","messageType":"{name}"}}}}"#,
        name = name
    );
    assert!(matches!(of(&json), Event::Message { id: Some(id), .. } if id.len() == 128));
    let id =
        Event::Message { payload: "[]", id: Some("\n\u{7f}".into()), message_type: None, compress: false };
    assert_eq!(
        of(r#"{"type":"message","data":{"payload":[],"id":"\n\u007f"}}"#),
        id,
        "an id may be any text"
    );
}

#[test]
fn what_is_not_one_json_object_is_invalid() {
    assert_invalid(&[
        "",
        " ",
        "hello",
        "null",
        "5",
        r#""subscribe""#,
        "[]",
        r#"[{"type":"subscribe","data":{"topic":"a"}}]"#,
        "{",
        "{}",
        r#"{"type":"subscribe","data":{"topic":"a"}"#,
        r#"{"type":"subscribe","data":{"topic":"a"}}}"#,
        r#"{"type":"subscribe","data":{"topic":"a"}} {}"#,
        r#"{"type":"subscribe","data":{"topic":"a"},}"#,
        r#"{"type":"subscribe","data":{"topic":"a",}}"#,
        r#"{"type":"subscribe" "data":{"topic":"a"}}"#,
        r#"{type:"subscribe","data":{"topic":"a"}}"#,
        r#"{'type':'subscribe','data':{'topic':'a'}}"#,
        "\u{feff}{\"type\":\"subscribe\",\"data\":{\"topic\":\"a\"}}",
        r#"{"type":"subscribe","data":{"topic":"a"}}//"#,
        r#"{"type":"subscribe","data":{"topic":"a","x":01}}"#,
        r#"{"type":"subscribe","data":{"topic":"a","x":nul}}"#,
    ]);
}

#[test]
fn duplicate_keys_are_invalid() {
    assert_invalid(&[
        r#"{"type":"subscribe","type":"subscribe","data":{"topic":"a"}}"#,
        r#"{"type":null,"type":"subscribe","data":{"topic":"a"}}"#,
        r#"{"type":"subscribe","data":{"topic":"a"},"data":{"topic":"a"}}"#,
        r#"{"type":"subscribe","\u0074ype":"subscribe","data":{"topic":"a"}}"#,
        r#"{"type":"subscribe","data":{"topic":"a","topic":"a"}}"#,
        r#"{"type":"message","data":{"topic":"a","topic":"b","payload":[]}}"#,
        r#"{"type":"message","data":{"payload":[],"payload":[]}}"#,
        r#"{"type":"message","data":{"payload":[],"id":null,"id":null}}"#,
        r#"{"type":"message","data":{"payload":[],"messageType":"m","messageType":"m"}}"#,
        r#"{"type":"message","data":{"payload":[],"compress":false,"compress":false}}"#,
        r#"{"type":"subscribe","x":1,"y":1,"x":1,"data":{"topic":"a"}}"#,
        r#"{"type":"subscribe","data":{"x":1,"topic":"a","\u0078":2}}"#,
    ]);
}

#[test]
fn a_type_that_is_missing_or_unknown_is_invalid() {
    assert_invalid(&[
        r#"{"data":{"topic":"a"}}"#,
        r#"{"type":null,"data":{"topic":"a"}}"#,
        r#"{"type":1,"data":{"topic":"a"}}"#,
        r#"{"type":["subscribe"],"data":{"topic":"a"}}"#,
        r#"{"type":"","data":{"topic":"a"}}"#,
        r#"{"type":"Subscribe","data":{"topic":"a"}}"#,
        r#"{"type":"subscribe ","data":{"topic":"a"}}"#,
        r#"{"type":"broadcast","data":{"topic":"a","payload":[]}}"#,
    ]);
}

#[test]
fn data_that_is_no_object_is_invalid() {
    assert_invalid(&[
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","data":null}"#,
        r#"{"type":"subscribe","data":"a"}"#,
        r#"{"type":"subscribe","data":["a"]}"#,
        r#"{"type":"subscribe","data":{}}"#,
        r#"{"type":"message","data":[]}"#,
    ]);
}

#[test]
fn topics_outside_the_rules_are_invalid() {
    let long = format!(r#""{}""#, "t".repeat(256));
    let long_in_bytes = format!(r#""{}""#, "ä".repeat(128));
    let topics = [
        r#""""#,
        r#""\u0000""#,
        r#""a\nb""#,
        r#""\u007f""#,
        "\"\u{7f}\"",
        r#""\u0085""#,
        r#""\ud800""#,
        "\"\n\"",
        "null",
        "1",
        "true",
        "[]",
        "{}",
        &long,
        &long_in_bytes,
    ];
    for topic in topics {
        assert_invalid(&[
            &format!(r#"{{"type":"subscribe","data":{{"topic":{topic}}}}}"#),
            &format!(r#"{{"type":"unsubscribe","data":{{"topic":{topic}}}}}"#),
            &format!(r#"{{"type":"publish","data":{{"topic":{topic},"payload":[]}}}}"#),
        ]);
    }
    assert_invalid(&[r#"{"type":"publish","data":{"payload":[]}}"#]);
}

#[test]
fn payloads_that_are_no_object_array_or_string_are_invalid() {
    let payloads = [
        "0",
        "-1",
        "1.5",
        "true",
        "false",
        "null",
        "{",
        "[1,]",
        "[}",
        "\"\t\"",
        r#""\x""#,
        r#"{"a"}"#,
        "undefined",
    ];
    for payload in payloads {
        assert_invalid(&[
            &format!(r#"{{"type":"publish","data":{{"topic":"t","payload":{payload}}}}}"#),
            &format!(r#"{{"type":"message","data":{{"payload":{payload}}}}}"#),
        ]);
    }
    assert_invalid(&[r#"{"type":"publish","data":{"topic":"t"}}"#, r#"{"type":"message","data":{}}"#]);
}

#[test]
fn optional_fields_of_the_wrong_type_or_length_are_invalid() {
    let long = format!(r#""{}""#, "n".repeat(129));
    let fields = [
        ("id", vec![r#""""#, "1", "true", "[]", "{}", r#""\ud800""#, &long]),
        ("messageType", vec![r#""""#, "1", "false", "[]", "{}", r#""a\tb""#, r#""\u007f""#, &long]),
        ("compress", vec![r#""true""#, "0", "1", "[]", "{}", r#""""#]),
    ];
    for (field, values) in fields {
        for value in values {
            assert_invalid(&[
                &format!(r#"{{"type":"publish","data":{{"topic":"t","payload":[],"{field}":{value}}}}}"#),
                &format!(r#"{{"type":"message","data":{{"payload":[],"{field}":{value}}}}}"#),
            ]);
        }
    }
}
