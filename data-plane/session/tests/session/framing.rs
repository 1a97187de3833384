//! RFC 6455 and RFC 7692 as a client meets them.

use realtime_proto::CloseCode;
use realtime_session::{Event, Session};

use crate::support::*;

const SUBSCRIBE: &str = r#"{"type":"subscribe","data":{"topic":"a"}}"#;

fn subscribed() -> Event<'static> {
    Event::Subscribe { topic: "a".into() }
}

/// The same with spaces up to a length.
fn padded(len: usize) -> Vec<u8> {
    let mut json = SUBSCRIBE.as_bytes().to_vec();
    json.resize(len.max(json.len()), b' ');
    json
}

#[test]
fn a_session_is_small_and_holds_no_buffer_while_idle() {
    assert!(size_of::<Session>() <= 48, "{}", size_of::<Session>());
    let mut client = Client::new();
    let message = text(SUBSCRIBE);
    for split in 1..message.len() {
        assert_eq!(client.session.held_bytes(), 0);
        assert_eq!(client.read(&message[..split]), []);
        assert_ne!(client.session.held_bytes(), 0, "{split}");
        assert_eq!(client.read(&message[split..]), [subscribed()]);
    }
    assert_eq!(client.session.held_bytes(), 0);
}

#[test]
fn several_frames_of_one_read_come_in_order() {
    let bytes = [text(SUBSCRIBE), frame(FIN | PING, b"x"), frame(FIN | PONG, b""), text(SUBSCRIBE)].concat();
    assert_eq!(
        Client::new().read(&bytes),
        [subscribed(), Event::Ping { payload: b"x" }, Event::Pong, subscribed()]
    );
}

#[test]
fn binary_messages_are_taken_like_text() {
    assert_eq!(Client::new().one(&frame(FIN | BINARY, SUBSCRIBE.as_bytes())), subscribed());
}

#[test]
fn fragments_are_put_together_with_control_frames_between_them() {
    let (head, tail) = SUBSCRIBE.as_bytes().split_at(7);
    let bytes = [
        frame(TEXT, head),
        frame(FIN | PING, b"between"),
        frame(CONTINUATION, b""),
        frame(FIN | PONG, b"and again"),
        frame(FIN | CONTINUATION, tail),
        text(SUBSCRIBE),
    ]
    .concat();
    let expected = [Event::Ping { payload: b"between" }, Event::Pong, subscribed(), subscribed()];
    assert_eq!(Client::new().read(&bytes), expected);
    let mut client = Client::new();
    let one_by_one: Vec<_> = bytes.iter().flat_map(|byte| client.read(&[*byte])).collect();
    assert_eq!(one_by_one, expected);
    assert_eq!(client.session.held_bytes(), 0);
}

#[test]
fn a_message_may_begin_with_an_empty_fragment() {
    let bytes = [frame(TEXT, b""), frame(FIN | CONTINUATION, SUBSCRIBE.as_bytes())].concat();
    assert_eq!(Client::new().one(&bytes), subscribed());
}

#[test]
fn violations_of_the_framing_close_with_1002() {
    let unmasked = [&[FIN | TEXT, SUBSCRIBE.len() as u8][..], SUBSCRIBE.as_bytes()].concat();
    let long = [&[FIN | TEXT, 0xfe, 0, 5, 1, 2, 3, 4][..], b"12345"].concat();
    let longer = [&[FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 126, 1, 2, 3, 4][..], &[0; 126]].concat();
    let bad = [
        ("not masked", unmasked),
        ("RSV1, not negotiated", frame(FIN | RSV1 | TEXT, &deflate(SUBSCRIBE.as_bytes()))),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"{}")),
        ("RSV3", frame(FIN | 0x10 | TEXT, b"{}")),
        ("reserved opcode 3", frame(FIN | 3, b"")),
        ("reserved opcode 7", frame(FIN | 7, b"")),
        ("reserved opcode 11", frame(FIN | 11, b"")),
        ("reserved opcode 15", frame(FIN | 15, b"")),
        ("ping of 126 bytes", frame(FIN | PING, &[0; 126])),
        ("fragmented ping", frame(PING, b"")),
        ("fragmented close", frame(CLOSE, b"")),
        ("16-bit length for 5", long),
        ("64-bit length for 126", longer),
        ("64-bit length with the highest bit", vec![FIN | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("continuation of nothing", frame(FIN | CONTINUATION, b"{}")),
        ("open continuation of nothing", frame(CONTINUATION, b"{}")),
        ("text inside a message", [frame(TEXT, b"{"), text("{}")].concat()),
        ("binary inside a message", [frame(TEXT, b"{"), frame(BINARY, b"}")].concat()),
    ];
    for (name, bytes) in bad {
        assert_eq!(Client::new().read(&bytes), [Event::Close(CloseCode::ProtocolError)], "{name}");
    }
    assert_eq!(CloseCode::ProtocolError.code(), 1002);
}

#[test]
fn rsv1_on_control_frames_and_continuations_closes_with_1002_where_deflate_is_negotiated() {
    let continued =
        [frame(RSV1 | TEXT, b""), frame(FIN | RSV1 | CONTINUATION, &deflate(SUBSCRIBE.as_bytes()))].concat();
    for bytes in [frame(FIN | RSV1 | PING, b""), frame(FIN | RSV1 | CLOSE, b""), continued] {
        assert_eq!(Client::deflating().read(&bytes), [Event::Close(CloseCode::ProtocolError)]);
    }
}

