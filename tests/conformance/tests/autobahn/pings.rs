//! 2: pings and pongs.

use realtime_testkit::raw::{FIN, PONG, encode};

use crate::bench::{Bench, Case, ping};

/// The longest payload of a control frame.
const LONGEST: [u8; 125] = [0xfe; 125];
/// Not UTF-8: control frames carry bytes.
const BYTES: &[u8] = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";

fn unsolicited(payload: &[u8]) -> Vec<u8> {
    encode(FIN | PONG, payload)
}

#[tokio::test]
async fn case_2_1_to_2_6_a_ping_is_answered_with_its_payload() {
    let cases = [
        Case::new("2.1").write(ping(b"")).pong(b""),
        Case::new("2.2").write(ping(b"Hello, world!")).pong(b"Hello, world!"),
        Case::new("2.3").write(ping(BYTES)).pong(BYTES),
        Case::new("2.4").write(ping(&LONGEST)).pong(LONGEST),
        Case::new("2.5").write(ping(&[0xfe; 126])).closes(1002),
        Case::new("2.6").octets(ping(&LONGEST)).pong(LONGEST),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_2_7_to_2_9_an_unsolicited_pong_has_no_answer() {
    let cases = [
        Case::new("2.7").write(unsolicited(b"")),
        Case::new("2.8").write(unsolicited(b"unsolicited")),
        Case::new("2.9").write([unsolicited(b"unsolicited"), ping(b"ping")].concat()).pong(b"ping"),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_2_10_and_2_11_each_of_ten_pings_is_answered_in_order() {
    let payloads: Vec<String> = (0..10).map(|n| format!("payload-{n}")).collect();
    let pings: Vec<u8> = payloads.iter().flat_map(|payload| ping(payload.as_bytes())).collect();
    let answered = |case: Case| payloads.iter().fold(case, Case::pong);
    let cases = [answered(Case::new("2.10").write(&pings)), answered(Case::new("2.11").octets(&pings))];
    Bench::start().await.run(cases).await;
}
