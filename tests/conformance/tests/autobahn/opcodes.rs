//! 4: reserved opcodes.

use realtime_testkit::raw::{FIN, encode};

use crate::bench::{Bench, Case, Message, ping};

/// Five cases for five opcodes: alone, with a payload, and three times between a message and a ping.
fn cases(section: &str, first: u8) -> Vec<Case> {
    let message = Message::text("Hello, world!");
    let case = |n: u8| Case::new(format!("{section}.{n}"));
    let reserved = |n: u8, payload: &[u8]| encode(FIN | (first + n - 1), payload);
    let between = |n: u8, payload: &[u8]| [message.frame(), reserved(n, payload), ping(b"")].concat();
    vec![
        case(1).write(reserved(1, b"")).closes(1002),
        case(2).write(reserved(2, b"reserved opcode payload")).closes(1002),
        case(3).write(between(3, b"")).echo(&message).closes(1002),
        case(4).write(between(4, b"Hello, world!")).echo(&message).closes(1002),
        case(5).octets(between(5, b"Hello, world!")).echo(&message).closes(1002),
    ]
}

#[tokio::test]
async fn case_4_1_opcodes_3_to_7_close_with_1002() {
    Bench::start().await.run(cases("4.1", 3)).await;
}

#[tokio::test]
async fn case_4_2_opcodes_11_to_15_close_with_1002() {
    Bench::start().await.run(cases("4.2", 11)).await;
}
