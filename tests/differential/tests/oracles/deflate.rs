//! permessage-deflate against zlib (Node's and Python's) and Node's `ws`: what each side compresses the other
//! inflates to the same bytes, and malformed streams get the same verdict.

use realtime_differential::{Oracle, Random, node, python, seeds};
use realtime_proto::app::RefusedSubscriptionPolicy;
use realtime_proto::{CloseCode, PermissionCase, Permissions};
use realtime_session::{Codec, Deflater, Event, Frame, Input, Policy, Session};
use serde_json::{Value, json};

use crate::support::{base64, bytes, oracles};

/// The longest message of the contract (docs/contract.md 2.3).
const LIMIT: u32 = 5_120;
/// No message here is longer.
const ROOMY: u32 = 1 << 20;

/// First bytes of frames: whole messages, and the parts of a fragmented one.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const COMPRESSED_TEXT: u8 = 0xc1;
const COMPRESSED_BINARY: u8 = 0xc2;
const FIRST_PART: u8 = 0x41;
const PART: u8 = 0x00;
const LAST_PART: u8 = 0x80;
const PING: u8 = 0x89;

/// What a flush ends with; a sender leaves it out at a message's end only (RFC 7692, 7.2.1).
const FLUSH: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A client's frame.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
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
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// What a session makes of a client's bytes, read in pieces of `read`, as texts.
fn events(stream: &[u8], read: usize, limit: u32) -> Vec<String> {
    let policy = Policy {
        max_message_bytes: limit,
        messages_per_second: 0,
        inbound_enabled: true,
        refused_subscription: RefusedSubscriptionPolicy::Error,
    };
    let list = vec!["realtime:publisher:write:topic:*"].into();
    let permissions = Permissions::new(list, PermissionCase::Insensitive);
    let (mut session, mut codec) = (Session::new(true), Codec::new());
    let mut events = Vec::new();
    for piece in stream.chunks(read.max(1)) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        while let Some(event) = session.next(0, &policy, &permissions, &mut input, &mut codec) {
            events.push(format!("{event:?}"));
        }
    }
    events
}

fn closed(code: CloseCode) -> Vec<String> {
    vec![format!("{:?}", Event::Close(code))]
}

/// A request that a session takes, with a payload that compresses well, badly or not at all.
fn request(random: &mut Random, longest: usize) -> String {
    let length = random.below(longest);
    let text: String = match random.below(4) {
        0 => "na ".repeat(length / 3),
        1 => (0..length).map(|_| char::from(b' ' + random.below(94) as u8)).collect(),
        2 => {
            (0..length / 4).map(|_| char::from_u32(0x10000 + random.below(0x4000) as u32).unwrap()).collect()
        }
        _ => (0..length / 8)
            .map(|_| *random.pick(&["{\"a\":1} ", "secure/x", "12345678", "ünïcöde"]))
            .collect(),
    };
    json!({"type": "message", "data": {"payload": text, "id": "1"}}).to_string()
}

/// What compressors are asked for: every level, strategy and window, random memory levels and flushes.
fn settings(message: &[u8], level: i64, strategy: u64, window: u64, random: &mut Random) -> Value {
    let mut cuts: Vec<_> = (0..random.below(4)).map(|_| random.below(message.len() + 1)).collect();
    cuts.sort_unstable();
    json!({
        "message": base64(message), "level": level, "strategy": strategy, "windowBits": window,
        "memLevel": 1 + random.below(9), "cuts": cuts, "final": random.one_in(5),
    })
}

