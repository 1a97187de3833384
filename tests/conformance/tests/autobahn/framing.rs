//! 1: lengths of frames.

use realtime_testkit::raw::{BINARY, FIN, TEXT, encode};
use serde_json::json;

use crate::bench::{Bench, Case, Message};

/// Around the three forms of a length.
const LENGTHS: [usize; 6] = [125, 126, 127, 128, 65_535, 65_536];
/// What the cases 1.1.8 and 1.2.8 cut writes into.
const CHOP: usize = 997;

fn cases(section: &str, opcode: u8) -> Vec<Case> {
    let case = |n: usize| Case::new(format!("{section}.{n}"));
    let empty = Message::new(opcode, "");
    let mut cases = vec![
        case(1).write(encode(FIN | opcode, b"")).closes(1008),
        case(1).write(empty.frame()).echo(&empty),
    ];
    for (i, length) in LENGTHS.into_iter().enumerate() {
        let message = Message::of_length(opcode, length);
        cases.push(case(i + 2).write(message.frame()).echo(&message));
    }
    let message = Message::of_length(opcode, 65_536);
    cases.push(case(8).chops(message.frame(), CHOP).echo(&message));
    cases
}

#[tokio::test]
async fn case_1_1_text_messages() {
    Bench::with_large_messages().await.run(cases("1.1", TEXT)).await;
}

#[tokio::test]
async fn case_1_2_binary_messages() {
    Bench::with_large_messages().await.run(cases("1.2", BINARY)).await;
}

/// The suite's echo has the same length; here the frames that go out get it in a run of their own.
#[tokio::test]
async fn case_1_x_2_to_1_x_7_frames_of_the_server_have_these_lengths_too() {
    let bench = Bench::with_large_messages().await;
    let mut socket = bench.connect(&[]).await;
    for (section, opcode) in [("1.1", TEXT), ("1.2", BINARY)] {
        for (i, length) in LENGTHS.into_iter().enumerate() {
            println!("case {section}.{}", i + 2);
            let frame = if length <= 128 {
                // A service's message has the shortest frame.
                let head = r#"{"topic":"main","messageType":"broadcast","data":""}"#.len();
                let body = json!({"topic": "main", "message": "*".repeat(length - head), "compress": opcode == BINARY});
                bench.app().publish(&body).await.expect(200);
                socket.expect_frame().await
            } else {
                let probe = Message::of_length(opcode, 200);
                socket.write(&probe.frame()).await;
                let envelope = socket.expect_frame().await.payload.len() - 200;
                socket.write(&Message::of_length(opcode, length - envelope).frame()).await;
                socket.expect_frame().await
            };
            assert_eq!((frame.first_byte, frame.payload.len()), (FIN | opcode, length));
        }
    }
}
