//! 7: close frames.

use realtime_testkit::raw::{CLOSE, CONTINUATION, FIN, encode};

use crate::bench::{Bench, Case, Message, close, ping};

fn close_with(code: u16, reason: &[u8]) -> Vec<u8> {
    encode(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[tokio::test]
async fn case_7_1_nothing_is_processed_after_a_close() {
    let message = Message::text("Hello World!");
    let [first, second]: [Vec<u8>; 2] = message.parts(2).try_into().unwrap();
    let cases = [
        Case::new("7.1.1").write(message.frame()).echo(&message),
        Case::new("7.1.2").write([close(1000), encode(FIN | CLOSE, b"")].concat()).closes(1000),
        Case::new("7.1.3").write([close(1000), ping(b"")].concat()).closes(1000),
        Case::new("7.1.4").write([close(1000), message.frame()].concat()).closes(1000),
        Case::new("7.1.5").write([first, close(1000), second].concat()).closes(1000),
    ];
    Bench::start().await.run(cases).await;
}

/// The suite leaves open what happens; here it is the order in which things were sent, or the limit.
#[tokio::test]
async fn case_7_1_6_messages_before_a_close_are_processed_and_a_ping_after_it_is_not() {
    let (large, hello) = (Message::of_length(1, 256 * 1024), Message::text("Hello World!"));
    let frames = [large.frame(), hello.frame(), close(1000), ping(b"")].concat();
    let all = Case::new("7.1.6").write(&frames).echo(&large).echo(&hello).closes(1000);
    Bench::with_large_messages().await.run([all]).await;
    Bench::start().await.run([Case::new("7.1.6, over the limit").write(&frames).closes(1009)]).await;
}

#[tokio::test]
async fn case_7_3_a_close_frame_has_no_payload_or_a_code_and_perhaps_a_reason() {
    let cases = [
        Case::new("7.3.1").write(encode(FIN | CLOSE, b"")).closes(1000),
        Case::new("7.3.2").write(encode(FIN | CLOSE, b"a")).closes(1002),
        Case::new("7.3.3").write(close(1000)).closes(1000),
        Case::new("7.3.4").write(close_with(1000, b"Hello World!")).closes(1000),
        Case::new("7.3.5").write(close_with(1000, &[b'*'; 123])).closes(1000),
        Case::new("7.3.6").write(close_with(1000, &[b'*'; 124])).closes(1002),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_7_5_1_a_close_reason_that_is_not_utf_8_closes_with_1007() {
    let reason = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    Bench::start().await.run([Case::new("7.5.1").write(close_with(1000, reason)).closes(1007)]).await;
}

#[tokio::test]
async fn case_7_7_valid_close_codes_are_answered_with_themselves() {
    const CODES: [u16; 13] = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    let case = |(i, code)| Case::new(format!("7.7.{}", i + 1)).write(close(code)).closes(code);
    Bench::start().await.run(CODES.into_iter().enumerate().map(case)).await;
}

#[tokio::test]
async fn case_7_9_invalid_close_codes_close_with_1002() {
    const CODES: [u16; 9] = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    let case = |(i, code)| Case::new(format!("7.9.{}", i + 1)).write(close(code)).closes(1002);
    Bench::start().await.run(CODES.into_iter().enumerate().map(case)).await;
}

/// The suite only asks what happens.
#[tokio::test]
async fn case_7_13_close_codes_beyond_4999_close_with_1002() {
    let cases = [
        Case::new("7.13.1").write(close(5000)).closes(1002),
        Case::new("7.13.2").write(close(65_535)).closes(1002),
    ];
    Bench::start().await.run(cases).await;
}

/// Not on the list: its neighbours.
#[tokio::test]
async fn other_close_codes_and_a_close_in_fragments() {
    let fragments = [encode(CLOSE, b""), encode(FIN | CONTINUATION, b"")].concat();
    let mut cases = vec![Case::new("a close in fragments").write(fragments).closes(1002)];
    for (sent, answered) in [(1012, 1012), (1013, 1013), (1014, 1014), (1015, 1002)] {
        cases.push(Case::new(format!("close code {sent}")).write(close(sent)).closes(answered));
    }
    Bench::start().await.run(cases).await;
}