/// Messages that compressors find hard or special.
fn messages(random: &mut Random) -> Vec<Vec<u8>> {
    let mut messages =
        vec![Vec::new(), vec![0], b"Hello".to_vec(), br#"{"topic":"main","data":{}}"#.to_vec()];
    // Around the limits of stored blocks, windows and frame lengths.
    for length in [125, 126, 257, 258, 259, 5_120, 32_767, 32_768, 32_769, 65_535, 65_536, 70_000] {
        messages.push(vec![b' '; length]);
        messages.push(random.bytes(length));
        let period = 1 + random.below(300);
        let period = random.bytes(period);
        messages.push(period.iter().copied().cycle().take(length).collect());
    }
    // What a deflater may leave at a flush: an empty stored block's marks inside the text.
    messages.push([0, 0, 0xff, 0xff].repeat(100));
    for _ in 0..20 {
        messages.push(request(random, 6_000).into_bytes());
    }
    messages
}

/// One deflater serves all messages, as on a shard: nothing may be left over from one to the next.
#[test]
fn what_we_compress_zlib_and_ws_inflate_to_the_same_bytes() {
    let Some((node, python)) = oracles() else { return };
    for seed in seeds() {
        let mut random = Random::new(seed);
        let mut deflater = Deflater::new();
        let messages = messages(&mut random);
        let mut stream = Vec::new();
        let mut payloads = Vec::new();
        for message in &messages {
            let frame = Frame::compressible(message);
            let deflated = frame.deflated(&mut deflater);
            stream.extend_from_slice(deflated);
            let header = match deflated[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            payloads.push(base64(&deflated[header..]));
        }
        let inflated = python.ask("inflate", json!({"payloads": payloads, "limit": ROOMY}));
        for (message, answer) in messages.iter().zip(inflated.as_array().unwrap()) {
            assert_eq!(answer["message"], base64(message), "seed {seed}: {answer}");
        }
        for read in [1_000_000, 1 + random.below(5_000)] {
            let received = node.ask("receive", json!({"stream": base64(&stream), "read": read}));
            let received = received.as_array().unwrap();
            assert_eq!(received.len(), messages.len(), "seed {seed}");
            for (message, received) in messages.iter().zip(received) {
                assert_eq!((&received["data"], &received["binary"]), (&json!(base64(message)), &json!(true)));
            }
        }
    }
}

/// Asserts that the session takes a compressed message for the message that it is.
#[track_caller]
fn assert_taken(message: &str, payload: &[u8], random: &mut Random, about: &str) {
    let plain = events(&frame(TEXT, message.as_bytes(), [0; 4]), usize::MAX, ROOMY);
    assert!(plain.len() == 1 && plain[0].starts_with("Message"), "{plain:?}");
    let mask = random.next_u64().to_le_bytes()[..4].try_into().unwrap();
    let whole = frame(COMPRESSED_TEXT, payload, mask);
    let read = 1 + random.below(whole.len());
    assert_eq!(events(&whole, read, ROOMY), plain, "{about}");
}

fn assert_theirs_inflate_here(oracle: &Oracle, seed: u64) {
    let mut random = Random::new(seed);
    let (mut messages, mut cases) = (Vec::new(), Vec::new());
    for level in -1..=9 {
        for strategy in 0..5 {
            for window in 9..=15 {
                let message = request(&mut random, 3_000);
                cases.push(settings(message.as_bytes(), level, strategy, window, &mut random));
                messages.push(message);
            }
        }
    }
    // Farther back than small windows reach.
    for window in 9..=15 {
        let message = request(&mut random, 100_000);
        cases.push(settings(message.as_bytes(), 9, 0, window, &mut random));
        messages.push(message);
    }
    let payloads = oracle.ask("deflate", json!({"cases": cases}));
    for ((message, case), payload) in messages.iter().zip(&cases).zip(payloads.as_array().unwrap()) {
        assert_taken(message, &bytes(payload), &mut random, &format!("seed {seed}: {case} made {payload}"));
    }
}

#[test]
fn what_node_compresses_in_any_way_inflates_here() {
    let Some(node) = node() else { return };
    seeds().into_iter().for_each(|seed| assert_theirs_inflate_here(node, seed));
}

#[test]
fn what_python_compresses_in_any_way_inflates_here() {
    let Some(python) = python() else { return };
    seeds().into_iter().for_each(|seed| assert_theirs_inflate_here(python, seed));
}

#[test]
fn a_compressed_message_may_be_cut_into_fragments_anywhere() {
    let Some(python) = python() else { return };
    let mut random = Random::new(1);
    let message = request(&mut random, 300);
    let case = settings(message.as_bytes(), 6, 0, 15, &mut random);
    let payload = bytes(&python.ask("deflate", json!({"cases": [case]}))[0]);
    let plain = events(&frame(TEXT, message.as_bytes(), [0; 4]), usize::MAX, LIMIT);
    for first in 0..=payload.len() {
        let second = first + random.below(payload.len() - first + 1);
        let ping = frame(PING, b"", [1; 4]);
        let stream = [
            frame(FIRST_PART, &payload[..first], [2; 4]),
            frame(PART, &payload[first..second], [3; 4]),
            ping,
            frame(LAST_PART, &payload[second..], [4; 4]),
        ]
        .concat();
        let read = 1 + random.below(stream.len());
        let mut events = events(&stream, read, LIMIT);
        assert_eq!(events.remove(0), format!("{:?}", Event::Ping { payload: b"" }), "{first} {second}");
        assert_eq!(events, plain, "cut at {first} and {second}, reads of {read}");
    }
}

/// The whole of a `ws` client: masks, fragments that are each flushed, plain messages between compressed ones.
#[test]
fn what_a_ws_client_sends_is_taken_message_by_message() {
    let Some(node) = node() else { return };
    for seed in seeds() {
        let mut random = Random::new(seed);
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let message = request(&mut random, 4_000);
            let mut cuts: Vec<_> = (0..random.below(5)).map(|_| random.below(message.len() + 1)).collect();
            cuts.sort_unstable();
            let binary = random.one_in(2);
            expected.extend(events(&frame(TEXT, message.as_bytes(), [0; 4]), usize::MAX, ROOMY));
            sent.push(json!({
                "data": base64(&message), "cuts": cuts, "binary": binary, "compress": !random.one_in(4),
            }));
        }
        let level = random.below(10);
        let stream = bytes(&node.ask("send", json!({"messages": sent, "level": level})));
        for read in [usize::MAX, 1 + random.below(100), 1 + random.below(5_000)] {
            assert_eq!(events(&stream, read, ROOMY), expected, "seed {seed}, reads of {read}");
        }
    }
}

/// Deflate streams that are broken in the ways that RFC 1951 forbids, and some that only look it.
fn handmade() -> Vec<Vec<u8>> {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let cases: [&[u8]; 22] = [
        &[],
        &[0x00],
        &[0x02],
        &[0x06],
        // The reserved block type, alone and last.
        &[0x07],
        &[0x06, 0xff],
        // Stored blocks: lengths that disagree, that promise more than there is, none.
        &[0x00, 0x05, 0x00, 0x05, 0x00, 0x48],
        &[0x00, 0xff, 0xff, 0x00, 0x00, 0x48],
        &[0x00, 0x00, 0x00, 0xff, 0xff],
        &[0x01, 0x00, 0x00, 0xff, 0xff],
        &[0x00, 0x05],
        // Fixed codes: a distance before the beginning, codes that do not exist.
        &[0x4b, 0x04, 0x02],
        &[0x63, 0x00, 0xff],
        &[0x1b, 0xff, 0xff, 0xff],
        // Dynamic codes: too many, over-subscribed, incomplete, repeat without a first, no end of block.
        &[0xfc, 0xff, 0xff],
        &[0x04, 0x00, 0xfe, 0xff],
        &[0x04, 0xc0, 0x81, 0x08, 0x00, 0x00, 0x00, 0x00, 0x20, 0x7f, 0xeb],
        &[0x05, 0xe0, 0x81, 0x91, 0x24, 0xcb, 0xb2, 0x2c, 0x49, 0xe2],
        &[0xec, 0xc0, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00],
        // A zlib and a gzip header instead of a bare stream.
        &[0x78, 0x9c, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0xff; 40],
    ];
    let mut all: Vec<_> = cases.iter().map(|case| case.to_vec()).collect();
    // Sound blocks one after the other, cut everywhere, with something behind, and what follows the last one.
    for sound in [&hello[..], &stored, &last] {
        all.extend((0..=sound.len()).map(|length| sound[..length].to_vec()));
        for more in [&hello[..], &stored, &last, &[0x00], &[0x07], &[0x00, 0x00, 0xff, 0xff], b"garbage"] {
            all.push([sound, more].concat());
            all.push([sound, more, more].concat());
        }
    }
    all
}

/// Sound payloads with a bit or a byte changed, cut, doubled, or put together with others; and mere bytes.
fn broken(sound: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut payload = random.pick(sound).clone();
    for _ in 0..=random.below(3) {
        let at = random.below(payload.len() + 1);
        match random.below(6) {
            0 | 1 if at < payload.len() => payload[at] ^= 1 << random.below(8),
            2 => payload.truncate(at),
            3 => payload.insert(at, random.next_u64() as u8),
            4 => payload.extend_from_slice(random.pick::<Vec<u8>>(sound)),
            _ => payload = random.bytes(at.min(200)),
        }
    }
    payload
}

/// Asserts that each payload becomes what zlib makes of it: its bytes, a message that is too big, or an error. `ws`
/// says the same but in two cases: after a block marked final it reads no further, though RFC 7692, 7.2.3.4 lets a
/// sender go on; and a frame over the limit is too big for it although its message is not.
fn assert_same_verdicts(payloads: &[Vec<u8>], node: &Oracle, python: &Oracle, about: &str) -> [usize; 3] {
    let question = json!({"payloads": payloads.iter().map(base64).collect::<Vec<_>>(), "limit": LIMIT});
    let zlib = python.ask("inflate", question.clone());
    let ws = node.ask("inflate", question);
    let mut counts = [0; 3];
    for (index, payload) in payloads.iter().enumerate() {
        let (zlib, ws) = (&zlib[index], &ws[index]);
        let ours = events(&frame(COMPRESSED_BINARY, payload, [0; 4]), usize::MAX, LIMIT);
        let (count, expected, code) = match zlib["refused"].as_str() {
            None => (0, events(&frame(BINARY, &bytes(&zlib["message"]), [0; 4]), usize::MAX, LIMIT), None),
            Some("too big") => (1, closed(CloseCode::TooBig), Some("WS_ERR_UNSUPPORTED_MESSAGE_LENGTH")),
            Some(_) => (2, closed(CloseCode::ProtocolError), Some("Z_DATA_ERROR")),
        };
        counts[count] += 1;
        assert_eq!(ours, expected, "{about}: {}", base64(payload));
        if zlib["ended"] == false && payload.len() <= LIMIT as usize {
            assert_eq!(ws["refused"].as_str(), code, "{about}: {}", base64(payload));
            assert_eq!(ws["message"], zlib["message"], "{about}: {}", base64(payload));
        }
    }
    counts
}

#[test]
fn malformed_streams_get_the_verdict_of_zlib() {
    let Some((node, python)) = oracles() else { return };
    let [good, _, bad] = assert_same_verdicts(&handmade(), node, python, "by hand");
    assert!(good > 20 && bad > 10, "{good} good, {bad} bad");
    for seed in seeds() {
        let mut random = Random::new(seed);
        let cases: Vec<_> = (0..60)
            .map(|index| {
                let message = request(&mut random, 1_000);
                settings(message.as_bytes(), index % 10, index as u64 % 5, 9 + index as u64 % 7, &mut random)
            })
            .collect();
        let sound: Vec<_> =
            python.ask("deflate", json!({"cases": cases})).as_array().unwrap().iter().map(bytes).collect();
        let payloads: Vec<_> = (0..3_000).map(|_| broken(&sound, &mut random)).collect();
        let [good, _, bad] = assert_same_verdicts(&payloads, node, python, &format!("seed {seed}"));
        assert!(good > 300 && bad > 300, "seed {seed}: {good} good, {bad} bad");
    }
}

/// A message may have one byte more than the limit or a million times as many, in one block or in many.
#[test]
fn bombs_are_too_big_for_all() {
    let Some((node, python)) = oracles() else { return };
    let compress = |message: &[u8], level: i64, last: bool| {
        let case = json!({
            "message": base64(message), "level": level, "strategy": 0, "windowBits": 15, "memLevel": 9, "final": last,
        });
        bytes(&python.ask("deflate", json!({"cases": [case]}))[0])
    };
    let limit = LIMIT as usize;
    let fits = vec![
        compress(&vec![b' '; limit], 9, false),
        compress(&vec![b' '; limit], 0, false),
        // Empty blocks are no message, however many there are.
        [0x00, 0x00, 0x00, 0xff, 0xff].repeat(1_000),
    ];
    assert_eq!(assert_same_verdicts(&fits, node, python, "fits"), [3, 0, 0]);
    let bombs = vec![
        compress(&vec![b' '; limit + 1], 9, false),
        compress(&vec![b' '; limit + 1], 0, false),
        compress(&vec![0; 5 << 20], 9, false),
        [compress(&vec![b' '; limit], 9, false), FLUSH.to_vec(), compress(b" ", 9, false)].concat(),
        // In streams that end: each is within the limit, together they are not.
        compress(&vec![b' '; limit / 2], 9, true).repeat(3),
        compress(&vec![0; 1 << 20], 9, true).repeat(5),
    ];
    assert_eq!(assert_same_verdicts(&bombs, node, python, "bombs"), [0, 6, 0]);
}
