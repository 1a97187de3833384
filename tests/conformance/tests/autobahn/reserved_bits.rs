//! 3: reserved bits without an extension. The suite counts RSV1 as 4 and RSV3 as 1.

use realtime_testkit::raw::{BINARY, CLOSE, FIN, PING, RSV1, RSV2, RSV3, TEXT, encode};

use crate::bench::{Bench, Case, Message, ping};

/// A message that must come back, the same with reserved bits, and a ping that must find no answer.
fn violation(bits: u8) -> (Message, [Vec<u8>; 3]) {
    let message = Message::text("Hello, world!");
    let frames = [message.frame(), encode(FIN | bits | TEXT, &message.bytes()), ping(b"")];
    (message, frames)
}

#[tokio::test]
async fn case_3_reserved_bits_close_with_1002() {
    let hello = Message::text("Hello, world!");
    let (second, two) = violation(RSV2);
    let (third, three) = violation(RSV2 | RSV3);
    let (fourth, four) = violation(RSV1);
    let cases = [
        Case::new("3.1").write(encode(FIN | RSV3 | TEXT, &hello.bytes())).closes(1002),
        Case::new("3.2").write(two.concat()).echo(&second).closes(1002),
        Case::new("3.3").frames(three).echo(&third).closes(1002),
        Case::new("3.4").octets(four.concat()).echo(&fourth).closes(1002),
        Case::new("3.5").write(encode(FIN | RSV1 | RSV3 | BINARY, &hello.bytes())).closes(1002),
        Case::new("3.6").write(encode(FIN | RSV1 | RSV2 | PING, b"Hello, world!")).closes(1002),
        Case::new("3.7").write(encode(FIN | RSV1 | RSV2 | RSV3 | CLOSE, b"")).closes(1002),
    ];
    Bench::start().await.run(cases).await;
}
