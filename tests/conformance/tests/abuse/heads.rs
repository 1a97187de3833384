//! 2.1: request lines and headers that are too large.

use realtime_testkit::Server;
use realtime_testkit::http::speak;
use tokio::io::AsyncWriteExt as _;

use crate::crowd::{connect_from, crowd, read_to_end};
use crate::measure::{Neighbour, frugal_server, three_times};

/// A GET of a session with a query and headers of these lengths.
fn head(query: usize, header: usize, headers: usize) -> String {
    let mut head =
        format!("GET /apps/x?q={} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", "q".repeat(query));
    head.push_str(&format!("X-Long: {}\r\n", "h".repeat(header)));
    for n in 0..headers {
        head.push_str(&format!("X-{n}: {n}\r\n"));
    }
    head + "\r\n"
}

/// Up to 64 KiB and 512 headers the answer says what is wrong.
#[tokio::test]
async fn a_head_over_16_kib_or_100_headers_is_431_with_a_problem() {
    let server = Server::start().await;
    let cases = [
        (16_500, 0, 0),
        (0, 16_500, 0),
        (8_300, 8_300, 0),
        (60_000, 0, 0),
        (0, 60_000, 0),
        (0, 0, 99),
        (0, 0, 500),
    ];
    for (query, header, headers) in cases {
        let answers = speak(server.listen(), head(query, header, headers).as_bytes()).await;
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        answer.expect_problem(431, "headers_too_large");
    }
    // Just within, the request is looked at.
    for (query, header, headers) in [(16_200, 0, 0), (0, 16_200, 0), (0, 0, 97)] {
        let answers = speak(server.listen(), head(query, header, headers).as_bytes()).await;
        assert_eq!(answers[0].status, 426, "{}", answers[0].text());
    }
}

/// Beyond that the parser gives up: a status without a body, or the connection ends while the rest is still being
/// sent.
#[tokio::test]
async fn a_head_over_64_kib_is_refused_without_a_body() {
    let server = Server::start().await;
    for (query, header, headers) in
        [(70_000, 0, 0), (0, 70_000, 0), (0, 0, 600), (1 << 20, 0, 0), (0, 1 << 20, 0)]
    {
        let mut stream = connect_from(server.listen(), 1).await;
        // It may end before all is taken.
        let _ = stream.write_all(head(query, header, headers).as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{query}, {header}, {headers}: {answer:?}");
    }
    Neighbour::of(&server).await.may_come().await;
}

/// What waits for the end of a head is bounded for each connection, and gone with it.
#[tokio::test]
async fn half_heads_of_60_kib_cost_what_they_weigh_and_no_more() {
    const COUNT: usize = 300;
    const BYTES: usize = 60_000;
    let server = frugal_server().await;
    let mut neighbour = Neighbour::of(&server).await;
    let before = server.resident_bytes();
    three_times(&server, async |_| {
        let begun = crowd(COUNT, |_| {
            let address = server.listen().to_owned();
            async move {
                let mut stream = connect_from(&address, 1).await;
                let half = head(0, BYTES, 0);
                stream.write_all(&half.as_bytes()[..BYTES]).await.unwrap();
                stream
            }
        })
        .await;
        neighbour.may_come().await;
        let held = server.resident_bytes().saturating_sub(before);
        // The parser's buffer, which doubles as it grows.
        assert!(held <= (COUNT * 2 * 65_536 + (16 << 20)) as u64, "{held} bytes for {COUNT} half heads");
        drop(begun);
    })
    .await;
}