#[test]
fn a_close_frame_ends_the_session_with_the_clients_code() {
    let close = |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat());
    assert_eq!(Client::new().one(&frame(FIN | CLOSE, b"")), Event::PeerClosed { code: 1000 });
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        assert_eq!(Client::new().one(&close(code, "bye ü".as_bytes())), Event::PeerClosed { code });
    }
    let mut client = Client::new();
    assert_eq!(
        client.read(&[close(1000, b""), text(SUBSCRIBE)].concat()),
        [Event::PeerClosed { code: 1000 }]
    );
    assert_eq!(client.read(&text(SUBSCRIBE)), [], "nothing counts after a close");
}

#[test]
fn a_bad_close_frame_closes_with_1002_or_1007() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        let close = frame(FIN | CLOSE, &code.to_be_bytes());
        assert_eq!(Client::new().one(&close), Event::Close(CloseCode::ProtocolError), "{code}");
    }
    assert_eq!(Client::new().one(&frame(FIN | CLOSE, &[3])), Event::Close(CloseCode::ProtocolError));
    let not_utf8 = frame(FIN | CLOSE, &[3, 0xe8, 0xff]);
    assert_eq!(Client::new().one(&not_utf8), Event::Close(CloseCode::NotUtf8));
    assert_eq!(CloseCode::NotUtf8.code(), 1007);
}

#[test]
fn text_that_is_not_utf8_closes_with_1007_and_a_binary_message_with_1008() {
    for bad in [&b"\xff"[..], b"{\"a\":\"\xc0\xaf\"}", b"\xed\xa0\x80", b"\xe2\x82"] {
        assert_eq!(Client::new().one(&frame(FIN | TEXT, bad)), Event::Close(CloseCode::NotUtf8));
        assert_eq!(Client::new().one(&frame(FIN | BINARY, bad)), Event::Close(CloseCode::InvalidMessage));
        let compressed = frame(FIN | RSV1 | TEXT, &deflate(bad));
        assert_eq!(Client::deflating().one(&compressed), Event::Close(CloseCode::NotUtf8));
    }
}

#[test]
fn a_character_may_span_fragments_but_bad_text_fails_before_the_message_ends() {
    let json = r#"{"type":"subscribe","data":{"topic":"€"}}"#.as_bytes();
    let euro = json.iter().position(|&b| b == 0xe2).expect("the character");
    let bytes = [
        frame(TEXT, &json[..=euro]),
        frame(CONTINUATION, &json[euro + 1..euro + 2]),
        frame(FIN | CONTINUATION, &json[euro + 2..]),
    ];
    assert_eq!(Client::new().one(&bytes.concat()), Event::Subscribe { topic: "€".into() });
    assert_eq!(Client::new().one(&frame(TEXT, b"{\"a\xff")), Event::Close(CloseCode::NotUtf8));
    let begun = &frame(FIN | TEXT, &[&b"\xff"[..], &[b' '; 100]].concat())[..20];
    assert_eq!(Client::new().one(begun), Event::Close(CloseCode::NotUtf8));
}

#[test]
fn a_message_over_the_limit_closes_with_1009_as_soon_as_a_header_says_so() {
    assert_eq!(Client::new().one(&frame(FIN | TEXT, &padded(5120))), subscribed());
    let over = frame(FIN | TEXT, &padded(5121));
    assert_eq!(Client::new().one(&over[..8]), Event::Close(CloseCode::TooBig), "the header alone");
    let fragments = [frame(TEXT, &padded(5120)), frame(FIN | CONTINUATION, b" ")].concat();
    assert_eq!(Client::new().one(&fragments[..fragments.len() - 1]), Event::Close(CloseCode::TooBig));
    let huge = [FIN | TEXT, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(Client::new().one(&huge), Event::Close(CloseCode::TooBig));
    assert_eq!(CloseCode::TooBig.code(), 1009);
}

#[test]
fn no_limit_takes_long_messages() {
    let mut client = Client::deflating();
    client.policy.max_message_bytes = 0;
    let long = padded(1_000_000);
    assert_eq!(client.one(&frame(FIN | TEXT, &long)), subscribed());
    assert_eq!(client.one(&frame(FIN | RSV1 | TEXT, &deflate(&long))), subscribed());
}

#[test]
fn compressed_messages_are_inflated_up_to_the_limit() {
    let compressed = |len: usize| frame(FIN | RSV1 | TEXT, &deflate(&padded(len)));
    let mut client = Client::deflating();
    assert_eq!(client.one(&compressed(5120)), subscribed());
    assert_eq!(client.one(&compressed(1)), subscribed(), "each message begins anew");
    assert_eq!(client.one(&text(SUBSCRIBE)), subscribed(), "plain ones stay allowed");
    assert_eq!(client.one(&compressed(5121)), Event::Close(CloseCode::TooBig));
    assert_eq!(Client::deflating().one(&compressed(4_000_000)), Event::Close(CloseCode::TooBig), "a bomb");
}

#[test]
fn a_compressed_message_much_longer_than_the_limit_is_refused_at_its_header() {
    let header = &frame(FIN | RSV1 | TEXT, &[0; 8000])[..8];
    assert_eq!(Client::deflating().one(header), Event::Close(CloseCode::TooBig));
}

#[test]
fn compressed_messages_may_be_fragmented() {
    let payload = deflate(SUBSCRIBE.as_bytes());
    for split in 0..=payload.len() {
        let bytes = [
            frame(RSV1 | BINARY, &payload[..split]),
            frame(FIN | PING, b""),
            frame(FIN | CONTINUATION, &payload[split..]),
        ];
        assert_eq!(Client::deflating().read(&bytes.concat()), [Event::Ping { payload: b"" }, subscribed()]);
    }
}

#[test]
fn a_corrupt_deflate_stream_closes_with_1002() {
    let corrupt = frame(FIN | RSV1 | TEXT, &[0x07, 0xff, 0xff]);
    assert_eq!(Client::deflating().one(&corrupt), Event::Close(CloseCode::ProtocolError));
}
