//! 9: large messages, small pieces, many round trips; 10: fragments made by a library.

use realtime_testkit::raw::{BINARY, TEXT};

use crate::bench::{Bench, Case, LARGEST, Message};

const KIB: usize = 1024;
/// The two kinds of message of each pair of sections.
const KINDS: [(usize, u8); 2] = [(0, TEXT), (1, BINARY)];

#[tokio::test]
async fn case_9_1_and_9_2_messages_of_64_kib_and_more() {
    const SIZES: [usize; 6] = [64 * KIB, 256 * KIB, LARGEST, 4 * LARGEST, 8 * LARGEST, 16 * LARGEST];
    let mut cases = Vec::new();
    for (kind, opcode) in KINDS {
        for (i, size) in SIZES.into_iter().enumerate() {
            let case = Case::new(format!("9.{}.{}", 1 + kind, i + 1));
            let message = Message::of_length(opcode, size);
            let case = case.write(message.frame());
            cases.push(if size <= LARGEST { case.echo(&message) } else { case.closes(1009) });
        }
    }
    Bench::with_large_messages().await.run(cases).await;
}

#[tokio::test]
async fn case_9_3_and_9_4_a_large_message_in_fragments_of_64_bytes_and_more() {
    const SIZES: [usize; 8] = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, LARGEST];
    let mut cases = Vec::new();
    for (kind, opcode) in KINDS {
        let case = |n: usize| Case::new(format!("9.{}.{n}", 3 + kind));
        let message = Message::of_length(opcode, LARGEST);
        for (i, size) in SIZES.into_iter().enumerate() {
            cases.push(case(i + 1).write(message.fragments(size).concat()).echo(&message));
        }
        cases.push(case(9).write(Message::of_length(opcode, 4 * LARGEST).frame()).closes(1009));
    }
    Bench::with_large_messages().await.run(cases).await;
}

#[tokio::test]
async fn case_9_5_and_9_6_a_large_message_in_writes_of_64_bytes_and_more() {
    let mut cases = Vec::new();
    for (kind, opcode) in KINDS {
        let message = Message::of_length(opcode, LARGEST);
        for (i, chop) in [64, 128, 256, 512, 1024, 2048].into_iter().enumerate() {
            let case = Case::new(format!("9.{}.{}", 5 + kind, i + 1));
            cases.push(case.chops(message.frame(), chop).echo(&message));
        }
    }
    Bench::with_large_messages().await.run(cases).await;
}

#[tokio::test]
async fn case_9_7_and_9_8_a_thousand_round_trips() {
    let mut cases = Vec::new();
    for (kind, opcode) in KINDS {
        for (i, size) in [0, 16, 64, 256, 1024, 4096].into_iter().enumerate() {
            let message = Message::new(opcode, vec![b'*'; size]);
            let trip = |case: Case, _| case.write(message.frame()).echo(&message);
            cases.push((0..1000).fold(Case::new(format!("9.{}.{}", 7 + kind, i + 1)), trip));
        }
    }
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_10_1_1_a_message_that_a_library_cuts_into_fragments_of_1300_bytes() {
    let message = Message::of_length(TEXT, 65_536);
    let case = Case::new("10.1.1").write(message.fragments(1300).concat()).echo(&message);
    Bench::with_large_messages().await.run([case]).await;
}
