//! 12: compressed messages of different sizes and data; 13: with different offers.

use realtime_testkit::RawSocket;
use realtime_testkit::raw::BINARY;

use crate::bench::{Bench, Message, expect_deflated_echo, expect_echo};

/// Size of a message's text, and of its fragments; 0: one frame.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1024, 0),
    (4096, 0),
    (8192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1024),
    (131_072, 4096),
    (131_072, 32_768),
];
/// What a case sends in all, or two messages if they are larger.
const CASE_BYTES: usize = 131_072;
/// The suite's count.
const MOST_MESSAGES: usize = 1000;

/// The default offer of the suite's client.
const OFFER: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A generator of numbers, the same in every run (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.next(words.len() as u64) as usize]
    }
}

const WORDS: [&str; 12] = [
    "habe",
    "nun",
    "ach",
    "Philosophie",
    "Juristerei",
    "und",
    "Medizin",
    "für",
    "süß",
    "Müh",
    "durchaus",
    "studiert",
];

/// JSON, as it stands in a JSON string.
fn json(n: &mut Numbers) -> String {
    let (id, name, age) = (n.next(1 << 30), n.pick(&WORDS), n.next(90));
    format!(r#"{{\"id\":{id},\"name\":\"{name}\",\"age\":{age},\"tags\":[\"a\",\"b\"]}},"#)
}

/// A row of a picture: its bytes differ little from one to the next.
fn picture(n: &mut Numbers) -> String {
    let base = 0x40 + n.next(0x80) as u32;
    (0..512)
        .filter_map(|x| char::from_u32(base + x / 16 + n.next(3) as u32))
        .filter(|c| !"\"\\".contains(*c))
        .collect()
}

/// Prose.
fn prose(n: &mut Numbers) -> String {
    format!("{} {}, ", n.pick(&WORDS), n.pick(&WORDS))
}

/// HTML.
fn html(n: &mut Numbers) -> String {
    let (class, text) = (n.pick(&WORDS), n.pick(&WORDS));
    format!("<tr><td class='{class}'>{text}</td><td>{}</td></tr>", n.next(1000))
}

/// What is compressed already: every character as likely as the next.
fn random(n: &mut Numbers) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    (0..64).map(|_| char::from(DIGITS[n.next(64) as usize])).collect()
}

/// A text of at least `size` bytes.
fn text(n: &mut Numbers, chunk: fn(&mut Numbers) -> String, size: usize) -> String {
    let mut text = String::with_capacity(size + 1024);
    while text.len() < size {
        text.push_str(&chunk(n));
    }
    text
}

/// Sends the messages of one size, each once the one before has come back.
async fn exchange(
    socket: &mut RawSocket,
    deflated: bool,
    chunk: fn(&mut Numbers) -> String,
    size: (usize, usize),
) {
    let mut numbers = Numbers(size.0 as u64);
    for _ in 0..(CASE_BYTES / size.0).clamp(2, MOST_MESSAGES) {
        let message = Message::new(BINARY, text(&mut numbers, chunk, size.0));
        let frames = match (deflated, size.1) {
            (true, 0) => message.deflated(),
            (true, fragment) => message.deflated_fragments(fragment).concat(),
            (false, 0) => message.frame(),
            (false, fragment) => message.fragments(fragment).concat(),
        };
        socket.write(&frames).await;
        if deflated {
            expect_deflated_echo(socket, &message).await;
        } else {
            expect_echo(socket, &message).await;
        }
    }
}

async fn run(section: &str, offer: &str, deflated: bool, chunk: fn(&mut Numbers) -> String) {
    let bench = Bench::with_large_messages().await;
    let mut socket = bench.connect(&[("Sec-WebSocket-Extensions", offer)]).await;
    assert_eq!(socket.header("sec-websocket-extensions"), deflated.then_some(ANSWER), "{section}");
    for (i, size) in SIZES.into_iter().enumerate() {
        println!("case {section}.{}", i + 1);
        exchange(&mut socket, deflated, chunk, size).await;
    }
}

#[tokio::test]
async fn case_12_1_json() {
    run("12.1", OFFER, true, json).await;
}

#[tokio::test]
async fn case_12_2_a_picture() {
    run("12.2", OFFER, true, picture).await;
}

#[tokio::test]
async fn case_12_3_prose() {
    run("12.3", OFFER, true, prose).await;
}

#[tokio::test]
async fn case_12_4_html() {
    run("12.4", OFFER, true, html).await;
}

#[tokio::test]
async fn case_12_5_what_cannot_be_compressed() {
    run("12.5", OFFER, true, random).await;
}

#[tokio::test]
async fn case_13_1_the_default_offer() {
    run("13.1", OFFER, true, json).await;
}

#[tokio::test]
async fn case_13_2_an_offer_that_asks_for_no_context_takeover() {
    run("13.2", &format!("{OFFER}; server_no_context_takeover"), true, json).await;
}

#[tokio::test]
async fn case_13_3_to_13_6_offers_that_ask_for_a_window_are_declined() {
    for (section, asked) in [
        ("13.3", "server_max_window_bits=9"),
        ("13.4", "server_max_window_bits=15"),
        ("13.5", "server_no_context_takeover; server_max_window_bits=9"),
        ("13.6", "server_no_context_takeover; server_max_window_bits=15"),
    ] {
        run(section, &format!("{OFFER}; {asked}"), false, json).await;
    }
}

#[tokio::test]
async fn case_13_7_the_first_acceptable_of_several_offers_counts() {
    let asking = format!("{OFFER}; server_no_context_takeover");
    run("13.7", &format!("{asking}; server_max_window_bits=9, {asking}, {OFFER}"), true, json).await;
}
