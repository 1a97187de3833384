//! Every target on its seeds, on changed seeds and on mere bytes, as many as a test may take.

use proptest::prelude::*;
use realtime_differential::{Random, seeds};

use crate::key_set::tests::KEY_SETS;
use crate::session::{COMPRESSED_TEXT, TEXT, deflated, frame};
use crate::{application, client_message, deflate_offer, frames, key_set, patterns, proxy_header, token};

/// Changed seeds for each seed of randomness.
const CHANGES: usize = 1_500;

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

const OFFERS: [&str; 6] = [
    "permessage-deflate; client_max_window_bits=\"1\\5\"",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=10, permessage-deflate",
    "a\npermessage-deflate",
    "\"",
    "",
];

/// What tokens, keys, topics and documents are made of.
const WORDS: [&str; 24] = [
    "\"exp\":",
    "\"nbf\":",
    "\"aud\":",
    "\"sub\":",
    "\"alg\":",
    "\"crit\":",
    "\"typ\":",
    "null",
    "1e999",
    "-1",
    "[]",
    "{}",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "*",
    "!",
    "\\",
    "\n",
    "priv/",
    "secure/",
    "-----BEGIN PUBLIC KEY-----",
    "0.0.0.0/0",
    "ß",
];

/// A target by its function's name, and where to begin.
type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

fn targets() -> [Target; 8] {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    let tokens = [
        "\0eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
        "\u{1}{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"k\"}",
        "\u{2}{\"sub\":\"ann\",\"exp\":1800000060,\"nbf\":0,\"permissions\":[\"a\"],\"scope\":\"a b\",\"aud\":[\"x\"]}",
        "\u{2}{}",
        // Found by fuzzing: what nobody reads may be more than a reader can hold.
        "\u{2}{\"x\":\"8\\udeee\",\"y\":1e4222222242964004472}",
    ];
    let lists = ["topic\nto*\n!x", "a*b\n\\a\\*b", "\n\n!", "ÄÖ\näö\n!*ß*", "secure/a\n*\n!secure/*"];
    let key = r#"{"source":"raw","key":"s","algorithms":["HS256"],"issuer":["i"],"audience":"a"}"#;
    let pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\\n-----END PUBLIC KEY-----";
    let documents = [
        format!(r#"{{"name":"n","authKey":{key},"adminKey":{key}}}"#),
        format!(
            r#"{{"name":"n","authKey":{{"source":"raw","key":"{pem}","algorithms":["EdDSA"]}},"adminKey":{key},
                "adminSourceAddress":["!10.0.0.0/8","::1"],"allowedOrigins":["https://a.example"],"tier":"free",
                "amazonSnsForwarder":{{"enabled":true,"topicArn":"arn:aws:sns:eu-west-1:123456789012:t","region":"eu-west-1"}}}}"#
        ),
        format!(
            r#"{{"name":"n","authKey":{{"source":"jwks","jwksUri":"https://a.example/k","audience":"a"}},"adminKey":{key}}}"#
        ),
    ];
    let documents = documents.iter().map(|document| document.as_bytes().to_vec()).collect();
    [
        ("frames", frames, streams()),
        ("client_message", client_message, texts(&MESSAGES)),
        ("deflate_offer", deflate_offer, texts(&OFFERS)),
        ("key_set", key_set, texts(&KEY_SETS)),
        ("token", token, texts(&tokens)),
        ("patterns", patterns, texts(&lists)),
        ("application", application, documents),
        ("proxy_header", proxy_header, headers()),
    ]
}

/// Headers of the PROXY protocol, of every command and family.
fn headers() -> Vec<Vec<u8>> {
    let header = |command: u8, family: u8, rest: &[u8]| {
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family, 0, rest.len() as u8], rest].concat()
    };
    vec![
        header(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 0xbb]),
        header(0x21, 0x21, &[0x20; 40]),
        header(0x21, 0x31, &[b'/'; 216]),
        header(0x20, 0x00, &[]),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
    ]
}

/// Connections' bytes: whole messages, fragments with a ping between them, compressed ones, closes.
fn streams() -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for message in MESSAGES {
        let (bytes, half) = (message.as_bytes(), message.len() / 2);
        let packed = deflated(bytes);
        for control in [0x01, 0x05, 0x85, 0xff] {
            let parts = [
                vec![control],
                frame(TEXT, bytes),
                frame(0x89, b"ping"),
                frame(0x01, &bytes[..half]),
                frame(0x8a, b""),
                frame(0x80, &bytes[half..]),
                frame(COMPRESSED_TEXT, &packed),
                frame(0x41, &packed[..packed.len() / 2]),
                frame(0x80, &packed[packed.len() / 2..]),
                frame(0x88, &[0x03, 0xe8]),
            ];
            streams.push(parts.concat());
        }
    }
    streams
}

/// A seed with one to four changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = random.pick(seeds).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(data.len() + 1);
        let end = (at + random.below(20)).min(data.len());
        match random.below(8) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = *random.pick(&[0, 0x7f, 0x80, 0xff, b'"', b'{', b'.']),
            2 => data.truncate(at),
            3 => drop(data.drain(at..end)),
            4 => {
                let part = data[at..end].to_vec();
                data.splice(at..at, part);
            }
            5 => {
                let other = random.pick(seeds);
                data.truncate(at);
                data.extend_from_slice(&other[at.min(other.len())..]);
            }
            6 => {
                let word = random.pick(&WORDS).bytes().collect::<Vec<_>>();
                data.splice(at..at, word);
            }
            _ => data.insert(at, random.next_u64() as u8),
        }
    }
    data
}

/// Says what was being run when a target panics.
struct Running<'a>(&'a str, u64, &'a [u8]);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, seed {}, input \"{}\"", self.0, self.1, self.2.escape_ascii());
        }
    }
}

#[test]
fn every_target_holds_on_its_seeds_and_on_changes_of_them() {
    for (name, target, inputs) in targets() {
        for input in &inputs {
            let _running = Running(name, 0, input);
            target(input);
        }
        for seed in seeds() {
            let mut random = Random::new(seed);
            for _ in 0..CHANGES {
                let input = changed(&inputs, &mut random);
                let _running = Running(name, seed, &input);
                target(&input);
            }
        }
    }
    client_message(&[b' '; 6000]);
    client_message(b"\xff");
}

#[test]
fn every_target_has_its_binary() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut binaries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut names: Vec<_> = targets().iter().map(|target| target.0.to_owned()).collect();
    binaries.sort();
    names.sort();
    assert_eq!(binaries, names);
}

proptest! {
    #[test]
    fn any_bytes_hold(data in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target, _) in targets() {
            target(&data);
        }
    }
}
