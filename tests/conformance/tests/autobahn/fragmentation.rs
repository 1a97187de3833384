//! 5: fragments, and control frames between them.

use realtime_testkit::raw::{CONTINUATION, FIN, PING, PONG, TEXT, encode};

use crate::bench::{Bench, Case, Message, ping};

#[tokio::test]
async fn case_5_1_and_5_2_control_frames_have_no_fragments() {
    let rest = encode(FIN | CONTINUATION, b"fragment2");
    let cases = [
        Case::new("5.1").write([encode(PING, b"fragment1"), rest.clone()].concat()).closes(1002),
        Case::new("5.2").write([encode(PONG, b"fragment1"), rest].concat()).closes(1002),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_5_3_to_5_8_two_fragments_are_a_message_with_and_without_a_ping_between() {
    let message = Message::text("fragment1fragment2");
    let [first, second]: [Vec<u8>; 2] = message.parts(2).try_into().unwrap();
    let plain = [first.clone(), second.clone()];
    let pinged = [first, ping(b"ping payload"), second];
    let both = |case: Case| case.pong(b"ping payload").echo(&message);
    let cases = [
        Case::new("5.3").write(plain.concat()).echo(&message),
        Case::new("5.4").frames(plain.clone()).echo(&message),
        Case::new("5.5").octets(plain.concat()).echo(&message),
        both(Case::new("5.6").write(pinged.concat())),
        both(Case::new("5.7").frames(pinged.clone())),
        both(Case::new("5.8").octets(pinged.concat())),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_5_9_to_5_14_a_continuation_of_nothing_closes_with_1002() {
    let hello = Message::text("Hello, world!").frame();
    let mut cases = Vec::new();
    for (n, fin) in [(9, FIN), (12, 0)] {
        let frames = [encode(fin | CONTINUATION, b"non-continuation payload"), hello.clone()];
        cases.push(Case::new(format!("5.{n}")).write(frames.concat()).closes(1002));
        cases.push(Case::new(format!("5.{}", n + 1)).frames(frames.clone()).closes(1002));
        cases.push(Case::new(format!("5.{}", n + 2)).octets(frames.concat()).closes(1002));
    }
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_5_15_to_5_17_a_continuation_of_nothing_closes_among_messages_too() {
    let message = Message::text("fragment1fragment2");
    let parts = message.parts(2).concat();
    let open = encode(CONTINUATION, b"fragment1");
    let last = encode(FIN | CONTINUATION, b"fragment1");
    let after = [parts.clone(), open.clone(), message.frame()].concat();
    let cases = [
        Case::new("5.15").write(after).echo(&message).closes(1002),
        Case::new("5.16").write([open, parts.clone()].concat().repeat(2)).closes(1002),
        Case::new("5.17").write([last, parts].concat().repeat(2)).closes(1002),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_5_18_a_text_within_a_text_closes_with_1002() {
    let message = Message::text("fragment1fragment2").bytes();
    let (first, second) = message.split_at(60);
    let frames = [encode(TEXT, first), encode(FIN | TEXT, second)].concat();
    Bench::start().await.run([Case::new("5.18").write(frames).closes(1002)]).await;
}

#[tokio::test]
async fn case_5_19_and_5_20_pings_are_answered_before_the_message_is_whole() {
    let message = Message::text("fragment1fragment2fragment3fragment4fragment5");
    let [one, two, three, four, five]: [Vec<u8>; 5] = message.parts(5).try_into().unwrap();
    let (begin, middle) = ([one, two, ping(b"pongme 1!")], [three, four, ping(b"pongme 2!"), five]);
    let cases = [
        Case::new("5.19").write(begin.concat()).pong(b"pongme 1!").write(middle.concat()),
        Case::new("5.20").frames(begin).pong(b"pongme 1!").frames(middle),
    ];
    let ended = |case: Case| case.pong(b"pongme 2!").echo(&message);
    Bench::start().await.run(cases.map(ended)).await;
}
